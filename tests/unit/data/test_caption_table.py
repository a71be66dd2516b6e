"""Tables of captions: written once, part by part; a killed conversion goes on; another source is converted anew."""

import os
import pickle

import numpy as np
import pytest

from playhead.data import caption_table
from playhead.data.caption_layouts import WebVid
from playhead.data.caption_sources import CaptionFiles, CaptionSource, open_captions
from playhead.data.caption_table import CaptionTable
from playhead.errors import AnnotationError, RecipeError
from playhead.types import Span


class KilledError(Exception):
    """What ends a conversion in these tests."""


def write_csv(path, count, first=0):
    rows = [f"{number},u,d,p{number % 3},caption {number}\n" for number in range(first, first + count)]
    path.write_text("videoid,contentUrl,duration,page_dir,name\n" + "".join(rows))
    return WebVid(path)


def everything(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def rows_of(table):
    return [(table[row].file, table[row].text) for row in range(len(table))]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(caption_table, "PART_ROWS", 4)


def test_a_table_of_several_parts_is_read_at_any_row_and_sent_by_its_path(tmp_path):
    table = CaptionTable.convert(write_csv(tmp_path / "a.csv", 10), tmp_path / "t")
    assert len(list((tmp_path / "t").glob("part_*.arrow"))) == 3
    assert rows_of(table) == [(f"p{number % 3}/{number}.mp4", f"caption {number}") for number in range(10)]
    assert table[-1] == table[9] and list(table.files()) == [file for file, _ in rows_of(table)]
    for row in (10, -11):
        with pytest.raises(IndexError):
            table[row]
    sent = pickle.dumps(table)
    assert len(sent) < 500 and rows_of(pickle.loads(sent)) == rows_of(table)


def test_progress_tells_bytes_and_rows(tmp_path):
    told, reader = [], write_csv(tmp_path / "a.csv", 10)
    CaptionTable.convert(reader, tmp_path / "t", lambda *counts: told.append(counts))
    assert [rows for _, _, rows in told] == [4, 8, 10]
    assert told[-1][:2] == (reader.total(), reader.total())


@pytest.mark.parametrize("parts_before", [0, 1, 2])
def test_a_killed_conversion_goes_on_to_the_same_files(tmp_path, parts_before):
    reader = write_csv(tmp_path / "a.csv", 10)
    CaptionTable.convert(reader, tmp_path / "whole")

    def killing(done, total, rows):
        if rows == min(10, 4 * (parts_before + 1)):
            raise KilledError

    with pytest.raises(KilledError):
        CaptionTable.convert(reader, tmp_path / "t", killing)
    with pytest.raises(AnnotationError, match="no finished table"):
        CaptionTable.open(tmp_path / "t")
    told = []
    CaptionTable.convert(reader, tmp_path / "t", lambda done, total, rows: told.append(rows))
    assert told == [4, 8, 10][parts_before + 1 :]
    assert everything(tmp_path / "t") == everything(tmp_path / "whole")


def test_a_file_named_before_a_kill_is_known_after_it(tmp_path):
    path = tmp_path / "a.csv"
    reader = write_csv(path, 6)
    path.write_text(path.read_text() + "1,u,d,p1,again\n")
    with pytest.raises(KilledError):
        CaptionTable.convert(reader, tmp_path / "t", lambda *_: (_ for _ in ()).throw(KilledError))
    table = CaptionTable.convert(reader, tmp_path / "t")
    assert len(table) == 6 and table.dropped == {"file_named_twice": 1}


def test_a_finished_table_is_not_written_again_and_another_source_is(tmp_path):
    reader = write_csv(tmp_path / "a.csv", 10)
    CaptionTable.convert(reader, tmp_path / "t")
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "t").iterdir()}
    old = CaptionTable.convert(reader, tmp_path / "t")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "t").iterdir()} == times
    sent = pickle.dumps(old)

    new = CaptionTable.convert(write_csv(tmp_path / "a.csv", 5, first=100), tmp_path / "t")
    assert [text for _, text in rows_of(new)] == [f"caption {number}" for number in range(100, 105)]
    assert not (tmp_path / "t" / "part_00002.arrow").exists()
    assert rows_of(old)[0] == ("p0/0.mp4", "caption 0")  # what was open stays as it was
    with pytest.raises(AnnotationError, match="replaced in the meantime"):
        pickle.loads(sent)


