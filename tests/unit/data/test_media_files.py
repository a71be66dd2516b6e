"""Missing media are counted before training; what is present is settled once for all ranks and starts of a run."""

import logging
import os

import numpy as np
import pytest

from playhead.data.caption_sources import CaptionFiles, open_captions
from playhead.data.media_files import present_places
from playhead.errors import AnnotationError

SUFFIXES = (".mp4", ".mkv")


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "results_2M_train.csv"
    rows = [f"{number},u,d,p{number // 3},caption {number}\n" for number in range(6)]
    path.write_text("videoid,contentUrl,duration,page_dir,name\n" + "".join(rows))
    return path


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def texts(source):
    return [source.draw(index, np.random.default_rng(0)).text for index in range(len(source))]


def test_missing_media_stop_the_run_before_it_begins(tmp_path, pairs):
    media = put(tmp_path / "videos", "p0/0.mp4", "p0/2.mp4", "p1/4.mp4", "p1/5.mp4.part")
    with pytest.raises(AnnotationError) as caught:
        open_captions("webvid", pairs, media, CaptionFiles())
    said = "3 of 6 media files are missing (p0/1.mp4, p1/3.mp4, p1/5.mp4); fetch them, or train on the others with"
    assert said in str(caught.value) and caught.value.path == str(media)
    put(media, "p0/1.mp4", "p1/3.mp4", "p1/5.mp4")
    assert len(open_captions("webvid", pairs, media, CaptionFiles())) == 6


def test_a_folder_without_any_of_the_media_is_an_error_in_any_case(tmp_path, pairs):
    for only_present in (False, True):
        with pytest.raises(AnnotationError, match=r"6 of 6 media files are missing .* is this the folder"):
            open_captions("webvid", pairs, tmp_path / "nowhere", CaptionFiles(only_present=only_present))


def test_only_present_takes_the_others_and_says_how_many(tmp_path, pairs, caplog):
    media = put(tmp_path / "videos", "p0/0.mp4", "p0/2.mp4", "p1/4.mp4")
    with caplog.at_level(logging.INFO):
        source = open_captions("webvid", pairs, media, CaptionFiles(only_present=True))
    assert texts(source) == ["caption 0", "caption 2", "caption 4"]
    assert f"{media}: 3 of 6 captions are present; the others are left out" in caplog.text


def test_what_was_present_at_first_stays_the_data_of_the_run(tmp_path, pairs):
    media = put(tmp_path / "videos", "p0/0.mp4", "p0/2.mp4")
    first = open_captions("webvid", pairs, media, CaptionFiles(only_present=True))
    put(media, "p0/1.mp4")  # it came while the run was going
    assert texts(open_captions("webvid", pairs, media, CaptionFiles(only_present=True))) == texts(first)
    first.present.unlink()  # as the log says
    assert texts(open_captions("webvid", pairs, media, CaptionFiles(only_present=True))) == [
        *("caption 0", "caption 1", "caption 2"),
    ]


def test_the_process_that_looked_first_decides_for_all(tmp_path, pairs, monkeypatch):
    media = put(tmp_path / "videos", "p0/0.mp4", "p0/2.mp4")
    settings = {"per": "row", "only_present": True}
    table = open_captions("webvid", pairs, media, CaptionFiles(only_present=True)).table
    for record in table.folder.glob("present_*"):
        record.unlink()

    def another_is_first(source, target):
        np.save(open(target, "wb"), np.array([2]))  # noqa: SIM115
        raise FileExistsError

    monkeypatch.setattr(os, "link", another_is_first)
    record = present_places(table, media, (), **settings)
    assert np.load(record).tolist() == [2]
    assert not list(table.folder.glob("*.own"))


def test_names_without_suffix_find_any_video_and_the_folder_of_its_chunks(tmp_path):
    captions = ", ".join(
        f'"{name}": {{"start": [0, 1], "end": [1, 2], "text": ["{name} 0", "{name} 1"]}}' for name in "abcde"
    )
    (tmp_path / "caption.json").write_text(f"{{{captions}}}")
    media = put(tmp_path / "videos", "a.mp4", "b.mkv", "c/0.mp4", "d.txt")
    opened = [
        open_captions("howto100m", tmp_path / "caption.json", media, files, SUFFIXES)
        for files in (CaptionFiles(only_present=True), CaptionFiles(only_present=True, epoch_of="clips"))
    ]
    assert [text[0] for text in texts(opened[0])] == ["a", "b", "c"]
    assert texts(opened[1]) == ["a 0", "a 1", "b 0", "b 1", "c 0", "c 1"]
