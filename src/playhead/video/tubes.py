"""Cutting clips into tubes: a patch of a few frames, the token of a masked autoencoder.

Tokens are numbered in time, then in rows, then in columns. Axis letters: B batch, T frames, C channels, H W pixels,
N tokens of a clip, M those wanted, P numbers of a tube.
"""

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor


def tube_grid(
    video: Shaped[Tensor, "B T C H W"], tubelet: int, patch_size: int
) -> Shaped[Tensor, "B time rows columns C tubelet patch patch"]:
    """Return the tubes of a clip as a view: nothing is copied.

    Raises:
        ValueError: the clip does not divide into tubes.
    """
    frames, height, width = video.shape[1], *video.shape[-2:]
    if frames % tubelet or height % patch_size or width % patch_size:
        raise ValueError(
            f"clips of {frames} frames of {height}x{width} do not divide into tubes of {tubelet} frames and "
            f"{patch_size} pixels."
        )
    cut = video.unflatten(4, (-1, patch_size)).unflatten(3, (-1, patch_size)).unflatten(1, (-1, tubelet))
    return cut.permute(0, 1, 4, 6, 3, 2, 5, 7)


def take_tubes(
    grid: Shaped[Tensor, "B time rows columns *tube"], numbers: Int64[Tensor, "B M"]
) -> Shaped[Tensor, "B M P"]:
    """Return the tubes of each clip with these numbers, each as one row; the others are not copied."""
    rows, columns = grid.shape[2:4]
    clips = torch.arange(len(grid), device=numbers.device)[:, None]
    places = (numbers // (rows * columns), numbers // columns % rows, numbers % columns)
    return grid[clips, *places].flatten(2)
