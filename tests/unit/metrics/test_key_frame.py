import math

import numpy as np
import pytest

from playhead.metrics.key_frame import (
    constant_slot_errors,
    key_frame_errors,
    mean_key_frame_error,
    official_frames,
    seen_frames,
    state_change_accuracy,
)
from playhead.video.sampling import state_change_frames, state_change_slot


def test_accuracy_by_hand():
    told, true = np.array([True, True, False, False]), np.array([True, False, False, False])
    assert state_change_accuracy(told, true) == 75.0
    with pytest.raises(ValueError, match="0 answers for 0 clips; as many"):
        state_change_accuracy(told[:0], true[:0])


def test_errors_by_hand():
    # Slot 8 of [3000, 3240) officially is frame 3120; 3015 + 8 * 15 = 3135 was seen.
    slots, start, end, pnr = np.array([8]), np.array([3000]), np.array([3240]), np.array([3130])
    frames = 3015 + 15 * np.arange(15)[None]
    assert official_frames(slots, start, end).tolist() == [3120.0]
    assert seen_frames(slots, frames).tolist() == [3135.0]
    assert key_frame_errors(official_frames(slots, start, end), pnr, np.array([30.0])).tolist() == [10 / 30]
    assert key_frame_errors(seen_frames(slots, frames), pnr, np.array([30.0])).tolist() == [5 / 30]


def test_only_clips_with_a_change_count_and_without_any_the_mean_is_nan():
    errors = np.array([1.0, np.nan, 3.0])
    assert mean_key_frame_error(errors, np.array([True, False, True])) == 2.0
    assert math.isnan(mean_key_frame_error(errors, np.zeros(3, dtype=bool)))
    with pytest.raises(ValueError, match="1 of 3 errors are NaN"):
        mean_key_frame_error(errors, np.ones(3, dtype=bool))


def test_a_constant_answer_errs_as_its_official_frame_does():
    generator = np.random.default_rng(0)
    start = generator.integers(0, 10_000, 50)
    end, fps = start + generator.integers(100, 300, 50), generator.uniform(10, 60, 50)
    pnr = generator.integers(start, end)
    expected = [
        key_frame_errors(official_frames(np.full(50, slot), start, end, 12), pnr, fps).mean() for slot in range(12)
    ]
    np.testing.assert_allclose(constant_slot_errors(start, end, pnr, fps, 12), expected, rtol=1e-12)


def test_a_perfect_choice_of_slots_errs_by_a_quarter_of_a_second_officially_and_by_half_of_that_in_truth():
    # Known from a simulation of 20,000 clips: 0.25-0.26 s and 0.124 s.
    generator = np.random.default_rng(1)
    start = generator.integers(0, 20_000, 4000)
    end, pnr = start + 240, start + generator.integers(30, 210, 4000)
    frames = np.stack([state_change_frames(int(a), int(b)) for a, b in zip(start, end, strict=True)])
    slots = np.array([state_change_slot(row, int(key)) for row, key in zip(frames, pnr, strict=True)])
    fps = np.full(4000, 30.0)
    assert key_frame_errors(official_frames(slots, start, end), pnr, fps).mean() == pytest.approx(0.255, abs=0.01)
    assert key_frame_errors(seen_frames(slots, frames), pnr, fps).mean() == pytest.approx(0.124, abs=0.005)
