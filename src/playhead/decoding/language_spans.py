"""From the scores of a grounding network to ranked spans: VSLNet's start and end, 2D-TAN's map.

Axis letters: B samples, S rows (steps in time), K answers, N rows of 2D-TAN's grid, M candidates of the map.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RankedSpans:
    """The K best runs of rows of each sample, best first: rows `first` to `last`, both inside.

    `scores` are probabilities. A sample of few rows has fewer than K runs; `found` is false on the places left over.
    """

    first: Int[Tensor, "B K"]
    last: Int[Tensor, "B K"]
    scores: Float[Tensor, "B K"]
    found: Bool[Tensor, "B K"]


def top_spans(
    start_logits: Float[Tensor, "B S"],
    end_logits: Float[Tensor, "B S"],
    mask: Bool[Tensor, "B S"],
    top: int = 5,
) -> RankedSpans:
    """Return the runs with the highest p(start at first) * p(end at last), first <= last.

    Of equals, the lower first row and then the lower last row goes first. Nothing suppresses overlapping answers and
    nothing limits their length, as in the released VSLNet.

    Of the S^2 runs only top * S are looked at: a start row whose best run is not among the `top` best of all rows'
    best runs has none in the answer. They are ranked by sums of logits in float64: these do not underflow where a
    network is sure, and equal ones stay equal.

    Raises:
        ValueError: `top` is below 1, or a sample has no real row.
    """
    if top < 1:
        raise ValueError(f"`top` must be at least 1, got {top}.")
    if not mask.any(dim=1).all():
        raise ValueError(f"sample {int((~mask.any(dim=1)).nonzero()[0])} has no real row; it cannot be answered.")
    start, end = (logits.double().masked_fill(~mask, -torch.inf) for logits in (start_logits, end_logits))
    best_end = end.flip(1).cummax(dim=1).values.flip(1)  # of row i: the best among rows i, i + 1, ...
    firsts = _best(start + best_end, min(top, start.shape[1])).sort(dim=1).values  # (B, F)
    later = torch.arange(start.shape[1], device=start.device) >= firsts[..., None]
    runs = (start.gather(1, firsts)[..., None] + end[:, None]).masked_fill(~later, -torch.inf).flatten(1)  # (B, F S)
    chosen = _best(runs, min(top, runs.shape[1]))
    scores = runs.gather(1, chosen)
    first, last = firsts.gather(1, chosen // start.shape[1]), chosen % start.shape[1]
    found = scores > -torch.inf
    chances = (scores - (start.logsumexp(dim=1) + end.logsumexp(dim=1))[:, None]).exp()
    return _pad(RankedSpans(first * found, last * found, chances.float(), found), top)


def _best(values: Tensor, count: int) -> Tensor:
    return values.sort(dim=1, descending=True, stable=True).indices[:, :count]


def _pad(ranked: RankedSpans, top: int) -> RankedSpans:
    short = top - ranked.first.shape[1]
    if short == 0:
        return ranked
    parts = (ranked.first, ranked.last, ranked.scores, ranked.found)
    return RankedSpans(*(F.pad(part, (0, short)) for part in parts))


def spans_in_seconds(
    ranked: RankedSpans, num_rows: Int[Tensor, " B"], durations: Float[Tensor, " B"]
) -> Float[Tensor, "B K 2"]:
    """Return where each run starts and ends, in seconds from the start of the sample's piece.

    `num_rows` counts the real rows of a sample, which divide its `durations` evenly.
    """
    row = (durations.double() / num_rows)[:, None]
    return torch.stack([ranked.first * row, (ranked.last + 1) * row], dim=2)


def rank_cells(
    logits: Float[Tensor, "B N N"], cells: Bool[Tensor, "N N"], duration: float
) -> tuple[Float[Tensor, "B M 2"], Float[Tensor, "B M"]]:
    """Return 2D-TAN's candidates, best first: spans in seconds from the start of the window, and probabilities.

    Cell (i, j) stands for rows i to j of a window of `duration` seconds; those where `cells` is false are no
    candidates. Of equals, the lower start and then the lower end goes first. Windows of one video are merged, sorted
    and suppressed (IoU 0.5, 5 kept) by `decoding.nms`.
    """
    first, last = cells.nonzero(as_tuple=True)
    scores = logits[:, first, last].double()
    order = _best(scores, scores.shape[1])
    row = duration / cells.shape[0]
    spans = torch.stack([first * row, (last + 1) * row], dim=1).to(torch.float64)
    return spans[order], scores.gather(1, order).sigmoid().float()
