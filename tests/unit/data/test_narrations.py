import json

import pytest

from playhead.data.narrations import VideoEntry, read_challenge_videos, read_manifest, read_narrations
from playhead.errors import AnnotationError
from playhead.types import Narration


def narrations_of(*pairs: tuple[float, str]) -> dict:
    return {
        "narrations": [
            {"timestamp_sec": time, "timestamp_frame": int(time * 30), "narration_text": text, "annotation_uid": "u"}
            for time, text in pairs
        ],
        "summaries": [{"start_sec": 0, "end_sec": 300, "summary_text": "#summary C cooks", "annotation_uid": "u"}],
    }


def write(tmp_path, content, name="file.json"):
    (tmp_path / name).write_text(json.dumps(content))
    return tmp_path / name


def test_both_passes_are_read_in_file_order(tmp_path):
    path = write(
        tmp_path,
        {
            "b": {"status": "complete", "narration_pass_1": narrations_of((1.5, "#C C cuts"), (0, "#C C looks"))},
            "a": {"narration_pass_2": narrations_of((2, "x")), "narration_pass_1": narrations_of((3, "y"))},
            "none": {"status": "redacted"},
            "empty": {"status": "complete", "narration_pass_1": {}, "narration_pass_2": None},
        },
    )
    assert list(read_narrations(path)) == [
        Narration("b", 1.5, "#C C cuts"),
        Narration("b", 0.0, "#C C looks"),
        Narration("a", 3.0, "y"),
        Narration("a", 2.0, "x", source="narration_pass_2"),
    ]


def test_the_second_release_is_read_by_annotator(tmp_path):
    items = [
        {"time": 1.0, "text": "one", "_annotation_uid": "u1"},
        {"time": 2.0, "text": "two", "_annotation_uid": "u2"},
        {"time": 3.0, "text": "three", "_annotation_uid": "u1"},
    ]
    path = write(tmp_path, {"version": "v2", "videos": {"a": {"summaries": [], "narrations": items}}})
    found = list(read_narrations(path))
    assert [(n.time, n.text, n.source[-1]) for n in found] == [
        (1.0, "one", "1"),
        (2.0, "two", "2"),
        (3.0, "three", "1"),
    ]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"narration_text": "x"}, "video 'a', narration_pass_1, narration 0: 'timestamp_sec' is missing"),
        ({"timestamp_sec": -1, "narration_text": "x"}, "times start at 0"),
        ({"timestamp_sec": float("nan"), "narration_text": "x"}, "finite number"),
        ({"timestamp_sec": "1", "narration_text": "x"}, "finite number"),
        ({"timestamp_sec": 1, "narration_text": None}, "'narration_text' must be a text"),
        ("x", "an object"),
    ],
)
def test_a_broken_narration_is_named(tmp_path, item, message):
    path = write(tmp_path, {"a": {"narration_pass_1": {"narrations": [item]}}})
    with pytest.raises(AnnotationError, match=message):
        list(read_narrations(path))


@pytest.mark.parametrize(
    "content", [{"a": 1}, {"a": {"clips": []}}, {"videos": {"a": {}}}, {"a": {"narration_pass_1": 3}}]
)
def test_another_layout_is_no_empty_file(tmp_path, content):
    with pytest.raises(AnnotationError):
        list(read_narrations(write(tmp_path, content)))


def test_a_manifest_gives_every_video_once(tmp_path):
    media = {"fps": 30, "num_frames": 300, "display_resolution_width": 1440, "display_resolution_height": 1080}
    path = write(
        tmp_path,
        {
            "videos": [
                {"video_uid": "a", "duration_sec": 10.0, "scenarios": ["Cooking"], "video_metadata": media},
                {"video_uid": "b", "duration_sec": 5, "scenarios": None, "video_metadata": None},
            ]
        },
    )
    assert read_manifest(path) == {
        "a": VideoEntry("a", 10.0, 30.0, 1440, 1080, ("Cooking",)),
        "b": VideoEntry("b", 5.0, None, None, None, ()),
    }


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ([{"video_uid": "a", "duration_sec": 1}] * 2, "twice"),
        ([{"video_uid": "a", "duration_sec": 0}], "0 s"),
        ([{"video_uid": "a", "duration_sec": -3}], "start at 0"),
        ([{"duration_sec": 1}], "video number 0: 'video_uid' is missing"),
        ([{"video_uid": "a", "duration_sec": 1, "video_metadata": {"fps": "30"}}], "'fps' must be a finite number"),
        ({}, "'videos' must be a list"),
    ],
)
def test_a_broken_manifest_is_told(tmp_path, videos, message):
    with pytest.raises(AnnotationError, match=message):
        read_manifest(write(tmp_path, {"videos": videos}))


def test_held_out_videos_are_those_of_all_challenges_and_of_the_manifest(tmp_path):
    nlq = write(tmp_path, {"videos": [{"video_uid": "nlq", "split": "val", "clips": []}]}, "nlq_val.json")
    pnr = write(tmp_path, {"split": "test", "clips": [{"video_uid": "pnr"}, {"video_uid": "pnr"}]}, "pnr_test.json")
    sta = write(tmp_path, {"annotations": [{"video_uid": "sta"}]}, "fho_sta_val.json")
    splits = {"em": "val", "av": "test", "fho": "multi", "none": "train"}
    videos = [{"video_uid": name, "split_em": None, f"split_{name}": split} for name, split in splits.items()]
    manifest = write(tmp_path, {"videos": [*videos, {"video_uid": "new", "split_em": None}]}, "ego4d.json")
    assert read_challenge_videos([nlq, pnr, sta, manifest]) == {"nlq", "pnr", "sta", "em", "av", "fho"}
    assert read_challenge_videos([]) == frozenset()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"split": "train", "videos": [{"video_uid": "a"}]}, "training split"),
        ({"videos": [{"video_uid": "a", "split": "train"}]}, "training split"),
        ({"videos": [{"uid": "a"}]}, "'video_uid' is missing"),
        ({"a": {}}, "neither 'videos'"),
        ([], "challenge file"),
    ],
)
def test_a_file_that_holds_out_nothing_by_mistake_is_refused(tmp_path, content, message):
    with pytest.raises(AnnotationError, match=message):
        read_challenge_videos([write(tmp_path, content)])
