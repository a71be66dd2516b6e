"""Layer-wise decay and the schedule with warm-up, against the recorded groups and values."""

import pytest
import torch
from recognition_cases import read_cases
from torch import nn

from playhead.errors import RecipeError
from playhead.models.videomae import VideoMAEClassifier, VideoMAEClassifierConfig, VideoMAEEncoderConfig
from playhead.train.config import Optim
from playhead.train.optim import learning_rate, make_optimizer
from playhead.weights.videomae_weights import to_official


def named(cases):
    return [pytest.param(name, entry, id=name) for name, entry in cases]


@pytest.mark.parametrize(("name", "groups"), named(read_cases("*layer_decay_groups.json")))
def test_every_parameter_has_the_recorded_share_of_the_rate_and_decay(name, groups):
    recorded = {key: (group["lr_scale"], group["weight_decay"]) for group in groups.values() for key in group["params"]}
    depth = 1 + max(int(key.split(".")[1]) for key in recorded if key.startswith("blocks."))
    encoder = VideoMAEEncoderConfig(image_size=16, patch_size=8, num_frames=2, width=8, depth=depth, heads=2)
    model = VideoMAEClassifier(VideoMAEClassifierConfig(encoder=encoder, num_classes=3))
    weight_decay = max(decay for _, decay in recorded.values())
    optim = Optim(lr=1.0, weight_decay=weight_decay, layer_decay=float(name.rpartition("_")[2]))
    of_parameter = {
        parameter.data_ptr(): (group["scale"], group["weight_decay"])
        for group in make_optimizer(model, optim).param_groups
        for parameter in group["params"]
    }
    found = {key: of_parameter[tensor.data_ptr()] for key, tensor in to_official(model).items()}
    assert found.keys() == recorded.keys()
    for key, (scale, decay) in recorded.items():
        assert found[key] == (pytest.approx(scale, rel=1e-12), decay), key


@pytest.mark.parametrize(("name", "entry"), named(read_cases("*cosine_schedule.json")))
def test_the_schedule_has_the_recorded_value_in_every_step(name, entry):
    asked, total = entry["args"], len(entry["values"])
    warmup = asked["warmup_epochs"] * asked["niter_per_ep"]
    warmup = asked["warmup_steps"] if asked["warmup_steps"] > 0 else warmup
    optim = Optim(
        lr=float(asked["base_value"]),
        min_lr=float(asked["final_value"]),
        schedule="cosine",
        warmup_steps=warmup,
        warmup_start=float(asked["start_warmup_value"]),
    )
    steps_per_epoch = asked["niter_per_ep"]
    found = [learning_rate(optim, step, total_steps=total, steps_per_epoch=steps_per_epoch) for step in range(total)]
    assert found == pytest.approx(entry["values"], rel=1e-9, abs=1e-15)


def test_a_step_moves_each_layer_by_its_share():
    """AdamW's first step has the length of the rate wherever the gradient is not tiny."""
    encoder = VideoMAEEncoderConfig(image_size=16, patch_size=8, num_frames=2, width=8, depth=2, heads=2)
    model = VideoMAEClassifier(VideoMAEClassifierConfig(encoder=encoder, num_classes=3))
    optimizer = make_optimizer(model, Optim(lr=1.0, layer_decay=0.5))
    for group in optimizer.param_groups:
        group["lr"] = 0.01 * group["scale"]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = {key: float((before[key] - value).abs().max()) for key, value in model.state_dict().items()}
    assert moved["head.weight"] == pytest.approx(0.01, rel=1e-3)
    assert moved["encoder.layers.1.mlp.up.weight"] == pytest.approx(0.005, rel=1e-3)
    assert moved["encoder.patch_embedding.weight"] == pytest.approx(0.00125, rel=1e-3)


def test_a_model_without_blocks_has_no_layers_to_decay_over():
    with pytest.raises(RecipeError, match="one row of blocks"):
        make_optimizer(nn.Linear(2, 2), Optim(lr=1.0, layer_decay=0.5))
