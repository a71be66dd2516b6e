"""Dropout that costs little on a CPU."""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

_LEVELS = 2**16  # what 16 random bits can tell apart


class Dropout(nn.Module):
    """`nn.Dropout` with cheaper randomness on CPUs: 16 random bits per value instead of a random number.

    There torch draws a float per value, which took more of VSLNet's training than its matrix products; here whole
    words are drawn, and their quarters compared with a threshold. The share dropped is `p` to within 1/65536,
    and what is kept is scaled by that share. Other devices use torch's own.
    """

    def __init__(self, p: float):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"the share of values to drop must be in [0, 1), got {p}.")
        self.p = p

    def forward(self, values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return the values, in training with a random share set to zero and the others scaled up."""
        if not self.training or self.p == 0:
            return values
        if values.device.type != "cpu":
            return F.dropout(values, self.p)
        dropped = min(round(self.p * _LEVELS), _LEVELS - 1)
        words = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        quarters = words.view(torch.int16)[: values.numel()].view(values.shape)
        kept = torch.ge(quarters, dropped - _LEVELS // 2, out=torch.empty_like(values, requires_grad=False))
        return values * kept.mul_(_LEVELS / (_LEVELS - dropped))

    def extra_repr(self) -> str:
        """Return the setting for `print(model)`."""
        return f"p={self.p}"
