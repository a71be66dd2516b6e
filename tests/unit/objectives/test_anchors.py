import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from playhead.objectives.anchors import (
    AnchorTargets,
    anchor_losses,
    anchor_rows,
    anchor_total,
    claim_anchors,
    giou_distance,
    overlap_of_steps,
)

ANCHORS = torch.tensor([[0.5, 0.5], [-4.0, 5.0], [2.5, 3.5], [2.0, 9.0], [8.0, 11.0], [12.5, 12.5]])


def some_targets():
    """Three samples of 14 steps: two segments, none, one."""
    boxes = torch.zeros(3, 2, 2)
    boxes[0] = torch.tensor([[2.2, 8.4], [8.5, 11.0]])
    boxes[2, 0] = torch.tensor([0.0, 3.0])
    return AnchorTargets(
        boxes=boxes,
        labels=torch.tensor([[2, 1], [0, 0], [3, 0]]),
        present=torch.tensor([[True, True], [False, False], [True, False]]),
        action=torch.zeros(3, 14).index_fill(1, torch.tensor([2, 3, 4]), 2) * torch.tensor([[1.0], [0.0], [1.0]]),
        start=torch.rand(3, 14, generator=torch.Generator().manual_seed(5)),
        end=torch.rand(3, 14, generator=torch.Generator().manual_seed(6)),
    )


def some_outputs():
    generator = torch.Generator().manual_seed(0)
    boxes = ANCHORS + torch.randn(3, 6, 2, generator=generator) * 0.5
    boxes = boxes.sort(dim=-1).values
    return {
        "logits": torch.randn(3, 6, 4, generator=generator).requires_grad_(),
        "boxes": boxes.requires_grad_(),
        "adjusted": (boxes + torch.randn(3, 6, 2, generator=generator) * 0.3).detach().requires_grad_(),
        "anchors": ANCHORS,
        "action": torch.rand(3, 14, generator=generator),
        "start": torch.rand(3, 14, generator=generator),
        "end": torch.rand(3, 14, generator=generator),
    }


def part_of(targets, samples):
    names = ("boxes", "labels", "present", "action", "start", "end")
    return AnchorTargets(**{name: getattr(targets, name)[samples] for name in names})


def overlap_by_hand(box, segment):
    shared = max(0.0, min(box[1], segment[1]) - max(box[0], segment[0]))
    return shared / (box[1] - box[0] + 1 + segment[1] - segment[0] - shared)


def claims_by_hand(boxes, segments, threshold):
    """Return for each box the number of its segment, or -1."""
    table = [[overlap_by_hand(box, segment) for segment in segments] for box in boxes]
    claims = [max(range(len(row)), key=row.__getitem__) if row and max(row) >= threshold else -1 for row in table]
    for number in range(len(segments)):
        best = max(row[number] for row in table)
        for box, row in enumerate(table):
            if row[number] == best > 0:
                claims[box] = max(range(len(row)), key=row.__getitem__)
    return claims


def test_overlaps_are_those_of_boxes_one_step_longer():
    targets = some_targets()
    found = overlap_of_steps(ANCHORS.expand(3, -1, -1), targets.boxes)
    for box, row in zip(ANCHORS.tolist(), found[0].tolist(), strict=True):
        assert row == pytest.approx([overlap_by_hand(box, segment) for segment in targets.boxes[0].tolist()])
    # [2, 9] is 8 steps long for [2.2, 8.4] of 6.2, which it holds.
    assert found[0, 3, 0] == pytest.approx(6.2 / 8)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_claims_are_those_of_the_definition(threshold):
    generator = torch.Generator().manual_seed(1)
    boxes = (torch.rand(4, 30, 2, generator=generator) * 20).sort(dim=-1).values
    segments = (torch.rand(4, 5, 2, generator=generator) * 20).sort(dim=-1).values
    present = torch.arange(5) < torch.tensor([5, 3, 1, 0])[:, None]
    found = claim_anchors(overlap_of_steps(boxes, segments), present, threshold)
    for sample in range(4):
        there = segments[sample, present[sample]].tolist()
        expected = claims_by_hand(boxes[sample].tolist(), there, threshold) if there else [-1] * 30
        assert found[sample].tolist() == expected


