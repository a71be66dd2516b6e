import pytest

from playhead.apps.asking import Asked, chance_recall, group_by_text
from playhead.types import Moment, Query, Span


def moment(video: str, start: float, end: float) -> Moment:
    return Moment(video, Span(start, end), 0.5)


def test_a_question_asked_of_two_videos_is_one_question_with_both_answers():
    queries = [
        Query("a", "v1", "Where is the cup?", Span(1.0, 2.0)),
        Query("b", "v2", "Where is the cup?", Span(5.0, 6.0)),
        Query("c", "v1", "Where is the box?", Span(3.0, 4.0)),
        Query("d", "v1", "Where is the pan?", None),
    ]
    asked = group_by_text(queries, {"v1": "/a/v1.mp4", "v2": "/a/v2.mp4"})
    assert [question.text for question in asked] == ["Where is the cup?", "Where is the box?"]
    assert asked[0].truth == (("/a/v1.mp4", Span(1.0, 2.0)), ("/a/v2.mp4", Span(5.0, 6.0)))


@pytest.mark.parametrize(
    ("found", "is_hit"),
    [
        (moment("v", 10.0, 12.0), True),
        (moment("v", 11.0, 13.0), True),  # IoU 1/3
        (moment("v", 11.2, 13.2), False),  # IoU 0.8/3.2 = 0.25
        (moment("w", 10.0, 12.0), False),
    ],
)
def test_a_hit_overlaps_by_three_tenths_in_the_right_video(found, is_hit):
    question = Asked(text="?", truth=(("v", Span(10.0, 12.0)),), moments=(found,))
    assert question.is_hit(found) is question.is_found is is_hit


def test_chance_is_near_one_where_the_answer_is_everywhere_and_zero_where_it_is_nowhere():
    everywhere = Asked(text="?", truth=(("v", Span(0.0, 10.0)),), moments=(moment("v", 0.0, 9.9),))
    nowhere = Asked(text="?", truth=(("w", Span(0.0, 10.0)),), moments=(moment("v", 0.0, 9.9),))
    assert chance_recall([everywhere], {"v": 10.0}, top=5) == 1.0
    assert chance_recall([nowhere], {"v": 10.0}, top=5) == 0.0


def test_chance_of_one_moment_is_its_share_of_starts_that_hit():
    """A moment of 1 s against a truth of 1 s: IoU >= 0.3 asks for |shift| <= 7/13, so 14/13 of 99 s of starts hit."""
    question = Asked(text="?", truth=(("v", Span(50.0, 51.0)),), moments=(moment("v", 0.0, 1.0),))
    estimate = chance_recall([question], {"v": 100.0}, top=1, draws=20_000)
    assert estimate == pytest.approx(14 / 13 / 99, rel=0.2)
