import json

import numpy as np
import pytest
from recognition_cases import case_name, find_cases

from playhead.metrics.classify import average_views, class_ranks, merge_views, top_accuracy

CASES = find_cases("*multi_view*.npz")


def read(case):
    arrays = np.load(case)
    expected = json.loads(case.with_name(f"{case.stem}_expected.json").read_text())
    return arrays["logits"], arrays["label"].astype(np.int64), arrays["view_order"], expected


@pytest.mark.parametrize(("average", "key"), [("probabilities", "softmax_then_mean"), ("logits", "mean_of_logits")])
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_views_in_any_order_and_repeated_give_the_recorded_accuracy(case, average, key):
    logits, labels, order, expected = read(case)
    rows = np.stack([logits[tuple(place)] for place in order])
    merged = merge_views(rows, [(int(video), int(clip), int(crop)) for video, clip, crop in order], average)
    scores = np.stack([merged[video] for video in range(len(labels))])
    np.testing.assert_allclose(
        scores, average_views(logits.reshape(len(labels), -1, logits.shape[-1]), average), 1e-5, 1e-6
    )
    ranks = class_ranks(scores, labels)
    assert top_accuracy(ranks, 1) == pytest.approx(expected[key]["top1"], abs=1e-4)
    assert top_accuracy(ranks, 5) == pytest.approx(expected[key]["top5"], abs=1e-4)
