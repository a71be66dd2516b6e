"""Rates by hand count; AdamW against its own formula; what decays."""

import math

import pytest
import torch
from torch import nn

from playhead.train.config import Optim
from playhead.train.optim import learning_rate, make_optimizer, set_learning_rate


def rates(optim, steps, steps_per_epoch=10, total_steps=100):
    return [learning_rate(optim, s, total_steps=total_steps, steps_per_epoch=steps_per_epoch) for s in steps]


def test_warm_up_rises_in_a_line_and_reaches_the_rate_at_its_last_step():
    assert rates(Optim(lr=1.0, warmup_steps=4), range(6)) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_starts_at_lr_passes_the_middle_half_way_and_ends_at_min_lr():
    found = rates(Optim(lr=1.0, min_lr=0.2, schedule="cosine", warmup_steps=20), [20, 60, 100, 80])
    three_quarters = 0.2 + 0.8 * (1 - math.sqrt(0.5)) / 2  # cos(3 pi / 4) = -sqrt(1/2)
    assert found == pytest.approx([1.0, 0.6, 0.2, three_quarters])


def test_the_released_schedule_jumps_after_the_first_epoch_and_falls_after_epochs_60_and_80():
    optim = Optim(lr=3e-5, schedule="egovlp_released")
    epochs_done = [0, 1, 59, 60, 79, 80, 99]
    found = rates(optim, [epoch * 10 for epoch in epochs_done])
    assert found == pytest.approx([3e-5, 2e-4, 2e-4, 2e-5, 2e-5, 2e-6, 2e-6])
    assert rates(optim, [9]) == [3e-5]  # the last step of the first epoch


def test_linear_falls_in_a_line_to_min_lr():
    optim = Optim(lr=1.0, min_lr=0.2, schedule="linear", warmup_steps=20)
    assert rates(optim, [20, 60, 80, 100]) == pytest.approx([1.0, 0.6, 0.4, 0.2])


def test_step_falls_by_its_factor_after_every_so_many_epochs():
    optim = Optim(lr=1.0, schedule="step", step_epochs=3, gamma=0.1)
    assert rates(optim, [0, 29, 30, 59, 60]) == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01])


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.ones(1, 4, 3))
        self.words, self.norm, self.linear = nn.Embedding(5, 3), nn.LayerNorm(3), nn.Linear(3, 3)
        self.again = self.linear  # shared: must not be optimised twice
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)


def test_only_weight_matrices_outside_of_embeddings_decay():
    model = Mixed()
    optimizer = make_optimizer(model, Optim(lr=1.0, weight_decay=0.1))
    name_of = {parameter: name for name, parameter in model.named_parameters()}
    decayed = {name_of[p] for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    spared = {name_of[p] for group in optimizer.param_groups if not group["weight_decay"] for p in group["params"]}
    assert decayed == {"linear.weight"}
    assert spared == {"place", "words.weight", "norm.weight", "norm.bias", "linear.bias"}


def test_an_update_is_adamw_by_its_formula():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = make_optimizer(model, Optim(lr=0.5, weight_decay=0.1, betas=(0.9, 0.99), eps=1e-3))
    set_learning_rate(optimizer, 0.2)
    for gradient in (3.0, -1.0):
        model.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
    weight, first, second = 2.0, 0.0, 0.0
    for t, gradient in enumerate((3.0, -1.0), start=1):
        weight -= 0.2 * 0.1 * weight
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
        weight -= 0.2 * (first / (1 - 0.9**t)) / (math.sqrt(second / (1 - 0.99**t)) + 1e-3)
    assert float(model.weight.detach()) == pytest.approx(weight, rel=1e-6)
