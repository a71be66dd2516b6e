import numpy as np
import pytest

from playhead.data.anchor_labels import anchor_labels

STEPS = {"num_real": 16, "num_steps": 20, "seconds_per_step": 0.5}


def test_spans_become_steps_by_hand_count():
    labels = anchor_labels([(1.1, 3.2), (2.0, 2.0)], [4, 2], **STEPS)
    np.testing.assert_allclose(labels.boxes, [[2.2, 6.4], [4.0, 4.0]], rtol=1e-6)
    assert labels.labels.tolist() == [4, 2]
    assert labels.action.tolist() == [0, 0, 4, 4, 2, 4, 4] + [0] * 13  # steps 2 to 6; the last segment wins step 4
    # Windows of three steps: [0.7, 3.7] and [2.5, 5.5] around the starts.
    np.testing.assert_allclose(labels.start[:7], [0.3, 1, 1, 1, 1, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(labels.end[:9], [0, 0, 0.5, 1, 1, 1, 1, 0.9, 0], atol=1e-6)
    assert (labels.num_dropped, labels.num_outside) == (0, 0)


def test_boundaries_are_those_of_the_definition():
    spans = np.sort(np.random.default_rng(0).uniform(0, 7.5, (6, 2)), axis=1)
    labels = anchor_labels(spans, [1] * 6, **STEPS)
    for place, name in ((0, "start"), (1, "end")):
        for step, found in enumerate(getattr(labels, name)):
            around = [(span[place] / 0.5 - 1.5, span[place] / 0.5 + 1.5) for span in spans]
            covered = [max(0.0, min(step + 1, right) - max(step, left)) for left, right in around]
            assert found == pytest.approx(max(covered), abs=1e-6)


def test_time_may_begin_elsewhere():
    shifted = anchor_labels([(3.1, 5.2)], [4], first_second=2.0, **STEPS)
    np.testing.assert_allclose(shifted.boxes, [[2.2, 6.4]], rtol=1e-6)


def test_ends_are_cut_to_the_features_and_what_is_outside_is_counted():
    labels = anchor_labels([(-1.0, 2.0), (7.0, 30.0), (8.0, 9.0), (-3.0, -2.0)], [1, 2, 3, 4], **STEPS)
    assert labels.boxes.tolist() == [[0, 4], [14, 15], [15, 15], [0, 0]]
    assert labels.num_outside == 2


def test_too_many_boxes_are_counted_but_their_steps_are_known():
    spans = [(0.5, 1.0), (3.0, 4.0), (5.0, 6.0)]
    labels = anchor_labels(spans, [1, 2, 3], max_boxes=2, **STEPS)
    assert labels.labels.tolist() == [1, 2]
    assert labels.num_dropped == 1
    assert labels.action[11] == 3
    assert len(anchor_labels(spans, [1, 2, 3], max_boxes=None, **STEPS).boxes) == 3


def test_a_clip_without_segments_teaches_that_nothing_happens():
    labels = anchor_labels([], [], **STEPS)
    assert labels.boxes.shape == (0, 2)
    assert not (labels.action.any() or labels.start.any() or labels.end.any())
    boxes, numbers = labels.padded(1)
    assert boxes.tolist() == [[0, 0]]
    assert numbers.tolist() == [0]


def test_boxes_are_padded_with_zeros_and_never_cut():
    labels = anchor_labels([(1.0, 2.0), (3.0, 4.0)], [1, 2], **STEPS)
    boxes, numbers = labels.padded(3)
    assert boxes.tolist() == [[2, 4], [6, 8], [0, 0]]
    assert numbers.tolist() == [1, 2, 0]
    with pytest.raises(ValueError, match="2 boxes do not fit into 1"):
        labels.padded(1)


@pytest.mark.parametrize(
    ("spans", "classes", "message"),
    [
        ([(2.0, 1.0)], [1], r"span 0 is \[2.0, 1.0\]"),
        ([(0.0, 1.0), (0.0, float("nan"))], [1, 1], "span 1 is"),
        ([(0.0, 1.0)], [0], "a class 1 or higher"),
        ([(0.0, 1.0)], [1, 2], "1 spans, but 2 classes"),
    ],
)
def test_impossible_segments_are_refused(spans, classes, message):
    with pytest.raises(ValueError, match=message):
        anchor_labels(spans, classes, **STEPS)


@pytest.mark.parametrize("wrong", [{"num_real": 21}, {"num_real": 0}, {"seconds_per_step": 0.0}, {"max_boxes": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        anchor_labels([(0.0, 1.0)], [1], **(STEPS | wrong))
