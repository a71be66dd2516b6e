import numpy as np
import pytest

from playhead.metrics.choice import multiple_choice_accuracy


def test_each_kind_is_scored_on_its_own_questions():
    similarities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.4], [0.7, 0.6]])
    scores = multiple_choice_accuracy(similarities, np.array([0, 1, 0, 0]), ["intra", "inter", "inter", "inter"])
    assert scores == {"intra": 100.0, "questions_intra": 1, "inter": pytest.approx(200 / 3), "questions_inter": 3}


def test_the_first_of_equal_choices_is_the_answer():
    scores = multiple_choice_accuracy(np.zeros((2, 5), np.float32), np.array([0, 1]), ["inter", "inter"])
    assert scores["inter"] == 50.0


def test_no_questions_give_no_scores():
    assert multiple_choice_accuracy(np.zeros((0, 5)), np.zeros(0, int), []) == {}


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match=r"0\.\.4"):
        multiple_choice_accuracy(np.zeros((1, 5)), np.array([5]), ["inter"])
    with pytest.raises(ValueError, match="do not go together"):
        multiple_choice_accuracy(np.zeros((1, 5)), np.array([1]), ["inter", "intra"])
    with pytest.raises(ValueError, match="question 1 is NaN"):
        multiple_choice_accuracy(np.array([[1.0, 2.0], [0.0, np.nan]]), np.array([0, 0]), ["inter"] * 2)
