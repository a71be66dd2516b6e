"""The running average, counted by hand."""

import torch
from torch import nn

from playhead.train.ema import Ema


def set_weights(model, value):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def test_the_average_is_the_decayed_sum_of_the_weights():
    model = nn.Linear(2, 1)
    set_weights(model, 1.0)
    ema = Ema(model, decay=0.75)
    for value in (5.0, 9.0):
        set_weights(model, value)
        ema.update(model)
    # 1 -> 0.75 * 1 + 0.25 * 5 = 2 -> 0.75 * 2 + 0.25 * 9 = 3.75: exact in binary
    assert all(torch.equal(weights, torch.full_like(weights, 3.75)) for weights in ema.weights.values())


def test_lending_the_average_gives_the_own_weights_back_bit_for_bit():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    ema = Ema(model, decay=0.5)
    set_weights(model, 0.1)
    ema.update(model)
    own = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with ema.in_place_of(model):
        torch.testing.assert_close(model.weight.detach(), (before["weight"] + 0.1) / 2)
        assert torch.equal(model.bias, own["bias"])  # does not learn, so there is no average of it
    assert all(torch.equal(parameter, own[name]) for name, parameter in model.named_parameters())
