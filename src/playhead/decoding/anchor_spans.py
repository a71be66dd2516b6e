"""From VSGN's anchors to labelled spans: proposals of each class first, then one list for all classes.

    score of anchor n for class k = p(k | n) * start(n) * end(n)      start, end: boundary probabilities at its two ends

    proposals    of each class the anchors that no better one overlaps
    detections   of all proposals together the best 200, each lowering the scores of those that it overlaps
    retrievals   of the proposals of given classes the best 200

Spans are in seconds. An anchor can come out with its ends swapped, or on one another; such spans are no answers and are
left out, unless `keep_empty` asks for what the released code does.

Axis letters: N anchors, S feature steps, K classes with the background, M kept spans.

Source: VSGN (Zhao et al., 2021), section 3.5; the released inference of Ego4D's moment queries.
"""

from collections.abc import Callable, Collection

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from playhead.decoding.nms import Detections

LOWEST_CLASS_SCORE = 5e-9  # classes below are not looked at; as released
_ROWS_AT_ONCE = 256  # of the table of overlaps, so that what it is made of stays small


def decode_anchors(
    boxes: Float[ndarray, "N 2"],
    class_scores: Float[ndarray, "N K"],
    start: Float[ndarray, " S"],
    end: Float[ndarray, " S"],
    *,
    num_real: int,
    seconds_per_step: float,
    first_second: float = 0.0,
    iou_threshold: float = 0.4,
    unstitch: Callable[[ndarray], ndarray] | None = None,
    keep_empty: bool = False,
) -> Detections:
    """Return the proposals of one clip: class after class, in each the best first, spans in seconds of the clip.

    Args:
        boxes: the adjusted anchors, in steps.
        class_scores: probabilities, the background first.
        start: probability that something starts at a step.
        end: that something ends there.
        num_real: steps that are features and not padding.
        seconds_per_step: seconds from a step to the next.
        first_second: where step 0 begins.
        iou_threshold: overlap above which the worse of two spans of a class goes.
        unstitch: for a self-stitched clip, brings boxes on the magnified copy back to the clip.
        keep_empty: keep spans whose end is not after their start.

    Raises:
        ValueError: the arrays do not fit together, or hold NaN.
    """
    _check(boxes, class_scores, start, end, num_real)
    boundary = boundary_scores(boxes, start, end)
    places = boxes.clip(0, len(start) - 1)
    if unstitch is not None:
        places = unstitch(places)
    places = places.clip(0, num_real - 1).astype(np.float64)
    takes_part = class_scores[:, 1:].T > LOWEST_CLASS_SCORE  # (K - 1, N)
    if not keep_empty:
        takes_part = takes_part & (places[:, 1] > places[:, 0])
    scores = (class_scores[:, 1:] * boundary[:, None]).T
    classes, anchors = _survivors(scores, takes_part, _suppresses(places, iou_threshold))
    spans = places[anchors] * seconds_per_step + first_second
    return Detections(spans, scores[classes, anchors].astype(np.float64), classes + 1)


def boundary_scores(
    boxes: Float[ndarray, "N 2"], start: Float[ndarray, " S"], end: Float[ndarray, " S"]
) -> Float[ndarray, " N"]:
    """Return start probability times end probability of each box, each the mean of the two steps around its end."""
    inside = boxes.clip(0, len(start) - 1)
    below, above = np.floor(inside).astype(int), np.ceil(inside).astype(int)
    return (start[above[:, 0]] + start[below[:, 0]]) / 2 * ((end[above[:, 1]] + end[below[:, 1]]) / 2)


def suppress_all(proposals: Detections, *, top: int = 200, sigma: float = 0.46, drop_last: bool = False) -> Detections:
    """Return the best `top` of all classes, best first: take the best, lower the others, and so on.

    The others are multiplied by exp(-iou^2 / sigma), whatever their class. Of equal scores the earlier proposal is
    taken; proposals of class 0 are passed over. The released code never takes the last candidate, so that one proposal
    alone gives none: that is `drop_last`.

    Raises:
        ValueError: `top` or `sigma` is out of range.
    """
    if top < 1 or sigma <= 0:
        raise ValueError(f"needs top >= 1 and sigma > 0, got {top} and {sigma}.")
    order = np.argsort(-proposals.scores, kind="stable")
    starts, ends = proposals.spans[order].T.astype(np.float64)
    left = proposals.scores[order].astype(np.float64)
    picked: list[int] = []
    scores: list[float] = []
    for _ in range(len(order) - drop_last):
        best = int(left.argmax())
        score, left[best] = float(left[best]), -1
        if score <= 0 or len(picked) == top:
            break
        if proposals.labels[order[best]] == 0:
            continue
        picked.append(best)
        scores.append(score)
        left *= np.exp(-np.square(_overlaps(starts, ends, best)) / sigma)
    return Detections(proposals.spans[order[picked]], np.array(scores), proposals.labels[order[picked]])


