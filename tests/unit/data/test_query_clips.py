import json
from dataclasses import replace

import pytest

from playhead.data.queries import QueryClip, read_queries, read_query_clips, released_record, released_rows
from playhead.data.query_rules import RELEASED, SpanRules
from playhead.errors import AnnotationError
from playhead.types import Span

NAN = float("nan")


def answer(start, end, text="Where is the cup?", **more):
    times = {"clip_start_sec": start, "clip_end_sec": end, "video_start_sec": start + 100, "video_end_sec": end + 100}
    return {"query": text, **times, **more}


def clip_record(queries, uid="c", **more):
    return {
        "clip_uid": uid,
        "video_start_sec": 100.0,
        "video_end_sec": 580.0,
        "clip_start_sec": 0,
        "clip_end_sec": 480.0,
        "annotations": [{"annotation_uid": "u", "language_queries": queries}],
    } | more


def write(tmp_path, *clips, **more):
    content = {"version": "1", "date": "230105", "videos": [{"video_uid": "v", "split": "val", "clips": list(clips)}]}
    (tmp_path / "nlq.json").write_text(json.dumps(content | more))
    return tmp_path / "nlq.json"


def read_one(tmp_path, *queries, **rules):
    clips = read_query_clips(write(tmp_path, clip_record(queries)), SpanRules(**rules) if rules else None)
    return clips, [query.span for query in clips[0].queries]


def test_times_are_seconds_of_the_clip_and_the_files_own_times_stay_beside(tmp_path):
    clips = read_query_clips(write(tmp_path, clip_record([answer(10, 12.5)]), clip_record([], uid="d")))
    (query,) = clips[0].queries
    assert (query.query_id, query.annotation_id, query.index) == ("c/u/0", "u", 0)
    assert (query.span, query.raw_start, query.raw_end) == (Span(10.0, 12.5), 10.0, 12.5)
    assert clips[0] == QueryClip("v", "c", 100.0, 580.0, 480.0, (query,))
    assert (len(clips), clips[1].queries, clips.num_queries) == (2, (), 1)
    assert (clips.version, clips.date, clips.skipped, clips.changed) == ("1", "230105", {}, {})


def test_queries_with_times_of_the_video_alone_are_moved_to_their_clip(tmp_path):
    query = {"query": "Where?", "video_start_sec": 110.0, "video_end_sec": 112.0}
    assert read_one(tmp_path, query)[1] == [Span(10.0, 12.0)]


def test_a_clip_without_times_of_its_own_is_as_long_as_in_its_video(tmp_path):
    record = clip_record([])
    del record["clip_start_sec"], record["clip_end_sec"]
    assert read_query_clips(write(tmp_path, record))[0].duration == 480.0


def test_files_without_answers_have_queries_without_times(tmp_path):
    clips, spans = read_one(tmp_path, {"query": "Who?"}, {"query": "What?", "clip_start_sec": None})
    assert spans == [None, None]
    assert [query.raw_start for query in clips[0].queries] == [None, None]


@pytest.mark.parametrize("text", [None, "", "  "])
def test_queries_without_text_are_left_out_but_keep_their_place(tmp_path, text):
    clips, _ = read_one(tmp_path, answer(1, 2, text), {"template": "x"}, answer(3, 4))
    assert [query.query_id for query in clips[0].queries] == ["c/u/2"]
    assert clips.skipped == {"no_text": 2}
    assert len(read_one(tmp_path, answer(1, 2, text), no_text="keep")[0][0].queries) == 1
    with pytest.raises(AnnotationError, match=r"query 'c/u/0' .*missing or blank"):
        read_one(tmp_path, answer(1, 2, text), no_text="error")