def test_a_part_of_another_source_is_no_part_of_a_table(tmp_path):
    reader = write_csv(tmp_path / "a.csv", 10)
    CaptionTable.convert(reader, tmp_path / "t")
    CaptionTable.convert(write_csv(tmp_path / "b.csv", 10, first=50), tmp_path / "other")
    os.replace(tmp_path / "other" / "part_00001.arrow", tmp_path / "t" / "part_00001.arrow")
    with pytest.raises(AnnotationError, match="damaged"):
        CaptionTable.open(tmp_path / "t")
    assert len(CaptionTable.convert(reader, tmp_path / "t")) == 10


@pytest.mark.parametrize("name", ["part_00001.arrow", "first_rows.npy", "table.json"])
def test_a_damaged_table_is_converted_anew(tmp_path, name):
    reader = write_csv(tmp_path / "a.csv", 10)
    whole = CaptionTable.convert(reader, tmp_path / "t")
    before = rows_of(whole)
    (tmp_path / "t" / name).write_bytes(b"nothing")
    assert rows_of(CaptionTable.convert(reader, tmp_path / "t")) == before


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    reader = write_csv(tmp_path / "a.csv", 1)
    with pytest.raises(AnnotationError, match="give another folder for tables"):
        CaptionTable.convert(reader, tmp_path / "a.csv" / "t")


def howto100m(tmp_path, **settings) -> CaptionSource:
    captions = '{"v": {"start": [0, 20, 40], "end": [1, 30, 42], "text": ["a &amp; b", "c", "d"]}, '
    (tmp_path / "caption.json").write_text(captions + '"w": {"start": [5], "end": [6], "text": ["long words"]}}')
    for name in ("v.mp4", "w.webm"):
        (tmp_path / name).touch()
    files = CaptionFiles(**settings)
    return open_captions("howto100m", tmp_path / "caption.json", tmp_path, files, suffixes=(".mp4", ".webm"))


def test_an_index_of_howto100m_is_a_video_with_one_of_its_captions_or_a_caption(tmp_path):
    videos = howto100m(tmp_path, min_seconds=0.0)
    assert len(videos) == 2
    drawn = [videos.draw(0, np.random.default_rng(seed)).text for seed in range(60)]
    assert {drawn.count(text) // 10 for text in ("a &amp; b", "c", "d")} <= {1, 2} and len(set(drawn)) == 3
    clips = howto100m(tmp_path, epoch_of="clips", min_seconds=0.0)
    assert [clips.draw(index, np.random.default_rng(0)).text for index in range(4)] == [
        "a &amp; b",
        "c",
        "d",
        "long words",
    ]


def test_short_captions_are_widened_on_both_sides_but_not_before_the_start(tmp_path):
    clips = howto100m(tmp_path, epoch_of="clips", min_seconds=4.0)
    spans = [clips.draw(index, np.random.default_rng(0)).span for index in range(4)]
    assert spans == [Span(0.0, 4.0), Span(20.0, 30.0), Span(39.0, 43.0), Span(3.5, 7.5)]


def test_texts_are_changed_only_as_asked(tmp_path):
    clips = howto100m(tmp_path, epoch_of="clips", entities="resolve", max_characters=5)
    assert [clips.draw(index, np.random.default_rng(0)).text for index in (0, 3)] == ["a & b", "long "]


def test_every_setting_that_changes_the_rows_has_a_table_of_its_own(tmp_path):
    write_csv(tmp_path / "a.csv", 3)
    for number in range(3):
        (tmp_path / f"p{number}").mkdir()
        (tmp_path / f"p{number}" / f"{number}.mp4").touch()
    strict, lax = (
        CaptionFiles(tables=tmp_path / "tables"),
        CaptionFiles(skip_malformed=True, tables=tmp_path / "tables"),
    )
    folders = {open_captions("webvid", tmp_path / "a.csv", tmp_path, files).table.folder for files in (strict, lax)}
    assert len(folders) == 2 and {folder.parent for folder in folders} == {tmp_path / "tables"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image_names": "mapping"}, "image_map belongs to"),
        ({"min_seconds": -1.0}, "min_seconds must be 0 or more"),
        ({"max_characters": 0}, "max_characters must be above 0"),
    ],
)
def test_settings_that_contradict_are_refused(settings, said):
    with pytest.raises(RecipeError, match=said):
        CaptionFiles(**settings)
