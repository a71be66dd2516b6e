import json

import numpy as np
import pytest
from egovlp_cases import case_name, find_cases

from playhead.data.egoclip import EgoClip, EgoClipSettings, build_egoclip
from playhead.data.narrations import VideoEntry
from playhead.types import Narration

CASES = find_cases("h_scene_segments*.json")


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_released_bins_are_the_recorded_segments(case):
    table, segments, seconds = read_case(case)
    for index, row in enumerate(table):
        rows = table.neighbours(index, seconds, rule="released_bins")
        found = {(table[int(place)].video_id, table[int(place)].time) for place in rows}
        segment = segments[row.video_id, row.time]
        assert found == {key for key, other in segments.items() if other == segment}


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_drawing_reaches_every_row_of_a_segment_and_no_other(case):
    table, segments, seconds = read_case(case)
    sizes = [len(table.neighbours(index, seconds, rule="released_bins")) for index in range(len(table))]
    index = int(np.argmax(sizes))
    generator = np.random.default_rng(0)
    drawn = {table.draw_neighbour(index, generator, seconds, "released_bins") for _ in range(100 * max(sizes))}
    row = table[index]
    assert {segments[table[place].video_id, table[place].time] for place in drawn} == {segments[row.video_id, row.time]}
    assert len(drawn) == max(sizes)


def test_there_are_cases():
    assert CASES


def read_case(path) -> tuple[EgoClip, dict[tuple[str, float], str], float]:
    recorded = json.loads(path.read_text())
    rows = recorded["rows"]
    narrations = [Narration(row["video_uid"], row["narration_time"], "#C C does a thing") for row in rows]
    ends = {
        video: max(n.time for n in narrations if n.video_id == video) + 60 for video in {n.video_id for n in narrations}
    }
    manifest = {video: VideoEntry(video, end, None, None, None, ()) for video, end in ends.items()}
    table = build_egoclip(narrations, manifest, None, frozenset(), EgoClipSettings())
    segments = {(row["video_uid"], row["narration_time"]): row["segment_id"] for row in rows}
    return table, segments, float(recorded["neg_param"])
