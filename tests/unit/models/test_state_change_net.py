import json

import pytest
import torch
from torch.testing import assert_close

from playhead.models.frozen import SpaceTimeConfig
from playhead.models.state_change import StateChangeConfig, StateChangeNet, state_change_base

TOWER = SpaceTimeConfig(image_size=16, patch_size=8, width=12, depth=2, heads=2, num_frames=4)


def net(**settings) -> StateChangeNet:
    torch.manual_seed(0)
    return StateChangeNet(StateChangeConfig(video=TOWER, **settings)).eval()


def video(frames: int = 4) -> torch.Tensor:
    return torch.randn(3, frames, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_both_heads_are_linear_in_the_cls_feature():
    model = net()
    output = model(video())
    cls = model.video(video())
    assert_close(output.state, cls @ model.state_head.weight.T + model.state_head.bias)
    assert_close(output.key_frame, cls @ model.key_frame_head.weight.T + model.key_frame_head.bias)
    assert output.state.shape == (3, 2) and output.key_frame.shape == (3, 4)


def test_a_head_that_is_not_asked_for_is_not_there():
    assert net(heads="oscc")(video()).key_frame is None
    assert net(heads="pnr")(video()).state is None
    assert not any(name.startswith("key_frame_head") for name in net(heads="oscc").state_dict())


def test_frames_are_scored_from_their_own_patches():
    model = net(key_frame_head="frames")
    output = model(video())
    tokens = model.video.forward_tokens(video())  # cls, then 4 patches of each frame
    for frame in range(4):
        own = tokens[:, 1 + 4 * frame : 5 + 4 * frame].mean(dim=1)
        expected = own @ model.key_frame_head.weight[0] + model.key_frame_head.bias
        assert_close(output.key_frame[:, frame], expected)
    assert_close(output.state, model.state_head(model.video(video())), atol=1e-5, rtol=1e-4)


def test_fewer_frames_fit_every_head_but_the_one_that_counts_them():
    assert net(key_frame_head="frames")(video(2)).key_frame.shape == (3, 2)
    assert net(heads="oscc")(video(2)).state.shape == (3, 2)
    with pytest.raises(ValueError, match="2 frames given, but the key frame is one of 4"):
        net()(video(2))


def test_settings_come_back_from_json():
    config = StateChangeConfig(video=TOWER, heads="pnr", key_frame_head="frames")
    assert StateChangeConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="no setting slots"):
        StateChangeConfig.from_dict({"slots": 3})


def test_the_published_sizes():
    with torch.device("meta"):
        model = StateChangeNet(state_change_base("pnr"))
    assert model.key_frame_head.weight.shape == (16, 768)
    assert sum(p.numel() for p in model.video.parameters()) == 114_177_792  # counted in the reference program
