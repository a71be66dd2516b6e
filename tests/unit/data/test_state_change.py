import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.data.state_change import StateChangeClip, draw_window, read_state_changes, window_frames
from playhead.errors import AnnotationError
from playhead.types import Span

POSITIVE = {
    "unique_id": "a",
    "video_uid": "v",
    "clip_uid": "c",
    "parent_start_sec": 100.0,
    "parent_end_sec": 108.0,
    "parent_start_frame": 3000,
    "parent_end_frame": 3240,
    "clip_start_frame": 600,
    "clip_end_frame": 840,
    "clip_pnr_frame": 700,
    "parent_pnr_frame": 3100,
    "state_change": True,
}
NEGATIVE = {
    "unique_id": "b",
    "video_uid": "v",
    "parent_start_sec": 200,
    "parent_end_sec": 208,
    "parent_start_frame": 6000.0,
    "parent_end_frame": 6240.0,
    "pnr_frame": None,
    "state_change": False,
}


@pytest.fixture
def read(tmp_path):
    def write_and_read(entries, keep="all", wrapped=True):
        path = tmp_path / "fho_oscc-pnr_val.json"
        path.write_text(json.dumps({"version": "1", "clips": entries} if wrapped else entries))
        return read_state_changes(path, keep)

    return write_and_read


def clip(seconds=8.0, fps=30, start=3000, pnr=None) -> StateChangeClip:
    span = Span(start / fps, start / fps + seconds)
    changed = None if pnr is None else True
    return StateChangeClip("a", "v", span, start, start + round(seconds * fps), changed, pnr)


def test_clips_are_read_wrapped_and_bare(read):
    expected = [
        StateChangeClip("a", "v", Span(100.0, 108.0), 3000, 3240, True, 3100),
        StateChangeClip("b", "v", Span(200.0, 208.0), 6000, 6240, False, None),
    ]
    assert read([POSITIVE, NEGATIVE]) == read([POSITIVE, NEGATIVE], wrapped=False) == expected


def test_the_key_frame_is_found_under_each_of_its_keys(read):
    def without(*keys):
        return {key: value for key, value in POSITIVE.items() if key not in keys}

    in_clip = without("parent_pnr_frame")
    alone = without("parent_pnr_frame", "clip_pnr_frame") | {"pnr_frame": 3100}
    for entry in (POSITIVE, in_clip, alone):
        assert read([entry])[0].pnr_frame == 3100


def test_a_file_without_answers_has_none(read):
    keys = ("unique_id", "video_uid", "parent_start_sec", "parent_end_sec", "parent_start_frame", "parent_end_frame")
    asked = read([{key: POSITIVE[key] for key in keys}])[0]
    assert asked.state_change is None and asked.pnr_frame is None


def test_all_clips_are_read_unless_the_released_thousand_is_asked_for(read):
    entries = [NEGATIVE | {"unique_id": str(number)} for number in range(1003)]
    assert len(read(entries)) == 1003
    assert [clip.unique_id for clip in read(entries, keep="released")] == [str(number) for number in range(1000)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parent_end_sec": 100.0}, "clip 'a'.*a clip needs a length"),
        ({"parent_end_frame": 2999}, "clip 'a'.*a clip needs a length"),
        ({"parent_start_sec": float("nan")}, "clip 'a'.*'parent_start_sec' must be a finite number"),
        ({"parent_start_sec": -1.0}, "times start at 0"),
        ({"parent_pnr_frame": 3241}, r"frame 3241, outside of the window \[3000, 3240\]"),
        ({"parent_pnr_frame": 2999}, "frame 2999, outside"),
        ({"parent_pnr_frame": 3100.5}, "must be a frame's number, found 3100.5"),
        ({"state_change": False}, "no state change, but frame 3100"),
        ({"state_change": "yes"}, "'state_change' must be true or false, found 'yes'"),
        ({"video_uid": 3}, "'video_uid' must be a text"),
        ({"unique_id": None}, "clip number 0: 'unique_id' must be a text"),
    ],
)
def test_a_broken_clip_is_named(read, change, message):
    with pytest.raises(AnnotationError, match=message):
        read([POSITIVE | change])


