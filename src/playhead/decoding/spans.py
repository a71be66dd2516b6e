"""From the scores of sliding windows to a few moments with sensible ends.

Windows of one video come in order of time, S of them; neighbours may overlap (stride shorter than the window), touch,
or leave gaps. Two windows are *neighbours* where they overlap or touch.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from playhead.types import Span

_TOUCHING = 1e-6  # seconds: window ends are sums of floats, so "touching" needs a little room


def find_peaks(spans: Float[ndarray, "S 2"], scores: Float[ndarray, " S"]) -> Bool[ndarray, " S"]:
    """Mark the windows that score highest among all windows they overlap or touch; of equals, the earliest.

    This is non-maximum suppression with the window itself as the yardstick: a shoulder of a better moment is no
    moment of its own.
    """
    starts, ends = spans[:, 0], spans[:, 1]
    peaks = np.ones(len(scores), dtype=bool)
    for distance in range(1, len(scores)):
        apart = starts[distance:] > ends[:-distance] + _TOUCHING
        if apart.all():
            break
        peaks[:-distance] &= apart | (scores[:-distance] >= scores[distance:])
        peaks[distance:] &= apart | (scores[distance:] > scores[:-distance])
    return peaks


def merge_windows(
    spans: Float[ndarray, "S 2"],
    scores: Float[ndarray, " S"],
    *,
    background: float | None = None,
    fraction: float = 0.5,
    top: int | None = None,
) -> list[tuple[Span, float]]:
    """Return the distinct moments of one video, best first, each with the score of its best window.

    1. Every local peak (`find_peaks`) is the seed of a moment; the best seed goes first, of equals the earliest.
    2. From its seed a moment grows to both sides over neighbouring windows while they score at least
       `background + fraction * (peak - background)`: with one half, the width of the peak at half its height.
       It does not enter a window that a better moment has taken; a seed so taken is dropped.
    3. Where the last window taken and the first refused overlap, the end lies in the middle of what they share:
       one says "here", the other "not here". Moments therefore never overlap.

    `background` is what an irrelevant window scores; without it, the median of `scores`.

    Raises:
        ValueError: `spans` are not in order of time, `fraction` is outside [0, 1], or a score is not finite.
    """
    _check(spans, scores, fraction)
    if len(scores) == 0:
        return []
    background = float(np.median(scores)) if background is None else background
    free = np.ones(len(scores), dtype=bool)
    moments = []
    for seed in _best_first(np.flatnonzero(find_peaks(spans, scores)), scores):
        if top is not None and len(moments) >= top:
            break
        if not free[seed]:
            continue
        threshold = min(background + fraction * (float(scores[seed]) - background), float(scores[seed]))
        first, last = _grow(seed, spans, free & (scores >= threshold))
        free[first : last + 1] = False
        moments.append((_ends(first, last, spans), float(scores[seed])))
    return moments


def shrunk_background(scores: Float[ndarray, " S"], prior: float, weight: float = 20.0) -> float:
    """Return what an irrelevant window of this video scores: its median, drawn towards `prior` by `weight` windows.

    A long video is its own best background (all of a kitchen is a little like "kitchen"); a clip of a few windows may
    be relevant from end to end, so there the background of the whole index (`prior`) must speak.
    """
    if len(scores) == 0:
        return prior
    return (len(scores) * float(np.median(scores)) + weight * prior) / (len(scores) + weight)


def _check(spans: ndarray, scores: ndarray, fraction: float):
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"`fraction` must be within [0, 1], got {fraction}.")
    if not np.isfinite(scores).all():
        raise ValueError(f"score {int(np.flatnonzero(~np.isfinite(scores))[0])} is not finite.")
    if (np.diff(spans, axis=0) < 0).any():
        raise ValueError("`spans` must be sorted by start and by end.")


def _best_first(seeds: ndarray, scores: ndarray) -> Iterator[int]:
    yield from (int(seed) for seed in seeds[np.argsort(-scores[seeds], kind="stable")])


def _grow(seed: int, spans: ndarray, takes: ndarray) -> tuple[int, int]:
    """Return the first and the last window of the run of neighbours around `seed` that `takes` allows."""
    first = last = seed
    while first > 0 and takes[first - 1] and _touch(spans, first - 1, first):
        first -= 1
    while last + 1 < len(spans) and takes[last + 1] and _touch(spans, last, last + 1):
        last += 1
    return first, last


def _touch(spans: ndarray, left: int, right: int) -> bool:
    return bool(spans[right, 0] <= spans[left, 1] + _TOUCHING)


def _ends(first: int, last: int, spans: ndarray) -> Span:
    """Return the span of windows `first` to `last`, cut in the middle of what it shares with refused neighbours."""
    start, end = float(spans[first, 0]), float(spans[last, 1])
    if first > 0:
        start = max(start, (start + float(spans[first - 1, 1])) / 2)
    if last + 1 < len(spans):
        end = min(end, (end + float(spans[last + 1, 0])) / 2)
    return Span(start, end)