def retrieve(proposals: Detections, classes: Collection[int], *, top: int = 200) -> Detections:
    """Return the best `top` proposals of the given classes, best first, with their scores as they are.

    The official retrieval lists are made with the classes that are known to occur in the clip.
    """
    wanted = np.flatnonzero(np.isin(proposals.labels, np.array(sorted(classes), dtype=np.int64)))
    return proposals.take(wanted[np.argsort(-proposals.scores[wanted], kind="stable")[:top]])


def round_for_submission(detections: Detections, duration: float) -> Detections:
    """Return scores with six digits and spans with one, cut to the clip of `duration` seconds, as in official files."""
    starts = np.round(np.maximum(detections.spans[:, 0], 0), 1)
    ends = np.where(detections.spans[:, 1] < duration, np.round(detections.spans[:, 1], 1), round(duration, 1))
    return Detections(np.stack([starts, ends], axis=1), np.round(detections.scores, 6), detections.labels)


def _overlaps(starts: Float[ndarray, " N"], ends: Float[ndarray, " N"], best: int) -> Float[ndarray, " N"]:
    """Return the overlap of each span with the best; spans that are apart, or swapped, have none."""
    shared = np.minimum(ends, ends[best]) - np.maximum(starts, starts[best])
    hull = np.maximum(ends, ends[best]) - np.minimum(starts, starts[best])
    touching = (starts <= ends[best]) & (ends >= starts[best]) & (shared > 0)
    return np.divide(shared, hull, out=np.zeros_like(shared), where=touching)


def _suppresses(places: Float[ndarray, "N 2"], iou_threshold: float) -> Bool[ndarray, "N N"]:
    """Return whether one span would drop another. All classes share their boxes, so this one table serves them all.

    The overlap of two spans without length is 0 / 0; they drop each other, as in the released code.
    """
    starts, ends = places.T
    lengths = ends - starts
    table = np.empty((len(places), len(places)), dtype=bool)
    for first in range(0, len(places), _ROWS_AT_ONCE):
        part = slice(first, first + _ROWS_AT_ONCE)
        shared = np.minimum(ends[part, None], ends) - np.maximum(starts[part, None], starts)
        np.maximum(shared, 0, out=shared)
        union = lengths[part, None] + lengths - shared
        with np.errstate(divide="ignore", invalid="ignore"):
            table[part] = ~(np.divide(shared, union, out=shared) <= iou_threshold)
    return table


def _survivors(
    scores: Float[ndarray, "R N"], takes_part: Bool[ndarray, "R N"], suppresses: Bool[ndarray, "N N"]
) -> tuple[Int[ndarray, " M"], Int[ndarray, " M"]]:
    """Return class by class, best first, the anchors that no better survivor suppresses: row and column in `scores`.

    The anchors that stand at one place in the orders of all classes are looked at together.
    """
    order = np.argsort(np.where(takes_part, -scores, np.inf), axis=1, kind="stable")
    alive, kept = takes_part.copy(), np.zeros_like(takes_part)
    rows = np.arange(len(scores))
    for place in range(takes_part.sum(axis=1).max(initial=0)):
        anchors = order[:, place]
        surviving = np.flatnonzero(alive[rows, anchors])
        kept[surviving, place] = True
        alive[surviving] &= ~suppresses[anchors[surviving]]
    classes, places = np.nonzero(kept)
    return classes, order[classes, places]


def _check(boxes: ndarray, class_scores: ndarray, start: ndarray, end: ndarray, num_real: int) -> None:
    if len(boxes) != len(class_scores) or len(start) != len(end) or not 1 <= num_real <= len(start):
        found = f"{len(boxes)} boxes, {len(class_scores)} class scores, {len(start)} and {len(end)} steps"
        raise ValueError(f"{found}, `num_real` {num_real}: the arrays are of different clips.")
    for name, array in (("boxes", boxes), ("class_scores", class_scores), ("start", start), ("end", end)):
        if not np.isfinite(array).all():
            raise ValueError(f"`{name}` has values that are not finite; did the network's training break down?")
