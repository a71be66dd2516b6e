import json

import numpy as np
import pytest

from playhead.data.queries import read_query_clips
from playhead.data.query_answers import (
    QueryAnswer,
    check_answers,
    pair_answers,
    read_answers,
    require_sound,
    write_answers,
)
from playhead.data.query_rules import RELEASED, SpanRules
from playhead.errors import AnnotationError

NAN = float("nan")


def read_clips(tmp_path, no_text="drop", with_times=True):
    times = {"clip_start_sec": 5.0, "clip_end_sec": 9.0} if with_times else {}
    queries = [{"query": text, **times} for text in ("a?", None, "b?", "c?")]
    clip = {"clip_uid": "c", "video_start_sec": 0.0, "video_end_sec": 60.0}
    clip["annotations"] = [{"annotation_uid": "u", "language_queries": queries}]
    (tmp_path / "nlq.json").write_text(json.dumps({"videos": [{"video_uid": "v", "clips": [clip]}]}))
    return read_query_clips(tmp_path / "nlq.json", SpanRules(no_text=no_text))


def answer(index, *windows, clip="c"):
    return QueryAnswer(clip, "u", index, np.array(windows, dtype=np.float64).reshape(-1, 2))


def write_raw(tmp_path, *results, **more):
    (tmp_path / "answers.json").write_text(json.dumps({"results": list(results), **more}))
    return tmp_path / "answers.json"


def record(**more):
    return {"clip_uid": "c", "annotation_uid": "u", "query_idx": 0, "predicted_times": [[0, 1.5]]} | more


def test_what_is_written_is_the_challenges_layout_and_reads_back(tmp_path):
    path = tmp_path / "answers.json"
    write_answers(path, [answer(0, (1.0, 2.5), (0.0, 60.0)), answer(2)])
    assert json.loads(path.read_text()) == {
        "version": "1.0",
        "challenge": "ego4d_nlq_challenge",
        "results": [
            {"clip_uid": "c", "annotation_uid": "u", "query_idx": 0, "predicted_times": [[1.0, 2.5], [0.0, 60.0]]},
            {"clip_uid": "c", "annotation_uid": "u", "query_idx": 2, "predicted_times": []},
        ],
    }
    again = read_answers(path)
    assert [(found.query_id, found.windows.tolist()) for found in again] == [
        ("c/u/0", [[1.0, 2.5], [0.0, 60.0]]),
        ("c/u/2", []),
    ]


def test_a_time_that_is_not_finite_is_never_written(tmp_path):
    with pytest.raises(AnnotationError, match="'c/u/0' has a time that is not finite"):
        write_answers(tmp_path / "answers.json", [answer(0, (NAN, 1.0))])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted_times": [1.0, 2.0]}, r"answer number 1: 'predicted_times' must be a list of \[start, end\]"),
        ({"predicted_times": [[1.0, 2.0, 3.0]]}, "must be a list of"),
        ({"predicted_times": [["1", "2"]]}, "must be a list of"),
        ({"predicted_times": [[None, 2]]}, "must be a list of"),
        ({"predicted_times": [[[1], [2]]]}, "must be a list of"),
        ({"predicted_times": [[[1], 2]]}, "must be a list of"),
        ({"predicted_times": [[10**400, 2]]}, "must be a list of"),
        ({"predicted_times": None}, "'predicted_times' must be a list"),
        ({"query_idx": "0"}, "'query_idx' must be an integer"),
        ({"clip_uid": 3}, "'clip_uid' must be a text"),
    ],
)
def test_a_broken_file_of_answers_names_the_place(tmp_path, change, message):
    with pytest.raises(AnnotationError, match=message):
        read_answers(write_raw(tmp_path, record(), record(**change)))


def test_answers_to_another_challenge_are_an_error(tmp_path):
    with pytest.raises(AnnotationError, match="'ego4d_moment_queries', not to 'ego4d_nlq_challenge'"):
        read_answers(write_raw(tmp_path, record(), challenge="ego4d_moment_queries"))
    (tmp_path / "nothing.json").write_text("{}")
    with pytest.raises(AnnotationError, match="'results' is missing"):
        read_answers(tmp_path / "nothing.json")


