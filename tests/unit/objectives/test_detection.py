import math

import pytest
import torch
from torch.testing import assert_close

from playhead.objectives.detection import (
    PointSums,
    assign_batch,
    assign_points,
    detection_loss,
    diou_loss,
    focal_loss,
    level_sums,
    next_normalizer,
    place_points,
    point_sums,
    regression_ranges,
)

RANGES = regression_ranges(3)


def some_points():
    return place_points([16, 8, 4], [1, 2, 4], RANGES)


def some_truths(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    starts = torch.rand(number, generator=generator) * 14
    spans = torch.stack([starts, starts + 0.3 + torch.rand(number, generator=generator) * 9], dim=1)
    return spans, torch.randint(0, 4, (number,), generator=generator)


def rows(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assign_by_hand(points, spans, labels, center_radius):
    """The definition, point by point and truth by truth."""
    classes, offsets = torch.zeros(len(points.places), 4), {}
    for p, (place, stride, near, far) in enumerate(
        zip(
            points.places.tolist(),
            points.strides.tolist(),
            points.nearest.tolist(),
            points.furthest.tolist(),
            strict=True,
        )
    ):
        answers = []
        for (start, end), label in zip(spans.tolist(), labels.tolist(), strict=True):
            inside = start < place < end
            if center_radius is not None:
                inside = inside and abs(place - (start + end) / 2) < center_radius * stride
            if inside and near <= max(place - start, end - place) <= far:
                answers.append((end - start, label, (place - start) / stride, (end - place) / stride))
        if answers:
            shortest = min(answers)
            offsets[p] = shortest[2:]
            for length, label, *_ in answers:
                if length <= shortest[0] + 1e-3:
                    classes[p, label] = 1
    return classes, offsets


@pytest.mark.parametrize("center_radius", [1.5, 0.5, None])
@pytest.mark.parametrize("seed", range(5))
def test_points_answer_for_truths_by_the_definition(center_radius, seed):
    points, (spans, labels) = some_points(), some_truths(9, seed)
    classes, offsets = assign_points(points, spans, labels, 4, center_radius=center_radius)
    expected, expected_offsets = assign_by_hand(points, spans, labels, center_radius)
    assert_close(classes, expected)
    assert expected_offsets
    for p, pair in expected_offsets.items():
        assert_close(offsets[p], torch.tensor(pair), atol=1e-5, rtol=1e-5)


def test_truths_of_the_same_length_are_all_told_and_the_first_gives_the_offsets():
    spans = torch.tensor([[2.0, 6.0], [2.0, 6.0005], [1.0, 8.0]])
    classes, offsets = assign_points(some_points(), spans, torch.tensor([3, 1, 0]), 4)
    assert classes[4].tolist() == [0, 1, 0, 1]
    assert offsets[4].tolist() == [2, 2]


def test_both_ends_of_a_range_belong_to_it():
    points = place_points([16, 8], [1, 2], [(0.0, 4.0), (4.0, 8.0)])
    classes, _ = assign_points(points, torch.tensor([[0.0, 8.0]]), torch.tensor([0]), 1)
    assert classes[4, 0] == 1  # at 4 of the first level: 4 to both ends
    assert classes[16 + 2, 0] == 1  # at 4 of the second


def test_a_video_without_truths_has_no_classes():
    points = some_points()
    classes, offsets = assign_batch(points, [(torch.empty(0, 2), torch.empty(0, dtype=torch.long)), some_truths(3)], 4)
    assert classes.shape == (2, 28, 4)
    assert classes[0].sum() == 0
    assert offsets[0].sum() == 0
    assert classes[1].sum() > 0
    with pytest.raises(ValueError, match="at least one video"):
        assign_batch(points, [], 4)


def test_the_ranges_are_those_of_the_released_configurations():
    assert regression_ranges(6) == ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10000))  # THUMOS14
    assert regression_ranges(8, overlap=True) == (
        (0, 4), (2, 8), (4, 16), (8, 32), (16, 64), (32, 128), (64, 256), (128, 10000)
    )  # Ego4D  # fmt: skip
    with pytest.raises(ValueError, match="at least 1"):
        regression_ranges(0)


def test_points_stand_at_whole_strides():
    points = place_points([3, 2], [1, 2], [(0.0, 4.0), (4.0, 9.0)])
    assert points.places.tolist() == [0, 1, 2, 0, 2]
    assert points.strides.tolist() == [1, 1, 1, 2, 2]
    assert points.furthest.tolist() == [4, 4, 4, 9, 9]
    with pytest.raises(ValueError, match="2 levels, but 1 strides"):
        place_points([3, 2], [1], [(0.0, 4.0), (4.0, 9.0)])


