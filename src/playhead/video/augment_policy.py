"""RandAugment for clips: a few random operations in a row, each drawn once and done to every frame of the clip.

uint8 in, uint8 out, all frames at once. What an operation makes of a frame depends on that frame alone where Pillow's
does (contrast, histogram). A seed decides everything, so a clip is the same in whichever worker it is read.

Source: Cubuk et al., 2020; as timm's policy "rand-m7-n4-mstd0.5-inc1", with which VideoMAE and UniFormerV2 fine-tune:
15 operations whose strength grows with the magnitude, each done with a chance of one half.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import UInt8
from torch import Tensor

TOP = 10.0
"""The magnitude at which every operation is at its strongest."""

Pixels = UInt8[Tensor, "T C H W"]


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """How many operations a clip goes through, and how strong they are."""

    operations: int = 4
    """Operations drawn for each clip, the same one perhaps twice."""
    magnitude: float = 7.0
    """Mean strength, from 0 to 10."""
    spread: float = 0.5
    """Standard deviation of the strength."""
    chance: float = 0.5
    """Chance that a drawn operation is done."""
    bicubic: bool = True
    """Turn, shear and shift with bicubic interpolation, as published; bilinear takes half the time."""

    def __post_init__(self):
        if self.operations < 1:
            raise ValueError(f"policy.operations needs to be at least 1, got {self.operations}; unset policy for none.")
        if not 0 <= self.magnitude <= TOP:
            raise ValueError(f"policy.magnitude needs to be between 0 and {TOP:g}, got {self.magnitude}.")
        if not 0 <= self.spread < math.inf:
            raise ValueError(f"policy.spread must not be negative, got {self.spread}.")
        if not 0 <= self.chance <= 1:
            raise ValueError(f"policy.chance is a chance between 0 and 1, got {self.chance}.")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as drawn: its name in `OPERATIONS`, its strength from 0 to 1, and whether it goes the other way."""

    name: str
    strength: float
    opposite: bool


def draw_operations(seed: int, settings: RandAugment) -> list[Operation]:
    """Return the operations that one clip goes through, in their order; those that chance left out are not there."""
    generator = np.random.default_rng(seed)
    names = list(OPERATIONS)
    drawn = []
    for index in generator.integers(len(names), size=settings.operations):
        is_done, opposite = generator.random(2) < (settings.chance, 0.5)
        magnitude = min(max(generator.normal(settings.magnitude, settings.spread), 0.0), TOP)
        if is_done:
            drawn.append(Operation(names[index], magnitude / TOP, bool(opposite)))
    return drawn


def rand_augment(clip: Pixels, seed: int, settings: RandAugment) -> Pixels:
    """Return the clip after the operations that its seed draws, done alike to all of its frames."""
    for operation in draw_operations(seed, settings):
        clip = apply(clip, operation, settings.bicubic)
    return clip


def apply(clip: Pixels, operation: Operation, bicubic: bool = True) -> Pixels:
    """Return the clip after one operation."""
    signed = -operation.strength if operation.opposite else operation.strength
    done = OPERATIONS[operation.name](clip, operation.strength, signed)
    if isinstance(done, Tensor):
        return done
    return _warp(clip, done, bicubic)


def _auto_contrast(clip: Tensor, strength: float, signed: float) -> Tensor:
    """Stretch each channel of each frame to 0..255, rounded down as Pillow does."""
    pixels = clip.flatten(2).flatten(0, 1)  # (T C, H W)
    low, high = pixels.amin(dim=1, keepdim=True).double(), pixels.amax(dim=1, keepdim=True).double()
    values = torch.arange(256, device=clip.device, dtype=torch.float64)
    scale = torch.full_like(low, 255.0) / (high - low).clamp(min=1.0)  # 255.0 / x would take the reciprocal first
    table = torch.where(high > low, values * scale - low * scale, values)
    return _look_up(table.clamp_(0, 255), clip)


