import math

import numpy as np
import pytest
import torch

from playhead.decoding.nms import Detections, Suppression
from playhead.decoding.point_spans import CandidateRules, decode_points, fuse_video_scores, point_candidates, to_seconds

KEEP_ALL = Suppression(method="none")


def some_levels(batch=2, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = (8, 4)
    logits = tuple(torch.randn(batch, size, classes, generator=generator) * 3 for size in sizes)
    offsets = tuple(torch.rand(batch, size, 2, generator=generator) * 3 for size in sizes)
    lengths = torch.tensor([8, 5])[:batch, None]
    masks = tuple(torch.arange(0, 8, stride) < lengths for stride in (1, 2))
    return logits, offsets, masks


def candidates_by_hand(logits, offsets, masks, rules):
    found = []
    for level, stride in enumerate((1, 2)):
        of_level = []
        for point, real in enumerate(masks[level].tolist()):
            for label, logit in enumerate(logits[level][point].tolist()):
                left, right = offsets[level][point].tolist()
                if real and 1 / (1 + math.exp(-logit)) > rules.min_probability:
                    span = (point * stride - left * stride, point * stride + right * stride)
                    of_level.append((1 / (1 + math.exp(-logit)), label, span))
        of_level.sort(key=lambda entry: -entry[0])
        found += [e for e in of_level[: rules.top_per_level] if e[2][1] - e[2][0] > rules.min_length]
    return found


@pytest.mark.parametrize(
    "rules",
    [
        CandidateRules(),
        CandidateRules(min_probability=0.4),
        CandidateRules(top_per_level=5),
        CandidateRules(min_length=3.0),
    ],
)
def test_candidates_are_those_of_the_definition_for_every_video(rules):
    logits, offsets, masks = some_levels()
    found = decode_points(logits, offsets, masks, (1, 2), rules=rules, suppression=KEEP_ALL)
    assert len(found) == 2
    for row, ours in enumerate(found):
        expected = candidates_by_hand(*([level[row] for level in part] for part in (logits, offsets, masks)), rules)
        assert ours.labels.tolist() == [label for _, label, _ in expected]
        np.testing.assert_allclose(ours.scores, [score for score, _, _ in expected], rtol=1e-5)
        np.testing.assert_allclose(ours.spans, [span for _, _, span in expected], rtol=1e-5, atol=1e-5)


def test_equal_scores_keep_the_order_of_points_and_classes():
    logits = [torch.zeros(3, 2)]
    found = point_candidates(logits, [torch.ones(3, 2)], [torch.ones(3, dtype=torch.bool)], [1], rules=CandidateRules())
    assert found.spans[:, 0].tolist() == [-1, -1, 0, 0, 1, 1]
    assert found.labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_a_video_of_which_no_point_speaks_has_no_moments():
    logits = (torch.full((1, 4, 2), -20.0),)
    masks = (torch.ones(1, 4, dtype=torch.bool),)
    (found,) = decode_points(
        logits, (torch.ones(1, 4, 2),), masks, (1,), rules=CandidateRules(), suppression=Suppression()
    )
    assert len(found) == 0


def test_suppression_is_per_video():
    logits, offsets, masks = some_levels()
    settings = Suppression(top=4)
    both = decode_points(logits, offsets, masks, (1, 2), rules=CandidateRules(), suppression=settings)
    for row in range(2):
        alone = [tuple(level[row : row + 1] for level in part) for part in (logits, offsets, masks)]
        (one,) = decode_points(*alone, (1, 2), rules=CandidateRules(), suppression=settings)
        assert len(one) == 4
        np.testing.assert_array_equal(one.spans, both[row].spans)


def test_a_place_on_the_grid_is_the_middle_of_the_frames_its_feature_has_seen():
    found = Detections(np.array([[0.0, 4.0], [-9.0, 100.0]], dtype=np.float32), np.ones(2), np.zeros(2, dtype=np.int64))
    seconds = to_seconds(found, fps=30.0, stride=16.0, frames=32.0, duration=20.0, offset=0.0)
    np.testing.assert_allclose(seconds.spans, [[16 / 30, (4 * 16 + 16) / 30], [0.0, 20.0]])
    later = to_seconds(found, fps=30.0, stride=16.0, frames=32.0, offset=1.5)
    np.testing.assert_allclose(later.spans[0], [16 / 30 + 1.5, 80 / 30 + 1.5])
    with pytest.raises(ValueError, match="above zero"):
        to_seconds(found, fps=0.0, stride=16.0, frames=32.0)


def test_external_scores_give_every_span_their_best_classes():
    found = Detections(np.array([[0.0, 4.0], [2.0, 3.0]]), np.array([0.9, 0.4]), np.zeros(2, dtype=np.int64))
    fused = fuse_video_scores(found, np.array([0.1, 0.6, 0.25]), top_classes=2)
    assert fused.labels.tolist() == [1, 1, 2, 2]
    np.testing.assert_allclose(fused.scores, np.sqrt([0.54, 0.24, 0.225, 0.1]))
    np.testing.assert_array_equal(fused.spans, [[0, 4], [2, 3], [0, 4], [2, 3]])
    assert len(fuse_video_scores(found, np.array([0.1, 0.6, 0.25]), top_classes=3, top_spans=1)) == 3
    with pytest.raises(ValueError, match=r"\[1, 3\]"):
        fuse_video_scores(found, np.array([0.1, 0.6, 0.25]), top_classes=4)
    with pytest.raises(ValueError, match="class score 1"):
        fuse_video_scores(found, np.array([0.1, -0.6, 0.25]))


@pytest.mark.parametrize("setting", [{"min_probability": 1.0}, {"top_per_level": 0}, {"min_length": -1.0}])
def test_rules_out_of_range_are_errors(setting):
    with pytest.raises(ValueError, match="CandidateRules"):
        CandidateRules(**setting)
