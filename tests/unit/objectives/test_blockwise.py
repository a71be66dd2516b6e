"""The blockwise form against the dense one, which other tests hold to the equations and to recorded values."""

import math
from unittest import mock

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from playhead.objectives import blockwise
from playhead.objectives.action_lists import action_lists, only_own
from playhead.objectives.blockwise import blockwise_ego_nce, blockwise_info_nce
from playhead.objectives.ego_nce import action_positives, ego_nce
from playhead.objectives.info_nce import info_nce


def unit_rows(count, width, seed, dtype=torch.float32):
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(rows, dim=1).to(dtype)


def some_tags(count, seed, share_set=0.2):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 6, generator=generator) < share_set, torch.rand(count, 3, generator=generator) < share_set


def with_gradients(loss_of, video, text):
    video, text = video.clone().requires_grad_(), text.clone().requires_grad_()
    loss = loss_of(video, text)
    loss.backward()
    return loss.detach(), video.grad, text.grad


def assert_same_to_rounding(found, exact, dtype=torch.float32):
    """Loss within 2e-6 and gradients within 1e-6 of the float64 ones, relative; the floor is one rounding of z."""
    assert abs(float(found[0]) - float(exact[0])) <= 2e-6 * max(1.0, abs(float(exact[0])))
    for mine, theirs in zip(found[1:], exact[1:], strict=True):
        assert mine.dtype == dtype
        assert (mine.double() - theirs).norm() <= 1e-6 * theirs.norm() + 1e-9


@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(1, 40),
    block_rows=st.integers(1, 50),
    kept_numbers=st.sampled_from([0, 300, 2**20]),
    share_set=st.sampled_from([0.0, 0.2, 0.7]),
    temperature=st.sampled_from([0.01, 0.05, 0.07, 1.0]),
    seed=st.integers(0, 10_000),
)
def test_loss_and_gradients_are_those_of_the_dense_form(
    num_rows, block_rows, kept_numbers, share_set, temperature, seed
):
    video, text = unit_rows(num_rows, 16, seed), unit_rows(num_rows, 16, seed + 1)
    nouns, verbs = some_tags(num_rows, seed, share_set)
    positives, lists = action_positives(nouns, verbs), action_lists(nouns, verbs)
    exact = with_gradients(
        lambda v, t: ego_nce(v, t, positives, temperature=temperature), video.double(), text.double()
    )
    with mock.patch.object(blockwise, "KEPT_NUMBERS", kept_numbers):
        in_double = with_gradients(
            lambda v, t: blockwise_ego_nce(v, t, lists, temperature=temperature, block_rows=block_rows).loss,
            video.double(),
            text.double(),
        )
    assert_close(in_double, exact, rtol=1e-9, atol=1e-11)


def test_in_float32_a_batch_of_the_published_size_agrees_to_the_last_digits():
    video, text, (nouns, verbs) = unit_rows(512, 256, 0), unit_rows(512, 256, 1), some_tags(512, 2)
    positives, lists = action_positives(nouns, verbs), action_lists(nouns, verbs)
    exact = with_gradients(lambda v, t: ego_nce(v, t, positives), video.double(), text.double())
    found = with_gradients(lambda v, t: blockwise_ego_nce(v, t, lists, block_rows=100).loss, video, text)
    assert_same_to_rounding(found, exact)
    dense = with_gradients(lambda v, t: ego_nce(v, t, positives), video, text)
    assert_same_to_rounding(found, tuple(part.double() for part in dense))


def test_info_nce_in_blocks_is_info_nce():
    video, text = unit_rows(50, 32, 0), unit_rows(50, 32, 1)
    exact = with_gradients(lambda v, t: info_nce(v, t, temperature=0.07), video.double(), text.double())
    found = with_gradients(lambda v, t: blockwise_info_nce(v, t, temperature=0.07, block_rows=7).loss, video, text)
    assert_same_to_rounding(found, exact)


def test_gradients_are_those_of_finite_differences():
    video, text = unit_rows(5, 3, 0, torch.float64).requires_grad_(), unit_rows(5, 3, 1, torch.float64).requires_grad_()
    lists = action_lists(*some_tags(5, 4, 0.6))
    assert torch.autograd.gradcheck(lambda v, t: blockwise_ego_nce(v, t, lists, block_rows=2).loss, (video, text))


def test_the_order_of_the_pairs_does_not_matter():
    video, text, (nouns, verbs) = unit_rows(23, 8, 0), unit_rows(23, 8, 1), some_tags(23, 2)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(4))
    one = with_gradients(
        lambda v, t: blockwise_ego_nce(v, t, action_lists(nouns, verbs), block_rows=5).loss, video, text
    )
    lists = action_lists(nouns[order], verbs[order])
    other = with_gradients(lambda v, t: blockwise_ego_nce(v, t, lists, block_rows=5).loss, video[order], text[order])
    assert_close(other, (one[0], one[1][order], one[2][order]))


def test_one_pair_loses_nothing_and_gets_no_gradient():
    found = with_gradients(lambda v, t: blockwise_info_nce(v, t).loss, unit_rows(1, 4, 0), unit_rows(1, 4, 1))
    assert_close(found, (torch.zeros(()), torch.zeros(1, 4), torch.zeros(1, 4)), atol=1e-6, rtol=0)


