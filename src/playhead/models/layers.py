"""What two models share: attention, and the two-layer perceptron.

Axis letters: B batch, H heads, Q queries, K keys, D width of a head or of a token.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor, nn

from playhead.models.headwise_attention import LONG, attend_by_head


def attend(
    query: Float[Tensor, "B H Q D"],
    key: Float[Tensor, "B H K D"],
    value: Float[Tensor, "B H K D"],
    mask: Bool[Tensor, "#B #H #Q K"] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "B H Q D"]:
    """Mix the values by softmax(query key^T / sqrt(D)); keys where `mask` is false are not seen.

    A query whose every key is masked gets the mean of the values: finite, and without meaning.
    """
    bias = None
    if mask is not None:
        # The lowest finite number, not -inf: a text without any token must not turn a whole batch into NaN.
        bias = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, torch.finfo(query.dtype).min)
    if query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16):
        if bias is None and dropout == 0 and min(query.shape[-2], key.shape[-2]) >= LONG:
            return attend_by_head(query, key, value)
        return _attend_by_matmul(query, key, value, bias, dropout)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)


def _attend_by_matmul(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    # On a CPU in bf16, torch's fused attention takes over three times as long as these three lines.
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    weights = F.dropout(scores.softmax(dim=-1).to(value.dtype), dropout)
    return weights @ value


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, tokens: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        """Return tokens of the same width."""
        return self.down(F.gelu(self.up(tokens)))
