"""What happens to decoded pixels: uint8 in, whole batches, on the device where they already are.

Evaluation goes through `Preprocess`, which is stored beside every model; training through `augment`, which draws one
crop, flip and jitter per clip from the clip's own seed, so that a clip does not depend on its batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, UInt8
from torch import Tensor

from playhead.types import View

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey. Source: ITU-R BT.601, as rounded by torchvision."""


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """What a model wants to see, and how decoded frames become that: short side, centre crop, size, normalisation.

    Source: EgoVLP, data_loader/transforms.py, test path: Resize(256), CenterCrop(256), Resize(224), Normalize; bilinear
    without antialiasing, as torchvision 0.13 does to tensors.
    """

    num_frames: int = 4
    """Frames of a clip."""
    image_size: int = 224
    """Height and width that the model sees, in pixels."""
    resize: int = 256
    """Short side at which frames are decoded, and side of the square then cut from their middle, in pixels."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted from each channel, on the scale 0..1."""
    std: tuple[float, float, float] = IMAGENET_STD
    """By which each channel is divided after that."""
    window: float = 1.0
    """Seconds that one clip covers."""

    def __post_init__(self):
        for name in ("num_frames", "image_size", "resize"):
            if getattr(self, name) < 1:
                raise ValueError(f"preprocess.{name} needs to be at least 1, got {getattr(self, name)}.")
        if not (math.isfinite(self.window) and self.window > 0):
            raise ValueError(f"preprocess.window needs to be above 0 s, got {self.window}.")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != 3:
                raise ValueError(f"preprocess.{name} needs one number per channel, got {getattr(self, name)}.")
        if min(self.std) <= 0:
            raise ValueError(f"preprocess.std needs numbers above 0, got {self.std}.")

    @property
    def decode_size(self) -> int:
        """The short side to ask of the decoder, so that scaling happens there."""
        return self.resize

    def center_crop(self, video: UInt8[Tensor, "*B C H W"]) -> UInt8[Tensor, "*B C R R"]:
        """Cut the middle square, of the short side's length; frames of several videos then fit in one batch."""
        side = min(video.shape[-2:])
        return _crop_middle(video, side)

    def __call__(self, video: UInt8[Tensor, "B T C H W"]) -> Float[Tensor, "B T C S S"]:
        """Return what the model sees at test time."""
        sized = fit_for_test(video.float() / 255, self.resize, self.image_size)
        return _normalize(sized, self.mean, self.std)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "Preprocess":
        """Return the settings that `to_dict` wrote.

        Raises:
            ValueError: a key is unknown or missing, or a value is out of range.
        """
        names = {field.name for field in fields(cls)}
        if set(settings) != names:
            unknown, missing = sorted(set(settings) - names), sorted(names - set(settings))
            raise ValueError(f"preprocess settings do not fit: unknown {unknown}, missing {missing}.")
        values: dict[str, Any] = dict(settings)
        values["mean"], values["std"] = tuple(settings["mean"]), tuple(settings["std"])
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How far training clips are varied; the defaults are the released ones.

    Source: EgoVLP, data_loader/transforms.py, train path: RandomResizedCropVideo(224, scale 0.5-1, ratio 3/4-4/3),
    RandomHorizontalFlipVideo, ColorJitter(0, 0, 0).
    """

    scale: tuple[float, float] = (0.5, 1.0)
    """Least and greatest share of the picture's area that is kept."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and greatest width over height of the piece kept."""
    flip: float = 0.5
    """Chance that left and right are swapped."""
    brightness: float = 0.0
    """Brightness is multiplied by a number within this of 1."""
    contrast: float = 0.0
    """The distance to the mean grey is multiplied by a number within this of 1."""
    saturation: float = 0.0
    """The distance to grey is multiplied by a number within this of 1."""

    def __post_init__(self):
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"augment.scale needs 0 < least <= greatest <= 1, got {self.scale}.")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"augment.ratio needs 0 < least <= greatest, got {self.ratio}.")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"augment.flip is a chance between 0 and 1, got {self.flip}.")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augment.{name} needs to be between 0 and 1, got {getattr(self, name)}.")