def test_sound_answers_have_no_problems(tmp_path):
    check = check_answers(
        [answer(0, (0.0, 60.0)), answer(2, (1.0, 1.0)), answer(3, *[(1.0, 2.0)] * 5)], read_clips(tmp_path)
    )
    assert (check.is_sound, check.lines(), check.queries, check.answers) == (True, [], 3, 3)
    require_sound(check, "answers.json")


def test_every_problem_is_named_with_its_query(tmp_path):
    answers = [
        answer(0, (0.0, 60.02), (0.0, 60.1), (-1.0, 2.0), (3.0, 2.0), (NAN, 2.0)),
        answer(3, *[(1.0, 2.0)] * 6),
        answer(3),
        answer(1, (1.0, 2.0)),  # has no text
        answer(0, (1.0, 2.0), clip="other"),
    ]
    check = check_answers(answers, read_clips(tmp_path, no_text="keep"))
    assert check.problems == {
        "missing": ("c/u/2",),
        "duplicate": ("c/u/3 2 times",),
        "unknown": ("c/u/1", "other/u/0"),
        "out_of_range": (
            "c/u/0 window 1 [0, 60.1] of 60 s",
            "c/u/0 window 2 [-1, 2] of 60 s",
            "c/u/0 window 3 [3, 2] of 60 s",
            "c/u/0 window 4 [nan, 2] of 60 s",
        ),
        "no_window": ("c/u/3",),
        "too_many_windows": ("c/u/3 6",),
    }
    assert check.lines(most=2)[2:4] == [
        "unknown: 2 (c/u/1, other/u/0)",
        "out of range: 4 (c/u/0 window 1 [0, 60.1] of 60 s, c/u/0 window 2 [-1, 2] of 60 s, ...)",
    ]
    with pytest.raises(
        AnnotationError, match=r"^sub.json: 5 answers to 3 queries .* missing: 1 \(c/u/2\); duplicate: 1"
    ):
        require_sound(check, "sub.json")
    require_sound(check, "sub.json", but=list(check.problems))


def test_pairs_have_one_row_for_each_query_in_file_order(tmp_path):
    paired = pair_answers([answer(3, (1.0, 2.0)), answer(0, (3.0, 4.0), (5.0, 6.0))], read_clips(tmp_path))
    np.testing.assert_array_equal(paired.windows, [[[3, 4], [5, 6]], [[NAN, NAN], [NAN, NAN]], [[1, 2], [NAN, NAN]]])
    assert paired.submitted.tolist() == [True, False, True]
    assert paired.truths.tolist() == [[5.0, 9.0]] * 3
    assert paired.num_queries == 3


def test_pairs_as_submitted_have_one_row_for_each_answer(tmp_path):
    answers = [answer(3, (1.0, 2.0)), answer(3), answer(1, (5.0, 6.0))]
    paired = pair_answers(answers, read_clips(tmp_path, no_text="keep"), as_submitted=True)
    np.testing.assert_array_equal(paired.windows, [[[1, 2]], [[NAN, NAN]], [[5, 6]]])
    assert (paired.submitted.tolist(), paired.num_queries) == ([True] * 3, 3)


def test_no_answers_pair_with_every_query(tmp_path):
    assert pair_answers([], read_clips(tmp_path)).windows.shape == (3, 0, 2)


@pytest.mark.parametrize(
    ("answers", "options", "message"),
    [
        ([answer(9)], {}, "an answer to 'c/u/9', but no such query"),
        ([answer(-1)], {}, "'c/u/-1', but no such query"),
        ([answer(1)], {"no_text": "keep"}, "'c/u/1', which has no text"),
        ([answer(0), answer(0)], {}, "'c/u/0' is answered twice"),
        ([answer(0)], {"with_times": False}, "'c/u/0' has no answer in the file"),
    ],
)
def test_answers_that_fit_no_query_cannot_be_paired(tmp_path, answers, options, message):
    with pytest.raises(AnnotationError, match=message):
        pair_answers(answers, read_clips(tmp_path, **options))


def test_the_rules_of_the_reference_keep_what_is_scored(tmp_path):
    assert RELEASED.zero_length == RELEASED.ends_before_start == RELEASED.outside_clip == RELEASED.not_finite == "keep"
