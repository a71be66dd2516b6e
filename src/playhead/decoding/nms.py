"""Non-maximum suppression in time: of many spans that tell of one moment, keep one, or lower the others' scores.

All classes are suppressed at once. Step k of every class needs only that class, so the k-th picks of all classes are
made together, on a table with a row per class. Scores only ever fall; once a class's best is below the `top` best
already picked, nothing of it can be among the answers, and its row is left. That, not the table, is most of the speed.

Ties go to the span that comes first. The compiled reference swaps its candidates about, so its ties follow no rule.

Source: Bodla et al., 2017, "Soft-NMS"; the 1-D form of ActionFormer (Zhang et al., 2022) and the released code's
`nms_1d_cpu`. Axis letters: N spans, M kept spans, R rows (classes), W width of the table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Num
from numpy import ndarray

Decay = Literal["hard", "linear", "gaussian"]
"""What an overlap does to a score: see `soft_nms`."""

LENGTH_ROOM = 1e-6  # the reference adds it to every length, so that spans of no length divide by something
_STEPS_BETWEEN_TRIMS = 8
_VOTES_AT_ONCE = 4_000_000  # entries of the table of overlaps that voting holds at a time


@dataclass(frozen=True, slots=True)
class Detections:
    """Spans with scores and class ids, row by row."""

    spans: Num[ndarray, "M 2"]
    scores: Float[ndarray, " M"]
    labels: Int[ndarray, " M"]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: ndarray) -> "Detections":
        """Return these rows, in this order."""
        return Detections(self.spans[rows], self.scores[rows], self.labels[rows])


@dataclass(frozen=True, kw_only=True)
class Suppression:
    """How many candidates of one video become its answers. The defaults are ActionFormer's on Ego4D.

    Raises:
        ValueError: a value is out of its range, or voting is asked for per class.
    """

    method: Literal["none", "greedy", "hard", "linear", "gaussian"] = "gaussian"
    """"greedy" is the classical NMS, which leaves scores as they are; "hard", "linear" and "gaussian" are soft-NMS."""
    per_class: bool = True
    """Spans of different classes do not see each other."""
    sigma: float = 0.9
    """Width of the gaussian; larger is milder."""
    iou_threshold: float = 0.1
    """From this overlap on "greedy" and "hard" drop a span, and "linear" lowers it."""
    min_score: float = 0.001
    """Below it a span is dropped."""
    voting_threshold: float | None = None
    """Move each kept span to the mean of all candidates that overlap it this much; unset moves none. Only without
    `per_class`: one class has too few candidates to vote."""
    top: int | None = 2000
    """At most so many answers, the best; unset keeps all. "none" never cuts."""

    def __post_init__(self):
        if self.method not in ("none", "greedy", "hard", "linear", "gaussian"):
            raise ValueError(f"Suppression: unknown method {self.method!r}.")
        if self.sigma <= 0 or self.min_score < 0 or not 0 <= self.iou_threshold <= 1:
            raise ValueError("Suppression: needs sigma > 0, min_score >= 0 and iou_threshold in [0, 1].")
        if self.top is not None and self.top < 1:
            raise ValueError(f"Suppression: top must be at least 1, got {self.top}; unset keeps all.")
        if self.voting_threshold is not None and (self.per_class or not 0 < self.voting_threshold <= 1):
            raise ValueError("Suppression: voting_threshold is in (0, 1], and voting needs per_class=False.")


def suppress(candidates: Detections, settings: Suppression) -> Detections:
    """Return the answers of one video, best first (with "none": as they came).

    Raises:
        ValueError: as `soft_nms`.
    """
    if settings.method == "none":
        return candidates
    labels = candidates.labels if settings.per_class else None
    spans, scores = candidates.spans, candidates.scores
    if settings.method == "greedy":
        kept = greedy_nms(
            spans,
            scores,
            labels,
            iou_threshold=settings.iou_threshold,
            min_score=settings.min_score,
            top=settings.top,
        )
        kept_scores = scores[kept]
    else:
        kept, kept_scores = soft_nms(
            spans,
            scores,
            labels,
            decay=settings.method,
            sigma=settings.sigma,
            iou_threshold=settings.iou_threshold,
            min_score=settings.min_score,
            top=settings.top,
        )
    kept_spans = spans[kept]
    if settings.voting_threshold is not None:
        kept_spans = vote(kept_spans, spans, scores, iou_threshold=settings.voting_threshold)
    return Detections(kept_spans, kept_scores, candidates.labels[kept])


def soft_nms(
    spans: Float[ndarray, "N 2"],
    scores: Float[ndarray, " N"],
    labels: Int[ndarray, " N"] | None = None,
    *,
    decay: Decay = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.1,
    min_score: float = 0.001,
    top: int | None = None,
) -> tuple[Int[ndarray, " M"], Float[ndarray, " M"]]:
    """Return which spans are kept, best first, and their lowered scores.

    Per class (`labels`; without them all spans are one class): take the best span, multiply the score of every other
    by a weight of its overlap with it, drop those that are then below `min_score`, and go on with the best of the
    rest. The weight is exp(-iou^2 / sigma) with "gaussian"; from `iou_threshold` on it is 1 - iou with "linear" and 0
    with "hard". A class's first span is never dropped, however low. `top` keeps the best of all classes together.

    Computed in float32 if spans and scores both are, else in float64.

    Raises:
        ValueError: a span is reversed or not finite, a score is negative or not finite, or a setting is out of range.
    """
    _check(spans, scores)
    if decay not in ("hard", "linear", "gaussian"):
        raise ValueError(f"`decay` must be 'hard', 'linear' or 'gaussian', got {decay!r}.")
    if sigma <= 0 or min_score < 0 or (top is not None and top < 1):
        raise ValueError(f"needs sigma > 0, min_score >= 0 and top >= 1, got {sigma}, {min_score}, {top}.")
    kind = np.float32 if spans.dtype == scores.dtype == np.float32 else np.float64
    picks = _Picks(top)
    for table in _tables_by_size(labels, len(scores)):
        rows = _Rows(table, spans.astype(kind, copy=False), scores.astype(kind, copy=False))
        while rows.pick_best(picks):
            rows.lower_the_others(decay, sigma, iou_threshold, min_score)
    return picks.best_first(kind)


def greedy_nms(
    spans: Float[ndarray, "N 2"],
    scores: Float[ndarray, " N"],
    labels: Int[ndarray, " N"] | None = None,
    *,
    iou_threshold: float,
    min_score: float = 0.0,
    top: int | None = None,
) -> Int[ndarray, " M"]:
    """Return which spans are kept, best first: those that no better kept span of their class overlaps by the threshold.

    Spans of `min_score` or less do not take part, unless it is 0.

    Raises:
        ValueError: as `soft_nms`, but scores may be negative.
    """
    _check(spans, scores, negative_scores=True)
    taking_part = np.flatnonzero(scores > min_score) if min_score > 0 else np.arange(len(scores))
    order = taking_part[np.argsort(-scores[taking_part], kind="stable")]
    # Ranks do as scores, and are never zero: what is dropped is then told from what is merely low.
    ranks = np.arange(len(order), 0, -1).astype(spans.dtype if len(order) < 2**24 else np.float64)
    kept, _ = soft_nms(
        spans[order],
        ranks,
        None if labels is None else labels[order],
        decay="hard",
        iou_threshold=iou_threshold,
        min_score=0.5,
        top=top,
    )
    return order[kept]


def vote(
    kept: Num[ndarray, "M 2"],
    candidates: Num[ndarray, "N 2"],
    scores: Float[ndarray, " N"],
    *,
    iou_threshold: float,
) -> Num[ndarray, "M 2"]:
    """Return each kept span moved to the mean of all candidates that overlap it by the threshold.

    A candidate weighs its score times its overlap (IoU). A span that none overlaps so stays.

    Source: `seg_voting` of ActionFormer's released code; its `score_offset` has no effect there and is left out.
    """
    moved = kept.copy()
    at_once = max(1, _VOTES_AT_ONCE // max(1, len(candidates)))
    for first in range(0, len(kept), at_once):
        part = kept[first : first + at_once, None]
        left, right = np.maximum(part[..., 0], candidates[:, 0]), np.minimum(part[..., 1], candidates[:, 1])
        shared = np.maximum(right - left, 0)
        union = (part[..., 1] - part[..., 0]) + (candidates[:, 1] - candidates[:, 0]) - shared
        overlaps = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        weights = scores * overlaps * (overlaps >= iou_threshold)
        total = weights.sum(axis=1, keepdims=True)
        has_votes = total[:, 0] > 0
        moved[first : first + at_once][has_votes] = (weights[has_votes] / total[has_votes]) @ candidates
    return moved


def _check(spans: ndarray, scores: ndarray, negative_scores: bool = False) -> None:
    wrong = ~np.isfinite(spans).all(axis=1) | (spans[:, 1] < spans[:, 0])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"span {row} is [{spans[row, 0]}, {spans[row, 1]}]; ends must be finite, and in order.")
    wrong = ~np.isfinite(scores) | ((scores < 0) & (not negative_scores))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"score {row} is {scores[row]}; it must be finite{'' if negative_scores else ', and not negative'}."
        )


def _tables_by_size(labels: ndarray | None, number: int) -> Iterator[Int[ndarray, "R W"]]:
    """Yield tables of span numbers, a row per class, padded with -1; no class is below half of its table's width."""
    if number == 0:
        return
    if labels is None:
        yield np.arange(number)[None]
        return
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    doublings = np.frexp(counts - 0.5)[1]  # 1 | 2 | 3, 4 | 5..8 | ...
    for size in np.unique(doublings)[::-1]:
        of_size = doublings == size
        columns = np.arange(counts[of_size].max())
        places = starts[of_size, None] + columns
        yield np.where(columns < counts[of_size, None], order[np.minimum(places, number - 1)], -1)


