"""The world's third-person sources: the published names and columns, and media that show what the captions tell."""

import csv
import json
import zlib

import av
import numpy as np
import pytest

from playhead.data.caption_sources import CaptionFiles, open_captions
from playhead.video.still import read_still
from playhead.world.world import WorldConfig, make_world

CONFIG = WorldConfig(
    train_videos=2, val_videos=1, test_videos=0, seconds=18.0, scene_seconds=18.0, size=(48, 64), fps=10, gop=20
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), CONFIG, workers=1)


def truth(world):
    videos = json.loads((world.root / "world.json").read_text())["videos"]
    return {video["video_uid"]: [event for scene in video["scenes"] for event in scene["events"]] for video in videos}


def decode(path):
    with av.open(path) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def test_webvid_has_the_published_columns_and_clips_that_are_pieces_of_the_films(world):
    with (world.root / "webvid" / "results_2M_train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["videoid", "contentUrl", "duration", "page_dir", "name"]
    films = [decode(world.video_path(uid)) for uid in world.videos["train"]]
    events = [truth(world)[uid] for uid in world.videos["train"]]
    found = []
    for row in rows:
        clip = decode(world.root / "webvid" / "videos" / row["page_dir"] / f"{row['videoid']}.mp4")
        places = [
            (number, at)
            for number, film in enumerate(films)
            for at in range(len(film) - len(clip) + 1)
            if np.array_equal(film[at : at + len(clip)], clip)
        ]
        assert len(places) == 1 and row["duration"] == f"PT00H00M{len(clip) // 10:02d}S"
        number, at = places[0]
        inside = [event for event in events[number] if at <= 10 * event["start"] < at + len(clip)]
        assert row["name"].count(", then ") == len(inside) - 1
        assert all(f"{event['colour']} {event['noun']}" in row["name"] for event in inside)
        found.append(places[0])
    assert len(set(found)) == len(found) >= 6


def test_cc3m_has_two_columns_without_heading_and_pictures_named_by_their_urls(world):
    lines = (world.root / "cc3m" / "Train_GCC-training.tsv").read_text().splitlines()
    events = [event for uid in world.videos["train"] for event in truth(world)[uid]]
    assert len(lines) == len(events)
    kinds = set()
    for line, event in zip(lines, events, strict=True):
        caption, url = line.split("\t")
        assert caption.startswith("a person ") and f"{event['colour']} {event['noun']}" in caption
        path = world.root / "cc3m" / "training" / str(zlib.crc32(url.encode()))
        kinds.add(path.read_bytes()[:4])
        assert read_still(path).shape == (3, 48, 64)
    assert {kind[:2] for kind in kinds} == {b"\x89P", b"\xff\xd8"}


def test_howto100m_tells_the_train_videos_and_lists_them(world):
    captions = json.loads((world.root / "howto100m" / "caption.json").read_text())
    assert list(captions) == list(world.videos["train"])
    for uid, told in captions.items():
        assert set(told) == {"start", "end", "text"}
        assert list(zip(told["start"], told["end"], strict=True)) == [(e["start"], e["end"]) for e in truth(world)[uid]]
    with (world.root / "howto100m" / "HowTo100M_v1.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["video_id", "category_1", "category_2", "rank", "task_id"]
    assert [row["video_id"] for row in rows] == list(captions)


def test_the_readers_of_the_published_files_leave_nothing_out(world):
    root = world.root
    for layout, pairs, media in (
        ("webvid", root / "webvid" / "results_2M_train.csv", root / "webvid" / "videos"),
        ("cc3m", root / "cc3m" / "Train_GCC-training.tsv", root / "cc3m" / "training"),
        ("howto100m", root / "howto100m" / "caption.json", root / "full_scale"),
    ):
        source = open_captions(layout, pairs, media, CaptionFiles(), suffixes=(".mp4",))
        assert source.table.dropped == {} and source.present is None and len(source) >= 2
