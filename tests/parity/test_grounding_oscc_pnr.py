"""Reading, sampling and scoring of state changes against what the reference programs recorded."""

import json

import numpy as np
import pytest
from grounding_cases import GOLDEN, as_parameters, find_files

from playhead.data.state_change import read_state_changes, window_frames
from playhead.metrics.key_frame import (
    constant_slot_errors,
    key_frame_errors,
    mean_key_frame_error,
    official_frames,
    seen_frames,
    state_change_accuracy,
)
from playhead.video.sampling import state_change_slot

CASES = [
    path
    for path in find_files("**/fho_oscc-pnr_*.json")
    if all((path.parent / name).exists() for name in ("predictions.json", "expected.json"))
]


@pytest.fixture(params=as_parameters(CASES))
def case(request):
    """Return the clips of a case, what was predicted of them, and what was recorded."""
    folder = request.param.parent
    predictions, expected = (json.loads((folder / f"{name}.json").read_text()) for name in ("predictions", "expected"))
    return read_state_changes(request.param), predictions, expected


def columns(clips):
    """Return start, end and key frame (0 where none), and whether there is a change."""
    changed = np.array([clip.state_change for clip in clips])
    numbers = [[clip.start_frame, clip.end_frame, clip.pnr_frame or 0] for clip in clips]
    return *np.array(numbers).T, changed


def test_there_is_a_case():
    assert CASES, f"no fho_oscc-pnr_*.json with predictions.json and expected.json below {GOLDEN}"


def test_the_clips_are_read_as_recorded(case):
    clips, predictions, _ = case
    assert len(clips) == len(predictions["state_change"])
    assert [clip.state_change for clip in clips] == [bool(state) for state in predictions["state_change"]]
    assert [clip.official_fps for clip in clips] == pytest.approx(predictions["fps"], abs=1e-9)
    assert all((clip.pnr_frame is not None) == clip.state_change for clip in clips)


def test_every_frame_and_every_key_frame_is_the_recorded_one(case):
    clips, predictions, _ = case
    for clip, sampled in zip(clips, predictions["sampled"], strict=True):
        frames = window_frames(clip.start_frame, clip.end_frame, len(sampled["frames"]))
        assert frames.tolist() == sampled["frames"]
        slot = None if clip.pnr_frame is None else state_change_slot(frames, clip.pnr_frame)
        assert slot == sampled["keyframe"]


def test_accuracy_is_the_recorded_one(case):
    clips, predictions, expected = case
    told = np.array(predictions["oscc_logits"]).argmax(axis=1) == 1
    true = columns(clips)[-1]
    accuracy = state_change_accuracy(told, true)
    assert accuracy == pytest.approx(expected["oscc_accuracy_percent_egovlp"], abs=1e-9)
    assert accuracy / 100 == pytest.approx(expected["oscc_accuracy"], abs=1e-9)
    always = state_change_accuracy(np.ones_like(true), true)
    assert always / 100 == pytest.approx(expected["always_positive_accuracy"], abs=1e-9)


def test_the_official_error_of_every_clip_and_its_mean_are_the_recorded_ones(case):
    clips, predictions, expected = case
    start, end, pnr, changed = columns(clips)
    logits = np.array(predictions["pnr_logits"])
    found = official_frames(logits.argmax(axis=1), start, end, logits.shape[1])
    errors = key_frame_errors(found, pnr, np.array(predictions["fps"]))

    recorded = expected["pnr_error_per_clip_sec"]
    assert [error is not None for error in recorded] == changed.tolist()
    np.testing.assert_allclose(errors[changed], [error for error in recorded if error is not None], atol=1e-9, rtol=0)
    for name in ("pnr_mean_error_sec", "pnr_mean_error_sec_egovlp"):
        assert mean_key_frame_error(errors, changed) == pytest.approx(expected[name], abs=1e-9)


def test_always_choosing_one_frame_errs_as_recorded(case):
    clips, predictions, expected = case
    start, end, pnr, changed = columns(clips)
    num_slots, fps = len(expected["constant_frame_error"]), np.array(predictions["fps"])
    errors = constant_slot_errors(start[changed], end[changed], pnr[changed], fps[changed], num_slots)
    recorded = [expected["constant_frame_error"][str(slot)]["mean_error_sec"] for slot in range(num_slots)]
    np.testing.assert_allclose(errors, recorded, atol=1e-9, rtol=0)


def test_the_nearest_frames_themselves_err_less_than_half_a_step(case):
    # The exact mapping, which the reference does not have: its error follows from the recorded frames alone.
    clips, predictions, _ = case
    _, _, pnr, changed = columns(clips)
    frames = np.array([sampled["frames"] for sampled in predictions["sampled"]])
    slots = np.array([sampled["keyframe"] or 0 for sampled in predictions["sampled"]])
    found = seen_frames(slots, frames)
    between = (frames[:, 0] <= pnr) & (pnr <= frames[:, -1]) & changed
    step = np.diff(frames, axis=1).max(axis=1)
    assert between.any()
    assert (np.abs(found - pnr)[between] <= step[between] / 2).all()
