"""What a masked autoencoder is to tell of hidden tubes, and how far off it is.

Axis letters: B batch, M hidden tubes, P numbers of a tube (pixel by pixel, its three channels together).
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

CHANNELS = 3
EPS = 1e-6
"""Added to the deviation of a tube's pixels, on the scale 0..1. Source: VideoMAE's released code."""


def pixel_targets(
    tubes: UInt8[Tensor, "B M P"] | Float[Tensor, "B M P"], *, normalized: bool = True, white: float = 255.0
) -> Float[Tensor, "B M P"]:
    """Return what the hidden tubes show: each channel of each tube with mean 0 and deviation 1, or on the scale 0..1.

    `white` is the brightest value of `tubes`. The deviation divides by one less than the number of pixels.

    Source: VideoMAE (Tong et al., 2022), section 3.2, after MAE's normalised pixels; the released code takes the mean
    and deviation of each channel by itself.
    """
    if not normalized:
        return tubes.float() / white
    mean, deviation = tube_statistics(tubes, white=white)
    # On the scale of the tubes: only the small number added to the deviation knows the scale.
    pixels = tubes.float().unflatten(-1, (-1, CHANNELS))
    return (pixels - mean).div_(deviation).flatten(2)


def tube_statistics(
    tubes: UInt8[Tensor, "B M P"] | Float[Tensor, "B M P"], *, white: float = 255.0
) -> tuple[Float[Tensor, "B M 1 3"], Float[Tensor, "B M 1 3"]]:
    """Return mean and deviation of each channel of each tube, on the scale of `tubes`, as targets are normalised by."""
    pixels = tubes.float().unflatten(-1, (-1, CHANNELS))
    variance, mean = torch.var_mean(pixels, dim=2, keepdim=True)
    return mean, variance.sqrt() + EPS * white


def masked_video_losses(predicted: Float[Tensor, "B M P"], targets: Float[Tensor, "B M P"]) -> Float[Tensor, " B"]:
    """Return the mean squared error of each clip over all numbers of its hidden tubes, in float32.

    Clips that hide equally many tokens count alike, so that the mean over clips is the mean over all numbers.
    """
    return (predicted.float() - targets).square().mean(dim=(1, 2))
