"""Windows of a clip as a network that answers language queries sees them: rows of features, and where they are in time.

A short clip is one window; a long one may be cut into several that overlap. Rows are cells that touch: row i of a
window is [origin + i * step, origin + (i + 1) * step), around the middle of what it saw, and step is duration / rows.

    clip     |-------------------------------------------------|  110 s
    windows  [------- 40 s -------]
                       [------- 40 s -------]
                                 ...     [------- 40 s -------]    the last one ends with the clip

Axis letters: S rows of a clip or a window, D width.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from playhead.data.feature_files import ClipFeatures
from playhead.data.queries import ClipQuery
from playhead.data.query_grid import released_span
from playhead.types import Span

ShortSpans = Literal["widen", "drop", "released"]


@dataclass(frozen=True, slots=True)
class Window:
    """Rows of features and their time in the clip: the first begins at `origin`, all last `duration` seconds."""

    rows: Float32[ndarray, "S D"]
    origin: float
    duration: float

    @property
    def end(self) -> float:
        """Where the last row ends."""
        return self.origin + self.duration


def window_spans(duration: float, window: float | None, stride: float | None) -> list[Span]:
    """Return the windows of a clip of `duration` seconds in order of time; without `window`, the clip itself.

    They begin every `stride` seconds (by default half a window); the last one is moved back to end with the clip. A
    clip that is no longer than a window is one window.

    Raises:
        ValueError: `window` or `stride` is not above zero, or windows would leave gaps.
    """
    if window is None or duration <= window:
        return [Span(0.0, float(duration))]
    stride = window / 2 if stride is None else stride
    if not 0 < stride <= window:
        raise ValueError(f"windows of {window} s every {stride} s: needs 0 < stride <= window.")
    number = math.ceil((duration - window) / stride)
    starts = [k * stride for k in range(number)] + [duration - window]
    return [Span(float(start), float(start + window)) for start in starts]


def cut_window(found: ClipFeatures, span: Span | None = None) -> Window:
    """Return the rows of a clip whose middle lies in `span`, at least one; without `span`, all of them."""
    time, number = found.time, len(found.features)
    first, stop = 0, number
    if span is not None:
        first = int(np.clip(math.ceil(time.grid(span.start)), 0, number - 1))
        stop = int(np.clip(math.ceil(time.grid(span.end)), first + 1, number))
    origin = time.center_of(first) - time.step / 2
    return Window(found.features[first:stop], origin, (stop - first) * time.step)


def released_window(found: ClipFeatures, duration: float) -> Window:
    """Return a whole clip on the released time line: it begins at 0, and ends with the last whole row of `duration`.

    Source: the NLQ baseline, where a clip's length is `int(seconds * 1.875) / 1.875`, whatever rows there are.
    """
    rate = found.time.fps / found.time.stride
    return Window(found.features, 0.0, max(1, int(duration * rate)) / rate)


def training_truth(
    query: ClipQuery, short_spans: ShortSpans, rate: float, duration: float
) -> tuple[float, float] | None:
    """Return the span, in seconds of the clip, that a network is to learn for a query; None if it is not to be learnt.

    One query in ten of Ego4D's first release lies within one row of features, of which there are `rate` a second.
    "widen" makes it one row long around its middle, "drop" leaves it out, and "released" rounds both ends of every
    span down to a row's start, by which these lose all length: the released VSLNet learns that they are the first row.
    """
    if short_spans == "released":
        return _released_truth(query, rate)
    if query.span is None:
        return None
    start, end = query.span.start, query.span.end
    if short_spans == "drop" and math.floor(start * rate) == math.floor(end * rate):
        return None
    if end - start < 1 / rate:
        start = max(0.0, min(query.span.center - 0.5 / rate, duration - 1 / rate))
        end = start + 1 / rate
    return start, end


def _released_truth(query: ClipQuery, rate: float) -> tuple[float, float] | None:
    start, end = query.raw_start, query.raw_end
    if start is None or end is None or not (math.isfinite(start) and math.isfinite(end) and start <= end):
        return None
    return released_span(start, end, rows_per_second=rate)


def choose_window(
    spans: list[Span], truth: tuple[float, float], generator: np.random.Generator, negatives: float = 0.0
) -> tuple[int, tuple[float, float] | None]:
    """Return the number of a window to learn from, and what of the answer lies in it.

    One of those that hold the most of the answer is drawn or, with a chance of `negatives`, one of those that hold
    less than half of that: what they show of it is no answer, else a network would find every answer once more at the
    edge of a neighbouring window. A clip that is one window keeps its answer whole.
    """
    if len(spans) == 1:
        return 0, truth
    held = np.array([min(truth[1], span.end) - max(truth[0], span.start) for span in spans])
    most = held.max()
    without = np.flatnonzero(held < 0.5 * max(most, 0.0))
    if len(without) and generator.random() < negatives:
        return int(generator.choice(without)), None
    number = int(generator.choice(np.flatnonzero(held >= most - 1e-6)))
    start, end = (min(max(time, spans[number].start), spans[number].end) for time in truth)
    return number, (start, end)
