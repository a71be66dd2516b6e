"""Losses of networks that answer a language query with a span of rows: VSLNet's two, and 2D-TAN's one.

Each is given per sample, and as the number that the released code minimises. A loss that divides by a count of the
whole batch is given as a sum and a count per sample, so that they can be gathered over ranks before the division.

Axis letters: B samples, S rows (steps in time), N rows of 2D-TAN's grid.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor

EPS = 1e-12  # as the released code adds to the count of rows
HIGHLIGHT_WEIGHT = 5.0  # of VSLNet's second loss beside its first, as released for Ego4D


def span_cross_entropy(
    start_logits: Float[Tensor, "B S"],
    end_logits: Float[Tensor, "B S"],
    first: Int[Tensor, " B"],
    last: Int[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """Return -log p(first) - log p(last) of each sample; the loss of a batch is their mean.

    Logits of rows that are padding must be so low that their probability is zero.

    Source: VSLNet (Zhang et al., 2020); as in the released code, the two are summed, not averaged.
    """
    return _cross_entropy(start_logits, first) + _cross_entropy(end_logits, last)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), target, reduction="none")


def highlight_sums(
    logits: Float[Tensor, "B S"], highlight: Bool[Tensor, "B S"], mask: Bool[Tensor, "B S"]
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Return per sample the sum of weighted binary cross entropies over its real rows, and how many these are.

    Rows to be highlighted weigh twice as much as others.

    Source: the released VSLNet, query-guided highlighting.
    """
    losses = F.binary_cross_entropy_with_logits(logits.float(), highlight.float(), reduction="none")
    weights = mask * (1.0 + highlight.float())
    return (losses * weights).sum(dim=1), mask.sum(dim=1).to(losses.dtype)


def highlight_loss(
    logits: Float[Tensor, "B S"], highlight: Bool[Tensor, "B S"], mask: Bool[Tensor, "B S"]
) -> Float[Tensor, ""]:
    """Return the mean over all real rows of the batch: the sum of `highlight_sums` by their counts."""
    sums, counts = highlight_sums(logits, highlight, mask)
    return sums.sum() / (counts.sum() + EPS)


def scaled_ious(
    ious: Float[Tensor, "B N N"], *, min_iou: float = 0.3, max_iou: float = 1.0, bias: float = 0.3
) -> Float[Tensor, "B N N"]:
    """Return the targets of 2D-TAN: 0 up to `min_iou`, then from `bias` in a straight line to 1 at `max_iou`.

    Raises:
        ValueError: `min_iou` is not below `max_iou`, or `bias` is outside [0, 1).

    Source: 2D-TAN (Zhang et al., 2020), the scaled IoU; `bias` is the released code's, 0.3 on Ego4D.
    """
    if min_iou >= max_iou or not 0 <= bias < 1:
        raise ValueError(f"{min_iou} to {max_iou} with bias {bias}: the IoUs must rise and the bias be in [0, 1).")
    scaled = (ious - min_iou) * (1 - bias) / (max_iou - min_iou)
    return torch.where(scaled > 0, scaled + bias, scaled).clamp(0, 1)


def map_cross_entropy_sums(
    logits: Float[Tensor, "B N N"], targets: Float[Tensor, "B N N"], cells: Bool[Tensor, "N N"]
) -> Float[Tensor, " B"]:
    """Return per sample the sum of binary cross entropies over the cells that are candidates."""
    losses = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return (losses * cells).sum(dim=(1, 2))


def map_cross_entropy(
    logits: Float[Tensor, "B N N"], targets: Float[Tensor, "B N N"], cells: Bool[Tensor, "N N"]
) -> Float[Tensor, ""]:
    """Return the mean of binary cross entropies over the candidates of all samples.

    Source: 2D-TAN (Zhang et al., 2020).
    """
    return map_cross_entropy_sums(logits, targets, cells).sum() / (cells.sum() * len(logits))