def _equalize(clip: Tensor, strength: float, signed: float) -> Tensor:
    """Spread the histogram of each channel of each frame, in whole numbers as Pillow does."""
    pixels = clip.flatten(2).flatten(0, 1).long()  # (T C, H W)
    rows, values = torch.arange(len(pixels), device=clip.device)[:, None], torch.arange(256, device=clip.device)
    counts = torch.bincount((pixels + 256 * rows).flatten(), minlength=256 * len(pixels)).view(-1, 256)
    brightest = ((counts > 0) * values).argmax(dim=1, keepdim=True)
    step = (counts.sum(dim=1, keepdim=True) - counts.gather(1, brightest)) // 255
    below = counts.cumsum(dim=1) - counts
    table = torch.where(step > 0, (step // 2 + below) // step.clamp(min=1), values)
    return _look_up(table.clamp_(max=255), clip)


def _look_up(table: Tensor, clip: Tensor) -> Tensor:
    """Return what the table of each channel of each frame, "(T C) 256", has for its pixels."""
    return table.byte().gather(1, clip.flatten(2).flatten(0, 1).long()).view(clip.shape)


def _invert(clip: Tensor, strength: float, signed: float) -> Tensor:
    return 255 - clip


def _posterize(clip: Tensor, strength: float, signed: float) -> Tensor:
    dropped = 8 - (4 - int(4 * strength))
    return clip & ((0xFF << dropped) & 0xFF)


def _solarize(clip: Tensor, strength: float, signed: float) -> Tensor:
    return torch.where(clip.int() < 256 - int(256 * strength), clip, 255 - clip)


def _solarize_add(clip: Tensor, strength: float, signed: float) -> Tensor:
    brighter = (clip.int() + int(110 * strength)).clamp_(max=255).byte()
    return torch.where(clip < 128, brighter, clip)


def _color(clip: Tensor, strength: float, signed: float) -> Tensor:
    return _blend(_grey(clip).expand_as(clip), clip, _factor(signed))


def _contrast(clip: Tensor, strength: float, signed: float) -> Tensor:
    mean = (_grey(clip).mean(dim=(2, 3), keepdim=True) + 0.5).floor()
    return _blend(mean.expand_as(clip), clip, _factor(signed))


def _brightness(clip: Tensor, strength: float, signed: float) -> Tensor:
    return _blend(torch.zeros_like(clip, dtype=torch.float32), clip, _factor(signed))


def _sharpness(clip: Tensor, strength: float, signed: float) -> Tensor:
    """Move away from, or towards, a smoothed picture, whose outermost pixels stay as they are."""
    smooth = clip.float()
    if min(clip.shape[-2:]) > 2:
        whole = clip.short()  # 13 * 255 fits
        rows = whole[..., :-2, :] + whole[..., 1:-1, :] + whole[..., 2:, :]
        sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * whole[..., 1:-1, 1:-1]
        smooth[..., 1:-1, 1:-1] = (sums / 13).round_()
    return _blend(smooth, clip, _factor(signed))


def _factor(signed: float) -> float:
    return max(0.1, 1 + 0.9 * signed)


def _grey(clip: Tensor) -> Tensor:
    """Return Pillow's grey (ITU-R 601) as floats that hold whole numbers: "T 1 H W"."""
    red, green, blue = clip.int().unbind(dim=1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).float()[:, None]


def _blend(base: Tensor, clip: Tensor, factor: float) -> Tensor:
    return (base + factor * (clip.float() - base)).clamp_(0, 255).byte()


Matrix = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Where a pixel of the result comes from, in pixels from the middle: x' = a x + b y + c W, y' = d x + e y + f H."""


def _rotate(clip: Tensor, strength: float, signed: float) -> Matrix:
    angle = math.radians(30 * signed)
    return (math.cos(angle), -math.sin(angle), 0.0), (math.sin(angle), math.cos(angle), 0.0)


def _shear_x(clip: Tensor, strength: float, signed: float) -> Matrix:
    # As in Pillow the sheared lines are counted from the upper border, so that the lower part moves most.
    height, width = clip.shape[-2:]
    return (1.0, 0.3 * signed, 0.3 * signed * height / (2 * width)), (0.0, 1.0, 0.0)


def _shear_y(clip: Tensor, strength: float, signed: float) -> Matrix:
    height, width = clip.shape[-2:]
    return (1.0, 0.0, 0.0), (0.3 * signed, 1.0, 0.3 * signed * width / (2 * height))


def _translate_x(clip: Tensor, strength: float, signed: float) -> Matrix:
    return (1.0, 0.0, 0.45 * signed), (0.0, 1.0, 0.0)


def _translate_y(clip: Tensor, strength: float, signed: float) -> Matrix:
    return (1.0, 0.0, 0.0), (0.0, 1.0, 0.45 * signed)


FILL = 128.0
"""Grey of what lies outside of the picture."""


def _warp(clip: Tensor, matrix: Matrix, bicubic: bool) -> Tensor:
    height, width = clip.shape[-2:]
    (a, b, c), (d, e, f) = matrix
    # The grid of torch counts from -1 to 1 over width and height.
    theta = torch.tensor([[a, b * height / width, 2 * c], [d * width / height, e, 2 * f]], device=clip.device)
    grid = F.affine_grid(theta[None], [1, 1, height, width], align_corners=False)
    stacked = clip.flatten(0, 1)[None].float() - FILL  # frames as channels: one set of weights serves all
    mode = "bicubic" if bicubic else "bilinear"
    moved = F.grid_sample(stacked, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return (moved[0] + FILL).round_().clamp_(0, 255).byte().view(clip.shape)


OPERATIONS: dict[str, Callable[[Tensor, float, float], Tensor | Matrix]] = {
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": _invert,
    "rotate": _rotate,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "color": _color,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
"""What can be drawn: clip, strength and signed strength to the new clip, or to where its pixels come from."""