def test_the_gradient_is_that_of_a_loss_that_is_scaled_and_reaches_what_made_the_rows():
    raw = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    text = unit_rows(9, 5, 1, torch.float64)
    in_blocks = blockwise_info_nce(F.normalize(raw, dim=1), text, block_rows=4).loss
    [found] = torch.autograd.grad(3 * in_blocks, raw)
    [expected] = torch.autograd.grad(3 * info_nce(F.normalize(raw, dim=1), text), raw)
    assert_close(found, expected)


def test_what_is_kept_for_the_second_pass_changes_nothing_and_serves_a_second_backward_too():
    video, text, lists = unit_rows(90, 16, 0), unit_rows(90, 16, 1), action_lists(*some_tags(90, 2))
    found = []
    for numbers in (0, 25 * 90, 2**20):
        leaf = video.clone().requires_grad_()
        with mock.patch.object(blockwise, "KEPT_NUMBERS", numbers):
            loss = blockwise_ego_nce(leaf, text, lists, block_rows=10).loss
            found += [torch.autograd.grad(loss, leaf, retain_graph=True)[0] for _ in range(2)]
    assert all(torch.equal(gradient, found[0]) for gradient in found)


class Largest(TorchDispatchMode):
    """Remembers the most numbers that any tensor had."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        tensors = [tensor for tensor in (found if isinstance(found, tuple) else (found,)) if torch.is_tensor(tensor)]
        self.numbers = max([self.numbers, *(tensor.numel() for tensor in tensors)])
        return found


def test_no_tensor_is_larger_than_a_block():
    video, text = unit_rows(300, 4, 0).requires_grad_(), unit_rows(300, 4, 1).requires_grad_()
    with Largest() as largest, mock.patch.object(blockwise, "KEPT_NUMBERS", 1000):
        blockwise_ego_nce(video, text, action_lists(*some_tags(300, 2, 0.1)), block_rows=10).loss.backward()
    assert 10 * 300 <= largest.numbers < 2 * 10 * 300


def test_accuracy_counts_any_narration_of_the_same_action():
    text = torch.eye(4, 8)
    video = text.roll(-1, 0)  # every clip is nearest to the text of its successor
    same = action_lists(torch.ones(4, 1, dtype=torch.bool), torch.ones(4, 1, dtype=torch.bool))
    pair = action_lists(torch.tensor([[1], [1], [0], [0]]).bool(), torch.ones(4, 1, dtype=torch.bool))
    found = [float(blockwise_ego_nce(video, text, lists, block_rows=3).accuracy) for lists in (same, pair, only_own(4))]
    assert found == [1.0, 0.25, 0.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rows_in_half_precision_and_a_low_temperature_do_not_underflow(dtype):
    video = torch.eye(2, dtype=dtype).requires_grad_()
    text = torch.eye(2, dtype=dtype).flip(0)  # every pair as wrong as can be
    loss = blockwise_info_nce(video, text, temperature=0.01).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(200, rel=1e-5)
    assert video.grad is not None
    assert (video.grad.dtype, bool(video.grad.abs().max() > 1)) == (dtype, True)


def test_autocast_does_not_lower_the_precision():
    video, text = unit_rows(20, 32, 0), unit_rows(20, 32, 1)
    plain = with_gradients(lambda v, t: blockwise_info_nce(v, t).loss, video, text)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = with_gradients(lambda v, t: blockwise_info_nce(v, t).loss, video, text)
    assert_close(low, plain, atol=0, rtol=0)


def test_products_in_bf16_come_close():
    video, text, lists = unit_rows(60, 64, 0), unit_rows(60, 64, 1), action_lists(*some_tags(60, 2))
    plain = with_gradients(lambda v, t: blockwise_ego_nce(v, t, lists).loss, video, text)
    low = with_gradients(lambda v, t: blockwise_ego_nce(v, t, lists, bf16_products=True).loss, video, text)
    assert low[0] != plain[0]
    assert abs(low[0] - plain[0]) < 1e-2
    assert all((mine - theirs).norm() < 0.05 * theirs.norm() for mine, theirs in zip(low[1:], plain[1:], strict=True))


@pytest.mark.parametrize("strange", [math.nan, math.inf])
def test_a_row_that_is_not_finite_makes_the_loss_not_a_number_and_no_error(strange):
    video = unit_rows(6, 4, 0)
    video[3, 1] = strange
    assert math.isnan(blockwise_info_nce(video, unit_rows(6, 4, 1), block_rows=2).loss)


def test_a_second_derivative_is_refused_and_not_taken_for_zero():
    video = unit_rows(3, 4, 0).requires_grad_()
    loss = blockwise_info_nce(video, unit_rows(3, 4, 1)).loss
    with pytest.raises(RuntimeError, match="has no derivative itself"):
        torch.autograd.grad(loss, video, create_graph=True)


def test_numbers_that_cannot_be_are_refused():
    rows = unit_rows(2, 3, 0)
    with pytest.raises(ValueError, match="`temperature` must be above zero"):
        blockwise_info_nce(rows, rows, temperature=0.0)
    with pytest.raises(ValueError, match="`block_rows` must be above zero"):
        blockwise_info_nce(rows, rows, block_rows=0)
    with pytest.raises(ValueError, match="`positives` are of 3 rows, video and text of 2"):
        blockwise_ego_nce(rows, rows, only_own(3))
    with pytest.raises(ValueError, match="logits may reach 500, above 350"):
        blockwise_info_nce(5 * rows, rows, temperature=0.01)
