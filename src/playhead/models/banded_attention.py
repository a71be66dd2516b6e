"""Attention of each step to its neighbours in time only, in memory that grows with the length and not its square.

Step i sees the steps j with |i - j| <= half, where half = window // 2. The queries are cut into blocks of neighbours; a
block of b queries can only see b + 2 half keys, so each block is one small plain attention, and all blocks are one
batch:

    block n    queries  n b ... n b + b - 1        keys  n b - half ... n b + b - 1 + half

This gives the numbers of ActionFormer's sliding chunks (Longformer's code), which need lengths and windows that divide.

Axis letters: B batch, H heads, S steps, D width of a head, W = 2 half + 1 places of the window.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor

_SMALLEST_BLOCK = 32


def banded_attention(
    query: Float[Tensor, "B H S D"],
    key: Float[Tensor, "B H S D"],
    value: Float[Tensor, "B H S D"],
    mask: Bool[Tensor, "B S"],
    window: int,
    relative: Float[Tensor, "H W"] | None = None,
) -> Float[Tensor, "B H S D"]:
    """Mix the values of the neighbours by softmax(query key^T / sqrt(D) + relative); masked keys are not seen.

    `relative[h, r]` is added to the score of the key at distance r - half. A step that sees no key gets a mean of
    values: finite, and without meaning.

    Raises:
        ValueError: `window` is below 1, or `relative` has another number of places.
    """
    half, steps = window // 2, query.shape[2]
    if window < 1 or (relative is not None and relative.shape[1] != 2 * half + 1):
        places = None if relative is None else relative.shape[1]
        raise ValueError(
            f"`window` must be at least 1, and `relative` have 2 (window // 2) + 1 places: {window}, {places}."
        )
    block = min(max(_SMALLEST_BLOCK, window), steps)
    blocks = -(-steps // block)
    missing = blocks * block - steps
    queries = F.pad(query, (0, 0, 0, missing)).unflatten(2, (blocks, block))  # (B, H, n, b, D)
    keys, values = (_neighbourhoods(part, block, half, missing) for part in (key, value))
    seen = F.pad(mask, (half, half + missing)).unfold(1, block + 2 * half, block)  # (B, n, b + 2 half)
    place = torch.arange(block + 2 * half, device=query.device) - torch.arange(block, device=query.device)[:, None]
    in_band = (place >= 0) & (place <= 2 * half)  # (b, b + 2 half); `place` counts from the far left of the window
    allowed = (seen[:, :, None, :] & in_band).flatten(0, 1)[:, None]  # (B n, 1, b, b + 2 half)
    bias = query.new_zeros(()) if relative is None else relative.to(query.dtype)[:, place.clamp(0, 2 * half)]
    bias = torch.where(allowed, bias, torch.finfo(query.dtype).min)  # finite: a padded step must not become NaN
    mixed = F.scaled_dot_product_attention(_as_batch(queries), _as_batch(keys), _as_batch(values), attn_mask=bias)
    return mixed.unflatten(0, (-1, blocks)).transpose(1, 2).flatten(2, 3)[:, :, :steps]


def _neighbourhoods(part: Tensor, block: int, half: int, missing: int) -> Tensor:
    padded = F.pad(part, (0, 0, half, half + missing))
    return padded.unfold(2, block + 2 * half, block).transpose(3, 4)  # (B, H, n, b + 2 half, D)


def _as_batch(blocks: Tensor) -> Tensor:
    return blocks.transpose(1, 2).flatten(0, 1)  # (B n, H, b, D)
