import json

import pytest

from playhead.data.moment_conversion import convert_moments, read_durations, write_converted
from playhead.data.segments import Segment, SegmentClip, class_names, read_class_names, read_segments
from playhead.errors import AnnotationError
from playhead.types import Span


def label(name, start, end, primary=True):
    return {"label": name, "start_time": start, "end_time": end, "primary": primary, "video_start_time": start + 100}


def clip(clip_id, *annotators, start=100.0, end=160.0):
    record = {"clip_uid": clip_id, "video_start_sec": start, "video_end_sec": end}
    annotations = [{"annotator_uid": str(n), "labels": labels} for n, labels in enumerate(annotators)]
    return record | ({"annotations": annotations} if annotators else {})


def write(tmp_path, content, name="moments_val.json"):
    (tmp_path / name).write_text(json.dumps(content))
    return tmp_path / name


def moments(tmp_path, *clips, split="val", name="moments_val.json"):
    return write(tmp_path, {"version": "1", "videos": [{"video_uid": "v", "split": split, "clips": [*clips]}]}, name)


def database(tmp_path, wrapped=True, duration=60.0, **videos):
    content = {
        name: {"duration": duration, "subset": subset, "annotations": [{"segment": s, "label": n} for s, n in records]}
        for name, (subset, records) in videos.items()
    }
    return write(tmp_path, {"database": content} if wrapped else content, "database.json")


def test_moments_are_the_primary_labels_of_all_annotators(tmp_path):
    first = [label("wash", 1, 2), label("dry", 3, 4, primary=False)]
    found = read_segments(moments(tmp_path, clip("c", first, [label("dry", 5, 9)])))
    segments = (Segment(1.0, 2.0, "wash"), Segment(5.0, 9.0, "dry"))
    assert list(found) == [SegmentClip("c", "v", 100.0, 160.0, segments, "val")]
    assert (found.skipped, found.odd, found[0].duration) == ({"not_primary": 1}, {}, 60.0)
    assert segments[0].span == Span(1.0, 2.0)


def test_clips_without_a_primary_label_are_left_out_unless_they_are_of_the_test_split(tmp_path):
    clips = [clip("a", []), clip("b", [label("wash", 1, 2, primary=False)]), clip("c", [label("wash", 1, 2)])]
    found = read_segments(moments(tmp_path, *clips))
    assert ([c.clip_id for c in found], found.skipped) == (["c"], {"not_primary": 1, "no_segments": 2})
    unannotated = read_segments(moments(tmp_path, clip("d"), split="test"))
    assert [(c.clip_id, c.segments) for c in unannotated] == [("d", ())]


def test_odd_segments_are_kept_and_counted(tmp_path):
    labels = [label("a", 3, 3), label("a", 50, 61), label("a", -1, 2), label("b", 1, 2), label("b", 1, 2)]
    found = read_segments(moments(tmp_path, clip("c", labels)))
    assert found.odd == {"no_length": 1, "outside_clip": 2, "repeated": 1}
    assert len(found[0].segments) == 5
    assert found[0].segments[0].span is None


def test_reversed_segments_are_an_error_or_counted(tmp_path):
    path = moments(tmp_path, clip("c", [label("a", 1, 2), label("a", 4, 3)]))
    with pytest.raises(AnnotationError, match=r"clip 'c', segment 2: ends at 3.0 s before it starts at 4.0 s"):
        read_segments(path)
    found = read_segments(path, on_reversed="skip")
    assert (len(found[0].segments), found.skipped) == (1, {"reversed": 1})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([label("a", float("nan"), 2)], "'start_time' must be a finite number"),
        ([label("a", 1, float("inf"))], "'end_time' must be a finite number"),
        ([label("a", 1, 2, primary=None)], "'primary' must be true or false"),
        ([label(7, 1, 2)], "'label' must be a text"),
        ([label("z", 1, 2)], "label 'z' is none of the 2 known"),
        ([{"primary": True}], "'start_time' is missing"),
    ],
)
def test_what_is_wrong_with_a_segment_is_told_with_its_clip(tmp_path, labels, message):
    with pytest.raises(AnnotationError, match=f"clip 'c'.*{message}"):
        read_segments(moments(tmp_path, clip("c", labels)), labels=("a", "b"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"clips": []}, "'videos' is missing"),
        ({"videos": [{"video_uid": "v", "clips": []}]}, "'split' is missing"),
        (
            {"videos": [{"video_uid": "v", "split": "val", "clips": [{"clip_uid": "c"}]}]},
            "'video_start_sec' is missing",
        ),
        ({"videos": [{"video_uid": "v", "split": "val", "clips": [clip("c", start=5.0, end=5.0)]}]}, "ends at 5.0 s"),
        ({"videos": []}, "any clip wanted, found no clips at all"),
    ],
)
def test_another_layout_is_told(tmp_path, content, message):
    with pytest.raises(AnnotationError, match=message):
        read_segments(write(tmp_path, content))


def test_a_clip_that_stands_twice_is_an_error(tmp_path):
    labels = [label("a", 1, 2)]
    with pytest.raises(AnnotationError, match="clip 'c' stands here twice"):
        read_segments(moments(tmp_path, clip("c", labels), clip("c", labels)))


def test_a_subset_that_is_not_there_is_told_with_those_that_are(tmp_path):
    path = database(tmp_path, a=("training", []), b=("validation", []))
    assert [c.clip_id for c in read_segments(path, "activitynet", subset="validation")] == ["b"]
    with pytest.raises(AnnotationError, match="subset 'val' wanted, found 'training', 'validation'"):
        read_segments(path, "activitynet", subset="val")


