import json
import math

import pytest
from egoclip_rows import build, random_egoclip

from playhead.data.egomcq import build_egomcq, read_egomcq, write_egomcq
from playhead.errors import AnnotationError
from playhead.text.tagging import normalize
from playhead.types import Narration

TABLE = random_egoclip(12, 80, seed=5)
QUESTIONS = build_egomcq(TABLE, num_inter=150, num_intra=150, seed=1)


def pairs(question):
    return [(one, other) for k, one in enumerate(question.choices) for other in question.choices[:k]]


def test_the_numbers_asked_for_are_built_and_each_answer_is_its_query():
    assert [question.kind for question in QUESTIONS] == ["inter"] * 150 + ["intra"] * 150
    assert all(
        len(question.choices) == 5 and question.choices[question.answer] == question.query for question in QUESTIONS
    )
    assert {question.answer for question in QUESTIONS} == set(range(5))
    assert len({question.question_id for question in QUESTIONS}) == 300


def test_no_choice_is_a_paraphrase_of_another():
    for one, other in (pair for question in QUESTIONS for pair in pairs(question)):
        assert not (set(one.nouns) & set(other.nouns) and set(one.verbs) & set(other.verbs))
        assert normalize(one.text).lower() != normalize(other.text).lower()


def test_inter_choices_are_of_five_videos_and_intra_choices_of_one_stretch_of_one():
    for question in QUESTIONS:
        if question.kind == "inter":
            assert len({choice.video_id for choice in question.choices}) == 5
        else:
            assert len({(choice.video_id, choice.source) for choice in question.choices}) == 1
            assert all(abs(choice.time - question.query.time) < 60 for choice in question.choices)
            assert all(one.end <= other.start or other.end <= one.start for one, other in pairs(question))


def test_the_place_in_time_does_not_tell_the_answer():
    ranks = [sorted(q.choices, key=lambda row: row.time).index(q.query) for q in QUESTIONS if q.kind == "intra"]
    assert all(ranks.count(rank) > 12 for rank in range(5))  # 30 each on average


def test_no_row_is_asked_about_twice_in_one_kind():
    for kind in ("inter", "intra"):
        queries = [question.query.clip_index for question in QUESTIONS if question.kind == kind]
        assert len(set(queries)) == len(queries)


def test_the_seed_alone_decides():
    again = build_egomcq(TABLE, num_inter=150, num_intra=150, seed=1)
    assert again == QUESTIONS
    assert build_egomcq(TABLE, num_inter=150, num_intra=150, seed=2) != QUESTIONS


def test_intra_choices_are_the_nearest_that_will_do():
    narrations = [Narration("a", 10.0 * k, f"#C C does thing {k}", nouns=(k,), verbs=(k,)) for k in range(12)]
    narrations += [Narration("a", 51.0, "#C C does thing five", nouns=(5,), verbs=(5,))]  # a paraphrase, and nearest
    table = build(narrations, a=200.0)
    for question in build_egomcq(table, num_inter=0, num_intra=10, within=1000.0):
        things = sorted(choice.verbs[0] for choice in question.choices)
        assert things == list(range(things[0], things[0] + 5))


def test_too_few_clips_say_how_many_questions_there_are():
    table = random_egoclip(2, 30, seed=0)
    with pytest.raises(AnnotationError, match="1 inter-video questions asked for, but these 60 clips give 0"):
        build_egomcq(table, num_inter=1, num_intra=0)
    with pytest.raises(AnnotationError, match=r"1000 intra-video questions asked for, but these 60 clips give \d+"):
        build_egomcq(table, num_inter=0, num_intra=1000)
    assert build_egomcq(table, num_inter=0, num_intra=0) == []


def test_rows_whose_action_is_unknown_take_no_part():
    narrations = [Narration("a", 9.0 * k, f"#C C does thing {k}", nouns=(k,), verbs=()) for k in range(12)]
    with pytest.raises(AnnotationError, match="give 0"):
        build_egomcq(build(narrations, a=200.0), num_inter=0, num_intra=1)


def test_numbers_that_make_no_sense_are_refused():
    for wrong in ({"num_inter": -1, "num_intra": 0}, {"num_inter": 0, "num_intra": 0, "num_choices": 1}):
        with pytest.raises(ValueError, match="cannot ask"):
            build_egomcq(TABLE, **wrong)


def test_the_published_layout_round_trips(tmp_path):
    write_egomcq(QUESTIONS, tmp_path / "egomcq.json")
    assert read_egomcq(tmp_path / "egomcq.json") == QUESTIONS
    record = json.loads((tmp_path / "egomcq.json").read_text())["299"]
    assert record["types"] == 2  # intra
    assert record.keys() == {"answer", "query", "choices", "types"}
    assert list(record["choices"]) == ["0", "1", "2", "3", "4"]


def choice(**more):
    return {"video_uid": "a", "clip_start": -0.5, "clip_end": 2.0, "clip_text": "#C C cuts", **more}


def write(tmp_path, **more):
    record = {"answer": 1, "query": choice(), "choices": {"0": choice(), "1": choice(tag_verb="[3, 1]")}, "types": 1}
    (tmp_path / "q.json").write_text(json.dumps({"0": record | more}))
    return tmp_path / "q.json"


def test_rows_need_only_what_a_question_is_asked_with(tmp_path):
    (question,) = read_egomcq(write(tmp_path))
    assert question.kind == "inter"
    assert question.choices[1].verbs == (3, 1)
    assert question.query.video_duration == math.inf
    assert (question.query.ref.span.start, question.query.ref.span.end) == (0.0, 2.0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"types": 3}, "1 \\(inter\\) or 2 \\(intra\\)"),
        ({"answer": 2}, "the answer is 2, but there are 2 choices"),
        ({"answer": None}, "'answer' must be an integer"),
        ({"choices": {"0": choice(), "2": choice()}}, "choices '0', '1'"),
        ({"choices": {"0": choice(), "1": {"video_uid": "a"}}}, "choice 1: 'clip_start' is missing"),
        ({"query": choice(clip_end=-1)}, "query: the clip ends at -1.0 s, before"),
        ({"query": choice(tag_noun="[1")}, "tags must be a list"),
        ({"query": choice(tag_noun=[True])}, "tags must be a list"),
    ],
)
def test_a_broken_question_is_named(tmp_path, more, message):
    with pytest.raises(AnnotationError, match=message) as caught:
        read_egomcq(write(tmp_path, **more))
    assert "question '0'" in str(caught.value)