def test_files_of_other_layouts_and_double_ids_are_refused(read):
    with pytest.raises(AnnotationError, match="two clips have the unique_id 'a'"):
        read([POSITIVE, POSITIVE])
    with pytest.raises(AnnotationError, match="an object with 'unique_id' needed"):
        read(["a"])
    with pytest.raises(AnnotationError, match="'clips' must be a list"):
        read({"a": POSITIVE})


@pytest.mark.parametrize("fps", [10, 12.5, 30, 59.94])
def test_times_and_frames_are_those_of_the_videos_own_rate(fps):
    first = int(77.3 * fps)
    window = StateChangeClip("a", "v", Span(77.3, 85.3), first, first + round(8 * fps))
    assert window.fps == pytest.approx(fps, rel=0.01)
    assert window.official_fps == (round(8 * fps) + 1) / 8.0
    for frame in (first, first + 7, window.end_frame - 1):
        assert window.frame_at(window.time_of(frame)) == frame
        assert window.time_of(frame) == pytest.approx((frame - first) / fps + 77.3, abs=0.05)


@given(st.integers(0, 2**32), st.sampled_from(["paper", "released"]), st.integers(0, 240) | st.none())
def test_a_training_window_lies_in_the_clip_and_holds_the_change(seed, rule, place):
    pnr = None if place is None else 3000 + place
    first, end = draw_window(clip(pnr=pnr), np.random.default_rng(seed), rule)
    assert 3000 <= first < end <= 3240
    assert end - first >= 30 * 5 - 1
    if pnr is not None:
        assert first <= pnr <= end


def test_the_papers_windows_are_5_to_8_seconds_and_anywhere():
    fine = clip(fps=1000)  # so that whole frames do not matter
    drawn = (np.array([draw_window(fine, np.random.default_rng(seed)) for seed in range(4000)]) - 3000) / 1000
    lengths = drawn[:, 1] - drawn[:, 0]
    assert lengths.min() >= 5 - 0.001 and lengths.max() <= 8
    assert lengths.mean() == pytest.approx(6.5, abs=0.06)  # standard error 0.014
    # Of the room that a window leaves, the part before it is uniform: half of it on average, and nothing to all of it.
    has_room = lengths < 7.9
    before = drawn[has_room, 0] / (8 - lengths[has_room])
    assert before.mean() == pytest.approx(0.5, abs=0.02)  # standard error 0.005
    assert before.min() < 0.02 and before.max() > 0.98


def test_the_released_windows_are_what_numpy_makes_of_one_argument():
    for seed in range(200):
        legacy = np.random.RandomState(np.random.MT19937(seed))
        length = legacy.uniform(5, 8)
        start = 100.0 + legacy.uniform(8 - length)  # U(8 - length, 1), whichever of the two is larger
        expected = (np.floor(start * 30), np.floor(min(start + length, 108.0) * 30))
        drawn = draw_window(clip(), np.random.Generator(np.random.MT19937(seed)), "released")
        assert drawn == expected


def test_short_clips_are_taken_whole():
    first, end = draw_window(clip(seconds=4.0), np.random.default_rng(0))
    assert (first, end) == (3000, 3120)


def test_even_frames_by_hand():
    assert window_frames(100, 132, 4, "even").tolist() == [104, 112, 120, 128]
    assert window_frames(0, 3, 6, "even").tolist() == [0, 0, 1, 1, 2, 2]
    assert window_frames(7, 87, rule="even").tolist() == [9 + 5 * place for place in range(16)]


def test_multiples_are_the_official_rule_at_any_rate():
    # 8 s at 10 fps from frame 12: every fifth, from 15.
    assert window_frames(12, 92).tolist() == list(range(15, 92, 5))


@pytest.mark.parametrize("rule", ["multiples", "even"])
def test_an_empty_window_has_no_frames(rule):
    with pytest.raises(ValueError, match="window"):
        window_frames(10, 10, 16, rule)