@pytest.mark.parametrize("logit", [-3.0, 0.0, 2.0])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_the_focal_loss_is_its_formula(logit, target):
    p = 1 / (1 + math.exp(-logit))
    right = p if target == 1 else 1 - p
    expected = (0.25 if target == 1 else 0.75) * (1 - right) ** 2 * -math.log(right)
    assert focal_loss(torch.tensor([logit]), torch.tensor([target])).item() == pytest.approx(expected, rel=1e-5)


def test_the_distance_iou_loss_is_that_of_the_spans():
    ours, theirs = torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 4.0]])  # around 0: [-2, 1) and [-1, 4)
    iou, middles_apart, hull = 2 / 6, 2.0, 6.0
    assert diou_loss(ours, theirs).item() == pytest.approx(1 - iou + (middles_apart / hull) ** 2)
    assert diou_loss(theirs, theirs).item() == pytest.approx(0)


def some_outputs(batch=3):
    classes = (rows(batch, 10, 4, seed=2) > 1.3).float()
    mask = torch.arange(10) < torch.tensor([10, 6, 8])[:batch, None]
    targets, offsets = rows(batch, 10, 2, seed=3).abs(), rows(batch, 10, 2, seed=4).abs()
    return rows(batch, 10, 4), offsets, mask, classes, targets


def test_sums_count_each_video_by_itself_and_no_padding():
    logits, offsets, mask, classes, targets = some_outputs()
    together = point_sums(logits, offsets, mask, classes, targets, label_smoothing=0.1)
    for row in range(3):
        real = mask[row]
        smoothed = classes[row][real] * 0.9 + 0.1 / 5
        positive = classes[row][real].sum(dim=1) > 0
        assert_close(together.classes[row], focal_loss(logits[row][real], smoothed).sum())
        expected = diou_loss(offsets[row][real][positive], targets[row][real][positive]).sum()
        assert_close(together.offsets[row], expected)
        assert together.positives[row] == positive.sum()


def test_a_pyramid_loses_what_its_points_in_one_row_lose():
    points, truths = some_points(), [some_truths(3, seed) for seed in range(2)]
    logits, offsets = rows(2, 28, 4), rows(2, 28, 2, seed=1).abs()
    masks = [torch.arange(0, 16, stride) < torch.tensor([[16], [9]]) for stride in (1, 2, 4)]
    classes, targets = assign_batch(points, truths, 4, center_radius=None)
    expected = point_sums(logits, offsets, torch.cat(masks, dim=1), classes, targets, label_smoothing=0.2)
    levels = [part.split([16, 8, 4], dim=1) for part in (logits, offsets)]
    found = level_sums(*levels, masks, (1, 2, 4), RANGES, truths, center_radius=None, label_smoothing=0.2)
    assert expected.positives.min() > 0
    for name in ("classes", "offsets", "positives"):
        assert_close(getattr(found, name), getattr(expected, name))
    with pytest.raises(ValueError, match="2 videos, but truths of 1"):
        level_sums(*levels, masks, (1, 2, 4), RANGES, truths[:1])


def test_wild_targets_where_nothing_is_to_be_found_leave_gradients_finite():
    logits, offsets, mask, classes, targets = some_outputs()
    offsets = torch.zeros_like(offsets).requires_grad_()
    wild = torch.where(classes.sum(dim=2, keepdim=True) > 0, targets, -1e30)
    sums = point_sums(logits, offsets, mask, classes * 0, wild)
    sums.offsets.sum().backward()
    assert sums.positives.tolist() == [0, 0, 0]
    assert offsets.grad is not None
    assert (offsets.grad == 0).all()


def test_both_parts_are_divided_by_the_positives_of_the_whole_batch():
    sums = PointSums(torch.tensor([3.0, 5.0]), torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
    total, class_part, offset_part = detection_loss(sums, offset_weight=2.0)
    assert [class_part.item(), offset_part.item(), total.item()] == [8 / 4, 3 / 4, 2 + 2 * 0.75]
    empty = PointSums(torch.tensor([3.0]), torch.tensor([0.0]), torch.tensor([0.0]))
    assert detection_loss(empty)[0].item() == 3.0
    assert detection_loss(sums, 10.0)[0].item() == pytest.approx(1.1)


def test_the_automatic_weight_makes_both_parts_alike_and_has_no_gradient():
    offsets = torch.tensor([1.0, 2.0], requires_grad=True)
    sums = PointSums(torch.tensor([3.0, 5.0]), offsets, torch.tensor([1.0, 3.0]))
    total, class_part, _ = detection_loss(sums, offset_weight="auto")
    total.backward()
    assert total.item() == pytest.approx(2 * class_part.item())
    assert_close(offsets.grad, torch.full((2,), (8 / 3) / 4))


def test_the_running_normalizer_moves_a_tenth_of_the_way_and_counts_at_least_one():
    assert next_normalizer(100.0, 23.0) == pytest.approx(92.3)
    assert next_normalizer(1.0, 0.0) == pytest.approx(1.0)
