"""Recomputed blocks: which they are, what is done again, and that nothing of the result depends on it."""

from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from playhead.models.distilbert import DistilBert, DistilBertConfig
from playhead.models.frozen import SpaceTimeConfig, SpaceTimeTransformer
from playhead.train.config import Train
from playhead.train.parallel import World, spread
from playhead.types import Tokens

POLICIES = {
    "all blocks": {},
    "every second block": {"checkpoint_every": 2},
    "all but their products": {"checkpoint_keeps": "products"},
    "every second block but its products": {"checkpoint_every": 2, "checkpoint_keeps": "products"},
}


def make_video_tower():
    sizes = {"image_size": 16, "patch_size": 8, "width": 16, "heads": 2, "num_frames": 2}
    return SpaceTimeTransformer(SpaceTimeConfig(depth=4, time_init="zero_output", **sizes))


def make_text_tower():  # with dropout in attention and behind the perceptron
    return DistilBert(DistilBertConfig(vocab_size=20, dim=16, n_layers=4, n_heads=2, hidden_dim=32, max_positions=8))


TOWERS = {
    "video": (make_video_tower, lambda: torch.rand(2, 2, 3, 16, 16)),
    "text": (make_text_tower, lambda: Tokens(torch.arange(10).reshape(2, 5), torch.ones(2, 5, dtype=torch.bool))),
}


def step(tower, **settings):
    """Return the loss, all gradients, how often each block ran, and the operations of matrix products."""
    make_tower, make_input = TOWERS[tower]
    torch.manual_seed(0)
    model, given = make_tower(), make_input()
    runs = dict.fromkeys(range(len(model.blocks())), 0)

    def count(index):
        def hook(*_):
            runs[index] += 1

        return hook

    for index, block in enumerate(model.blocks()):
        next(block.children()).register_forward_pre_hook(count(index))  # inside of what is recomputed
    whole = spread(model, Train(global_batch=2, steps=1, **settings), World())
    torch.manual_seed(1)
    with FlopCounterMode(display=False) as flops:
        loss = whole(lambda model, batch: model(batch), given).square().sum()
        loss.backward()
    return loss.detach(), [p.grad for p in model.parameters()], list(runs.values()), flops.get_total_flops()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("tower", TOWERS)
def test_neither_loss_nor_gradient_depends_on_what_is_recomputed(tower, policy):
    loss, gradients, _, _ = step(tower)
    again, others, _, _ = step(tower, checkpoint_activations=True, **POLICIES[policy])
    assert torch.equal(again, loss)
    for one, other in zip(others, gradients, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_blocks_are_recomputed_all_or_every_so_manieth():
    assert step("video")[2] == [1, 1, 1, 1]
    assert step("video", checkpoint_activations=True)[2] == [2, 2, 2, 2]
    assert step("video", checkpoint_activations=True, checkpoint_every=2)[2] == [2, 1, 2, 1]
    assert step("video", checkpoint_activations=True, checkpoint_every=3)[2] == [2, 1, 1, 2]


@pytest.mark.parametrize("tower", TOWERS)
def test_products_that_are_kept_are_not_computed_again(tower):
    flops = [
        step(tower, **settings)[3]
        for settings in (
            {},
            {"checkpoint_activations": True, "checkpoint_keeps": "products"},
            {"checkpoint_activations": True, "checkpoint_every": 2},
            {"checkpoint_activations": True},
        )
    ]
    assert flops[0] == flops[1]
    assert all(less < more for less, more in pairwise(flops[1:]))
