"""Labelled segments against the truth: average precision and recall, by the conventions of four published evaluators.

Average precision of a class at a threshold: its detections of all clips, best score first, each take the free segment
of their clip that they overlap most, if its IoU reaches the threshold; what is taken counts as found, all else as
false. Precision is made non-increasing from the end, and summed over the steps of recall (VOC 2011).

    AP = 1/n  sum over found k = 1..m of  max over j >= k of  j / rank_j

Here all classes and thresholds are worked at once. To take in order of score what one likes best is the same as to
propose to all in turn and keep at each segment the proposal of the highest score, in any order of proposals (deferred
acceptance, where all segments agree whom they prefer); so each round lets all rejected detections propose together.

Axis letters: N segments or detections, P pairs of the two, Th thresholds, K classes, Kx multiples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

TOLERANCE = 1e-3  # seconds; ActionFormer's: nearer segments are one, shorter ones none


@dataclass(frozen=True, slots=True)
class TrueSegments:
    """True segments in file order: clip and class of each as numbers from 0, and (start, end) in seconds."""

    clips: Int[np.ndarray, " N"]
    classes: Int[np.ndarray, " N"]
    spans: Float[np.ndarray, "N 2"]

    def __len__(self) -> int:
        return len(self.clips)

    def only(self, which: Bool[np.ndarray, " N"]) -> "TrueSegments":
        """Return the chosen ones."""
        return TrueSegments(self.clips[which], self.classes[which], self.spans[which])


@dataclass(frozen=True, slots=True)
class FoundSegments:
    """Detections in file order, numbered as the true segments are; clips and classes may be others than theirs."""

    clips: Int[np.ndarray, " N"]
    classes: Int[np.ndarray, " N"]
    spans: Float[np.ndarray, "N 2"]
    scores: Float[np.ndarray, " N"]

    def __len__(self) -> int:
        return len(self.clips)


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How segments are scored: what the evaluators of the field do differently."""

    thresholds: tuple[float, ...]
    """IoU that a detection must reach to count as right."""
    truths: Literal["all", "distinct", "distinct_and_long"] = "all"
    """Which true segments count: all; of those of one clip and class whose ends both differ by at most 1 ms only the
    first; or of these only those of at least 1 ms."""
    undefined_iou: Literal["miss", "match"] = "miss"
    """What 0/0 is, the IoU of two segments of no length: a miss, or (as NaN compares) right at every threshold."""
    recall_thresholds: tuple[float, ...] = ()
    """IoU at which recall is measured."""
    recall_ks: tuple[int, ...] = ()
    """Recall@kx looks at the first k n detections of a clip and class, where n is the number of true ones."""
    recall_order: Literal["file", "score"] = "score"
    """Which detections are the first."""
    recall_over: Literal["segments", "classes"] = "segments"
    """Whether recall is a mean over all segments, or over classes of their own recall."""
    recall_at_threshold: bool = True
    """Whether an IoU just at the threshold is found."""


TENTHS = tuple(k / 10 for k in range(1, 6))
TWENTIETHS = tuple(k / 100 for k in range(50, 100, 5))
CONVENTIONS = {
    "official": Convention(
        thresholds=TENTHS,
        undefined_iou="match",
        recall_thresholds=(0.3, 0.5, 0.7),
        recall_ks=(1, 2, 3, 4, 5),
        recall_order="file",
        recall_at_threshold=False,
    ),
    "actionformer": Convention(
        thresholds=TENTHS,
        truths="distinct_and_long",
        recall_thresholds=TENTHS,
        recall_ks=(1, 5),
        recall_over="classes",
    ),
    "activitynet": Convention(thresholds=TWENTIETHS, undefined_iou="match"),
    "internvideo": Convention(thresholds=TWENTIETHS, truths="distinct", undefined_iou="match"),
    "thumos": Convention(
        thresholds=tuple(k / 10 for k in range(3, 8)),
        truths="distinct_and_long",
        recall_thresholds=tuple(k / 10 for k in range(3, 8)),
        recall_ks=(1, 5),
        recall_over="classes",
    ),
}
"""By name. "official" is Ego4D's own for MQ, "actionformer" ActionFormer's for MQ: they do not give the same numbers.
"activitynet" is ActivityNet's own, "internvideo" that of InternVideo for ActivityNet, HACS Segments and FineAction, and
"thumos" what is published for THUMOS14, by ActionFormer's evaluator."""


