import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.types import Span
from playhead.video.sampling import (
    FEATURE_FPS,
    grid_times,
    released_clip,
    released_random_clip,
    segment_times,
    sliding_windows,
    state_change_frames,
    state_change_slot,
    uniform_times,
)

SPANS = st.builds(lambda start, length: Span(start, start + length), st.floats(0, 1e4), st.floats(0.01, 1e3))


def test_uniform_times_by_hand():
    np.testing.assert_allclose(uniform_times(Span(2.0, 4.0), 4), [2.25, 2.75, 3.25, 3.75])


@given(SPANS, st.integers(1, 40), st.integers(0, 2**32))
def test_one_time_is_drawn_in_each_segment(span, num_frames, seed):
    times = segment_times(span, num_frames, np.random.default_rng(seed))
    bounds = np.linspace(span.start, span.end, num_frames + 1)
    slack = 1e-9 * max(1.0, span.end)
    assert (times >= bounds[:-1] - slack).all()
    assert (times <= bounds[1:] + slack).all()


def test_segment_times_are_uniform_in_their_segments_and_a_function_of_the_seed():
    draws = np.stack([segment_times(Span(0.0, 4.0), 4, np.random.default_rng(seed)) for seed in range(4000)])
    within = draws - np.arange(4)
    np.testing.assert_allclose(within.mean(axis=0), 0.5, atol=0.02)  # standard error 0.0046
    np.testing.assert_allclose(within.std(axis=0), 12**-0.5, atol=0.01)
    np.testing.assert_array_equal(draws[7], segment_times(Span(0.0, 4.0), 4, np.random.default_rng(7)))


@pytest.mark.parametrize("sample", [uniform_times, lambda s, n: segment_times(s, n, np.random.default_rng(0))])
def test_no_frames_are_an_error(sample):
    with pytest.raises(ValueError, match="at least 1"):
        sample(Span(0.0, 1.0), 0)


def test_windows_by_hand():
    windows = sliding_windows(2.3, num_frames=4, fps=4.0)
    assert [window.first for window in windows] == [0, 4, 5]
    assert [(window.span.start, window.span.end) for window in windows] == [(0.0, 1.0), (1.0, 2.0), (1.25, 2.3)]
    np.testing.assert_allclose(windows[0].times, [0.125, 0.375, 0.625, 0.875])
    np.testing.assert_allclose(windows[2].times, [1.375, 1.625, 1.875, 2.125])


def test_windows_of_egovlp_features():
    windows = sliding_windows(480.0, 4, FEATURE_FPS)
    assert (
        len(windows) == 898
    )  # 3590 frames of the grid, and two left over; the released rule makes 897 and leaves a rest
    np.testing.assert_allclose(np.diff([window.span.start for window in windows])[:-1], 1 / 1.87)


@given(st.floats(0.02, 60), st.integers(1, 12), st.floats(0.5, 30), st.integers(1, 20))
def test_windows_show_every_frame_of_the_grid_when_they_touch(duration, num_frames, fps, stride):
    windows = sliding_windows(duration, num_frames, fps, stride)
    assert all(len(window.times) == num_frames for window in windows)
    assert windows[0].span.start == 0
    assert windows[-1].span.end == duration
    assert all(0 <= moment < duration for window in windows for moment in window.times)
    assert all(window.span.end <= duration for window in windows)
    if stride <= num_frames:
        seen = {moment for window in windows for moment in window.times}
        assert seen == {float(moment) for moment in grid_times(duration, fps)}


def test_a_video_shorter_than_a_window_repeats_its_last_frame():
    (window,) = sliding_windows(0.5, num_frames=4, fps=4.0)
    np.testing.assert_allclose(window.times, [0.125, 0.375, 0.375, 0.375])
    (window,) = sliding_windows(0.05, num_frames=2, fps=4.0)
    np.testing.assert_allclose(window.times, [0.025, 0.025])


@pytest.mark.parametrize("wrong", [{"duration": 0.0}, {"fps": 0.0}, {"num_frames": 0}, {"stride": 0}])
def test_wrong_windows_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        sliding_windows(**{"duration": 1.0, "num_frames": 4, "fps": 4.0, "stride": 4} | wrong)


def test_the_released_random_rule_always_fails_for_clips_of_a_fifth_of_a_second():
    # With 4 frames: always up to 0.2 s, never from 0.27 s.
    generator = random.Random(0)
    for start in np.random.default_rng(0).uniform(0, 100, 200).tolist():
        with pytest.raises(IndexError):
            released_random_clip(start, start + 0.19, 4, generator)
        released_random_clip(start, start + 0.3, 4, generator)


@given(st.floats(1, 1000), st.floats(1, 60), st.integers(1, 8), st.integers(0, 1000))
def test_released_random_frames_lie_in_the_intervals_of_the_middle_ones(start, length, num_frames, seed):
    middles = released_clip(start, start + length, num_frames)
    drawn = released_random_clip(start, start + length, num_frames, random.Random(seed))
    step = (int((start + length) * 30) - int(start * 30)) / num_frames
    assert (np.abs(drawn - middles) <= step / 2 + 1).all()


def test_state_change_frames_divide_by_the_step_counted_by_hand():
    # 40 frames: every third from 3, 6, ... gives 14 of the 16 asked for, so every second.
    assert state_change_frames(1, 41).tolist() == list(range(2, 34, 2))
    with pytest.raises(ValueError, match="widen"):
        state_change_frames(0, 15)


def test_the_slot_is_the_first_of_two_as_near():
    assert state_change_slot(np.array([10, 20, 30]), 25) == 1
