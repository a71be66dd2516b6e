"""Settings that contradict each other are refused with their names."""

from dataclasses import replace

import pytest

from playhead.errors import RecipeError
from playhead.train.config import Optim, Train


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": 0.0}, "optim.lr must be above 0"),
        ({"min_lr": 1e-5}, "only schedule='cosine'"),
        ({"schedule": "cosine", "min_lr": 1.0}, r"optim.min_lr must lie in \[0, lr"),
        ({"schedule": "egovlp_released", "warmup_steps": 5}, "has no warm-up"),
        ({"clip_norm": 0.0}, "leave it unset"),
        ({"betas": (0.9, 1.0)}, "optim.betas"),
        ({"weight_decay": -0.1}, "optim.weight_decay"),
        ({"eps": 0.0}, "optim.eps"),
        ({"warmup_steps": -1}, "optim.warmup_steps"),
    ],
)
def test_an_impossible_optimiser_is_refused(change, words):
    with pytest.raises(RecipeError, match=words):
        replace(Optim(lr=1e-3), **change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 2}, "only one: epochs is 2, steps is 10"),
        ({"steps": None}, "only one: epochs is None, steps is None"),
        ({"steps": 0}, "train.steps must be above 0"),
        ({"global_batch": 0}, "train.global_batch must be above 0"),
        ({"workers": -1}, "train.workers"),
        ({"ema_decay": 1.0}, "train.ema_decay"),
        ({"keep_last": 0}, "train.keep_last"),
        ({"micro_batch": 0}, "train.micro_batch must be above 0"),
        ({"seed": -1}, "train.seed"),
        ({"max_broken": -1}, r"train.max_broken must be a number of samples \(10\) or a share"),
        ({"max_broken": 1.5}, "train.max_broken"),
        ({"sample_timeout": 0.0}, "train.sample_timeout must be above 0"),
        ({"sample_timeout": 60.0, "workers": 0}, "train.sample_timeout needs train.workers above 0"),
        ({"checkpoint_every": 0, "checkpoint_activations": True}, "train.checkpoint_every must be above 0"),
        ({"checkpoint_every": 2}, "but none is; set train.checkpoint_activations"),
        ({"checkpoint_keeps": "products"}, "but none is; set train.checkpoint_activations"),
    ],
)
def test_an_impossible_run_is_refused(change, words):
    with pytest.raises(RecipeError, match=words):
        replace(Train(global_batch=4, steps=10), **change)


def test_broken_samples_are_allowed_by_number_or_by_share():
    allowed = [Train(global_batch=4, steps=1, max_broken=limit).broken_allowed(250) for limit in (0, 3, 1, 1.0, 0.01)]
    assert allowed == [0, 3, 1, 250, 2]


def test_epochs_are_counted_in_full_global_batches():
    assert Train(global_batch=4, epochs=3).total_steps(steps_per_epoch=5) == 15
    assert Train(global_batch=4, steps=7).total_steps(steps_per_epoch=5) == 7


def test_a_global_batch_must_divide_by_the_ranks():
    assert Train(global_batch=6, steps=1).per_rank(3) == 2
    with pytest.raises(RecipeError, match="6 does not divide by 4 ranks"):
        Train(global_batch=6, steps=1).per_rank(4)