@dataclass(frozen=True, slots=True)
class SegmentScores:
    """Fractions, between 0 and 1: average precision of each class that occurs, and recall."""

    convention: Convention
    classes: Int[np.ndarray, " K"]
    average_precision: Float[np.ndarray, "Th K"]
    recall: Float[np.ndarray, "Th_recall Kx"]

    @property
    def by_name(self) -> dict[str, float]:
        """Return "mAP" (mean over thresholds), "mAP@0.5", "R1x@0.5" and the like."""
        means = self.average_precision.mean(axis=1)
        named = {"mAP": float(means.mean())}
        named |= {f"mAP@{t:g}": float(value) for t, value in zip(self.convention.thresholds, means, strict=True)}
        for threshold, row in zip(self.convention.recall_thresholds, self.recall, strict=True):
            for k, value in zip(self.convention.recall_ks, row, strict=True):
                named[f"R{k}x@{threshold:g}"] = float(value)
        return named


def score_segments(
    truths: TrueSegments,
    detections: FoundSegments,
    convention: Convention,
    *,
    retrieved: FoundSegments | None = None,
) -> SegmentScores:
    """Return average precision of `detections` and recall of `retrieved` (the same by default) by one convention.

    Classes that no true segment has are left out, and detections of them with them; detections in clips without true
    segments are false. Equal scores, and equal IoUs, keep the order of the file, where numpy's sort in the published
    evaluators keeps none.

    Raises:
        ValueError: there is no true segment, or a number is not finite.

    Source: EGO4D/episodic-memory, MQ, `eval_detection.py`, itself ActivityNet's evaluator of 2016; ActionFormer,
    `metrics.py`.
    """
    truths = counted_truths(truths, convention.truths)
    classes, precision = average_precision(
        truths, detections, convention.thresholds, undefined_iou=convention.undefined_iou
    )
    recall = recall_at_kx(
        truths,
        detections if retrieved is None else retrieved,
        convention.recall_thresholds,
        convention.recall_ks,
        order=convention.recall_order,
        over=convention.recall_over,
        at_threshold=convention.recall_at_threshold,
    )
    return SegmentScores(convention, classes, precision, recall)


def counted_truths(truths: TrueSegments, rule: Literal["all", "distinct", "distinct_and_long"]) -> TrueSegments:
    """Return the true segments that count by `Convention.truths`.

    Of segments that are nearly the same the first in the file stays; one that is near only to one that went, stays too.
    """
    if rule == "all":
        return truths
    if rule == "distinct_and_long":
        truths = truths.only(truths.spans[:, 1] - truths.spans[:, 0] >= TOLERANCE)
    pairs = _pairs(_Groups(truths), truths.clips, truths.classes)
    apart = np.abs(truths.spans[pairs.detection] - truths.spans[pairs.truth]).max(axis=1, initial=0.0)
    near = (apart <= TOLERANCE) & (pairs.truth < pairs.detection)
    stays = np.ones(len(truths), dtype=bool)
    for later, earlier in zip(pairs.detection[near], pairs.truth[near], strict=True):  # by `later`, ascending; few
        stays[later] &= not stays[earlier]
    return truths.only(stays)


def average_precision(
    truths: TrueSegments,
    detections: FoundSegments,
    thresholds: Sequence[float],
    *,
    undefined_iou: Literal["miss", "match"] = "miss",
) -> tuple[Int[np.ndarray, " K"], Float[np.ndarray, "Th K"]]:
    """Return the classes that occur among the true segments, and the average precision of each at each threshold.

    Raises:
        ValueError: there is no true segment, a number is not finite, or a threshold is not above zero.
    """
    _check(truths, detections, thresholds)
    classes, num_truths = np.unique(truths.classes, return_counts=True)
    order, known = _by_class_and_score(detections, classes)
    pairs = _pairs(_Groups(truths), detections.clips[order], detections.classes[order])
    # np.take picks rows ten times faster than brackets do.
    spans = np.take(detections.spans, order[pairs.detection], axis=0)
    iou = pair_iou(spans, np.take(truths.spans, pairs.truth, axis=0))
    iou[np.isnan(iou)] = np.inf if undefined_iou == "match" else -np.inf
    pairs, iou = _best_first(pairs, iou, min(thresholds, default=np.inf))

    first_of_class = np.searchsorted(known, np.arange(len(classes)))
    table = np.zeros((len(thresholds), len(classes)))
    for row, threshold in enumerate(thresholds):
        found = _found(pairs, iou >= threshold, len(truths))
        kind = known[found]
        number = np.arange(len(found)) - np.searchsorted(kind, np.arange(len(classes)))[kind] + 1  # k of its class
        precision = _max_from_here(number / (found - first_of_class[kind] + 1), kind)
        table[row] = np.bincount(kind, weights=precision, minlength=len(classes)) / num_truths
    return classes, table


