"""The grid of rows on which a network looks for a language query: spans as rows, rows as spans, features on fewer rows.

A piece of `duration` seconds is cut into `num_rows` equal rows: row i is [i, i + 1) * duration / num_rows. A network
answers with a first and a last row, both of them inside the answer.

Source: the released VSLNet and 2D-TAN baselines of Ego4D's episodic memory. Their rules are kept; where one is a slip,
it is an option called "released", and not the default.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray


def average_to(
    features: Float[ndarray, "S D"],
    num_rows: int,
    *,
    stretch: bool = False,
    last_row: Literal["kept", "released"] = "kept",
) -> Float[ndarray, "N D"]:
    """Return `num_rows` means of neighbouring rows; fewer rows than that stay as they are, or repeat with `stretch`.

    Bin i holds the rows from round(i S / num_rows) to round((i + 1) S / num_rows), halves to even; an empty bin takes
    the row at its start. VSLNet leaves short features short, 2D-TAN stretches them. With `last_row="released"` the
    last row enters no mean unless it is alone in its bin, as in both released baselines.

    Raises:
        ValueError: no row is given or asked for, or `last_row` is neither of the two.
    """
    have = len(features)
    if have == 0 or num_rows < 1:
        raise ValueError(f"{have} rows cannot become {num_rows}; both must be at least 1.")
    if last_row not in ("kept", "released"):
        raise ValueError(f"`last_row` must be 'kept' or 'released', got {last_row!r}.")
    if have == num_rows or (have < num_rows and not stretch):
        return features
    # In this order of the two operations, since it decides on which side of a half a bin's edge falls.
    edges = np.round(np.arange(num_rows + 1) / num_rows * have).astype(np.int64)
    starts = np.minimum(edges[:-1], have - 1)
    if have < num_rows:
        return features[starts]
    end = have if last_row == "kept" else max(have - 1, int(starts[-1]) + 1)
    counts = np.diff(starts, append=end)
    sums = features[starts].astype(np.result_type(features, np.float32), copy=False)
    for place in range(1, int(counts.max())):  # bins hold almost equally many rows: the second of each, the third, ...
        bins = np.flatnonzero(counts > place)
        sums[bins] += features[starts[bins] + place]
    return sums / counts[:, None].astype(sums.dtype)


def span_to_rows(
    start: float,
    end: float,
    *,
    num_rows: int,
    duration: float,
    on_empty: Literal["nearest", "released"] = "nearest",
) -> tuple[int, int]:
    """Return the first and the last row of the run of rows with the highest IoU with [start, end) seconds.

    Of equals, the lower first row and then the lower last row is taken. A span that shares no time with any row, since
    it is zero-length or outside of the piece, is given the row nearest to its middle; with `on_empty="released"` it
    gets (0, 0), the first of all IoUs that are zero. One in ten of Ego4D's queries (release 1, validation) was so
    trained on a wrong label; see `released_span`, which makes most of them.

    Raises:
        ValueError: the span is reversed or not finite, `duration` or `num_rows` is not above zero, or `on_empty` is
            neither of the two.

    Source: `time_to_index` in the released VSLNet, which compares all num_rows^2 runs. Only those around the span's
    own ends can win. Edges are rounded to float32 as there, so that equal IoUs are decided in the same way.
    """
    _check_span(start, end, num_rows, duration)
    if on_empty not in ("nearest", "released"):
        raise ValueError(f"`on_empty` must be 'nearest' or 'released', got {on_empty!r}.")
    edges = _row_edges(num_rows, duration)
    near_start, near_end = (int(np.clip(time / duration * num_rows, 0, num_rows - 1)) for time in (start, end))
    firsts = np.arange(max(0, near_start - 1), min(num_rows, near_start + 3))
    lasts = np.arange(max(0, near_end - 2), min(num_rows, near_end + 2))
    ious = _ious(edges[firsts, None], edges[lasts + 1], start, end)
    best = int(np.argmax(ious))
    if ious.flat[best] > 0:
        return int(firsts[best // len(lasts)]), int(lasts[best % len(lasts)])
    if on_empty == "released":
        return 0, 0
    middle = int(np.clip((start + end) / 2 / duration * num_rows, 0, num_rows - 1))
    return middle, middle


def released_span(start: float, end: float, *, rows_per_second: float) -> tuple[float, float]:
    """Return the span that the released VSLNet is trained on: both ends moved back to the start of a feature's row.

    A span inside one row becomes zero-length. The start was meant to be rounded down and the end up, but both are cut
    to whole numbers before they are rounded.

    Source: `get_nearest_frame` in the released VSLNet, with 1.875 rows per second.
    """
    return math.floor(start * rows_per_second) / rows_per_second, math.floor(end * rows_per_second) / rows_per_second


def rows_to_span(first: int, last: int, *, num_rows: int, duration: float) -> tuple[float, float]:
    """Return in seconds where row `first` starts and row `last` ends."""
    return first * duration / num_rows, (last + 1) * duration / num_rows


def highlight_rows(first: int, last: int, *, num_rows: int, extend: float = 0.1) -> Bool[ndarray, " S"]:
    """Mark the rows of the answer, and `extend` of their number, rounded, on either side: what VSLNet highlights."""
    more = round(extend * (last - first + 1))
    rows = np.arange(num_rows)
    return (rows >= first - more) & (rows <= last + more)


def span_ious(start: float, end: float, *, num_rows: int, duration: float) -> Float[ndarray, "N N"]:
    """Return the IoU of [start, end) seconds with every run of rows: entry (i, j) is rows i to j; zero where j < i.

    Raises:
        ValueError: as `span_to_rows`.
    """
    _check_span(start, end, num_rows, duration)
    edges = _row_edges(num_rows, duration)
    return _ious(edges[:-1, None], edges[1:], start, end).astype(np.float32)


def _row_edges(num_rows: int, duration: float) -> Float[ndarray, " E"]:
    return np.arange(num_rows + 1, dtype=np.float32) / num_rows * duration


def _ious(starts: ndarray, ends: ndarray, start: float, end: float) -> ndarray:
    # Where two spans overlap, their hull is their union; elsewhere the IoU is zero and any divisor will do.
    hull = np.maximum(ends, np.float64(end)) - np.minimum(starts, np.float64(start))
    shared = np.minimum(ends, np.float64(end)) - np.maximum(starts, np.float64(start))
    return np.where((shared > 0) & (hull > 0), shared, 0.0) / np.where(hull > 0, hull, 1.0)


def _check_span(start: float, end: float, num_rows: int, duration: float) -> None:
    if not (math.isfinite(start) and math.isfinite(end) and start <= end):
        raise ValueError(f"a span needs finite ends in order, got [{start}, {end}).")
    if not (num_rows >= 1 and 0 < duration < math.inf):
        raise ValueError(f"{num_rows} rows over {duration} s make no grid; both must be above zero.")
