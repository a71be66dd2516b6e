import numpy as np
import pytest

from playhead.decoding.nms import Detections, Suppression, greedy_nms, soft_nms, suppress, vote


def made_spans(number, seed=0, kind=np.float64, classes=1):
    generator = np.random.default_rng(seed)
    starts = generator.uniform(0, 50, number)
    spans = np.stack([starts, starts + generator.uniform(0.2, 15, number)], axis=1).astype(kind)
    return spans, generator.uniform(0.001, 1, number).astype(kind), generator.integers(0, classes, number)


def overlap(one, other):
    shared = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    return shared / ((one[1] - one[0] + 1e-6) + (other[1] - other[0] + 1e-6) - shared)


def weight(iou, decay, sigma, threshold):
    if decay == "gaussian":
        return np.exp(-(iou**2) / sigma)
    if iou < threshold:
        return 1.0
    return 1 - iou if decay == "linear" else 0.0


def soft_nms_by_hand(spans, scores, labels, decay, sigma, threshold, min_score):
    """The definition: per class, pick by pick, span by span."""
    found = []
    for label in np.unique(labels):
        now = {int(i): float(scores[i]) for i in np.flatnonzero(labels == label)}
        while now:
            best = max(now, key=lambda i: (now[i], -i))
            found.append((now.pop(best), best))
            now = {i: s * weight(overlap(spans[i], spans[best]), decay, sigma, threshold) for i, s in now.items()}
            now = {i: s for i, s in now.items() if s >= min_score}
    found.sort(key=lambda pick: (-pick[0], pick[1]))
    return [i for _, i in found], [s for s, _ in found]


@pytest.mark.parametrize("decay", ["hard", "linear", "gaussian"])
@pytest.mark.parametrize("min_score", [0.0, 0.05])
@pytest.mark.parametrize("classes", [1, 3, 40])
def test_soft_nms_is_its_definition_in_every_class(decay, min_score, classes):
    spans, scores, labels = made_spans(150, seed=classes, classes=classes)
    kept, lowered = soft_nms(spans, scores, labels, decay=decay, sigma=0.4, iou_threshold=0.3, min_score=min_score)
    expected, expected_scores = soft_nms_by_hand(spans, scores, labels, decay, 0.4, 0.3, min_score)
    assert kept.tolist() == expected
    np.testing.assert_allclose(lowered, expected_scores, rtol=1e-12)


@pytest.mark.parametrize("top", [1, 7, 60, 10_000])
def test_the_best_few_are_the_first_of_all(top):
    spans, scores, labels = made_spans(900, classes=25)
    everything, all_scores = soft_nms(spans, scores, labels, min_score=0.01)
    kept, lowered = soft_nms(spans, scores, labels, min_score=0.01, top=top)
    assert kept.tolist() == everything[:top].tolist()
    assert lowered.tolist() == all_scores[:top].tolist()


def test_classes_of_very_different_sizes_do_not_touch_each_other():
    spans, scores, _ = made_spans(310)
    labels = np.repeat([7, 3, 900], [1, 300, 9])
    kept, lowered = soft_nms(spans, scores, labels, min_score=0.02)
    alone = [soft_nms(spans[labels == label], scores[labels == label], min_score=0.02)[1] for label in (3, 7, 900)]
    np.testing.assert_array_equal(lowered, np.sort(np.concatenate(alone))[::-1])
    assert len(set(kept.tolist())) == len(kept)


def test_a_candidate_below_the_least_score_is_dropped_once_touched_and_the_first_of_a_class_never_is():
    spans = np.array([[0.0, 1.0], [10.0, 11.0], [20.0, 21.0]])  # apart: no score is lowered
    scores = np.array([0.9, 0.1, 0.0005])
    assert soft_nms(spans, scores, min_score=0.2)[0].tolist() == [0]
    assert soft_nms(spans, scores, np.array([0, 1, 2]), min_score=0.2)[0].tolist() == [0, 1, 2]


def test_equal_scores_go_in_file_order():
    spans = np.array([[0.0, 1.0], [5.0, 6.0], [2.0, 3.0], [8.0, 9.0]])
    scores = np.array([0.5, 0.5, 0.5, 0.5])
    assert soft_nms(spans, scores)[0].tolist() == [0, 1, 2, 3]
    assert soft_nms(spans, scores, np.array([1, 0, 1, 0]))[0].tolist() == [0, 1, 2, 3]
    assert greedy_nms(spans, scores, iou_threshold=0.5).tolist() == [0, 1, 2, 3]


def test_a_dropped_score_of_zero_stays_dropped_when_zero_is_allowed():
    spans = np.array([[0.0, 4.0], [0.0, 4.0], [9.0, 9.5]])
    kept, lowered = soft_nms(spans, np.array([0.9, 0.8, 0.1]), decay="hard", iou_threshold=0.5, min_score=0.0)
    assert kept.tolist() == [0, 2, 1]
    assert lowered.tolist() == [0.9, 0.1, 0.0]


