"""Random erasing: a box of noise over a clip, the same box in all of its frames.

Source: Zhong et al., 2020; as VideoMAE fine-tunes: mode "pixel", one box ("cube"), on normalised frames.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

TRIES = 100
"""Boxes drawn until one fits; after that the clip stays whole."""


@dataclass(frozen=True, kw_only=True)
class Erase:
    """How often a clip loses a box, and how large that is."""

    chance: float = 0.25
    """Chance that a clip loses a box."""
    area: tuple[float, float] = (0.02, 1 / 3)
    """Least and greatest share of the picture that is lost."""
    ratio: tuple[float, float] = (0.3, 1 / 0.3)
    """Least and greatest height over width of the box."""

    def __post_init__(self):
        if not 0 <= self.chance <= 1:
            raise ValueError(f"erase.chance is a chance between 0 and 1, got {self.chance}.")
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(f"erase.area needs 0 < least <= greatest <= 1, got {self.area}.")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"erase.ratio needs 0 < least <= greatest, got {self.ratio}.")


@dataclass(frozen=True, slots=True)
class Box:
    """Rows [top, bottom) and columns [left, right) of a picture."""

    top: int
    bottom: int
    left: int
    right: int


def draw_box(generator: np.random.Generator, height: int, width: int, settings: Erase) -> Box | None:
    """Return the box that a clip loses, or None where it stays whole."""
    if generator.random() >= settings.chance:
        return None
    low, high = (math.log(ratio) for ratio in settings.ratio)
    for _ in range(TRIES):
        area = height * width * generator.uniform(*settings.area)
        ratio = math.exp(generator.uniform(low, high))
        rows, columns = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < rows < height and 0 < columns < width:
            top, left = int(generator.integers(height - rows + 1)), int(generator.integers(width - columns + 1))
            return Box(top, top + rows, left, left + columns)
    return None


def erase(video: Float[Tensor, "B T C H W"], seeds: Sequence[int], settings: Erase) -> Float[Tensor, "B T C H W"]:
    """Return the normalised clips, each with a box of normal noise where its own seed draws one.

    The box is the same in all frames of a clip, the noise in it is not. A seed gives the same on every device.

    Raises:
        ValueError: there is not one seed per clip.
    """
    if len(seeds) != len(video):
        raise ValueError(f"erase needs one seed per clip, got {len(seeds)} for {len(video)} clips.")
    num_frames, channels, height, width = video.shape[1:]
    erased = video.clone()
    for clip, seed in zip(erased, seeds, strict=True):
        generator = np.random.default_rng((seed, 2))  # not the numbers that the clip's view was drawn from
        if (box := draw_box(generator, height, width, settings)) is None:
            continue
        size = (num_frames, channels, box.bottom - box.top, box.right - box.left)
        noise = torch.from_numpy(generator.standard_normal(size, dtype=np.float32))
        clip[..., box.top : box.bottom, box.left : box.right] = noise.to(clip)
    return erased
