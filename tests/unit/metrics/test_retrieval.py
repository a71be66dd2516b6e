import numpy as np
import pytest

from playhead.metrics.retrieval import retrieval_ranks, retrieval_recall


def test_ranks_are_those_of_a_sorted_list():
    generator = np.random.default_rng(0)
    similarity, targets = generator.normal(size=(40, 25)), generator.integers(25, size=40)
    expected = [1 + np.argsort(-row).tolist().index(target) for row, target in zip(similarity, targets, strict=True)]
    for ties in ("pessimistic", "optimistic", "mean"):
        assert retrieval_ranks(similarity, targets, ties).tolist() == expected


def test_ties_count_against_for_or_half():
    similarity, targets = np.array([[0.5, 0.9, 0.5, 0.5, 0.1]]), np.array([2])
    ranks = {ties: retrieval_ranks(similarity, targets, ties)[0] for ties in ("pessimistic", "optimistic", "mean")}
    assert ranks == {"pessimistic": 4, "optimistic": 2, "mean": 3}


def test_a_constant_model_scores_nothing():
    scores = retrieval_recall(np.zeros((10, 10)), np.arange(10), ks=(1, 5, 10))
    assert (scores["R@1"], scores["R@5"], scores["R@10"], scores["mean_rank"]) == (0, 0, 100, 10)


def test_recall_and_ranks_by_hand():
    # ranks 1, 2, 4
    similarity = np.array([[0.9, 0.1, 0.2, 0.0], [0.8, 0.7, 0.1, 0.0], [0.9, 0.8, 0.1, 0.7]])
    scores = retrieval_recall(similarity, np.array([0, 1, 2]), ks=(1, 2))
    assert scores == {
        "R@1": pytest.approx(100 / 3),
        "R@2": pytest.approx(200 / 3),
        "median_rank": 2,
        "mean_rank": pytest.approx(7 / 3),
        "queries": 3,
    }


def test_the_best_of_several_right_items_counts_and_the_others_do_not_stand_before_it():
    similarity = np.array([[0.9, 0.8, 0.8, 0.8]])
    right = np.array([[False, True, True, False]])
    assert retrieval_ranks(similarity, right)[0] == 3
    assert retrieval_ranks(similarity, right, "optimistic")[0] == 2


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        retrieval_ranks(np.array([[np.nan]]), np.array([0]))
    with pytest.raises(ValueError, match="targets within"):
        retrieval_ranks(np.zeros((1, 2)), np.array([2]))
    with pytest.raises(ValueError, match="no right item"):
        retrieval_ranks(np.zeros((1, 2)), np.zeros((1, 2), dtype=bool))
    with pytest.raises(ValueError, match="needs queries"):
        retrieval_recall(np.zeros((0, 2)), np.zeros(0, int))