def recall_at_kx(
    truths: TrueSegments,
    detections: FoundSegments,
    thresholds: Sequence[float],
    ks: Sequence[int],
    *,
    order: Literal["file", "score"] = "score",
    over: Literal["segments", "classes"] = "segments",
    at_threshold: bool = True,
) -> Float[np.ndarray, "Th Kx"]:
    """Return the share of true segments that one of the first k n detections of their clip and class overlaps enough.

    n is the number of true segments of that clip and class. One detection may find several.

    Raises:
        ValueError: as `average_precision`, or a k is below 1.
    """
    _check(truths, detections, thresholds)
    if any(k < 1 for k in ks):
        raise ValueError(f"recall@kx needs k >= 1, got {list(ks)}.")
    places = np.arange(len(detections)) if order == "file" else _falling(detections.scores)
    groups = _Groups(truths)
    pairs = _pairs(groups, detections.clips[places], detections.classes[places])
    spans = np.take(detections.spans, places[pairs.detection], axis=0)
    iou = pair_iou(spans, np.take(truths.spans, pairs.truth, axis=0))
    rank = _rank_in_group(groups.of(detections.clips[places], detections.classes[places]))[pairs.detection]
    multiple = rank // groups.count[groups.of(truths.clips, truths.classes)][pairs.truth] + 1  # the k it takes
    recall = np.zeros((len(thresholds), len(ks)))
    classes, members = np.unique(truths.classes, return_inverse=True)
    for row, threshold in enumerate(thresholds):
        enough = iou >= threshold if at_threshold else iou > threshold
        needed = np.full(len(truths), np.iinfo(np.int64).max)
        np.minimum.at(needed, pairs.truth[enough], multiple[enough])
        hits = needed[:, None] <= np.asarray(ks, dtype=np.int64)  # (N, Kx)
        if over == "classes":
            counts = np.bincount(members)[:, None]
            sums = np.stack([np.bincount(members, weights=hit, minlength=len(classes)) for hit in hits.T], axis=1)
            recall[row] = (sums / counts).mean(axis=0)
        else:
            recall[row] = hits.mean(axis=0)
    return recall


