import math
from dataclasses import replace

import numpy as np
import pytest

from playhead.metrics.average_precision import (
    CONVENTIONS,
    FoundSegments,
    TrueSegments,
    average_precision,
    counted_truths,
    recall_at_kx,
    score_segments,
)

OFFICIAL = CONVENTIONS["official"]


def true(*rows):
    table = np.array(rows, dtype=float).reshape(-1, 4)
    return TrueSegments(table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:])


def found(*rows):
    table = np.array(rows, dtype=float).reshape(-1, 5)
    return FoundSegments(table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:4], table[:, 4])


def made_up(seed):
    """Small numbers on purpose: equal scores, equal overlaps, segments of no length, clips and classes unknown."""
    draws = np.random.default_rng(seed)

    def spans(number):
        starts = draws.integers(0, 12, size=number)
        return np.stack([starts, starts + draws.integers(0, 5, size=number)], axis=1).astype(float)

    num_true, num_found = int(draws.integers(1, 30)), int(draws.integers(0, 80))
    truths = TrueSegments(draws.integers(3, size=num_true), draws.integers(4, size=num_true) * 2, spans(num_true))
    detections = FoundSegments(
        draws.integers(5, size=num_found),
        draws.integers(-1, 9, size=num_found),
        spans(num_found),
        draws.integers(-3, 4, size=num_found) / 8,
    )
    return truths, detections


def iou(a, b):
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - shared
    return shared / union if union else math.nan


def average_precision_by_loops(truths, detections, thresholds, undefined_matches):
    table = []
    for threshold in thresholds:
        areas = []
        for kind in sorted(set(truths.classes)):
            own = [i for i in range(len(truths)) if truths.classes[i] == kind]
            ranked = sorted(
                (i for i in range(len(detections)) if detections.classes[i] == kind), key=by_score(detections)
            )
            taken, hits = set(), []
            for i in ranked:
                overlaps = {}
                for j in own:
                    overlap = iou(detections.spans[i], truths.spans[j])
                    overlap = (math.inf if undefined_matches else -1) if math.isnan(overlap) else overlap
                    if truths.clips[j] == detections.clips[i] and j not in taken and overlap >= threshold:
                        overlaps[j] = overlap
                best = max(overlaps, key=overlaps.get, default=None)  # the first of equals
                hits.append(best is not None)
                taken.add(best)
            precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
            areas.append(sum(max(precision[n:]) for n, hit in enumerate(hits) if hit) / len(own))
        table.append(areas)
    return np.array(table)


def by_score(detections):
    return lambda i: (-detections.scores[i], i)


def recall_by_loops(truths, detections, threshold, k, order, over, at_threshold):
    hits = {}
    for j in range(len(truths)):
        key = (truths.clips[j], truths.classes[j])
        number = sum((c, n) == key for c, n in zip(truths.clips, truths.classes, strict=True))
        own = [i for i in range(len(detections)) if (detections.clips[i], detections.classes[i]) == key]
        first = sorted(own, key=by_score(detections) if order == "score" else None)[: k * number]
        overlaps = [iou(detections.spans[i], truths.spans[j]) for i in first]
        hit = any(o >= threshold if at_threshold else o > threshold for o in overlaps)
        hits.setdefault(truths.classes[j] if over == "classes" else 0, []).append(hit)
    return np.mean([np.mean(each) for each in hits.values()])


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("undefined_iou", ["miss", "match"])
def test_average_precision_is_what_loops_over_its_definition_give(seed, undefined_iou):
    truths, detections = made_up(seed)
    thresholds = (0.1, 0.25, 0.5, 1.0)
    classes, ours = average_precision(truths, detections, thresholds, undefined_iou=undefined_iou)
    assert classes.tolist() == sorted(set(truths.classes.tolist()))
    theirs = average_precision_by_loops(truths, detections, thresholds, undefined_iou == "match")
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("order", ["file", "score"])
@pytest.mark.parametrize("over", ["segments", "classes"])
@pytest.mark.parametrize("at_threshold", [True, False])
def test_recall_is_what_loops_over_its_definition_give(seed, order, over, at_threshold):
    truths, detections = made_up(seed)
    thresholds, ks = (0.25, 0.5), (1, 2, 5)
    ours = recall_at_kx(truths, detections, thresholds, ks, order=order, over=over, at_threshold=at_threshold)
    theirs = [[recall_by_loops(truths, detections, t, k, order, over, at_threshold) for k in ks] for t in thresholds]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_a_hand_count():
    truths = true((0, 0, 0, 10), (0, 0, 20, 30), (1, 0, 0, 10))
    detections = found(
        (0, 0, 0, 10, 0.9),  # right
        (0, 0, 1, 10, 0.8),  # its segment is taken, and the other is far
        (1, 0, 5, 15, 0.7),  # IoU 1/3
        (0, 0, 20, 30, 0.6),  # right
    )
    _, precision = average_precision(truths, detections, (0.3, 0.5))
    # At 0.3: right at ranks 1, 3, 4; precision 1, 2/3, 3/4, made 1, 3/4, 3/4. At 0.5: right at ranks 1 and 4.
    np.testing.assert_allclose(precision[:, 0], [(1 + 3 / 4 + 3 / 4) / 3, (1 + 1 / 2) / 3])


def test_a_detection_falls_back_to_its_second_best_segment():
    truths = true((0, 0, 0, 10), (0, 0, 2, 12))
    detections = found((0, 0, 0, 10, 0.9), (0, 0, 0.5, 10, 0.8))
    assert average_precision(truths, detections, (0.5,))[1] == pytest.approx(1.0)


