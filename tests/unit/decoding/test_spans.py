import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.decoding.spans import find_peaks, merge_windows, shrunk_background
from playhead.types import Span


def windows(count, length=1.0, stride=1.0):
    starts = np.arange(count) * stride
    return np.stack([starts, starts + length], axis=1)


def test_a_moment_reaches_over_the_windows_above_half_height():
    scores = np.array([0.0, 0.1, 0.6, 1.0, 0.5, 0.4, 0.0])
    # Half height over a background of 0 is 0.5: windows 2, 3 and 4.
    assert merge_windows(windows(7), scores, background=0.0) == [(Span(2.0, 5.0), 1.0)]


def test_fraction_one_keeps_the_peak_alone_and_zero_everything_above_the_background():
    scores = np.array([-0.1, 0.1, 0.6, 1.0, 0.5, 0.4, -0.1])
    assert merge_windows(windows(7), scores, background=0.0, fraction=1.0) == [(Span(3.0, 4.0), 1.0)]
    assert merge_windows(windows(7), scores, background=0.0, fraction=0.0) == [(Span(1.0, 6.0), 1.0)]


def test_two_separate_peaks_are_two_moments_best_first():
    scores = np.array([0.0, 0.7, 0.0, 0.0, 0.9, 0.8, 0.0])
    assert merge_windows(windows(7), scores, background=0.0) == [(Span(4.0, 6.0), 0.9), (Span(1.0, 2.0), 0.7)]


def test_the_shoulder_of_a_better_moment_is_no_moment():
    scores = np.array([0.0, 1.0, 0.4, 0.3, 0.2, 0.0])
    assert len(merge_windows(windows(6), scores, background=0.0)) == 1


def test_a_peak_inside_a_better_moment_is_swallowed():
    scores = np.array([0.0, 1.0, 0.8, 0.9, 0.0])
    assert merge_windows(windows(5), scores, background=0.0) == [(Span(1.0, 4.0), 1.0)]


def test_overlapping_windows_end_in_the_middle_of_what_they_share_with_the_refused():
    # Windows of 4 s every second. Only 3, 4 and 5 score; the refused 2 = [2, 6) shares [3, 6) with 3, so 4.5 is the
    # start, and the refused 6 = [6, 10) shares [6, 9) with 5, so 7.5 is the end.
    scores = np.array([0, 0, 0, 0.9, 1.0, 0.9, 0, 0, 0], dtype=float)
    assert merge_windows(windows(9, length=4.0), scores, background=0.0) == [(Span(4.5, 7.5), 1.0)]


def test_moments_at_the_ends_of_the_video_reach_the_ends():
    scores = np.array([1.0, 0, 0, 0, 0, 0, 0, 0, 0.9])
    moments = merge_windows(windows(9, length=2.0), scores, background=0.0)
    assert moments == [(Span(0.0, 1.5), 1.0), (Span(8.5, 10.0), 0.9)]


def test_a_moment_does_not_grow_over_a_gap():
    spans = np.array([[0.0, 1.0], [5.0, 6.0]])
    assert merge_windows(spans, np.array([0.9, 1.0]), background=0.0) == [(Span(5.0, 6.0), 1.0), (Span(0.0, 1.0), 0.9)]


def test_of_equal_scores_the_earliest_window_is_the_peak():
    assert find_peaks(windows(5), np.array([0.0, 1.0, 1.0, 0.0, 1.0])).tolist() == [False, True, False, False, True]
    scores = np.array([1.0, 0.0, 1.0])
    assert [span.start for span, _ in merge_windows(windows(3), scores, background=0.0)] == [0.0, 2.0]


def test_a_flat_video_is_one_moment():
    assert merge_windows(windows(4), np.full(4, 0.3)) == [(Span(0.0, 4.0), 0.3)]


def test_no_windows_give_no_moments_and_top_limits_their_number():
    assert merge_windows(windows(0), np.empty(0)) == []
    scores = np.array([1.0, 0.0, 0.8, 0.0, 0.9])
    assert [score for _, score in merge_windows(windows(5), scores, background=0.0, top=2)] == [1.0, 0.9]


def test_the_background_is_the_median_unless_given():
    scores = np.array([0.4, 0.4, 0.4, 1.0, 0.65, 0.4, 0.4])
    assert merge_windows(windows(7), scores)[0][0] == Span(3.0, 4.0)  # half height over 0.4 is 0.7
    assert merge_windows(windows(7), scores, background=0.0)[0][0] == Span(3.0, 5.0)  # over 0 it is 0.5


def test_the_background_of_a_short_video_is_mostly_the_index_and_of_a_long_one_its_own():
    assert shrunk_background(np.full(20, 0.6), prior=0.2) == pytest.approx(0.4)
    assert shrunk_background(np.full(2000, 0.6), prior=0.2) == pytest.approx(0.6, abs=0.01)
    assert shrunk_background(np.empty(0), prior=0.2) == 0.2


@pytest.mark.parametrize(
    ("spans", "scores", "options"),
    [
        (windows(2)[::-1], np.zeros(2), {}),
        (windows(2), np.array([0.0, np.nan]), {}),
        (windows(2), np.zeros(2), {"fraction": 1.5}),
    ],
)
def test_windows_out_of_order_scores_that_are_no_numbers_and_odd_fractions_are_refused(spans, scores, options):
    with pytest.raises(ValueError):
        merge_windows(spans.copy(), scores, **options)


@given(
    scores=st.lists(st.floats(-1, 1), min_size=1, max_size=40),
    length=st.integers(1, 6),
    stride=st.integers(1, 4),
    background=st.floats(-1, 1),
)
def test_moments_never_overlap_each_holds_its_peak_and_the_best_window_is_always_found(
    scores, length, stride, background
):
    spans, values = windows(len(scores), float(length), float(stride)), np.array(scores)
    moments = merge_windows(spans, values, background=background)
    assert moments[0][1] == values.max()
    assert [score for _, score in moments] == sorted((score for _, score in moments), reverse=True)
    for place, (span, score) in enumerate(moments):
        held = [i for i in range(len(scores)) if spans[i, 0] <= span.center <= spans[i, 1]]
        assert held
        assert score in values
        assert all(span.overlap(other) == 0 for other, _ in moments[place + 1 :])