def test_a_segment_without_length_claims_nothing_or_all_as_released():
    targets = some_targets()
    boxes = targets.boxes.clone()
    boxes[0, 1] = 13.0
    overlaps = overlap_of_steps(ANCHORS.expand(3, -1, -1), boxes)
    assert claim_anchors(overlaps, targets.present, 0.5)[0].tolist() == [-1, -1, -1, 0, -1, -1]
    # Every anchor overlaps it best, with nothing; each then goes to the segment that it overlaps most.
    assert claim_anchors(overlaps, targets.present, 0.5, match_without_overlap=True)[0].tolist() == [0] * 6


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([2.0, 6.0], 0.0),  # the segment itself
        ([6.0, 2.0], 0.0),  # with its ends swapped
        ([2.0, 4.0], 0.5),  # half of it
        ([4.0, 8.0], 1 - 2 / 6),
        ([8.0, 10.0], 1 + 2 / 8),  # apart: the hull of 8 has a hole of 2
    ],
)
def test_giou_distance_is_one_minus_overlap_plus_the_empty_part_of_the_hull(box, expected):
    assert giou_distance(torch.tensor(box), torch.tensor([2.0, 6.0])) == pytest.approx(expected, abs=1e-6)


def test_losses_are_those_of_the_definition():
    targets, outputs = some_targets(), some_outputs()
    losses = anchor_losses(anchor_rows(**outputs, targets=targets, thresholds=(0.4, 0.3, 0.6)))

    positive, negative, moved, adjusted = [], [], [], []
    for sample in range(3):
        segments = targets.boxes[sample, targets.present[sample]].tolist()
        boxes = outputs["boxes"][sample].tolist()
        by_class = claims_by_hand(boxes, segments, 0.4)
        for box, number in enumerate(by_class):
            label = torch.tensor(0) if number < 0 else targets.labels[sample, number]
            surprise = F.cross_entropy(outputs["logits"][sample, box], label)
            (negative if number < 0 else positive).append(surprise)
        for where, name, threshold, kept in (
            (ANCHORS.tolist(), "boxes", 0.3, moved),
            (boxes, "adjusted", 0.6, adjusted),
        ):
            for box, number in enumerate(claims_by_hand(where, segments, threshold)):
                if number >= 0:
                    kept.append(giou_distance(outputs[name][sample, box], targets.boxes[sample, number]))
    assert min(len(positive), len(negative), len(moved), len(adjusted)) > 0
    assert_close(losses["class"], torch.stack(positive).mean() + torch.stack(negative).mean())
    assert_close(losses["box"], torch.stack(moved).mean())
    assert_close(losses["adjust"], torch.stack(adjusted).mean())


@pytest.mark.parametrize("name", ["action", "start", "end"])
def test_losses_of_steps_are_the_weighted_cross_entropy_of_the_boundary_networks(name):
    targets, outputs = some_targets(), some_outputs()
    losses = anchor_losses(anchor_rows(**outputs, targets=targets))
    said, true = outputs[name], getattr(targets, name) > 0.5
    ratio = true.numel() / true.sum()
    lower, higher = 0.5 * ratio / (ratio - 1), 0.5 * ratio  # Lin et al., 2018, "BSN", as VSGN's code has it
    log_positive, log_negative = (said + 1e-5).log() * true, (1 - said + 1e-5).log() * ~true
    assert_close(losses[name], -(higher * log_positive + lower * log_negative).mean())


def test_the_rows_of_two_ranks_together_are_the_rows_of_the_batch():
    targets, outputs = some_targets(), some_outputs()
    whole = anchor_rows(**outputs, targets=targets)
    halves = [
        anchor_rows(
            **{name: value if name == "anchors" else value[samples] for name, value in outputs.items()},
            targets=part_of(targets, samples),
        )
        for samples in (slice(0, 1), slice(1, 3))
    ]
    for name, rows in whole.items():
        assert rows.shape == (3, 2)
        assert_close(torch.cat([half[name] for half in halves]), rows)


def test_a_batch_without_segments_has_a_finite_loss_and_gradient():
    targets, outputs = some_targets(), some_outputs()
    only = {name: value if name == "anchors" else value[1:2] for name, value in outputs.items()}
    losses = anchor_losses(anchor_rows(**only, targets=part_of(targets, slice(1, 2))))
    assert losses["box"] == losses["adjust"] == 0
    total = anchor_total(losses)
    total.backward()
    assert math.isfinite(total.item())
    assert all(outputs[name].grad.isfinite().all() for name in ("logits", "boxes", "adjusted"))


def test_targets_move_to_a_device_whole():
    moved = some_targets().to("meta")
    assert {getattr(moved, name).device.type for name in moved.__slots__} == {"meta"}


def test_the_total_is_the_sum_with_light_boundaries():
    losses = {
        name: torch.tensor(float(n)) for n, name in enumerate(("class", "box", "action", "start", "end", "adjust"))
    }
    assert anchor_total(losses) == pytest.approx(0 + 1 + 0.2 * (2 + 3 + 4) + 5)
    assert anchor_total(losses, boundary_weight=1.0) == 15
