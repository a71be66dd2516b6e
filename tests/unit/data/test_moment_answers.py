import json

import numpy as np
import pytest

from playhead.data.moment_answers import (
    ClipMoments,
    MomentAnswers,
    check_moments,
    read_moment_answers,
    require_sound_moments,
    write_moment_results,
    write_moment_submission,
)
from playhead.data.segments import SegmentClip
from playhead.errors import AnnotationError
from playhead.types import Moment, Span


def moments(*rows):
    numbers = np.array([row[1:] for row in rows], dtype=float).reshape(-1, 3)
    return ClipMoments(tuple(row[0] for row in rows), numbers[:, 0], numbers[:, 1:])


def as_rows(by_clip):
    return {
        clip_id: [
            (label, score, *span) for label, score, span in zip(m.labels, m.scores, m.spans.tolist(), strict=True)
        ]
        for clip_id, m in by_clip.items()
    }


WASH, DRY = ("wash", 0.9, 1.0, 2.5), ('"dry"', 0.1, 3.0, 3.0)
FIRST, NONE = moments(WASH, DRY), moments()
CLIPS = [SegmentClip(name, "v", 100.0, 110.0, (), "val") for name in ("a", "b")]
NAMES = ("wash", '"dry"')


def write(tmp_path, content):
    (tmp_path / "found.json").write_text(json.dumps(content))
    return tmp_path / "found.json"


def test_a_submission_has_the_challenges_layout_and_comes_back(tmp_path):
    answers = MomentAnswers({"a": FIRST, "b": NONE}, {"a": moments(WASH), "b": moments(DRY)})
    write_moment_submission(tmp_path / "found.json", answers)
    content = json.loads((tmp_path / "found.json").read_text())
    assert list(content) == ["version", "challenge", "detect_results", "retrieve_results"]
    assert (content["version"], content["challenge"]) == ("1.0", "ego4d_moment_queries")
    assert content["detect_results"]["a"][0] == {"label": "wash", "score": 0.9, "segment": [1.0, 2.5]}
    read = read_moment_answers(tmp_path / "found.json")
    assert as_rows(read.detected) == {"a": [WASH, DRY], "b": []}
    assert as_rows(read.for_recall) == {"a": [WASH], "b": [DRY]}


def test_one_list_stands_in_both_places(tmp_path):
    write_moment_submission(tmp_path / "found.json", MomentAnswers({"a": FIRST}))
    read = read_moment_answers(tmp_path / "found.json")
    assert read.retrieved is not None
    assert as_rows(read.detected) == as_rows(read.retrieved) == {"a": [WASH, DRY]}


def test_the_evaluators_layout_comes_back(tmp_path):
    write_moment_results(tmp_path / "found.json", {"a": FIRST})
    assert list(json.loads((tmp_path / "found.json").read_text())) == ["version", "results", "external_data"]
    answers = read_moment_answers(tmp_path / "found.json")
    assert answers.retrieved is None
    assert as_rows(answers.for_recall) == {"a": [WASH, DRY]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "'results' or 'detect_results' by clip needed"),
        ({}, "'results' is missing"),
        ({"results": {}}, "'results' is empty: no clip is answered"),
        ({"detect_results": {"a": []}}, "'retrieve_results' is missing"),
        ({"results": {"a": []}, "challenge": "ego4d_nlq_challenge"}, "'ego4d_nlq_challenge', not to"),
        ({"results": {"a": {}}}, "clip 'a': 'a' must be a list"),
        ({"results": {"a": [{"label": "w", "score": 1}]}}, "clip 'a', detection 1: 'segment' is missing"),
        ({"results": {"a": [{"label": "w", "score": 1, "segment": [1]}]}}, "a start and an end"),
        ({"results": {"a": [{"label": "w", "score": 1, "segment": [1, "2"]}]}}, "must be a finite number"),
        ({"results": {"a": [{"label": "w", "score": float("nan"), "segment": [1, 2]}]}}, "'score' must be a finite"),
    ],
)
def test_another_layout_is_told(tmp_path, content, message):
    with pytest.raises(AnnotationError, match=message):
        read_moment_answers(write(tmp_path, content))


def test_a_clip_that_is_answered_twice_is_an_error(tmp_path):
    (tmp_path / "found.json").write_text('{"results": {"a": [], "a": []}}')
    with pytest.raises(AnnotationError, match="names 'a' twice"):
        read_moment_answers(tmp_path / "found.json")


def test_a_number_that_is_not_finite_is_not_written(tmp_path):
    wrong = MomentAnswers({"a": moments(("wash", float("nan"), 1.0, 2.0))})
    with pytest.raises(AnnotationError, match="clip 'a' has a number that is not finite"):
        write_moment_submission(tmp_path / "found.json", wrong)
    assert not (tmp_path / "found.json").exists()


def test_sound_answers_have_no_problem(tmp_path):
    check = check_moments(MomentAnswers({"a": FIRST, "b": NONE}), CLIPS, NAMES)
    assert (check.is_sound, check.answered, check.lines()) == (True, 2, [])
    require_sound_moments(check, tmp_path)


def test_every_problem_is_named(tmp_path):
    outside = [("wash", 0.5, 9.0, 10.2), ("wash", 0.4, 4.0, 3.0)]
    detected = {"a": moments(WASH, DRY, *outside, WASH, ("fold", 0.2, 1.0, 2.0)), "z": NONE}
    check = check_moments(MomentAnswers(detected, {"a": NONE, "b": NONE}), CLIPS, NAMES)
    assert check.problems == {
        "missing": ("b in detect",),
        "unknown": ("z in detect",),
        "duplicate": ("a detect 5",),
        "out_of_range": ("a detect 3 [9, 10.2]", "a detect 4 [4, 3]"),
        "unknown_label": ("a detect 6 'fold'",),
    }
    assert check.answered == 1
    with pytest.raises(AnnotationError, match=r"1 of 2 clips.*missing: 1 \(b in detect\); unknown: 1"):
        require_sound_moments(check, tmp_path)
    with pytest.raises(AnnotationError) as raised:
        require_sound_moments(check, tmp_path, but=("missing", "unknown", "duplicate", "out_of_range"))
    assert "missing" not in str(raised.value)


def test_an_end_may_be_a_frame_late_and_a_clip_of_unknown_length_has_no_end():
    late = moments(("wash", 0.5, 9.0, 10.03))
    assert check_moments(MomentAnswers({"a": late}), CLIPS[:1], NAMES).is_sound
    open_end = [SegmentClip("a", "a", 0.0, None, (), "test")]
    assert check_moments(MomentAnswers({"a": moments(("wash", 0.5, 9.0, 1e4))}), open_end, NAMES).is_sound


def test_detections_become_moments_but_those_of_no_length():
    assert FIRST.as_moments("v") == [Moment("v", Span(1.0, 2.5), 0.9, "wash")]
