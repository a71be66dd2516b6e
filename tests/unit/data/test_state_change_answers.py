import json

import pytest

from playhead.data.state_change import StateChangeClip
from playhead.data.state_change_answers import check_answers, problems_of, read_oscc, read_pnr, write_oscc, write_pnr
from playhead.errors import AnnotationError
from playhead.types import Span

CLIPS = [
    StateChangeClip(name, "v", Span(0.0, 8.0), 0, 240, changed, 100 if changed else None)
    for name, changed in (("a", True), ("b", False), ("c", None))
]


def test_oscc_comes_back_as_written(tmp_path):
    path = tmp_path / "oscc.json"
    write_oscc(path, {"a": True, "b": False, "c": True})
    assert read_oscc(path) == {"a": True, "b": False, "c": True}
    assert json.loads(path.read_text())[1] == {"unique_id": "b", "state_change": False}
    assert problems_of(path, CLIPS, "oscc") == ()
    check_answers(path, CLIPS, "oscc")


def test_pnr_comes_back_as_written_and_needs_no_answer_where_nothing_changes(tmp_path):
    path = tmp_path / "pnr.json"
    write_pnr(path, {"a": 112.5, "c": 0.0})
    assert read_pnr(path) == {"a": 112.5, "c": 0.0}
    assert json.loads(path.read_text())[0] == {"unique_id": "a", "pnr_frame": 112.5}
    assert problems_of(path, CLIPS, "pnr") == ()
    write_pnr(path, {"a": 112.5, "b": 3.0, "c": 0.0})
    assert problems_of(path, CLIPS, "pnr") == ()


def test_missing_double_unknown_and_impossible_answers_are_named(tmp_path):
    path = tmp_path / "pnr.json"
    entries = [("a", 241.0), ("a", 5.0), ("x", 1.0), ("b", -0.5)]
    path.write_text(json.dumps([{"unique_id": name, "pnr_frame": frame} for name, frame in entries]))
    assert problems_of(path, CLIPS, "pnr") == (
        "1 of 2 clips have no answer: c",
        "1 of 3 clips have more than one answer: a",
        "1 of 3 answers are to clips that are not asked about: x",
        "2 of 4 moments lie outside of their clip: a (241 of 240 frames), b (-0.5 of 240 frames)",
    )
    with pytest.raises(AnnotationError, match=r"pnr\.json: not fit to be submitted: .*no answer: c; .*more than one"):
        check_answers(path, CLIPS, "pnr")
    with pytest.raises(AnnotationError, match="more than one answer: a"):
        read_pnr(path)


def test_an_empty_file_misses_every_clip_and_long_lists_are_cut(tmp_path):
    path = tmp_path / "oscc.json"
    path.write_text("[]")
    assert problems_of(path, CLIPS, "oscc") == ("3 of 3 clips have no answer: a, b, c",)
    many = [StateChangeClip(str(number), "v", Span(0.0, 8.0), 0, 240) for number in range(9)]
    assert problems_of(path, many, "oscc") == ("9 of 9 clips have no answer: 0, 1, 2, 3, 4 and 4 more",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": True}, "a list of answers needed"),
        ([{"state_change": True}], "answer number 0: 'unique_id' is missing"),
        ([{"unique_id": "a", "state_change": 1}], "clip 'a': 'state_change' must be true or false, found 1"),
        ([{"unique_id": "a"}], "clip 'a': 'state_change' must be true or false, found None"),
    ],
)
def test_files_of_other_layouts_are_refused(tmp_path, content, message):
    path = tmp_path / "oscc.json"
    path.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match=message):
        read_oscc(path)


def test_a_moment_that_is_no_number_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "pnr.json"
    with pytest.raises(AnnotationError, match="clip 'a': 'pnr_frame' must be a finite number"):
        write_pnr(path, {"a": float("nan")})
    assert not path.exists()
