"""Both towers together against recorded rows."""

import pytest
import torch
from egovlp_cases import assert_output, case_name, find_cases, frozen_config, read_arrays, under

from playhead.models.frozen import Frozen
from playhead.types import Tokens
from playhead.weights.adapt import convert
from playhead.weights.keymaps import EGOVLP

CASES = find_cases("**/*b_dual_encoder*.safetensors")


def load(case):
    arrays = read_arrays(case)
    model = Frozen(frozen_config(case)).eval()
    state, _ = convert(under("sd/", arrays), EGOVLP, model.state_dict())
    model.load_state_dict(state, strict=True)
    return model, arrays, Tokens(ids=arrays["in/input_ids"], mask=arrays["in/attention_mask"].bool())


@pytest.mark.parametrize("case", CASES, ids=case_name)
@torch.no_grad()
def test_hidden_states_are_the_recorded_ones_under_the_mask(case):
    model, arrays, tokens = load(case)
    hidden = model.text(tokens)
    assert hidden.isfinite().all()
    assert_output(hidden[tokens.mask], arrays["mid/text_hidden"][tokens.mask])
    assert_output(model.video(arrays["in/video"]), arrays["mid/video_cls"])


@pytest.mark.parametrize("case", CASES, ids=case_name)
@torch.no_grad()
def test_projected_rows_are_the_recorded_ones(case):
    model, arrays, tokens = load(case)
    assert_output(model.project_text(tokens), arrays["out/text"])
    assert_output(model.project_words(tokens)[tokens.mask], arrays["out/text_tokens"][tokens.mask])
    assert_output(model.project_video(arrays["in/video"]), arrays["out/video"])
    assert_output(model.project_video(arrays["in/video"]), arrays["out/video_only"])


@pytest.mark.parametrize("case", CASES, ids=case_name)
@torch.no_grad()
def test_unit_rows_meet_in_the_recorded_cosines(case):
    model, arrays, tokens = load(case)
    video, text = model(arrays["in/video"], tokens)
    assert_output(text @ video.T, arrays["out/sim"])