def pair_iou(first: Float[np.ndarray, "P 2"], second: Float[np.ndarray, "P 2"]) -> Float[np.ndarray, " P"]:
    """Return the IoU in time of each pair of segments; NaN where both have no length."""
    shared = np.minimum(first[:, 1], second[:, 1]) - np.maximum(first[:, 0], second[:, 0])
    shared = np.maximum(shared, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return shared / ((first[:, 1] - first[:, 0]) + (second[:, 1] - second[:, 0]) - shared)


class _Groups:
    """The true segments by clip and class: group g holds those of `order[start[g] : start[g] + count[g]]`."""

    def __init__(self, truths: TrueSegments):
        self.num_classes = int(truths.classes.max(initial=-1)) + 1
        self.num_clips = int(truths.clips.max(initial=-1)) + 1
        own = truths.clips.astype(np.int64) * self.num_classes + truths.classes
        self.order = np.argsort(own, kind="stable")
        self.count = np.bincount(own, minlength=self.num_clips * self.num_classes + 1)  # the last: no such group
        self.start = np.cumsum(self.count) - self.count

    def of(self, clips: Int[np.ndarray, " N"], classes: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
        """Return the group of each detection; the last, empty one where no true segment has its clip and class."""
        inside = (clips >= 0) & (clips < self.num_clips) & (classes >= 0) & (classes < self.num_classes)
        return np.where(inside, clips.astype(np.int64) * self.num_classes + classes, len(self.count) - 1)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """All pairs of a detection and a true segment of the same clip and class, detection after detection."""

    detection: Int[np.ndarray, " P"]
    truth: Int[np.ndarray, " P"]


def _pairs(groups: _Groups, clips: Int[np.ndarray, " N"], classes: Int[np.ndarray, " N"]) -> _Pairs:
    group = groups.of(clips, classes)
    some = np.flatnonzero(groups.count[group])
    group = group[some]
    count = groups.count[group]
    first = np.cumsum(count) - count
    within = np.arange(int(count.sum())) - np.repeat(first - groups.start[group], count)
    return _Pairs(np.repeat(some, count), groups.order[within])


def _by_class_and_score(detections: FoundSegments, classes: Int[np.ndarray, " K"]) -> tuple[np.ndarray, np.ndarray]:
    """Return which detections are of the given classes, by class, then falling score, then file; and their class.

    The class is its place in `classes`, which ascends.
    """
    place = np.full(max(detections.classes.max(initial=-1), classes[-1]) + 2, -1)  # the last is for negative numbers
    place[classes] = np.arange(len(classes))
    kind = place[np.maximum(detections.classes, -1)]
    order = _falling(detections.scores)
    order = order[kind[order] >= 0]
    narrow = kind[order].astype(np.min_scalar_type(len(classes)))  # numpy sorts these far faster than wide integers
    order = order[np.argsort(narrow, kind="stable")]
    return order, kind[order]


def _falling(scores: Float[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Return the order of falling scores, equal ones as they stand.

    That is `np.argsort(-scores, kind="stable")` in a third of its time: numpy counts integers of 16 bits instead of
    comparing them, and a float's bits, read as an integer, are in order once those below zero are turned around.
    """
    bits = (0.0 - scores.astype(np.float64)).view(np.int64)
    bits ^= (bits >> 63) & np.iinfo(np.int64).max
    order = np.arange(len(bits))
    for shift, least in ((0, 0), (16, 0), (32, 0), (48, -(2**15))):
        digit = ((bits >> shift) - least if least else (bits >> shift) & 0xFFFF).astype(np.uint16)
        order = order[np.argsort(digit[order], kind="stable")]
    return order


def _best_first(
    pairs: _Pairs, iou: Float[np.ndarray, " P"], least: float
) -> tuple[_Pairs, Float[np.ndarray, " P_kept"]]:
    """Return the pairs of at least this IoU, those of one detection by falling IoU, then by file."""
    order = np.flatnonzero(iou >= least)
    detection = pairs.detection[order]
    same = detection[1:] == detection[:-1]
    several = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))  # most have but one
    order[several] = order[several][np.lexsort((-iou[order[several]], detection[several]))]
    return _Pairs(detection, pairs.truth[order]), iou[order]


def _found(pairs: _Pairs, enough: Bool[np.ndarray, " P"], num_truths: int) -> Int[np.ndarray, " F"]:
    """Return which detections find a segment, ascending; each takes the first of its pairs that is free.

    Detections come best first, and only pairs that overlap `enough` count.
    """
    owner, wanted = pairs.detection[enough], pairs.truth[enough]
    first = np.flatnonzero(np.append(True, owner[1:] != owner[:-1])) if len(owner) else np.zeros(0, dtype=np.int64)
    last = np.append(first[1:], len(owner))
    nobody = len(first)
    holder = np.full(num_truths, nobody)
    turn, free = first.copy(), np.arange(nobody)
    while len(free):
        segment = wanted[turn[free]]
        before = holder[segment]
        np.minimum.at(holder, segment, free)  # a lower number is a better score
        won = holder[segment] == free
        pushed_out = before[won & (before < nobody)]
        free = np.concatenate([free[~won], pushed_out])
        turn[free] += 1
        free = free[turn[free] < last[free]]
    return owner[first[np.sort(holder[holder < nobody])]]


def _max_from_here(values: Float[np.ndarray, " N"], rows: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Return the largest value from each place to the end of its row; rows are ascending."""
    values, step = values.copy(), 1
    while step < len(values):
        same = rows[step:] == rows[:-step]
        if not same.any():
            break
        values[:-step] = np.where(same, np.maximum(values[:-step], values[step:]), values[:-step])
        step *= 2
    return values


def _rank_in_group(groups: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Return how many earlier entries are of the same group."""
    order = np.argsort(groups, kind="stable")
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = np.arange(len(groups)) - np.searchsorted(groups[order], groups[order])
    return rank


def _check(truths: TrueSegments, detections: FoundSegments, thresholds: Sequence[float]) -> None:
    if not len(truths):
        raise ValueError("there is no true segment to be found; check subset and labels of the annotation file.")
    if any(threshold <= 0 for threshold in thresholds):
        raise ValueError(f"thresholds must be above zero, got {list(thresholds)}.")
    if truths.clips.min() < 0 or truths.classes.min() < 0:
        raise ValueError("clips and classes of true segments are numbered from 0; a negative one was given.")
    for name, values in (("segment", truths.spans), ("detection", detections.spans), ("score", detections.scores)):
        if not np.isfinite(values).all():
            where = int((~np.isfinite(values.reshape(len(values), -1))).any(axis=1).argmax())
            raise ValueError(f"{name} {where} is not finite; leave it out or repair it.")
