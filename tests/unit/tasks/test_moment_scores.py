import numpy as np
import pytest

from playhead.data.moment_answers import ClipMoments, MomentAnswers
from playhead.data.segments import Segment, SegmentClip
from playhead.errors import AnnotationError
from playhead.tasks.moment_scores import score_moments

CLIPS = [
    SegmentClip("a", "v", 0.0, 60.0, (Segment(0.0, 10.0, "wash"), Segment(20.0, 30.0, "dry")), "val"),
    SegmentClip("b", "v", 60.0, 90.0, (Segment(5.0, 9.0, "wash"),), "val"),
    SegmentClip("c", "v", 90.0, 99.0, (), "val"),
]


def moments(*rows):
    numbers = np.array([row[1:] for row in rows], dtype=float).reshape(-1, 3)
    return ClipMoments(tuple(row[0] for row in rows), numbers[:, 0], numbers[:, 1:])


PERFECT = {clip.clip_id: moments(*((s.label, 0.9, s.start, s.end) for s in clip.segments)) for clip in CLIPS}
NONE = moments()


def test_perfect_answers_score_a_hundred_and_say_of_how_much():
    scores = score_moments(MomentAnswers(PERFECT), CLIPS)
    assert {scores[key] for key in ("mq/mAP", "mq/mAP@0.1", "mq/mAP@0.5", "mq/R1x@0.3", "mq/R5x@0.7")} == {100.0}
    counts = {"mq/clips": 3, "mq/segments": 3, "mq/coverage": 1, "mq/unknown_clips": 0}
    assert counts.items() <= scores.items()


def test_labels_and_clips_that_nobody_asked_for_are_false_or_ignored_but_never_silent():
    more = {**PERFECT, "z": moments(("wash", 1.0, 0.0, 10.0))}
    scores = score_moments(MomentAnswers(more), CLIPS)
    # dry: 100; wash: false, right, right.
    assert scores["mq/mAP"] == pytest.approx(100 * (1 + (2 / 3 + 2 / 3) / 2) / 2)
    assert scores["mq/unknown_clips"] == 1
    other_label = {**PERFECT, "c": moments(("fold", 1.0, 0.0, 5.0))}
    assert score_moments(MomentAnswers(other_label), CLIPS)["mq/mAP"] == 100.0


def test_a_missing_clip_is_an_error_or_lowers_the_score_and_the_coverage():
    partial = MomentAnswers({"a": PERFECT["a"], "c": NONE})
    with pytest.raises(AnnotationError, match="1 of 3 clips have no answer: b;"):
        score_moments(partial, CLIPS)
    scores = score_moments(partial, CLIPS, on_missing="count")
    assert scores["mq/coverage"] == pytest.approx(2 / 3)
    assert (scores["mq/mAP"], scores["mq/R5x@0.3"]) == (pytest.approx(75.0), pytest.approx(200 / 3))


def test_precision_is_of_the_detected_and_recall_of_the_retrieved():
    nothing = {clip.clip_id: NONE for clip in CLIPS}
    scores = score_moments(MomentAnswers(nothing, PERFECT), CLIPS)
    assert (scores["mq/mAP"], scores["mq/R1x@0.5"]) == (0.0, 100.0)


def test_clips_left_out_are_neither_asked_nor_answered():
    scores = score_moments(MomentAnswers(PERFECT), CLIPS, "activitynet", name="tad", leave_out=("b",))
    assert (scores["tad/clips"], scores["tad/segments"], scores["tad/mAP@0.95"]) == (2, 2, 100.0)
    assert scores["tad/unknown_clips"] == 0


def test_what_cannot_be_scored_is_told():
    with pytest.raises(AnnotationError, match="no clip has a segment"):
        score_moments(MomentAnswers({"c": NONE}), CLIPS[2:])
    with pytest.raises(ValueError, match="`convention` must be one of official, actionformer"):
        score_moments(MomentAnswers(PERFECT), CLIPS, "coco")