class _Picks:
    """All that was picked, and the score below which a pick can no longer be among the `top` best."""

    def __init__(self, top: int | None):
        self.top, self.floor = top, -np.inf
        self.numbers: list[ndarray] = []
        self.scores: list[ndarray] = []
        self.best, self.waiting, self.num_waiting = np.empty(0), [], 0

    def add(self, numbers: ndarray, scores: ndarray) -> None:
        self.numbers.append(numbers)
        self.scores.append(scores)
        if self.top is None:
            return
        self.waiting.append(scores)
        self.num_waiting += len(scores)
        if len(self.best) + self.num_waiting >= self.top and self.num_waiting * 16 >= self.top:
            self.best = np.concatenate([self.best, *self.waiting])
            self.waiting, self.num_waiting = [], 0
            self.best = np.partition(self.best, len(self.best) - self.top)[len(self.best) - self.top :]
            self.floor = self.best[0]

    def best_first(self, kind: type) -> tuple[ndarray, ndarray]:
        numbers = np.concatenate([np.empty(0, dtype=np.int64), *self.numbers])
        scores = np.concatenate([np.empty(0, dtype=kind), *self.scores])
        order = np.lexsort((numbers, -scores))[: self.top]
        return numbers[order], scores[order]


class _Rows:
    """Classes of about equal size, one per row, in the middle of their suppression; a score of -1 is out."""

    def __init__(self, table: Int[ndarray, "R W"], spans: ndarray, scores: ndarray):
        self.numbers, self.out = table, table < 0
        self.starts, self.ends = spans[table, 0], spans[table, 1]
        self.lengths = self.ends - self.starts + spans.dtype.type(LENGTH_ROOM)
        self.scores = np.where(self.out, spans.dtype.type(-1), scores[table])
        self.step = 0
        self._new_buffers()

    def pick_best(self, picks: _Picks) -> bool:
        """Take the best of every row, and say whether any row had one that counts."""
        self.step += 1
        if self.step % _STEPS_BETWEEN_TRIMS == 0:
            self._trim(picks.floor)
        columns = self.scores.argmax(axis=1)
        rows = np.arange(len(columns))
        best = self.scores[rows, columns]
        counts = best >= max(picks.floor, 0)
        if not counts.any():
            return False
        picks.add(self.numbers[rows, columns][counts], best[counts])
        self.picked = (rows, columns)
        return True

    def lower_the_others(self, decay: Decay, sigma: float, iou_threshold: float, min_score: float) -> None:
        """Multiply every score by the weight of its overlap with its row's pick; drop the pick and what is too low."""
        weights = self._overlaps()
        if decay == "gaussian":
            np.multiply(weights, weights, out=weights)
            np.divide(weights, -sigma, out=weights)
            np.exp(weights, out=weights)
        else:
            apart = weights < iou_threshold
            weights = 1 - weights if decay == "linear" else np.zeros_like(weights)
            weights[apart] = 1
        np.multiply(self.scores, weights, out=self.scores)
        self.out |= self.scores < min_score
        self.out[self.picked] = True
        np.copyto(self.scores, -1, where=self.out)

    def _overlaps(self) -> Float[ndarray, "R W"]:
        shared, other = self.buffers
        np.minimum(self.ends, self.ends[self.picked][:, None], out=shared)
        np.maximum(self.starts, self.starts[self.picked][:, None], out=other)
        np.subtract(shared, other, out=shared)
        np.maximum(shared, 0, out=shared)
        np.add(self.lengths, self.lengths[self.picked][:, None], out=other)
        np.subtract(other, shared, out=other)
        return np.divide(shared, other, out=shared)

    def _trim(self, floor: float) -> None:
        """Leave rows in which nothing counts, and the columns that no row needs any more."""
        needed = self.scores.max(axis=1) >= max(floor, 0)
        width = int((~self.out).sum(axis=1).max(where=needed, initial=1))
        if needed.sum() > 0.8 * len(needed) and width > 0.8 * self.out.shape[1]:
            return
        columns = np.argsort(self.out[needed], axis=1, kind="stable")[:, :width]
        for name in ("numbers", "out", "starts", "ends", "lengths", "scores"):
            setattr(self, name, np.take_along_axis(getattr(self, name)[needed], columns, axis=1))
        self._new_buffers()

    def _new_buffers(self) -> None:
        self.buffers = np.empty_like(self.scores), np.empty_like(self.scores)
