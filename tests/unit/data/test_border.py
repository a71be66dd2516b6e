import json

import pytest

from playhead.data.border import read_json, stream_members, take, take_time, write_whole
from playhead.errors import AnnotationError


def test_streaming_yields_what_a_whole_load_holds(tmp_path):
    content = {"a": {"x": [1, "}"]}, "b": [], "c, \n": "é", "d": {}}
    for text in (json.dumps(content), json.dumps(content, indent=3), "\ufeff" + json.dumps(content) + "\n "):
        (tmp_path / "f.json").write_text(text, encoding="utf-8")
        assert dict(stream_members(tmp_path / "f.json", "videos")) == content


def test_streaming_goes_into_the_wrapper_and_skips_its_siblings(tmp_path):
    inner = {"a": {"x": 1}, "b": 2}
    (tmp_path / "f.json").write_text(json.dumps({"version": "2", "videos": inner, "date": {}}))
    assert dict(stream_members(tmp_path / "f.json", "videos")) == inner


def test_an_empty_object_has_no_members(tmp_path):
    (tmp_path / "f.json").write_text(" {  } ")
    assert list(stream_members(tmp_path / "f.json", "videos")) == []


@pytest.mark.parametrize("cut", range(1, 44))
def test_every_truncation_is_told_by_both_readers(tmp_path, cut):
    text = '{"a": {"x": [1, 2]},\n "b": {"y": "text"}}  '
    path = tmp_path / "f.json"
    path.write_text(text[: min(cut, len(text.rstrip()) - 1)])
    for read in (read_json, lambda path: list(stream_members(path, "videos"))):
        with pytest.raises(AnnotationError, match=r"f\.json"):
            read(path)


@pytest.mark.parametrize(
    "text", ["[1]", "1", "", "null", '{"a": 1,}', '{"a" 1}', "{1: 2}", '{"a": 1} x', '{"a": 1 "b": 2}']
)
def test_what_is_no_object_is_refused_while_streaming(tmp_path, text):
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(AnnotationError):
        list(stream_members(tmp_path / "f.json", "videos"))


def test_a_key_named_twice_is_told_at_any_depth(tmp_path):
    path = tmp_path / "f.json"
    path.write_text('{"a": {},\n"a": {}}')
    with pytest.raises(AnnotationError, match=r"row 2: 'a' stands here twice"):
        list(stream_members(path, "videos"))
    path.write_text('{"a": {"x": 1, "x": 2}}')
    for read in (read_json, lambda path: list(stream_members(path, "videos"))):
        with pytest.raises(AnnotationError, match="'x' twice"):
            read(path)


def test_other_encodings_are_told_with_their_line(tmp_path):
    (tmp_path / "f.json").write_bytes('{"a":\n "caf\xe9"}'.encode("latin-1"))
    with pytest.raises(AnnotationError, match=r"row 2: UTF-8"):
        read_json(tmp_path / "f.json")


def test_a_missing_file_and_deep_nesting_are_annotation_errors(tmp_path):
    with pytest.raises(AnnotationError, match="check the path"):
        read_json(tmp_path / "none.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(AnnotationError):
        read_json(tmp_path / "deep.json")


NO_NUMBERS = [True, float("nan"), float("inf"), 10**400, "1"]
NO_OTHERS = [(True, int), (1.5, int), (None, str), ([], dict), ({}, list)]


@pytest.mark.parametrize(("value", "kind"), [*((value, float) for value in NO_NUMBERS), *NO_OTHERS])
def test_values_of_another_kind_are_refused(value, kind):
    with pytest.raises(AnnotationError, match="video 'a': 'key' must be"):
        take({"key": value}, "key", kind, "f.json", "video 'a'")


def test_integers_pass_as_numbers_of_seconds():
    assert take({"key": 3}, "key", float, "f.json", "here") == 3.0
    assert take_time({"key": 0}, "key", "f.json", "here") == 0.0
    with pytest.raises(AnnotationError, match="times start at 0"):
        take_time({"key": -0.001}, "key", "f.json", "here")


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), write_whole(path) as file:
        file.write("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_where_no_folder_is_says_so(tmp_path):
    with pytest.raises(AnnotationError, match="make the folder"), write_whole(tmp_path / "none" / "f.txt"):
        pass
