import numpy as np
import pytest

from playhead.metrics.recall import query_recall, window_ious

NAN = np.nan


def random_answers(num_queries, num_windows, seed):
    """Windows near and far from their truths, some reversed, some missing; with an odd seed some truths are empty."""
    draws = np.random.default_rng(seed)
    starts = draws.uniform(0, 100, (num_queries, 1))
    truths = np.concatenate([starts, starts + draws.exponential(10, (num_queries, 1))], axis=1)
    windows = truths[:, None] + draws.normal(0, 6, (num_queries, num_windows, 2))
    if seed % 2:
        truths[::11, 1] = truths[::11, 0]
    windows[::7, 1:] = NAN
    windows[::13] = NAN
    return windows, truths


def iou_by_hand(window, truth):
    shared = max(0.0, min(window[1], truth[1]) - max(window[0], truth[0]))
    hull = max(window[1], truth[1]) - min(window[0], truth[0])
    return shared / hull if hull else NAN


def recall_by_loops(windows, truths, k, threshold, skip_missing):
    hits = asked = 0
    for answer, truth in zip(windows, truths, strict=True):
        given = [window for window in answer if not np.isnan(window).any()]
        if skip_missing and not given:
            continue
        asked += 1
        hits += any(iou_by_hand(window, truth) > threshold for window in given[:k])
    return hits / asked


@pytest.mark.parametrize("convention", ["sound", "official"])
@pytest.mark.parametrize("num_windows", [1, 2, 7])
def test_recall_is_its_definition_written_as_loops(convention, num_windows):
    windows, truths = random_answers(300, num_windows, seed=num_windows)
    ks, thresholds = (1, 2, 5), (0.01, 0.3, 0.5, 0.7)
    found = query_recall(windows, truths, ks=ks, thresholds=thresholds, convention=convention)
    official = convention == "official"
    expected = [[recall_by_loops(windows, truths, k, t, skip_missing=official) for k in ks] for t in thresholds]
    np.testing.assert_allclose(found.recall, expected, atol=1e-12, rtol=0)
    answered = ~np.isnan(windows[:, 0, 0])
    first = [iou_by_hand(w[0], t) for w, t, asked in zip(windows, truths, answered, strict=True) if asked]
    mean = sum(first) / len(first) if official else np.nansum(first) / len(truths)
    assert found.mean_iou == pytest.approx(mean, abs=1e-12, nan_ok=official)
    assert (found.queries, found.submitted) == (300, answered.sum())


def test_an_iou_at_the_threshold_is_a_miss():
    truths = np.array([[0.0, 10.0], [0.0, 10.0]])
    windows = np.array([[[0.0, 5.0]], [[0.0, 5.0001]]])
    assert query_recall(windows, truths, ks=(1,), thresholds=(0.5,)).recall.tolist() == [[0.5]]


def test_queries_left_out_are_misses_unless_the_official_mean_is_asked_for():
    truths = np.array([[0.0, 10.0]] * 4)
    windows = np.full((4, 1, 2), NAN)
    windows[0] = [0.0, 10.0]
    sound = query_recall(windows, truths, version="2")
    official = query_recall(windows, truths, convention="official")
    assert sound.named() == {
        **{"R1@0.3": 25.0, "R5@0.3": 25.0, "R1@0.5": 25.0, "R5@0.5": 25.0},
        **{"mIoU": 25.0, "queries": 4, "coverage": 0.25},
    }
    assert (official.recall.min(), official.mean_iou, official.coverage) == (1.0, 1.0, 0.25)
    assert (sound.version, sound.convention, official.convention) == ("2", "sound", "official")


def test_a_window_of_no_length_on_such_a_truth_makes_only_the_official_mean_iou_nan():
    windows, truths = np.array([[[3.0, 3.0]], [[0.0, 2.0]]]), np.array([[3.0, 3.0], [0.0, 2.0]])
    sound, official = (query_recall(windows, truths, convention=name) for name in ("sound", "official"))
    assert np.isnan(official.mean_iou)
    assert sound.mean_iou == 0.5
    assert sound.recall.tolist() == official.recall.tolist() == [[0.5, 0.5]] * 2


def test_only_the_first_k_windows_count_in_the_order_given():
    windows = np.array([[[50.0, 60.0], [0.0, 10.0], [NAN, NAN]]])
    found = query_recall(windows, np.array([[0.0, 10.0]]), ks=(1, 2, 100), thresholds=(0.5,))
    assert found.recall.tolist() == [[0.0, 1.0, 1.0]]
    assert found.mean_iou == 0.0


def test_submitting_nothing_is_a_recall_of_zero_or_officially_no_mean_at_all():
    nothing = np.full((2, 0, 2), NAN)
    truths = np.array([[0.0, 1.0]] * 2)
    found = query_recall(nothing, truths)
    assert (found.recall.max(), found.mean_iou, found.coverage) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="0 of 2 queries were submitted"):
        query_recall(nothing, truths, convention="official")


def test_reversed_windows_overlap_nothing():
    assert window_ious(np.array([[8.0, 2.0]]), np.array([[0.0, 10.0]])).tolist() == [0.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ks": (0,)}, "ks of at least 1"),
        ({"ks": ()}, "ks of at least 1"),
        ({"thresholds": ()}, "thresholds"),
        ({"truths": np.array([[0.0, NAN]])}, "truth of query 0 is not finite"),
        ({"windows": np.zeros((0, 1, 2)), "truths": np.zeros((0, 2))}, "nothing to average over"),
    ],
)
def test_what_cannot_be_scored_is_an_error(changes, message):
    given = {"windows": np.zeros((1, 1, 2)), "truths": np.array([[0.0, 1.0]])} | changes
    with pytest.raises(ValueError, match=message):
        query_recall(given.pop("windows"), given.pop("truths"), **given)
