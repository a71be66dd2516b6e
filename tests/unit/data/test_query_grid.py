import math
from itertools import pairwise

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from playhead.data.query_grid import (
    average_to,
    highlight_rows,
    released_span,
    rows_to_span,
    span_ious,
    span_to_rows,
)
from playhead.types import Span


def noise(rows, width=3, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


def average_by_loop(features, num_rows, last):
    """The rule of `average_to` bin by bin; rows from `last` on are not counted."""
    have = len(features)
    edges = [min(round(i / num_rows * have), last) for i in range(num_rows + 1)]
    bins = [features[a:b] if a < b else features[a : a + 1] for a, b in pairwise(edges)]
    return np.stack([rows.mean(axis=0) for rows in bins])


@pytest.mark.parametrize(("have", "num_rows"), [(9, 4), (17, 16), (900, 128), (51, 20), (31, 30), (5, 1), (64, 32)])
def test_bins_hold_the_rows_between_their_rounded_edges(have, num_rows):
    features = noise(have)
    np.testing.assert_allclose(average_to(features, num_rows), average_by_loop(features, num_rows, have), atol=1e-6)
    released = average_to(features, num_rows, last_row="released")
    np.testing.assert_allclose(released, average_by_loop(features, num_rows, have - 1), atol=1e-6)


@pytest.mark.parametrize(("have", "num_rows"), [(1, 5), (3, 4), (13, 40), (39, 40)])
def test_short_features_stay_or_are_stretched(have, num_rows):
    features = noise(have)
    assert average_to(features, num_rows) is features
    stretched = average_to(features, num_rows, stretch=True)
    np.testing.assert_array_equal(stretched, average_by_loop(features, num_rows, have - 1))


def test_nine_rows_make_four_by_hand():
    features = np.arange(9, dtype=np.float32)[:, None]  # edges 0, 2.25, 4.5, 6.75, 9 -> 0, 2, 4, 7, 9
    assert average_to(features, 4)[:, 0].tolist() == [0.5, 2.5, 5.0, 7.5]
    assert average_to(features, 4, last_row="released")[:, 0].tolist() == [0.5, 2.5, 5.0, 7.0]


def test_means_of_half_precision_features_are_summed_in_single():
    features = np.full((4096, 2), 60000, dtype=np.float16)
    assert average_to(features, 2).dtype == np.float32
    np.testing.assert_array_equal(average_to(features, 2), 60000.0)  # in half precision the sum would be infinite


def test_impossible_averages_are_refused():
    with pytest.raises(ValueError, match="0 rows cannot become 4"):
        average_to(noise(0), 4)
    with pytest.raises(ValueError, match="5 rows cannot become 0"):
        average_to(noise(5), 0)
    with pytest.raises((ValueError, TypeCheckError), match="last_row"):
        average_to(noise(5), 3, last_row="lost")


def best_of_all_runs(start, end, num_rows, duration):
    """The highest IoU of all num_rows^2 runs, as the released code looks for it."""
    edges = np.arange(num_rows + 1, dtype=np.float32) / num_rows * duration
    best, found = 0.0, (0, 0)
    for first in range(num_rows):
        for last in range(first, num_rows):
            left, right = max(float(edges[first]), start), min(float(edges[last + 1]), end)
            hull = max(float(edges[last + 1]), end) - min(float(edges[first]), start)
            iou = max(0.0, right - left) / hull
            if iou > best:
                best, found = iou, (first, last)
    return found


@pytest.mark.parametrize("seed", range(200))
def test_the_rows_of_a_span_are_the_best_of_all_runs(seed):
    chance = np.random.default_rng(seed)
    num_rows, duration = int(chance.integers(1, 24)), float(chance.uniform(1, 500))
    start = float(chance.uniform(-0.1, 1.1)) * duration
    end = start + float(chance.choice([0.003, 0.05, 0.4, 1.2])) * duration * float(chance.uniform(0.1, 1))
    expected = best_of_all_runs(start, end, num_rows, duration)
    assert span_to_rows(start, end, num_rows=num_rows, duration=duration, on_empty="released") == expected


@pytest.mark.parametrize("seed", range(100))
def test_ties_between_runs_fall_as_in_the_search_through_all(seed):
    # Ends on a grid three times as fine as the rows: equal IoUs abound.
    chance = np.random.default_rng(seed)
    num_rows, duration = int(chance.integers(1, 12)), float(chance.choice([0.1, 1.0, 3.7, 480.04]))
    start, end = sorted(chance.integers(0, 3 * num_rows + 1, 2) / (3 * num_rows) * duration)
    expected = best_of_all_runs(start, end, num_rows, duration)
    found = span_to_rows(float(start), float(end), num_rows=num_rows, duration=duration, on_empty="released")
    assert found == expected


def test_a_run_of_rows_comes_back_from_its_own_span():
    for first in range(7):
        for last in range(first, 7):
            start, end = rows_to_span(first, last, num_rows=7, duration=33.3)
            assert span_to_rows(start, end, num_rows=7, duration=33.3) == (first, last)


@pytest.mark.parametrize(
    ("start", "end", "nearest"),
    [(19.0, 19.0, 1), (0.0, 0.0, 0), (100.0, 100.0, 9), (120.0, 130.0, 9), (-9.0, -1.0, 0), (25.0, 25.0, 2)],
)
def test_a_span_that_shares_no_time_gets_the_nearest_row_and_the_first_as_released(start, end, nearest):
    grid = {"num_rows": 10, "duration": 100.0}
    assert span_to_rows(start, end, **grid) == (nearest, nearest)
    assert span_to_rows(start, end, **grid, on_empty="released") == (0, 0)


def test_a_short_span_inside_a_row_gets_that_row():
    assert span_to_rows(34.5, 34.6, num_rows=10, duration=100.0) == (3, 3)


def test_the_released_span_loses_what_its_end_has_over_a_row():
    # 55.675 s * 1.875 rows/s = 104.39, 60.8485 * 1.875 = 114.09; the second lies inside row 56
    assert released_span(55.675, 60.8485, rows_per_second=1.875) == (104 / 1.875, 114 / 1.875)
    start, end = released_span(30.0, 30.3, rows_per_second=1.875)
    assert start == end == 56 / 1.875
    assert span_to_rows(start, end, num_rows=128, duration=480.0, on_empty="released") == (0, 0)


@pytest.mark.parametrize(
    ("first", "last", "marked"),
    [(3, 3, [3]), (2, 6, [2, 3, 4, 5, 6]), (2, 7, [1, 2, 3, 4, 5, 6, 7, 8]), (0, 9, list(range(11)))],
)
def test_the_highlight_is_a_tenth_longer_on_either_side(first, last, marked):
    # extended by round(0.1), round(0.5) = 0 (halves to even), round(0.6) = 1 and round(1.0) = 1
    assert np.flatnonzero(highlight_rows(first, last, num_rows=12)).tolist() == marked


def test_the_map_holds_the_iou_of_every_run():
    truth = Span(3.1, 7.7)
    ious = span_ious(truth.start, truth.end, num_rows=6, duration=12.0)
    for first in range(6):
        for last in range(6):
            expected = 0.0 if last < first else truth.iou(Span(2.0 * first, 2.0 * last + 2.0))
            assert ious[first, last] == pytest.approx(expected, abs=1e-6)


def test_the_map_of_a_zero_length_span_is_zero():
    assert (span_ious(4.0, 4.0, num_rows=6, duration=12.0) == 0).all()


@pytest.mark.parametrize(
    ("start", "end", "num_rows", "duration", "message"),
    [
        (5.0, 4.0, 8, 10.0, r"finite ends in order, got \[5.0, 4.0\)"),
        (math.nan, 4.0, 8, 10.0, "finite ends in order"),
        (0.0, math.inf, 8, 10.0, "finite ends in order"),
        (1.0, 2.0, 0, 10.0, "0 rows over 10.0 s make no grid"),
        (1.0, 2.0, 8, 0.0, "8 rows over 0.0 s make no grid"),
        (1.0, 2.0, 8, math.nan, "8 rows over nan s make no grid"),
    ],
)
def test_spans_and_grids_that_are_none_are_refused(start, end, num_rows, duration, message):
    for function in (span_to_rows, span_ious):
        with pytest.raises(ValueError, match=message):
            function(start, end, num_rows=num_rows, duration=duration)


def test_an_unknown_rule_for_empty_spans_is_refused():
    with pytest.raises((ValueError, TypeCheckError), match="on_empty"):
        span_to_rows(1.0, 2.0, num_rows=8, duration=10.0, on_empty="zero")
