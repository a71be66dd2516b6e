"""Mixup and CutMix: each clip of a batch is blended with its partner, or gets a rectangle of it, and so are the labels.

The partner of clip i of B is clip B - 1 - i, and one draw serves the whole batch, as published (mode "batch"). So what
is mixed depends on which clips are encoded together: with several ranks each one's clips are mixed among themselves.

Source: Zhang et al., 2018 and Yun et al., 2019, as timm's `Mixup`, with which VideoMAE fine-tunes.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from playhead.video.erasing import Box


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How often clips are mixed, and how."""

    mixup: float = 0.8
    """Alpha of the Beta distribution of mixup's weights; 0 leaves mixup out."""
    cutmix: float = 1.0
    """Alpha of the Beta distribution of CutMix's kept areas; 0 leaves CutMix out."""
    chance: float = 1.0
    """Chance that a batch is mixed at all."""
    switch: float = 0.5
    """Chance that it is CutMix, where both are there."""

    def __post_init__(self):
        if min(self.mixup, self.cutmix) < 0 or max(self.mixup, self.cutmix) == 0:
            raise ValueError(
                f"mixing.mixup and mixing.cutmix must not be negative nor both 0, got {self.mixup} and {self.cutmix}; "
                "unset mixing to mix nothing."
            )
        for name in ("chance", "switch"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"mixing.{name} is a chance between 0 and 1, got {getattr(self, name)}.")


@dataclass(frozen=True, slots=True)
class Mix:
    """What was drawn for a batch: the share that each clip keeps, and the box that CutMix takes from the partner."""

    kept: float
    box: Box | None = None


def draw_mix(seed: int, height: int, width: int, settings: Mixing) -> Mix | None:
    """Return how a batch is mixed, or None where it stays as it is.

    The box of CutMix has the shape of the picture and its middle anywhere in it; what lies outside is cut off, and the
    share kept follows from what is left.
    """
    generator = np.random.default_rng((seed, 3))
    if generator.random() >= settings.chance:
        return None
    cuts = settings.cutmix > 0 and (settings.mixup == 0 or generator.random() < settings.switch)
    alpha = settings.cutmix if cuts else settings.mixup
    kept = float(generator.beta(alpha, alpha))
    if not cuts:
        return Mix(kept)
    rows, columns = int(height * math.sqrt(1 - kept)), int(width * math.sqrt(1 - kept))
    middle = int(generator.integers(height)), int(generator.integers(width))
    top, left = max(0, middle[0] - rows // 2), max(0, middle[1] - columns // 2)
    bottom, right = min(height, middle[0] + rows // 2), min(width, middle[1] + columns // 2)
    return Mix(1 - (bottom - top) * (right - left) / (height * width), Box(top, bottom, left, right))


def mix_clips(video: Float[Tensor, "B T C H W"], mix: Mix) -> Float[Tensor, "B T C H W"]:
    """Return each clip mixed with its partner."""
    if mix.box is None:
        return torch.lerp(video.flip(0), video, mix.kept)
    mixed, box = video.clone(), mix.box
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    mixed[..., rows, columns] = video.flip(0)[..., rows, columns]
    return mixed


def mix_targets(targets: Float[Tensor, "B K"], mix: Mix) -> Float[Tensor, "B K"]:
    """Return each clip's targets mixed with its partner's by the share that was kept."""
    return torch.lerp(targets.flip(0), targets, mix.kept)