def draw_view(seed: int, height: int, width: int, settings: Augment) -> View:
    """Draw the view of one clip from its seed.

    Source: torchvision's RandomResizedCrop: ten tries, then the largest centred box of an allowed ratio.
    """
    generator = np.random.default_rng(seed)
    strengths = np.array((settings.brightness, settings.contrast, settings.saturation))
    brightness, contrast, saturation = generator.uniform(1 - strengths, 1 + strengths).tolist()
    factors = (brightness, contrast, saturation)
    flipped = bool(generator.random() < settings.flip)
    for _ in range(10):
        area = height * width * generator.uniform(*settings.scale)
        ratio = math.exp(generator.uniform(math.log(settings.ratio[0]), math.log(settings.ratio[1])))
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(generator.integers(height - box_height + 1))
            left = int(generator.integers(width - box_width + 1))
            return View(top, left, box_height, box_width, flipped, factors)
    box_width = min(width, max(1, round(height * settings.ratio[1])))
    box_height = min(height, max(1, round(width / settings.ratio[0])))
    return View((height - box_height) // 2, (width - box_width) // 2, box_height, box_width, flipped, factors)


def augment(
    video: UInt8[Tensor, "B T C H W"], seeds: Sequence[int], settings: Augment, image_size: int
) -> UInt8[Tensor, "B T C S S"]:
    """Return each clip's random crop at `image_size`, flipped and jittered as its own seed decides.

    All frames of a clip are treated alike. Bilinear without antialiasing. The colours change in the order brightness,
    contrast, saturation; torchvision shuffles the order.

    Raises:
        ValueError: there is not one seed per clip.
    """
    if len(seeds) != len(video):
        raise ValueError(f"augment needs one seed per clip, got {len(seeds)} for {len(video)} clips.")
    height, width = video.shape[-2:]
    return show_views(video, [draw_view(seed, height, width, settings) for seed in seeds], image_size)


def cut_view(clip: UInt8[Tensor, "T C H W"], seed: int, settings: Augment) -> tuple[UInt8[Tensor, "T C Hb Wb"], View]:
    """Return the box that `augment` would cut, as it is, and what `show_views` still has to do to it."""
    height, width = clip.shape[-2:]
    view = draw_view(seed, height, width, settings)
    box = clip[..., view.top : view.top + view.height, view.left : view.left + view.width]
    return box, replace(view, top=0, left=0)


def show_views(video: UInt8[Tensor, "B T C H W"], views: Sequence[View], image_size: int) -> UInt8[Tensor, "B T C S S"]:
    """Return each clip's view at `image_size`: the second half of `augment`, on the device where the clips are.

    Raises:
        ValueError: there is not one view per clip.
    """
    if len(views) != len(video):
        raise ValueError(f"show_views needs one view per clip, got {len(views)} for {len(video)} clips.")
    return torch.stack([_show(clip, view, image_size) for clip, view in zip(video, views, strict=True)])


def normalize(
    video: UInt8[Tensor, "B T C H W"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "B T C H W"]:
    """Return (video / 255 - mean) / std, channel by channel."""
    return _normalize(video.float() / 255, mean, std)


def fit_for_test(video: Float[Tensor, "B T C H W"], resize: int, image_size: int) -> Float[Tensor, "B T C S S"]:
    """Scale the short side to `resize`, cut the middle square, and scale that to `image_size`.

    The long side is rounded down and the corner of the square to the nearest pixel (a half to the even one), as in
    torchvision 0.13.
    """
    height, width = video.shape[-2:]
    if min(height, width) != resize:
        long_side = int(resize * max(height, width) / min(height, width))
        video = _resize(video, *((resize, long_side) if height <= width else (long_side, resize)))
    square = _crop_middle(video, resize)
    return square if resize == image_size else _resize(square, image_size, image_size)


def _resize(video: Tensor, height: int, width: int) -> Tensor:
    flat = F.interpolate(video.flatten(0, -4), size=(height, width), mode="bilinear", align_corners=False)
    return flat.unflatten(0, video.shape[:-3])


def _crop_middle(video: Tensor, side: int) -> Tensor:
    top, left = round((video.shape[-2] - side) / 2), round((video.shape[-1] - side) / 2)
    return video[..., top : top + side, left : left + side]


def _normalize(video: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    shift = torch.tensor(mean, device=video.device).view(-1, 1, 1)
    return (video - shift) / torch.tensor(std, device=video.device).view(-1, 1, 1)


def _show(clip: UInt8[Tensor, "T C H W"], view: View, image_size: int) -> UInt8[Tensor, "T C S S"]:
    box = clip[..., view.top : view.top + view.height, view.left : view.left + view.width]
    shown = F.interpolate(box.float(), size=(image_size, image_size), mode="bilinear", align_corners=False)
    if view.flipped:
        shown = shown.flip(-1)
    return _jitter(shown, *view.colors).round_().clamp_(0, 255).byte()


def _jitter(clip: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Change the colours of float pixels 0..255; a factor of 1 changes nothing."""
    if brightness != 1:
        clip = (clip * brightness).clamp(0, 255)
    luma = torch.tensor(LUMA, device=clip.device).view(-1, 1, 1)
    if contrast != 1:
        grey = (clip * luma).sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True)
        clip = torch.lerp(grey.expand_as(clip), clip, contrast).clamp(0, 255)
    if saturation != 1:
        grey = (clip * luma).sum(dim=1, keepdim=True)
        clip = torch.lerp(grey.expand_as(clip), clip, saturation).clamp(0, 255)
    return clip
