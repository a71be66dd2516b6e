import json

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from playhead.models.frame_lstm import FrameLstm, FrameLstmConfig
from playhead.models.resnet3d import ResNet3dConfig

TRUNK = ResNet3dConfig(arch="c2d", width=2, depths=(1, 1, 1, 1))


@pytest.fixture
def model() -> FrameLstm:
    torch.manual_seed(0)
    return FrameLstm(FrameLstmConfig(trunk=TRUNK, hidden=5)).eval()


def run_cell(lstm: nn.LSTM, features: torch.Tensor, suffix: str) -> list[torch.Tensor]:
    """Step through one clip with one direction's weights."""
    cell = nn.LSTMCell(lstm.input_size, lstm.hidden_size)
    weights = {name: getattr(lstm, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    cell.load_state_dict(weights)
    state, hidden = (torch.zeros(1, lstm.hidden_size), torch.zeros(1, lstm.hidden_size)), []
    for row in features:
        state = cell(row[None], state)
        hidden.append(state[0][0])
    return hidden


def test_each_frame_is_scored_from_what_came_before_and_after(model):
    features = torch.randn(2, 6, TRUNK.out_width, generator=torch.Generator().manual_seed(1))
    output = model.read_features(features)
    for clip in range(2):
        forwards = run_cell(model.lstm, features[clip], "")
        backwards = run_cell(model.lstm, features[clip].flip(0), "_reverse")[::-1]
        hidden = torch.stack([torch.cat(pair) for pair in zip(forwards, backwards, strict=True)])
        assert_close(output.key_frame[clip], (hidden @ model.key_frame_head.weight.T + model.key_frame_head.bias)[:, 0])
        assert_close(output.state[clip], hidden.mean(0) @ model.state_head.weight.T + model.state_head.bias)


def test_a_clip_goes_through_the_image_network_frame_by_frame(model):
    video = torch.randn(2, 3, 3, 40, 48, generator=torch.Generator().manual_seed(1))
    features = model.frame_features(video)
    alone = torch.stack([model.frame_features(video[:, [frame]])[:, 0] for frame in range(3)], dim=1)
    assert_close(features, alone)
    assert_close(model(video).key_frame, model.read_features(features).key_frame)


def test_heads_and_settings():
    model = FrameLstm(FrameLstmConfig(trunk=TRUNK, hidden=5, heads="pnr"))
    assert model.read_features(torch.zeros(1, 2, TRUNK.out_width)).state is None
    assert FrameLstm(FrameLstmConfig(trunk=TRUNK, hidden=5, heads="oscc")).key_frame_head is None
    config = model.config
    assert FrameLstmConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match=r"trunk\.arch must be 'c2d'"):
        FrameLstmConfig(trunk=ResNet3dConfig(arch="slow"))


def test_the_released_sizes():
    with torch.device("meta"):
        model = FrameLstm(FrameLstmConfig())
    assert model.lstm.weight_ih_l0.shape == (4 * 512, 2048)
    assert model.key_frame_head.weight.shape == (1, 1024)
