import json

import pytest

from playhead.data.queries import read_queries
from playhead.errors import AnnotationError
from playhead.types import Query, Span


def write(tmp_path, queries, **more):
    clip = {
        "clip_uid": "c",
        "video_start_sec": 100.0,
        "video_end_sec": 580.0,
        "clip_start_sec": 0.0,
        "clip_end_sec": 480.0,
        "annotations": [{"annotation_uid": "u", "language_queries": queries}],
    }
    content = {"version": "1", "date": "d", "videos": [{"video_uid": "v", "split": "val", "clips": [clip | more]}]}
    (tmp_path / "nlq_val.json").write_text(json.dumps(content))
    return tmp_path / "nlq_val.json"


def query(text, start=110.0, end=112.0):
    return {
        "clip_start_sec": start - 100,
        "clip_end_sec": end - 100,
        "video_start_sec": start,
        "video_end_sec": end,
        "template": "Objects: Where is object X?",
        "query": text,
        "slot_x": "cup",
    }


def test_spans_are_of_the_whole_video_and_ids_what_a_submission_names(tmp_path):
    found = read_queries(write(tmp_path, [query("Where is the cup? "), {"query": "Who?", "template": None}]))
    assert list(found) == [
        Query("c/u/0", "v", "Where is the cup?", Span(110.0, 112.0)),
        Query("c/u/1", "v", "Who?", None),
    ]
    assert (len(found), found[1].text, found.skipped) == (2, "Who?", {})


def test_queries_without_text_are_skipped_and_counted_but_keep_their_place(tmp_path):
    found = read_queries(write(tmp_path, [query(None), query(" "), {"template": "x"}, query("Where?")]))
    assert [item.query_id for item in found] == ["c/u/3"]
    assert found.skipped == {"no_text": 3}


def test_answers_of_no_length_become_one_frame_and_reversed_ones_are_counted(tmp_path):
    found = read_queries(write(tmp_path, [query("a?", 110, 110), query("b?", 112, 110)]))
    assert found[0].span is not None
    assert found[0].span.duration == pytest.approx(1 / 30)
    assert found.skipped == {"ends_before_start": 1}


@pytest.mark.parametrize(
    ("queries", "more", "message"),
    [
        ([query("a?") | {"video_end_sec": None}], {}, "'video_end_sec' must be a finite number"),
        ([query("a?") | {"video_start_sec": float("nan")}], {}, "finite number"),
        ([query(3)], {}, "a text needed"),
        (["a?"], {}, "an object needed"),
        ([], {"clip_uid": None}, "'clip_uid' must be a text"),
        ([], {"annotations": {}}, "clip 'c': 'annotations' must be a list"),
    ],
)
def test_a_broken_file_names_the_place(tmp_path, queries, more, message):
    with pytest.raises(AnnotationError, match=message):
        read_queries(write(tmp_path, queries, **more))
