"""Recall of language queries (NLQ): is one of the first k windows where the answer is? And the IoU of the first.

Axis letters: Q queries, K windows of an answer (best first), I thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

Convention = Literal["sound", "official"]


@dataclass(frozen=True, slots=True)
class QueryRecall:
    """Recall and IoU as fractions, with what they were measured on.

    `recall[i, k]` is the share of queries with an IoU above `thresholds[i]` among their first `ks[k]` windows.
    `submitted` of the `queries` of release `version` have an answer; `convention` says over which the means are.
    """

    recall: Float[ndarray, "I K"]
    mean_iou: float
    thresholds: tuple[float, ...]
    ks: tuple[int, ...]
    queries: int
    submitted: int
    convention: Convention
    version: str

    @property
    def coverage(self) -> float:
        """The share of queries that have an answer."""
        return self.submitted / self.queries

    def named(self) -> dict[str, float]:
        """Return "R1@0.3" ... and "mIoU" in percent, and "queries" and "coverage" (a fraction) beside them."""
        recalls = {
            f"R{k}@{threshold:g}": 100.0 * float(self.recall[row, column])
            for row, threshold in enumerate(self.thresholds)
            for column, k in enumerate(self.ks)
        }
        return {**recalls, "mIoU": 100.0 * self.mean_iou, "queries": self.queries, "coverage": self.coverage}


def query_recall(
    windows: Float[ndarray, "Q K 2"],
    truths: Float[ndarray, "Q 2"],
    submitted: Bool[ndarray, " Q"] | None = None,
    *,
    ks: Sequence[int] = (1, 5),
    thresholds: Sequence[float] = (0.3, 0.5),
    convention: Convention = "sound",
    num_queries: int | None = None,
    version: str = "",
) -> QueryRecall:
    """Score the windows (start and end in seconds, best first) of each query against its truth.

    Where a query has fewer than K windows, the rest is NaN. `submitted` says which rows were answered at all; by
    default those with any window. `num_queries` is how many queries there are, where rows are not one per query.

    "official" is the mean over the submitted rows alone: queries that were left out cost nothing. And the mean IoU is
    NaN as soon as one first window of no length lies exactly on a truth of no length. "sound" is the mean over all
    rows: what was not submitted is a miss, and an IoU of 0 / 0 is 0, as it already is for the recall of both. In both
    an IoU must be above the threshold, not at it, so that truths of no length are always missed.

    Raises:
        ValueError: no row to average over, a k below 1, no `ks` or `thresholds`, or a truth is not finite ("sound").

    Source: `evaluate_nlq_performance` of Ego4D's episodic memory; there "mIoU" says "top 3", which is the first.
    """
    if convention not in ("sound", "official"):
        raise ValueError(f"`convention` must be 'sound' or 'official', got {convention!r}.")
    if min(ks, default=0) < 1 or len(thresholds) == 0:
        raise ValueError(f"recall needs ks of at least 1 and thresholds, got {list(ks)} and {list(thresholds)}.")
    answered = ~np.isnan(windows).all(axis=(1, 2)) if submitted is None else submitted
    number, queries = int(answered.sum()), len(truths) if num_queries is None else num_queries
    if convention == "official":
        windows, truths = windows[answered], truths[answered]
    elif not np.isfinite(truths).all():
        raise ValueError(f"the truth of query {int((~np.isfinite(truths)).any(axis=1).argmax())} is not finite.")
    if len(truths) == 0:
        raise ValueError(f"nothing to average over: {number} of {queries} queries were submitted.")
    ious = window_ious(windows, truths[:, None])  # (Q, K)
    best = np.fmax.accumulate(ious, axis=1)  # of the first k windows; ignores NaN unless all are
    columns = np.minimum(np.array(ks), best.shape[1]) - 1
    hits = best[:, columns] > np.reshape(thresholds, (-1, 1, 1)) if best.shape[1] else np.zeros((1, len(truths), 1))
    first = ious[:, 0] if ious.shape[1] else np.full(len(truths), np.nan)
    if convention == "sound":
        first = np.nan_to_num(first, nan=0.0)
    return QueryRecall(
        recall=np.broadcast_to(hits.mean(axis=1), (len(thresholds), len(ks))),
        mean_iou=float(first.mean()),
        thresholds=tuple(map(float, thresholds)),
        ks=tuple(ks),
        queries=queries,
        submitted=number,
        convention=convention,
        version=version,
    )


def window_ious(windows: Float[ndarray, "*#rows 2"], truths: Float[ndarray, "*#rows 2"]) -> Float[ndarray, "*rows"]:
    """Return intersection over union in time; 0 for windows that end before they start, NaN where it is 0 / 0.

    The divisor is the hull, which is the union wherever the two overlap.
    """
    shared = np.minimum(windows[..., 1], truths[..., 1]) - np.maximum(windows[..., 0], truths[..., 0])
    hull = np.maximum(windows[..., 1], truths[..., 1]) - np.minimum(windows[..., 0], truths[..., 0])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.maximum(shared, 0.0) / np.maximum(hull, 0.0)
