import numpy as np
import pytest

from playhead.metrics.classify import (
    average_views,
    class_ranks,
    first_of_each,
    mean_class_accuracy,
    merge_views,
    softmax,
    top_accuracy,
)


def test_top_k_is_the_share_of_rows_whose_class_is_among_the_k_best():
    scores = np.array([[0.1, 0.9, 0.0], [0.5, 0.2, 0.3], [0.0, 0.1, 0.9], [0.4, 0.5, 0.1]])
    ranks = class_ranks(scores, np.array([1, 2, 0, 0]))
    assert ranks.tolist() == [0, 1, 2, 1]
    assert [top_accuracy(ranks, k) for k in (1, 2, 3)] == [25.0, 75.0, 100.0]


def test_of_equal_scores_the_lower_class_comes_first():
    assert class_ranks(np.ones((3, 4)), np.array([0, 1, 3])).tolist() == [0, 1, 3]


def test_mean_class_accuracy_counts_each_class_alike():
    labels = np.array([0, 0, 0, 0, 2])
    ranks = np.array([0, 0, 0, 1, 1])
    assert mean_class_accuracy(ranks, labels) == pytest.approx((75 + 0) / 2)


def test_probabilities_and_logits_of_views_are_averaged_as_named():
    logits = np.log(np.array([[[0.9, 0.1], [0.2, 0.8]]]))
    assert average_views(logits, "probabilities")[0] == pytest.approx([0.55, 0.45])
    assert average_views(logits, "logits")[0] == pytest.approx([np.log(0.18) / 2, np.log(0.08) / 2])


def test_softmax_stands_large_logits():
    assert softmax(np.array([1000.0, 1000.0])).tolist() == [0.5, 0.5]


def test_views_are_told_apart_by_clip_and_crop_and_not_by_their_joint_text():
    keys = [("a", 1, 11), ("a", 11, 1), ("a", 1, 11), ("b", 1, 11)]
    assert first_of_each(keys).tolist() == [True, True, False, True]


def test_repeated_views_count_once_whatever_their_order():
    logits = np.array([[4.0, 0.0], [0.0, 2.0], [4.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    keys = [("a", 0, 0), ("a", 1, 0), ("a", 0, 0), ("b", 0, 0), ("b", 1, 0)]
    merged = merge_views(logits, keys, "logits")
    assert merged["a"].tolist() == [2.0, 1.0] and merged["b"].tolist() == [1.0, 0.5]


def test_a_video_that_lacks_views_is_named():
    with pytest.raises(ValueError, match="video 'b' has 1 views, others have 2"):
        merge_views(np.zeros((3, 2)), [("a", 0, 0), ("a", 1, 0), ("b", 0, 0)], "logits")


def test_labels_and_scores_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="labels 0 to 2 for 2 classes"):
        class_ranks(np.zeros((2, 2)), np.array([0, 2]))
    with pytest.raises(ValueError, match="row 1 are not all finite"):
        class_ranks(np.array([[0.0, 1.0], [np.nan, 0.0]]), np.array([0, 1]))
    with pytest.raises(ValueError, match="no rows"):
        top_accuracy(np.array([], dtype=np.int64), 1)
