"""Masked pretraining against recorded predictions, targets, losses, gradients and one step of AdamW."""

import re

import pytest
import torch
from safetensors.torch import save_file
from videomae_cases import (
    array_names,
    assert_gradient,
    assert_loss,
    assert_output,
    case_name,
    find_cases,
    pretraining_config,
    read_case,
    time_major,
    under,
)

from playhead.data.masking import token_order
from playhead.models.videomae import VideoMAE
from playhead.objectives.masked_video import masked_video_losses, pixel_targets
from playhead.train.config import Optim
from playhead.train.optim import make_optimizer
from playhead.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from playhead.video.tubes import take_tubes, tube_grid
from playhead.weights.adapt import rename_keys
from playhead.weights.videomae_weights import PRETRAINED, Untold, load_videomae, to_official

CASES = find_cases("out/encoder_visible", "param/encoder.patch_embed.proj.weight")
RUNS = [
    (case, name.split("/")[1])
    for case in CASES
    for name in sorted(array_names(case))
    if re.fullmatch(r"out/\w+/pred", name)
]


def native(released):
    return rename_keys(released, PRETRAINED)


def load(case):
    arrays, metadata = read_case(case)
    model = VideoMAE(pretraining_config(metadata)).eval()
    model.load_state_dict(native(under("param/", arrays)), strict=True)
    return model, arrays, metadata


def predict_and_target(model, arrays, run):
    mask, kind = run.rsplit("_", 1)
    video = time_major(arrays["in/video"])
    visible, hidden = token_order(arrays[f"in/mask_{mask}"])
    predicted = model(video, visible, hidden)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    encoder = model.config.encoder
    grid = tube_grid(video * std + mean, encoder.tubelet, encoder.patch_size).movedim(4, -1)
    targets = pixel_targets(take_tubes(grid, hidden), normalized=kind == "norm", white=1.0)
    return predicted, targets


@pytest.mark.parametrize(("case", "run"), RUNS, ids=[f"{case_name(case)}:{run}" for case, run in RUNS])
def test_prediction_target_and_loss_are_the_recorded_ones(case, run):
    model, arrays, _ = load(case)
    predicted, targets = predict_and_target(model, arrays, run)
    assert_output(predicted, arrays[f"out/{run}/pred"])
    assert_output(targets, arrays[f"out/{run}/target"])
    assert_loss(masked_video_losses(predicted, targets).mean(), arrays[f"out/{run}/loss"])


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_visible_tokens_and_both_tables_are_the_recorded_ones(case):
    model, arrays, _ = load(case)
    visible, _ = token_order(arrays["in/mask_tube"])
    tokens = model.encoder.forward_visible(time_major(arrays["in/video"]), visible)
    assert_output(tokens, arrays["out/encoder_visible"])
    torch.testing.assert_close(model.encoder.positions, arrays["out/pos_embed_encoder"][0], atol=1e-6, rtol=0)
    torch.testing.assert_close(model.decoder.positions, arrays["out/pos_embed_decoder"][0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_gradients_and_the_step_after_them_are_the_recorded_ones(case):
    model, arrays, metadata = load(case)
    told = dict(re.findall(r"(lr|eps|wd)=([\d.e-]+)", metadata["optimizer"]))
    first, second = re.search(r"betas=\(([\d.]+),([\d.]+)\)", metadata["optimizer"]).groups()
    optim = Optim(
        lr=float(told["lr"]),
        betas=(float(first), float(second)),
        eps=float(told["eps"]),
        weight_decay=float(told["wd"]),
    )
    optimizer = make_optimizer(model, optim)
    predicted, targets = predict_and_target(model, arrays, "tube_norm")

    masked_video_losses(predicted, targets).mean().backward()

    expected = native(under("grad/", arrays))
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert_gradient(gradient, expected[name])
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert_loss(norm, arrays["out/tube_norm/grad_norm"])

    optimizer.step()

    after = native(under("after_step/", arrays))
    for name, parameter in model.named_parameters():
        counts = expected[name].abs() >= 1e-6  # the first step is +-lr wherever the gradient is not nothing
        torch.testing.assert_close(parameter.detach()[counts], after[name][counts], atol=2e-6, rtol=0)


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_a_file_of_the_recorded_weights_loads_strictly_and_goes_back(case, tmp_path):
    arrays, metadata = read_case(case)
    released, config = under("param/", arrays), pretraining_config(metadata)
    save_file(released, tmp_path / "model.safetensors")
    encoder = config.encoder
    untold = Untold(
        heads=encoder.heads,
        decoder_heads=config.decoder_heads,
        image_size=encoder.image_size,
        num_frames=encoder.num_frames,
    )

    model = load_videomae(tmp_path / "model.safetensors", untold)

    assert model.config == config
    back = to_official(model)
    assert back.keys() == released.keys()
    for name, value in released.items():
        torch.testing.assert_close(back[name], value, atol=0, rtol=0)
