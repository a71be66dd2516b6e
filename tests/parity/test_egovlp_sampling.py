"""The released rules of frame numbers against recorded ones; every number exactly."""

import json
import random

import pytest
from egovlp_cases import case_name, find_cases

from playhead.video.sampling import (
    released_chunks,
    released_clip,
    released_features,
    released_random_clip,
    released_whole,
    state_change_frames,
    state_change_slot,
)

CASES = find_cases("**/g_sampling*.json")


def entries(group):
    return [
        pytest.param(entry, id=f"{case_name(case)}-{group}-{number}")
        for case in CASES
        for number, entry in enumerate(json.loads(case.read_text())[group])
    ]


def test_there_is_a_case():
    assert CASES


@pytest.mark.parametrize("entry", entries("uniform_whole"))
def test_frames_of_a_whole_video(entry):
    assert released_whole(entry["vlen"], entry["num_frames"]).tolist() == entry["frames"]


@pytest.mark.parametrize("entry", entries("start_end"))
def test_middle_frames_of_a_clip(entry):
    frames = released_clip(entry["start_sec"], entry["end_sec"], entry["num_frames"])
    assert frames.tolist() == entry["frames"]


@pytest.mark.parametrize("entry", entries("rand_start_end"))
def test_random_frames_of_a_clip_and_its_hole(entry):
    generator = random.Random(entry.get("python_random_seed"))
    if entry.get("error"):
        assert entry["error"] == "IndexError"
        with pytest.raises(IndexError):
            released_random_clip(entry["start_sec"], entry["end_sec"], entry["num_frames"], generator)
    else:
        frames = released_random_clip(entry["start_sec"], entry["end_sec"], entry["num_frames"], generator)
        assert frames.tolist() == entry["frames"]


@pytest.mark.parametrize("entry", entries("clips"))
def test_frames_of_features(entry):
    frames = released_features(entry["start_sec"], entry["end_sec"], entry["vlen"])
    assert len(frames) == entry["n"]
    assert frames[: len(entry["first"])].tolist() == entry["first"]
    assert frames[-len(entry["last"]) :].tolist() == entry["last"]
    assert int(frames.sum()) == entry["checksum"]
    assert len(frames) // 4 == entry["n_features"]


@pytest.mark.parametrize("entry", entries("egoclip_paths"))
def test_chunk_files_of_a_clip(entry):
    clip = released_chunks(entry["clip_start"], entry["clip_end"])
    assert [f"ROOT/UID/{chunk}.mp4" for chunk in clip.chunks] == entry["files"]
    assert [clip.start, clip.end] == entry["sec"]
    assert clip.bound == entry["bound_sec"]


@pytest.mark.parametrize("entry", entries("oscc"))
def test_frames_and_slot_of_a_state_change(entry):
    frames = state_change_frames(entry["start"], entry["end"])
    assert frames.tolist() == entry["frames"]
    if entry["label_index"] is not None:
        assert state_change_slot(frames, entry["pnr"]) == entry["label_index"]
