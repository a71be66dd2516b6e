"""The space-time transformer against recorded tokens, outputs and gradients, and its start from an image ViT."""

import pytest
import torch
from egovlp_cases import (
    assert_gradient,
    assert_output,
    case_name,
    find_cases,
    read_arrays,
    read_sizes,
    under,
    video_config,
)
from safetensors.torch import save_file

from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeTransformer
from playhead.weights.adapt import rename_keys
from playhead.weights.keymaps import EGOVLP
from playhead.weights.official import initialise_from

CASES = find_cases("**/*a1_video_transformer*.safetensors")
VIT_CASES = find_cases("**/*a2_vit_init*.safetensors")
TEXT = DistilBertConfig(vocab_size=8, dim=4, n_layers=1, n_heads=1, hidden_dim=4, max_positions=4)


def native(released):
    named = rename_keys({f"video_model.{key}": value for key, value in released.items()}, EGOVLP)
    return {key.removeprefix("video."): value for key, value in named.items()}


def load(case):
    arrays = read_arrays(case)
    model = SpaceTimeTransformer(video_config(case, arrays["sd/temporal_embed"].shape[1])).eval()
    model.load_state_dict(native(under("sd/", arrays)), strict=True)
    return model, arrays


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_cls_is_the_recorded_one_with_all_fewer_and_one_frame(case):
    model, arrays = load(case)
    for which in ("", "_fewer", "_one"):
        assert_output(model(arrays[f"in/video{which}"]), arrays[f"out/cls{which}"])


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_tokens_are_the_recorded_ones_at_every_recorded_place(case):
    model, arrays = load(case)
    seen = {"embedded": model.embed(arrays["in/video"])}
    for index, block in enumerate(model.blocks()):
        named = {f"block{index}_out": block, f"block{index}_timeattn": block.time_attention}
        for name, part in {**named, f"block{index}_attn": block.space_attention}.items():
            part.register_forward_hook(lambda _part, _given, out, name=name: seen.__setitem__(name, out))

    tokens = model.forward_tokens(arrays["in/video"])

    recorded = under("mid/", arrays)
    assert recorded
    for name, expected in recorded.items():
        assert_output(seen[name], expected)
    assert_output(tokens[:, 0], arrays["out/cls"])


@pytest.mark.parametrize("whole", [False, True], ids=["cls_alone", "all_tokens"])
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_gradients_are_the_recorded_ones(case, whole):
    model, arrays = load(case)
    video = arrays["in/video"].requires_grad_()
    cls = model.forward_tokens(video)[:, 0] if whole else model(video)

    (cls * arrays["grad/cotangent"]).sum().backward()

    assert video.grad is not None
    assert_gradient(video.grad, arrays["grad/video"])
    expected = native(under("grad/sd/", arrays))
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert_gradient(gradient, expected[name])


@pytest.mark.parametrize("case", VIT_CASES, ids=case_name)
def test_an_image_vit_gives_the_recorded_start(case, tmp_path):
    arrays = read_arrays(case)
    sizes = read_sizes(case)
    vit = tmp_path / "vit.safetensors"
    save_file(under("vit/", arrays), vit)
    config = video_config(case, arrays["sd/temporal_embed"].shape[1])
    model = Frozen(FrozenConfig(video=config, text=TEXT, shared_dim=sizes["projection_dim"])).eval()

    report = initialise_from(model, vit=vit)["vit"]

    state, expected = model.video.state_dict(), native(under("sd/", arrays))
    assert state.keys() == expected.keys()
    for name, value in state.items():
        torch.testing.assert_close(value, expected[name], atol=0, rtol=0)
    assert report.dropped == tuple(key for key in under("vit/", arrays) if key.startswith("head."))
    assert_output(model.video(arrays["in/video"]), arrays["out/cls"])
