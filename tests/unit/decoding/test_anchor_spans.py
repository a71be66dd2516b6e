import numpy as np
import pytest

from playhead.decoding.anchor_spans import boundary_scores, decode_anchors, retrieve, round_for_submission, suppress_all
from playhead.decoding.nms import Detections


def some_clip(seed=0, num_anchors=60, num_classes=4, num_steps=40):
    generator = np.random.default_rng(seed)
    middles = generator.uniform(-3, num_steps + 3, num_anchors)
    half = generator.exponential(3, num_anchors) - 0.4  # some come out swapped
    scores = generator.dirichlet(np.ones(num_classes + 1), num_anchors)
    return {
        "boxes": np.stack([middles - half, middles + half], axis=1),
        "class_scores": scores,
        "start": generator.uniform(size=num_steps),
        "end": generator.uniform(size=num_steps),
    }


def overlap(a, b):
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / (a[1] - a[0] + b[1] - b[0] - shared)


def proposals_by_definition(boxes, class_scores, start, end, num_real, threshold):
    """Class by class, best first, each anchor that no better kept one overlaps by more than the threshold."""
    found = []
    for label in range(1, class_scores.shape[1]):
        candidates = []
        for box, score in zip(boxes, class_scores[:, label], strict=True):
            first, last = (min(max(end_, 0), len(start) - 1) for end_ in box)
            at_start = (start[int(np.ceil(first))] + start[int(np.floor(first))]) / 2
            at_end = (end[int(np.ceil(last))] + end[int(np.floor(last))]) / 2
            place = (min(first, num_real - 1), min(last, num_real - 1))
            candidates.append((score * at_start * at_end, place))
        kept = []
        for score, place in sorted(candidates, key=lambda each: -each[0]):
            if place[1] > place[0] and all(overlap(place, other) <= threshold for _, other in kept):
                kept.append((score, place))
        found += [(*place, score, label) for score, place in kept]
    return np.array(found)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.9])
def test_proposals_are_those_of_the_definition(seed, threshold):
    clip = some_clip(seed)
    ours = decode_anchors(**clip, num_real=33, seconds_per_step=0.5, first_second=2.0, iou_threshold=threshold)
    expected = proposals_by_definition(**clip, num_real=33, threshold=threshold)
    np.testing.assert_allclose(ours.spans, expected[:, :2] * 0.5 + 2, atol=1e-9)
    np.testing.assert_allclose(ours.scores, expected[:, 2], atol=1e-12)
    np.testing.assert_array_equal(ours.labels, expected[:, 3])


def test_spans_without_length_or_with_swapped_ends_are_kept_only_on_demand():
    clip = some_clip()
    proper = decode_anchors(**clip, num_real=33, seconds_per_step=1.0)
    everything = decode_anchors(**clip, num_real=33, seconds_per_step=1.0, keep_empty=True)
    lengths = everything.spans[:, 1] - everything.spans[:, 0]
    assert (lengths < 0).any()
    assert (lengths == 0).any()
    assert (proper.spans[:, 1] > proper.spans[:, 0]).all()
    np.testing.assert_array_equal(proper.scores, everything.scores[lengths > 0])


def test_boundary_scores_are_means_of_the_two_steps_around_an_end():
    start, end = np.array([0.1, 0.3, 0.9]), np.array([1.0, 0.5, 0.1])
    found = boundary_scores(np.array([[0.5, 1.0], [-7.0, 99.0]]), start, end)
    np.testing.assert_allclose(found, [0.2 * 0.5, 0.1 * 0.1])


def test_boxes_on_a_magnified_copy_are_scored_there_and_brought_back():
    boxes = np.array([[20.0, 30.0]])
    start, end = np.zeros(40), np.zeros(40)
    start[20], end[30] = 0.5, 0.25
    found = decode_anchors(
        boxes,
        np.array([[0.2, 0.8]]),
        start,
        end,
        num_real=10,
        seconds_per_step=2.0,
        unstitch=lambda places: (places - 10) / 3,
    )
    np.testing.assert_allclose(found.spans, [[2 * 10 / 3, 2 * 20 / 3]])
    np.testing.assert_allclose(found.scores, [0.8 * 0.5 * 0.25])


