"""The block of VideoMAE's encoder and decoder, and the fixed positions of both; see `videomae.py`.

Axis letters: B batch, N tokens, D width, Q width of queries, keys and values together.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from playhead.models.layers import Mlp, attend


def sine_table(num_tokens: int, width: int) -> Float[Tensor, "N D"]:
    """Return the fixed positions: even columns are sines, odd ones cosines, of the token's number at falling rates."""
    rates = 10000.0 ** (-2 * (np.arange(width) // 2) / width)
    angles = np.arange(num_tokens)[:, None] * rates
    angles[:, 0::2], angles[:, 1::2] = np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])
    return torch.from_numpy(angles.astype(np.float32))


class SelfAttention(nn.Module):
    """Every token sees every other. Keys have no bias, which softmax would not show."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_bias = nn.Parameter(torch.zeros(width))
        self.value_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def ask(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N Q"]:
        """Return queries, keys and values of all heads."""
        bias = torch.cat([self.query_bias, torch.zeros_like(self.query_bias), self.value_bias])
        return F.linear(tokens, self.qkv.weight, bias)

    def gather(self, qkv: Float[Tensor, "B N Q"]) -> Float[Tensor, "B N D"]:
        """Return what each token gathered from the others, before the last layer."""
        query, key, value = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, d)
        return attend(query, key, value).transpose(1, 2).flatten(2)


def _call(part: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    return part(tokens)


def _call_lean(part: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """Return `part(tokens)`, keeping for the gradient nothing but `tokens`.

    What is made again in the backward pass is cheap: it ends where the last product of `part` has its inputs, so that
    norms and activations are repeated and products, which all take the time, are not.
    """
    return checkpoint(part, tokens, use_reentrant=False, preserve_rng_state=False, determinism_check="none")


class Block(nn.Module):
    """Attention, then the perceptron; see the equations at the top."""

    def __init__(self, width: int, heads: int, hidden: int, eps: float, scale: float | None, drop_path: float):
        super().__init__()
        self.drop_path = drop_path
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = SelfAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, hidden)
        self.attention_scale = None if scale is None else nn.Parameter(torch.full((width,), scale))
        self.mlp_scale = None if scale is None else nn.Parameter(torch.full((width,), scale))

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Return the tokens, changed."""
        call = _call_lean if self.training and tokens.device.type == "cpu" else _call
        qkv = call(lambda x: self.attention.ask(self.attention_norm(x)), tokens)
        seen = self.attention.proj(self.attention.gather(qkv))
        tokens = tokens + self._weighed(seen, self.attention_scale)
        hidden = call(lambda x: self.mlp.up(self.mlp_norm(x)), tokens)
        told = call(lambda x: self.mlp.down(F.gelu(x)), hidden)
        return tokens + self._weighed(told, self.mlp_scale)

    def _weighed(self, out: Tensor, scale: Tensor | None) -> Tensor:
        if scale is not None:
            out = out * scale
        if not self.training or self.drop_path == 0:
            return out
        stays = torch.rand(len(out), 1, 1, device=out.device) >= self.drop_path
        return out * stays / (1 - self.drop_path)