FAULTY = {
    "zero_length": answer(7, 7),
    "ends_before_start": answer(9, 7),
    "not_finite": answer(NAN, 7),
    "outside_clip": answer(478, 481),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_each_fault_can_be_dropped_and_counted_kept_as_it_is_or_be_an_error(tmp_path, fault):
    dropped, spans = read_one(tmp_path, FAULTY[fault], answer(1, 2), **{fault: "drop"})
    assert (spans, dropped.skipped, dropped[0].queries[0].index) == ([Span(1.0, 2.0)], {fault: 1}, 1)

    kept, spans = read_one(tmp_path, FAULTY[fault], **{fault: "keep"})
    assert spans == [Span(478.0, 481.0) if fault == "outside_clip" else None]
    assert (kept[0].queries[0].raw_end, kept.skipped, kept.changed) == (FAULTY[fault]["clip_end_sec"], {}, {})

    with pytest.raises(AnnotationError, match=r"nlq.json: query 'c/u/0' \[.*\] s in a clip of 480.0 s"):
        read_one(tmp_path, FAULTY[fault], **{fault: "error"})


def test_by_default_short_answers_are_widened_late_ones_cut_swapped_ones_dropped_and_all_counted(tmp_path):
    queries = [FAULTY["zero_length"], FAULTY["outside_clip"], FAULTY["ends_before_start"], answer(481, 490)]
    clips, spans = read_one(tmp_path, *queries)
    assert spans == [Span(7.0, 7 + 1 / 30), Span(478.0, 480.0)]
    assert [query.index for query in clips[0].queries] == [0, 1]
    assert clips.changed == {"zero_length": 1, "outside_clip": 1}
    assert clips.skipped == {"ends_before_start": 1, "outside_clip": 1}
    with pytest.raises(AnnotationError, match="not finite"):
        read_one(tmp_path, FAULTY["not_finite"])


def test_an_answer_of_no_length_at_the_very_end_is_widened_into_the_clip(tmp_path):
    (span,) = read_one(tmp_path, answer(480, 480))[1]
    assert span.end == pytest.approx(480)
    assert span.duration == pytest.approx(1 / 30)


def test_released_rules_keep_every_query_with_a_text(tmp_path):
    clips = read_query_clips(write(tmp_path, clip_record([*FAULTY.values(), answer(1, 2, None)])), RELEASED)
    assert [query.index for query in clips[0].queries] == [0, 1, 2, 3]
    assert clips.skipped == {"no_text": 1}


def test_released_records_round_both_ends_down_to_whole_features(tmp_path):
    queries = [answer(1.7, 2.6, " Where Is it??"), {"query": "who"}]  # 3.19 and 4.875 features
    clip = read_query_clips(write(tmp_path, clip_record(queries, clip_end_sec=480.4)), RELEASED)[0]
    assert released_record(clip) == {
        "fps": 1.875,
        "num_frames": 900,
        "timestamps": [[3, 4], [0, 0]],
        "exact_times": [[1.7, 2.6], [0.0, 0.0]],
        "sentences": ["where is it?", "who?"],
        "annotation_uids": ["u", "u"],
        "query_idx": [0, 1],
    }
    assert released_rows(replace(clip, start=1.0, end=2.0)) == (1, 3)


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([clip_record([]), clip_record([])], "clip 'c' stands here twice"),
        ([clip_record([], annotations=[{"annotation_uid": "u", "language_queries": [answer(1, 2)]}] * 2)], "'u' of cl"),
        ([clip_record([], video_end_sec=100.0)], "100.0 to 100.0 s of the video"),
        ([clip_record([], clip_end_sec=None)], "'clip_end_sec' must be a finite number"),
        ([clip_record([], video_start_sec=NAN)], "'video_start_sec' must be a finite number"),
        ([clip_record([answer(1, 2) | {"clip_end_sec": None}])], "'clip_end_sec' must be a finite number"),
        ([clip_record([answer(1, 2) | {"clip_end_sec": "2"}])], "'clip_end_sec' must be a finite number"),
        ([clip_record([answer(1, 2) | {"clip_end_sec": True}])], "'clip_end_sec' must be a finite number"),
        ([clip_record([answer(1, 2, 3)])], "query 'c/u/0': a text needed"),
        ([clip_record(["a?"])], "an object needed"),
        ([{"clip_uid": "c"}], "'video_start_sec' is missing"),
    ],
)
def test_a_broken_file_names_the_place(tmp_path, clips, message):
    with pytest.raises(AnnotationError, match=message):
        read_query_clips(write(tmp_path, *clips))


def test_clips_and_videos_tell_the_same_answers(tmp_path):
    path = write(tmp_path, clip_record([answer(10, 12), answer(5, 5), answer(9, 8)]))
    in_clips = [(query.query_id, query.span.start + 100) for query in read_query_clips(path)[0].queries]
    assert in_clips == [(query.query_id, query.span.start) for query in read_queries(path)]
