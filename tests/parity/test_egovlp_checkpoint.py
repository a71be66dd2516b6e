"""A checkpoint as EgoVLP publishes it: with a pickled configuration object, whose module we do not have."""

import sys

import pytest
import torch
from egovlp_cases import assert_output, case_name, find_cases, frozen_config, read_arrays, read_sizes, under

from playhead.types import Tokens
from playhead.weights.checkpoint_files import read_checkpoint
from playhead.weights.official import load_egovlp, to_egovlp

CASES = find_cases("**/*checkpoint_published_layout*.pth")


def dual_encoder_beside(case):
    named_alike = case.with_name(case.stem.replace("checkpoint_published_layout", "b_dual_encoder") + ".safetensors")
    return read_arrays(named_alike)


def load(case):
    sizes = read_sizes(case)
    return load_egovlp(
        case,
        heads=sizes["video"]["num_heads"],
        text_heads=sizes["text"]["n_heads"],
        image_size=(sizes["video"]["height"], sizes["video"]["width"]),
    )


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_its_tensors_are_read_without_its_classes(case):
    state = read_checkpoint(case)
    expected = under("sd/", dual_encoder_beside(case))
    assert "parse_config" not in sys.modules
    assert state.keys() == {f"module.{key}" for key in expected}
    for key, value in expected.items():
        assert torch.equal(state[f"module.{key}"], value)


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_sizes_are_read_from_the_shapes(case):
    assert load(case).config == frozen_config(case)


@pytest.mark.parametrize("case", CASES, ids=case_name)
@torch.no_grad()
def test_the_loaded_model_gives_the_recorded_rows(case):
    model, arrays = load(case), dual_encoder_beside(case)
    tokens = Tokens(ids=arrays["in/input_ids"], mask=arrays["in/attention_mask"].bool())
    assert_output(model.project_video(arrays["in/video"]), arrays["out/video"])
    assert_output(model.project_text(tokens), arrays["out/text"])


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_export_gives_the_published_names_and_tensors_back(case):
    exported, expected = to_egovlp(load(case)), under("sd/", dual_encoder_beside(case))
    assert exported.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(exported[key], value)