def test_float32_is_computed_in_float32():
    spans, scores, _ = made_spans(60, kind=np.float32)
    assert soft_nms(spans, scores)[1].dtype == np.float32
    assert soft_nms(spans.astype(np.float64), scores)[1].dtype == np.float64


def test_nothing_in_gives_nothing_out():
    kept, lowered = soft_nms(np.empty((0, 2)), np.empty(0), np.empty(0, dtype=np.int64))
    assert kept.tolist() == lowered.tolist() == greedy_nms(np.empty((0, 2)), np.empty(0), iou_threshold=0.5).tolist()
    empty = Detections(np.empty((0, 2)), np.empty(0), np.empty(0, dtype=np.int64))
    assert len(suppress(empty, Suppression(per_class=False, voting_threshold=0.5))) == 0


def greedy_by_hand(spans, scores, threshold):
    kept = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if all(overlap(spans[i], spans[k]) < threshold for k in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_greedy_nms_keeps_what_no_better_kept_span_overlaps(threshold):
    spans, scores, labels = made_spans(120, classes=4)
    assert greedy_nms(spans, scores, iou_threshold=threshold).tolist() == greedy_by_hand(spans, scores, threshold)
    per_class = greedy_nms(spans, scores, labels, iou_threshold=threshold)
    for label in range(4):
        of_class = np.flatnonzero(labels == label)
        expected = of_class[greedy_by_hand(spans[of_class], scores[of_class], threshold)]
        assert per_class[labels[per_class] == label].tolist() == expected.tolist()
    assert (np.diff(scores[per_class]) <= 0).all()


def test_greedy_nms_takes_negative_scores_and_leaves_out_low_ones():
    spans = np.array([[0.0, 2.0], [0.0, 2.1], [5.0, 6.0]])
    assert greedy_nms(spans, np.array([-3.0, -1.0, -2.0]), iou_threshold=0.5).tolist() == [1, 2]
    assert greedy_nms(spans, np.array([0.3, 0.1, 0.2]), iou_threshold=0.5, min_score=0.2).tolist() == [0]


def test_a_span_is_moved_to_the_mean_of_its_voters():
    candidates = np.array([[0.0, 10.0], [2.0, 10.0], [0.0, 5.0], [30.0, 31.0]])
    scores = np.array([0.5, 0.25, 1.0, 1.0])
    moved = vote(candidates[[0, 3]], candidates, scores, iou_threshold=0.7)
    # The second overlaps the first by 0.8 and so weighs 0.25 * 0.8 = 0.2 against 0.5; the third, by 0.5, has no vote.
    np.testing.assert_allclose(moved, [[0.2 * 2 / 0.7, 10.0], [30.0, 31.0]])


def test_a_span_of_no_length_has_no_voters_and_stays():
    point = np.array([[3.0, 3.0]])
    np.testing.assert_array_equal(vote(point, point, np.array([0.4]), iou_threshold=0.5), point)


def test_voting_in_pieces_is_voting_at_once(monkeypatch):
    spans, scores, _ = made_spans(50)
    at_once = vote(spans[:20], spans, scores, iou_threshold=0.4)
    monkeypatch.setattr("playhead.decoding.nms._VOTES_AT_ONCE", 150)
    np.testing.assert_allclose(vote(spans[:20], spans, scores, iou_threshold=0.4), at_once, rtol=1e-12)


def test_without_suppression_candidates_come_back_as_they_are():
    spans, scores, labels = made_spans(30, classes=3)
    candidates = Detections(spans, scores, labels)
    assert suppress(candidates, Suppression(method="none", top=5)) is candidates


def test_suppression_across_classes_lets_one_class_silence_another():
    candidates = Detections(np.array([[0.0, 9.0], [0.0, 9.1]]), np.array([0.9, 0.8]), np.array([4, 2]))
    apart = suppress(candidates, Suppression(method="hard", iou_threshold=0.5))
    together = suppress(candidates, Suppression(method="hard", iou_threshold=0.5, per_class=False))
    assert apart.labels.tolist() == [4, 2]
    assert together.labels.tolist() == [4]


@pytest.mark.parametrize(
    ("span", "score", "named"),
    [([3.0, 1.0], 0.5, "span 1"), ([0.0, np.nan], 0.5, "span 1"), ([0.0, 1.0], -0.1, "score 1"),
     ([0.0, 1.0], np.inf, "score 1")],
)  # fmt: skip
def test_a_wrong_candidate_is_named(span, score, named):
    with pytest.raises(ValueError, match=named):
        soft_nms(np.array([[0.0, 1.0], span]), np.array([0.5, score]))


@pytest.mark.parametrize(
    "setting",
    [{"sigma": 0.0}, {"iou_threshold": 1.5}, {"top": 0}, {"min_score": -1.0},
     {"voting_threshold": 0.9}, {"voting_threshold": 0.0, "per_class": False}],
)  # fmt: skip
def test_settings_out_of_range_are_errors(setting):
    with pytest.raises(ValueError, match="Suppression"):
        Suppression(**setting)
