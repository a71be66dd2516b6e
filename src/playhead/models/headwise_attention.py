"""Attention head by head, for long sequences in half precision on a CPU.

The weights of one head over some thousand tokens fit into the processor's cache, those of all heads do not; and what is
made again for the gradient need not be kept. So this is faster than three products over all heads, and keeps only
queries, keys and values.

Axis letters: B batch, H heads, Q queries, K keys, D width of a head.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

LONG = 512
"""From so many queries and keys on it is faster, as measured; below, one product over all heads is."""


def attend_by_head(
    query: Float[Tensor, "B H Q D"], key: Float[Tensor, "B H K D"], value: Float[Tensor, "B H K D"]
) -> Float[Tensor, "B H Q D"]:
    """Mix the values by softmax(query key^T / sqrt(D)), with a gradient that can be taken once."""
    return _AttendByHead.apply(query, key, value)


class _AttendByHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, value)
        seen = torch.empty_like(query)
        for place in _heads(query):
            seen[place] = _weights(_scaled(query[place]), key[place]) @ value[place]
        return seen

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, key, value = ctx.saved_tensors
        (of_seen,) = gradients
        of_query, of_key, of_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        for place in _heads(query):
            scaled = _scaled(query[place])
            weights = _weights(scaled, key[place])
            of_value[place] = weights.T @ of_seen[place]
            of_weights = of_seen[place] @ value[place].T
            of_weights -= (of_weights * weights).sum(dim=1, keepdim=True)  # softmax's own
            of_scores = of_weights.mul_(weights)
            of_query[place] = _scaled(of_scores @ key[place])
            of_key[place] = of_scores.T @ scaled
        return of_query, of_key, of_value


def _heads(tensor: Tensor) -> list[tuple[int, int]]:
    return [(clip, head) for clip in range(tensor.shape[0]) for head in range(tensor.shape[1])]


def _scaled(rows: Tensor) -> Tensor:
    return rows * rows.shape[-1] ** -0.5


def _weights(scaled: Tensor, key: Tensor) -> Tensor:
    return (scaled @ key.T).softmax(dim=1).to(key.dtype)