@pytest.mark.parametrize("layout", ["activitynet", "hacs", "fineaction"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_activitynets_layout_is_a_clip_per_video(tmp_path, layout, wrapped):
    path = database(tmp_path, wrapped, v_1=("training", [([1, 2.5], "wash")]), v_2=("testing", []))
    assert list(read_segments(path, layout)) == [
        SegmentClip("v_1", "v_1", 0.0, 60.0, (Segment(1.0, 2.5, "wash"),), "training"),
        SegmentClip("v_2", "v_2", 0.0, 60.0, (), "testing"),
    ]


@pytest.mark.parametrize(
    ("segment", "message"),
    [([1], "a start and an end"), ([1, None], "finite seconds needed"), (["1", "nan"], "finite seconds needed")],
)
def test_a_bad_segment_of_a_database_is_told(tmp_path, segment, message):
    with pytest.raises(AnnotationError, match=f"video 'v_1': .*{message}"):
        read_segments(database(tmp_path, v_1=("training", [(segment, "wash")])), "activitynet")
    with pytest.raises(AnnotationError, match="lasts 0"):
        read_segments(database(tmp_path, duration=0, v_1=("training", [])), "activitynet")


def test_thumos_times_are_texts_and_ambiguous_parts_are_left_out(tmp_path):
    records = [{"segment": ["1.5", "2"], "label": "Diving"}, {"segment": ["3", "9"], "label": "Ambiguous"}]
    path = write(tmp_path, {"database": {"video_test_1": {"subset": "test", "annotations": records}}})
    found = read_segments(path, "thumos14")
    segments = (Segment(1.5, 2.0, "Diving"),)
    assert list(found) == [SegmentClip("video_test_1", "video_test_1", 0.0, None, segments, "test")]
    assert (found.skipped, found[0].duration) == ({"ambiguous": 1}, None)


def test_thumos_folder_has_a_file_per_class(tmp_path):
    (tmp_path / "Diving_val.txt").write_text("video_validation_2  1.5 2.0\n\nvideo_validation_1 3 4\n")
    (tmp_path / "Ambiguous_val.txt").write_text("video_validation_2 7 8\n")
    (tmp_path / "LongJump_test.txt").write_text("video_test_1 3 4\n")
    found = read_segments(tmp_path, "thumos14", subset="validation")
    assert {c.clip_id: c.segments for c in found} == {
        "video_validation_2": (Segment(1.5, 2.0, "Diving"),),
        "video_validation_1": (Segment(3.0, 4.0, "Diving"),),
    }
    assert found.skipped == {"ambiguous": 1}
    (tmp_path / "Diving_val.txt").write_text("video_validation_2 1.5 2.0\nvideo_validation_1 x 4\n")
    with pytest.raises(AnnotationError, match=r"Diving_val.txt, row 2: .*finite seconds needed, found 'x'"):
        read_segments(tmp_path, "thumos14")


def test_class_names_are_sorted_or_in_order_of_first_sight(tmp_path):
    found = read_segments(
        moments(tmp_path, clip("c", [label("wash", 1, 2), label('"dry"', 1, 2), label("wash", 2, 3)]))
    )
    assert class_names(found) == ('"dry"', "wash")
    assert class_names(found, "file") == ("wash", '"dry"')


def test_the_order_of_a_released_system_is_read_from_its_file(tmp_path):
    numbers = write(tmp_path, {"wash": 2, "dry": 1, "Background": 0}, "moment_classes_idx.json")
    assert read_class_names(numbers) == ("dry", "wash")
    (tmp_path / "label_map.txt").write_text("wash a cup\n\ndry\n")
    assert read_class_names(tmp_path / "label_map.txt") == ("wash a cup", "dry")
    with pytest.raises(AnnotationError, match="same number"):
        read_class_names(write(tmp_path, {"wash": 1, "dry": 1}, "twice.json"))
    (tmp_path / "label_map.txt").write_text("dry\ndry\n")
    with pytest.raises(AnnotationError, match="each once"):
        read_class_names(tmp_path / "label_map.txt")


def test_conversion_and_reading_agree(tmp_path):
    labels = [label("wash", 1, 2), label("dry", 3, 4, primary=False)]
    path = moments(tmp_path, clip("c", labels), clip("d", []))
    write(tmp_path, {"videos": [{"video_uid": "v", "duration_sec": 320.0}]}, "ego4d.json")
    clips, skipped = convert_moments([path], read_durations(tmp_path / "ego4d.json"), {"v": 600})
    assert skipped == {"no_segments": 1}
    assert clips["c"]["fps"] == 600 / 320
    assert clips["c"]["annotations"] == labels[:1]
    write_converted(tmp_path / "converted.json", clips)
    assert list(read_segments(tmp_path / "converted.json", "converted")) == list(read_segments(path))


def test_conversion_leaves_out_videos_without_features_and_needs_durations(tmp_path):
    path = moments(tmp_path, clip("c", [label("wash", 1, 2)]))
    assert convert_moments([path], {}, {}) == ({}, {"no_features": 1})
    with pytest.raises(AnnotationError, match="video 'v' has no duration"):
        convert_moments([path], {}, {"v": 600})
    with pytest.raises(AnnotationError, match="clip 'c' stands in these files twice"):
        convert_moments([path, path], {"v": 320.0}, {"v": 600})
