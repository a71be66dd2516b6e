import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from playhead.objectives.spans import (
    highlight_loss,
    highlight_sums,
    map_cross_entropy,
    map_cross_entropy_sums,
    scaled_ious,
    span_cross_entropy,
)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_highlight():
    mask = torch.arange(7) < torch.tensor([7, 4, 1])[:, None]
    return noise(3, 7), noise(3, 7, seed=1) > 0.3, mask


def test_where_nothing_is_known_a_span_costs_the_log_of_all_rows_twice():
    first, last = torch.tensor([0, 3]), torch.tensor([2, 4])
    costs = span_cross_entropy(torch.zeros(2, 5), torch.ones(2, 5), first, last)
    assert_close(costs, torch.full((2,), 2 * math.log(5)))


def test_a_span_costs_what_its_two_ends_cost():
    start, end = noise(2, 5), noise(2, 5, seed=1)
    costs = span_cross_entropy(start, end, torch.tensor([1, 0]), torch.tensor([3, 0]))
    start_chance, end_chance = start.softmax(dim=1), end.softmax(dim=1)
    expected = [-(start_chance[0, 1] * end_chance[0, 3]).log(), -(start_chance[1, 0] * end_chance[1, 0]).log()]
    assert_close(costs, torch.stack(expected))


def test_padding_takes_no_part_in_a_span():
    start = noise(1, 5).requires_grad_()
    padded = F.pad(start, (0, 3), value=-1e30)
    first, last = torch.tensor([1]), torch.tensor([4])
    cost = span_cross_entropy(padded, padded, first, last)
    assert_close(cost, span_cross_entropy(start, start, first, last))


def test_highlight_by_hand():
    # p = 1/2 everywhere: each row costs log 2, rows in the answer twice that; the last row is padding
    mask = torch.tensor([[True, True, True, False]])
    highlight = torch.tensor([[False, True, False, True]])
    assert_close(highlight_loss(torch.zeros(1, 4), highlight, mask), torch.tensor(4 * math.log(2) / 3))


def test_highlight_is_the_mean_over_all_real_rows_of_the_batch():
    logits, highlight, mask = some_highlight()
    cells = F.binary_cross_entropy(logits.sigmoid(), highlight.float(), reduction="none") * (1 + highlight.float())
    assert_close(highlight_loss(logits, highlight, mask), cells[mask].mean())


def test_highlight_sums_of_parts_of_a_batch_make_its_loss():
    logits, highlight, mask = some_highlight()
    parts = [highlight_sums(logits[rows], highlight[rows], mask[rows]) for rows in (slice(0, 1), slice(1, 3))]
    sums, counts = (torch.cat(part) for part in zip(*parts, strict=True))
    assert counts.tolist() == [7, 4, 1]
    assert_close(sums.sum() / counts.sum(), highlight_loss(logits, highlight, mask))


def test_what_stands_in_padding_does_not_matter_for_highlight():
    logits, highlight, mask = some_highlight()
    other = torch.where(mask, logits, -1e30)
    assert_close(highlight_loss(other, highlight & mask, mask), highlight_loss(logits, highlight, mask))


def test_a_network_that_is_sure_and_wrong_has_a_finite_loss_and_gradient():
    logits = torch.tensor([[1e4, -1e4, -1e30]], requires_grad=True)
    loss = highlight_loss(logits, torch.tensor([[False, True, False]]), torch.tensor([[True, True, False]]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert_close(logits.grad, torch.tensor([[0.5, -1.0, 0.0]]))  # (1 * 1, 2 * -1, nothing) over 2 rows


def test_targets_rise_from_the_bias_to_one():
    ious = torch.tensor([[[0.0, 0.3, 0.31, 0.65, 1.0]]]).expand(1, 5, 5)
    assert_close(scaled_ious(ious)[0, 0], torch.tensor([0.0, 0.0, 0.31, 0.65, 1.0]))
    assert_close(scaled_ious(ious, min_iou=0.5, bias=0.0)[0, 0], torch.tensor([0.0, 0.0, 0.0, 0.3, 1.0]))
    assert_close(scaled_ious(ious, min_iou=0.3, max_iou=0.65, bias=0.0)[0, 0, 2:], torch.tensor([1 / 35, 1.0, 1.0]))


@pytest.mark.parametrize("wrong", [{"min_iou": 0.5, "max_iou": 0.5}, {"bias": 1.0}, {"bias": -0.1}])
def test_targets_that_do_not_rise_are_refused(wrong):
    with pytest.raises(ValueError, match="the IoUs must rise and the bias be in"):
        scaled_ious(torch.zeros(1, 2, 2), **wrong)


def test_a_map_costs_the_mean_over_candidates():
    logits, targets = noise(2, 4, 4), noise(2, 4, 4, seed=1).sigmoid()
    cells = torch.ones(4, 4, dtype=torch.bool).triu()
    chance = logits.sigmoid()
    costs = -(targets * chance.log() + (1 - targets) * (1 - chance).log())
    assert_close(map_cross_entropy(logits, targets, cells), costs[:, cells].mean())
    assert_close(map_cross_entropy_sums(logits, targets, cells), costs[:, cells].sum(dim=1))


def test_losses_of_bfloat16_logits_are_float32():
    logits, highlight, mask = some_highlight()
    low = logits.to(torch.bfloat16)
    assert highlight_loss(low, highlight, mask).dtype == torch.float32
    assert span_cross_entropy(low, low, torch.zeros(3).long(), torch.ones(3).long()).dtype == torch.float32
    targets, cells = torch.zeros(1, 3, 7, 7)[0], torch.ones(7, 7, dtype=torch.bool)
    assert map_cross_entropy(low[:, None].expand(3, 7, 7), targets, cells).dtype == torch.float32
