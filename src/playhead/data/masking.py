"""Which tokens of a clip are hidden from a masked autoencoder, drawn from a generator.

Tokens are numbered in time, then in rows, then in columns. Axis letters: B batch, N tokens of a clip, V visible and M
hidden ones.

Source: VideoMAE (Tong et al., 2022), section 3.3: tubes, which hide the same places in all frames, so that what is
hidden cannot be copied from the frame before.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

MaskKind = Literal["tube", "random"]
Grid = tuple[int, int, int]
"""Tokens of a clip in time, in rows and in columns."""

Shuffler = np.random.Generator | np.random.RandomState
"""What masks are drawn from; the old kind gives the masks that published code drew."""


def tube_mask(grid: Grid, ratio: float, generator: Shuffler) -> Bool[np.ndarray, " N"]:
    """Return true where a token is hidden: the same `int(ratio * rows * columns)` places at every time.

    `np.random.RandomState(seed)` gives what the published code gives after `np.random.seed(seed)`.

    Raises:
        ValueError: the ratio hides nothing or leaves nothing.
    """
    time, rows, columns = grid
    return np.tile(_shuffled(rows * columns, ratio, generator), time)


def random_mask(grid: Grid, ratio: float, generator: Shuffler) -> Bool[np.ndarray, " N"]:
    """Return true where a token is hidden: `int(ratio * N)` of all tokens, each by itself. Raises as `tube_mask`."""
    time, rows, columns = grid
    return _shuffled(time * rows * columns, ratio, generator)


def draw_mask(kind: MaskKind, grid: Grid, ratio: float, generator: Shuffler) -> Bool[np.ndarray, " N"]:
    """Return a mask of the named kind; raises as `tube_mask`."""
    return (tube_mask if kind == "tube" else random_mask)(grid, ratio, generator)


def token_order(hidden: Bool[Tensor, "B N"]) -> tuple[Int64[Tensor, "B V"], Int64[Tensor, "B M"]]:
    """Return the numbers of the visible tokens of each clip, and of its hidden ones, both rising.

    Raises:
        ValueError: the clips hide different numbers of tokens.
    """
    counts = hidden.sum(dim=1)
    if len(counts.unique()) > 1:
        raise ValueError(f"every clip of a batch must hide as many tokens, got {counts.tolist()}.")
    order = hidden.to(torch.uint8).argsort(dim=1, stable=True)
    num_visible = hidden.shape[1] - int(counts[0])
    return order[:, :num_visible], order[:, num_visible:]


def _shuffled(num_tokens: int, ratio: float, generator: Shuffler) -> Bool[np.ndarray, " N"]:
    num_hidden = int(ratio * num_tokens)
    if not 0 < num_hidden < num_tokens:
        raise ValueError(f"a ratio of {ratio} hides {num_hidden} of {num_tokens} tokens; some must be, and not all.")
    hidden = np.arange(num_tokens) >= num_tokens - num_hidden
    generator.shuffle(hidden)
    return hidden