def test_a_clip_without_a_usable_anchor_has_no_proposals():
    found = decode_anchors(
        np.array([[3.0, 2.0]]), np.array([[0.5, 0.5]]), np.ones(9), np.ones(9), num_real=9, seconds_per_step=1.0
    )
    assert len(found) == 0
    assert found.spans.shape == (0, 2)
    assert len(suppress_all(found)) == 0
    assert len(retrieve(found, [1])) == 0


def test_broken_scores_are_refused():
    clip = some_clip()
    clip["class_scores"][3, 1] = np.nan
    with pytest.raises(ValueError, match=r"class_scores.*not finite"):
        decode_anchors(**clip, num_real=33, seconds_per_step=1.0)
    with pytest.raises(ValueError, match="`num_real` 41"):
        decode_anchors(**some_clip(), num_real=41, seconds_per_step=1.0)


def some_proposals(seed=0, number=50):
    generator = np.random.default_rng(seed)
    starts = generator.uniform(0, 60, number)
    spans = np.stack([starts, starts + generator.exponential(8, number) - 1], axis=1)
    return Detections(spans, generator.uniform(0.01, 1, number), generator.integers(0, 5, number))


def suppressed_by_definition(proposals, top, sigma, drop_last):
    """Take the best, lower the others by their overlap with it, and so on."""
    left = list(zip(proposals.scores.tolist(), proposals.spans.tolist(), proposals.labels.tolist(), strict=True))
    found = []
    while len(left) > drop_last and len(found) < top:
        best = max(left, key=lambda each: each[0])
        left.remove(best)
        if best[2] == 0:
            continue
        found.append(best)
        for place, (score, span, label) in enumerate(left):
            (s1, e1), (s2, e2) = best[1], span
            apart = s2 > e1 or s1 > e2
            iou = 0.0 if apart else (min(e1, e2) - max(s1, s2)) / (max(e1, e2) - min(s1, s2))
            if iou > 0:
                left[place] = (score * np.exp(-(iou**2) / sigma), span, label)
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("top", "drop_last"), [(10, False), (200, False), (200, True)])
def test_suppression_of_all_classes_is_that_of_the_definition(seed, top, drop_last):
    proposals = some_proposals(seed)
    ours = suppress_all(proposals, top=top, sigma=0.46, drop_last=drop_last)
    expected = suppressed_by_definition(proposals, top, 0.46, drop_last)
    np.testing.assert_allclose(ours.scores, [score for score, _, _ in expected])
    np.testing.assert_array_equal(ours.spans, [span for _, span, _ in expected])
    np.testing.assert_array_equal(ours.labels, [label for _, _, label in expected])


def test_one_proposal_is_an_answer_unless_the_last_is_dropped():
    one = Detections(np.array([[1.0, 2.0]]), np.array([0.5]), np.array([3]))
    assert len(suppress_all(one)) == 1
    assert len(suppress_all(one, drop_last=True)) == 0


def test_of_equal_scores_the_earlier_proposal_comes_first():
    twins = Detections(np.array([[9.0, 10.0], [1.0, 2.0], [5.0, 6.0]]), np.array([0.5, 0.5, 0.5]), np.array([1, 1, 2]))
    assert suppress_all(twins).spans[:, 0].tolist() == [9, 1, 5]
    assert retrieve(twins, [1, 2]).spans[:, 0].tolist() == [9, 1, 5]


def test_retrieval_keeps_scores_and_only_the_given_classes():
    proposals = some_proposals()
    found = retrieve(proposals, {2, 4}, top=6)
    wanted = sorted(
        (score for score, label in zip(proposals.scores, proposals.labels, strict=True) if label in (2, 4)),
        reverse=True,
    )
    assert found.scores.tolist() == wanted[:6]
    assert set(found.labels.tolist()) <= {2, 4}


def test_submission_rows_are_rounded_and_inside_the_clip():
    raw = Detections(np.array([[-0.4, 3.16], [2.04, 99.0]]), np.array([0.12345678, 0.5]), np.array([1, 2]))
    rounded = round_for_submission(raw, duration=12.34)
    assert rounded.spans.tolist() == [[0.0, 3.2], [2.0, 12.3]]
    assert rounded.scores.tolist() == [0.123457, 0.5]


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="top >= 1"):
        suppress_all(some_proposals(), top=0)
    with pytest.raises(ValueError, match="sigma > 0"):
        suppress_all(some_proposals(), sigma=0.0)
