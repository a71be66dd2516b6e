from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from playhead.data.feature_files import ClipFeatures, TimeBase
from playhead.data.queries import ClipQuery
from playhead.data.query_windows import choose_window, cut_window, released_window, training_truth, window_spans
from playhead.types import Span

OFFICIAL = TimeBase(fps=30, frames=16, stride=16)


def features(num_rows, time=OFFICIAL):
    return ClipFeatures(np.arange(num_rows, dtype=np.float32)[:, None], time)


def query(start, end):
    return ClipQuery("c/u/0", "u", 0, "?", Span(start, end) if end > start else None, start, end)


def test_a_clip_without_window_or_shorter_than_it_is_one_window():
    assert window_spans(480.0, None, None) == window_spans(480.0, 500.0, 100.0) == [Span(0.0, 480.0)]


@pytest.mark.parametrize(("duration", "number"), [(40.5, 2), (60.0, 2), (60.1, 3), (110.0, 5), (480.0, 23)])
def test_windows_cover_the_clip_overlap_by_half_and_end_with_it(duration, number):
    spans = window_spans(duration, 40.0, None)
    assert len(spans) == number
    assert (spans[0].start, spans[-1].end) == (0.0, pytest.approx(duration))
    assert all(span.duration == pytest.approx(40.0) for span in spans)
    assert all(0 < later.start - span.start <= 20 + 1e-9 for span, later in pairwise(spans))
    assert len(set(spans)) == number


@pytest.mark.parametrize("stride", [0.0, -1.0, 41.0])
def test_windows_that_leave_gaps_or_do_not_move_are_an_error(stride):
    with pytest.raises(ValueError, match="needs 0 < stride <= window"):
        window_spans(100.0, 40.0, stride)


def test_a_window_holds_the_rows_whose_middle_lies_in_it():
    found = features(900)
    window = cut_window(found, Span(20.0, 60.0))
    middles = OFFICIAL.center_of(np.arange(900))
    inside = np.flatnonzero((middles >= 20) & (middles < 60))
    assert window.rows[:, 0].tolist() == inside.tolist()
    assert window.origin == pytest.approx(inside[0] / 1.875)
    assert window.end == pytest.approx((inside[-1] + 1) / 1.875)


def test_rows_that_overlap_are_cells_around_their_middles():
    time = TimeBase(fps=30, frames=32, stride=16, offset=-0.2)  # SlowFast: each row sees two steps
    window = cut_window(features(10, time))
    assert window.origin == pytest.approx(time.center_of(0) - 8 / 30)
    assert window.duration == pytest.approx(160 / 30)
    assert window.origin + 2.5 * window.duration / 10 == pytest.approx(time.center_of(2))


@pytest.mark.parametrize("span", [Span(9.0, 9.1), Span(0.0, 0.01), Span(50.0, 60.0)])
def test_a_window_beyond_or_between_the_rows_holds_the_nearest(span):
    assert len(cut_window(features(10), span).rows) == 1


def test_the_released_time_line_begins_at_nought_and_has_whole_rows():
    window = released_window(features(901), 480.04)
    assert (len(window.rows), window.origin, window.duration) == (901, 0.0, 480.0)


def test_short_answers_become_one_row_around_their_middle_and_stay_in_the_clip():
    step = 1 / 1.875
    assert training_truth(query(10.1, 10.3), "widen", 1.875, 20.0) == pytest.approx((10.2 - step / 2, 10.2 + step / 2))
    assert training_truth(query(0.0, 0.1), "widen", 1.875, 20.0) == pytest.approx((0.0, step))
    assert training_truth(query(19.9, 20.0), "widen", 1.875, 20.0) == pytest.approx((20.0 - step, 20.0))
    assert training_truth(query(10.0, 12.0), "widen", 1.875, 20.0) == (10.0, 12.0)


def test_dropped_are_the_answers_within_one_row():
    assert training_truth(query(10.15, 10.65), "drop", 1.875, 20.0) is None  # both in row 19
    assert training_truth(query(10.65, 10.70), "drop", 1.875, 20.0) is not None  # in rows 19 and 20
    assert training_truth(query(10.0, 12.0), "drop", 1.875, 20.0) == (10.0, 12.0)


def test_released_answers_are_rounded_down_to_rows_and_may_lose_all_length():
    assert training_truth(query(10.15, 10.65), "released", 1.875, 20.0) == (19 / 1.875, 19 / 1.875)
    assert training_truth(query(10.0, 10.0), "released", 1.875, 20.0) == (18 / 1.875, 18 / 1.875)


@pytest.mark.parametrize("rule", ["widen", "drop", "released"])
def test_queries_without_a_sound_answer_are_not_learnt(rule):
    for raw in ((None, None), (5.0, 4.0), (float("nan"), 4.0)):
        assert training_truth(replace(query(1.0, 0.0), raw_start=raw[0], raw_end=raw[1]), rule, 1.875, 20.0) is None


def test_the_window_drawn_holds_the_most_of_the_answer():
    spans = window_spans(110.0, 40.0, 20.0)  # at 0, 20, 40, 60, 70
    drawn = {choose_window(spans, (45.0, 50.0), np.random.default_rng(seed)) for seed in range(50)}
    assert drawn == {(1, (45.0, 50.0)), (2, (45.0, 50.0))}
    assert choose_window(spans, (10.0, 110.0), np.random.default_rng(0))[1] in (
        (20, 60),
        (40, 80),
        (60, 100),
        (70, 110),
    )
    assert choose_window(spans, (109.0, 111.0), np.random.default_rng(0)) == (4, (109.0, 110.0))


def test_windows_without_the_answer_come_with_their_chance():
    spans = window_spans(110.0, 40.0, 20.0)
    drawn = [choose_window(spans, (5.0, 8.0), np.random.default_rng(seed), 0.25) for seed in range(400)]
    without = [number for number, truth in drawn if truth is None]
    assert set(without) == {1, 2, 3, 4}
    assert 60 < len(without) < 140
    assert choose_window(spans[:1], (5.0, 8.0), np.random.default_rng(0), 1.0) == (0, (5.0, 8.0))


def test_a_window_that_shows_the_edge_of_the_answer_shows_no_answer():
    spans = window_spans(110.0, 40.0, 20.0)
    drawn = {choose_window(spans, (16.0, 22.0), np.random.default_rng(seed), 0.5) for seed in range(100)}
    assert (1, None) in drawn  # [20, 60) holds 2 s of 6
    assert {number for number, truth in drawn if truth is not None} == {0}
    drawn = {choose_window(spans, (18.0, 22.0), np.random.default_rng(seed), 0.5) for seed in range(100)}
    assert 1 not in {number for number, _ in drawn}  # it holds half: neither this nor that
