"""The time table in other lengths against the recorded tables and rows."""

import pytest
import torch
from egovlp_cases import assert_output, case_name, find_cases, read_arrays, under, video_config

from playhead.models.frozen import SpaceTimeTransformer
from playhead.weights.adapt import rename_keys, resize_time
from playhead.weights.keymaps import EGOVLP

# The recorded names; `fit_` are Frozen in Time's, and "truncate" asks for fewer slots, whatever the mode.
MODES = {
    "zeros": "zeros",
    "bilinear": "egovlp_bilinear",
    "fit_zeros": "zeros",
    "fit_interp": "nearest",
    "fit_bilinear": "bilinear",
    "truncate": "zeros",
}
CASES = [
    pytest.param(case, mode, id=f"{case_name(case)}-{mode}")
    for case in find_cases("**/*a3_temporal_inflation*.safetensors")
    for mode in under("temporal_embed/", read_arrays(case))
]


@pytest.mark.parametrize(("case", "mode"), CASES)
def test_the_time_table_is_the_recorded_one(case, mode):
    arrays = read_arrays(case)
    expected = arrays[f"temporal_embed/{mode}"]
    table = resize_time(arrays["sd/video_model.temporal_embed"], expected.shape[1], MODES[mode])
    torch.testing.assert_close(table, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("case", "mode"), CASES)
@torch.no_grad()
def test_the_projected_clip_is_the_recorded_one(case, mode):
    arrays = read_arrays(case)
    slots = arrays[f"temporal_embed/{mode}"].shape[1]
    state = rename_keys(under("sd/", arrays), EGOVLP)
    state["video.time_embedding"] = resize_time(state["video.time_embedding"], slots, MODES[mode])
    projection = torch.nn.Linear(*reversed(state["video_projection.weight"].shape))
    projection.load_state_dict(under("video_projection.", state), strict=True)
    model = SpaceTimeTransformer(video_config(case, slots)).eval()
    model.load_state_dict(under("video.", state), strict=True)

    assert_output(projection(model(arrays["in/video"][:, :slots])), arrays[f"out/video/{mode}"])