def test_two_segments_of_no_length_match_only_in_the_official_convention():
    truths, detections = true((0, 0, 5, 5), (0, 0, 7, 9)), found((0, 0, 5, 5, 0.9))
    assert score_segments(truths, detections, OFFICIAL).by_name["mAP@0.5"] == 0.5
    sound = replace(OFFICIAL, undefined_iou="miss")
    assert score_segments(truths, detections, sound).by_name["mAP"] == 0.0
    # The official IoU is 0/0 also for two such segments far apart; its recall, which asks for more, never counts it.
    apart = score_segments(truths, found((0, 0, 99, 99, 0.9)), OFFICIAL).by_name
    assert (apart["mAP@0.5"], apart["R5x@0.3"]) == (0.5, 0.0)


def test_of_near_segments_the_first_stays_and_nearness_is_not_handed_on():
    truths = true((0, 0, 1, 5), (0, 0, 1.0008, 5), (0, 0, 1.0016, 5), (0, 1, 1, 5), (1, 0, 1, 5), (0, 0, 3, 3.0005))
    distinct = counted_truths(truths, "distinct")
    # The third is near only to the second, which went; another class and another clip are not near.
    assert distinct.spans[:, 0].tolist() == [1, 1.0016, 1, 1, 3]
    assert counted_truths(truths, "distinct_and_long").spans[:, 0].tolist() == [1, 1.0016, 1, 1]
    assert len(counted_truths(truths, "all")) == 6


def test_classes_without_a_true_segment_do_not_count():
    truths = true((0, 3, 0, 10))
    right, others = (0, 3, 0, 10, 0.5), [(0, kind, 0, 10, 0.9) for kind in (-1, 0, 2, 4, 1000)]
    classes, precision = average_precision(truths, found(*others, right), (0.5,))
    assert (classes.tolist(), precision.tolist()) == ([3], [[1.0]])


def test_detections_in_clips_without_true_segments_are_false():
    truths = true((0, 0, 0, 10))
    detections = found((-1, 0, 0, 10, 0.9), (7, 0, 0, 10, 0.8), (0, 0, 0, 10, 0.7))
    assert average_precision(truths, detections, (0.5,))[1] == pytest.approx(1 / 3)


def test_the_order_of_classes_and_clips_does_not_matter():
    truths, detections = made_up(3)
    new_clips, new_kinds = np.random.default_rng(0).permutation(5), np.random.default_rng(1).permutation(9)
    other_truths = TrueSegments(new_clips[truths.clips], new_kinds[truths.classes], truths.spans)
    other = FoundSegments(
        new_clips[detections.clips],
        np.where(detections.classes < 0, -1, new_kinds[detections.classes]),
        detections.spans,
        detections.scores,
    )
    first, second = (score_segments(*pair, OFFICIAL) for pair in ((truths, detections), (other_truths, other)))
    assert first.by_name == pytest.approx(second.by_name, abs=1e-12)


def test_nothing_found_is_zero():
    scores = score_segments(true((0, 0, 1, 2), (0, 1, 1, 2)), found(), OFFICIAL)
    assert set(scores.by_name.values()) == {0.0}
    assert set(scores.by_name) >= {"mAP", "mAP@0.1", "mAP@0.5", "R1x@0.5", "R5x@0.7"}


def test_recall_may_be_of_another_list_than_precision():
    truths, right = true((0, 0, 0, 10)), found((0, 0, 0, 10, 1.0))
    scores = score_segments(truths, found(), OFFICIAL, retrieved=right).by_name
    assert (scores["mAP"], scores["R1x@0.5"]) == (0.0, 1.0)


def test_float32_scores_and_narrow_numbers_are_taken():
    truths, wide = made_up(5)
    narrow = FoundSegments(
        wide.clips.astype(np.int32), wide.classes.astype(np.int16), wide.spans, np.float32(wide.scores)
    )
    expected = average_precision(truths, wide, (0.5,))[1]
    np.testing.assert_array_equal(average_precision(truths, narrow, (0.5,))[1], expected)


@pytest.mark.parametrize(
    ("truths", "detections", "message"),
    [
        (true(), found(), "no true segment"),
        (true((0, 0, 0, math.nan)), found(), "segment 0 is not finite"),
        (true((0, 0, 0, 1)), found((0, 0, 0, 1, 1), (0, 0, math.inf, 1, 1)), "detection 1 is not finite"),
        (true((0, 0, 0, 1)), found((0, 0, 0, 1, math.nan)), "score 0 is not finite"),
        (true((-1, 0, 0, 1)), found(), "numbered from 0"),
    ],
)
def test_what_cannot_be_scored_is_refused(truths, detections, message):
    with pytest.raises(ValueError, match=message):
        score_segments(truths, detections, OFFICIAL)


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="above zero"):
        average_precision(true((0, 0, 0, 1)), found(), (0.0,))
    with pytest.raises(ValueError, match="k >= 1"):
        recall_at_kx(true((0, 0, 0, 1)), found(), (0.5,), (0,))


def test_conventions_have_the_published_thresholds():
    assert OFFICIAL.thresholds == CONVENTIONS["actionformer"].thresholds == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert CONVENTIONS["activitynet"].thresholds == pytest.approx(np.linspace(0.5, 0.95, 10))
    assert CONVENTIONS["thumos"].thresholds == pytest.approx(np.linspace(0.3, 0.7, 5))
    names = score_segments(true((0, 0, 1, 2)), found((0, 0, 1, 2, 0.5)), OFFICIAL).by_name
    assert names == {
        "mAP": 1.0,
        **{f"mAP@0.{tenth}": 1.0 for tenth in range(1, 6)},
        **{f"R{k}x@{threshold}": 1.0 for threshold in (0.3, 0.5, 0.7) for k in range(1, 6)},
    }
