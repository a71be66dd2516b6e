import os
from pathlib import Path

import pytest

from playhead.data.egoclip import EgoClipSettings, build_egoclip
from playhead.data.epic import read_epic_narrations, read_epic_videos
from playhead.data.narrations import VideoEntry
from playhead.errors import AnnotationError
from playhead.types import Narration

HEADING = (
    "narration_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,narration,verb_class,all_noun_classes\n"
)
REAL = (
    Path(os.environ.get("PLAYHEAD_DATA") or Path(__file__).parents[3].parent / "shared" / "data")
    / "annotations/epic100"
)


def test_clock_times_become_seconds_and_classes_tags(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text(
        HEADING + 'n0,P01_11,01:02:03.500,00:00:00.00,00:00:01.89,"take plate, cup",0,"[9, 2, 2]"\n'
        "n1,P01_11,,00:00:02.00,00:00:03.00,wash,2,[]\n"
    )
    assert list(read_epic_narrations(path)) == [
        Narration("P01_11", 3723.5, "take plate, cup", nouns=(2, 9), verbs=(0,)),
        Narration("P01_11", 2.5, "wash", nouns=(), verbs=(2,)),  # not told when; the middle of 2 and 3 s
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("n0,v,00:61:00.0,00:00:00,00:00:01,take,0,[]", "row 2: a time like"),
        ("n0,v,-1,00:00:00,00:00:01,take,0,[]", "row 2: a time like"),
        ("n0,v,00:00:01,00:00:00,00:00:01,take,0,__import__('os')", "row 2: class numbers"),
        ("n0,v,00:00:01,00:00:00,00:00:01,take,x,[]", "row 2: class numbers"),
        ("n0,v,00:00:01", "row 2: 8 fields needed"),
        ("n0,v,00:00:01,,,a,0,[]\nn0,v,00:00:01,,,b,0,[]", "row 3: narration 'n0' stands in an earlier row"),
    ],
)
def test_a_broken_row_is_named(tmp_path, row, message):
    (tmp_path / "e.csv").write_text(HEADING + row + "\n")
    with pytest.raises(AnnotationError, match=message):
        list(read_epic_narrations(tmp_path / "e.csv"))


def test_a_missing_column_is_named(tmp_path):
    (tmp_path / "e.csv").write_text("narration_id,video_id\n")
    with pytest.raises(AnnotationError, match="narration_timestamp"):
        list(read_epic_narrations(tmp_path / "e.csv"))


def test_video_info_is_a_manifest(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("video_id,duration,fps,resolution\nP01_01,1652.25,59.94,1920x1080\n")
    assert read_epic_videos(path) == {"P01_01": VideoEntry("P01_01", 1652.25, 59.94, 1920, 1080, ("cooking",))}
    path.write_text("video_id,duration,fps,resolution\nP01_01,1652.25,59.94,big\n")
    with pytest.raises(AnnotationError, match="row 2"):
        read_epic_videos(path)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real EPIC-KITCHENS-100 annotations (PLAYHEAD_DATA) are not here")
def test_egoclip_is_built_of_all_real_validation_narrations():
    manifest = read_epic_videos(REAL / "EPIC_100_video_info.csv")
    narrations = list(read_epic_narrations(REAL / "EPIC_100_validation.csv"))
    assert len(narrations) == 9668  # rows of the file
    table = build_egoclip(narrations, manifest, None, frozenset(), EgoClipSettings(min_words=1))
    assert len(table) + sum(table.dropped.values()) == len(narrations)
    assert len(table) > 9600
    assert len(table.video_ids) == 138  # videos of the validation set
    assert table.num_verbs <= 97
    assert table.num_nouns <= 300
