"""Index, search and doctor as typed; each mistake is one line and exit code 2."""

import json
import os

import pytest

from playhead.apps import search_commands
from playhead.apps.doctor import Finding
from playhead.cli import main


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setattr(search_commands.console, "width", 200)


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_video):
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "a.mp4", [("green", 6), ("red", 3), ("green", 6)])
    make_video(folder / "b.mp4", [("blue", 4), ("green", 4)])
    return folder


@pytest.fixture(scope="module")
def index(tmp_path_factory, bundle_path, videos):
    where = tmp_path_factory.mktemp("cli") / "index"
    assert main(["index", str(bundle_path), str(videos), "--out", str(where)]) == 0
    return where


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def moments(output):
    return [json.loads(line) for line in output.splitlines()]


def test_search_needs_no_bundle_where_the_index_knows_it(capsys, index, videos):
    code, output, _ = run(capsys, "search", index, "red", "--json", "--top", 1)
    assert code == 0
    (moment,) = moments(output)
    assert moment["file"] == str(videos / "a.mp4") and (moment["start"], moment["end"]) == (6.0, 9.0)
    assert moment["matches"] is True and moment["confidence"] > 0.98


def test_search_combines_filters_and_other_files(capsys, index, videos, make_video, tmp_path):
    clip = make_video(tmp_path / "clip.mp4", [("blue", 1)])
    _, output, _ = run(capsys, "search", index, "--clip", clip, "--json", "--top", 1)
    assert moments(output)[0]["file"] == str(videos / "b.mp4")
    _, output, _ = run(capsys, "search", index, "green", "--files", "b.*", "--min-seconds", "1", "--json")
    assert {moment["file"] for moment in moments(output)} == {str(videos / "b.mp4")}
    _, output, _ = run(capsys, "search", index, "green red", "--without", "green", "--and", "red", "--json", "--top", 1)
    assert (moments(output)[0]["start"], moments(output)[0]["end"]) == (6.0, 9.0)


def test_that_nothing_matches_is_said(capsys, index):
    code, output, _ = run(capsys, "search", index, "violin")
    assert code == 0 and "nothing here matches; the nearest are:" in output
    assert "nothing here matches" not in run(capsys, "search", index, "red")[1]
    assert "nothing of it was to be searched" in run(capsys, "search", index, "red", "--files", "*.avi")[1]


@pytest.mark.parametrize("text", ["日本語のクエリ", "🎥🙂", "[red]", "red " * 10_000])
def test_other_scripts_emoji_brackets_and_ten_thousand_words_are_answered(capsys, index, text):
    code, output, errors = run(capsys, "search", index, text)
    assert code == 0 and "a.mp4" in output and errors == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{index}", ""], "the query is empty"),
        (["{index}"], "nothing was asked for"),
        (["{index}", "x" * 300_000], "300,000 letters"),
        (["{index}", "red", "--after", "last week"], "is no date"),
        (["{index}", "red", "--min-seconds", "9", "--max-seconds", "1"], "no video can meet both"),
        (["{index}", "red", "--picture", "no_such.png"], "no_such.png"),
        (["{index}", "red", "--bundle", "no_such_bundle"], "no such file or folder"),
        (["nowhere", "red"], "there is no index here"),
        (["s3:///", "red"], "no address of an object store"),
    ],
)
def test_mistakes_in_a_search_are_one_line(capsys, index, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, errors = run(capsys, "search", *[argument.format(index=index) for argument in arguments])
    assert code == 2 and said in errors and errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_mistakes_in_indexing_are_one_line_and_leave_nothing(capsys, bundle_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for folder, said in (("empty", "no video lies below"), ("nowhere", "no such file or folder")):
        code, _, errors = run(capsys, "index", bundle_path, folder)
        assert code == 2 and said in errors and errors.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write every folder")
def test_a_folder_that_may_not_be_written_is_one_line(capsys, bundle_path, videos, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    code, _, errors = run(capsys, "index", bundle_path, videos, "--out", tmp_path / "locked" / "index")
    assert code == 2 and "cannot be made" in errors and errors.count("\n") == 1


def test_an_index_place_that_is_a_file_is_one_line(capsys, bundle_path, videos, tmp_path):
    (tmp_path / "file").write_text("x")
    code, _, errors = run(capsys, "index", bundle_path, videos, "--out", tmp_path / "file")
    assert code == 2 and "cannot be made" in errors and errors.count("\n") == 1


def test_the_doctor_ends_with_one_only_if_something_is_broken(capsys, index, bundle_path, monkeypatch):
    code, output, _ = run(capsys, "doctor", "--bundle", bundle_path, "--index", index)
    assert code == 0 and "decoder libx264" in output and "broken" not in output
    monkeypatch.setattr(search_commands, "examine", lambda *_: [Finding("torch", "broken", "not installed", "pip it")])
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 1 and "pip it" in capsys.readouterr().out
