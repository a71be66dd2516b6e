import json

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from playhead.models.resnet3d import DualHeadConfig, DualHeadResNet, ResNet3d, ResNet3dConfig, dual_head_base

SMALL = ResNet3dConfig(arch="slow", width=4, depths=(2, 1, 1, 1))


def video(size: int = 64, frames: int = 3) -> torch.Tensor:
    return torch.randn(2, frames, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("arch", "millions", "classes"),
    [
        ("c2d", 25.56, 1000),  # torchvision's resnet50
        ("c2d", 24.33, 400),  # this and the following: the model zoo of pytorchvideo, Kinetics-400
        ("i3d", 28.04, 400),
        ("slow", 32.45, 400),
    ],
)
def test_it_has_as_many_parameters_as_are_published_with_a_head(arch, millions, classes):
    with torch.device("meta"):
        model = ResNet3d(ResNet3dConfig(arch=arch))
    count = sum(parameter.numel() for parameter in model.parameters()) + 2048 * classes + classes
    assert round(count / 1e6, 2) == millions


def test_a_network_of_images_looks_at_each_frame_alone_and_a_slow_one_does_not():
    for arch, sees in (("c2d", False), ("slow", True)):
        torch.manual_seed(0)
        model = ResNet3d(ResNet3dConfig(arch=arch, width=4, depths=(1, 1, 1, 1))).eval()
        clip = video()
        changed = clip.clone()
        changed[:, 1] = 0
        same = torch.isclose(model(clip), model(changed)).flatten(3).all(dim=3).all(dim=1)  # (B, T)
        assert same[:, 0].logical_not().all() == same[:, 2].logical_not().all() == sees


@pytest.mark.parametrize(("size", "side"), [(64, 2), (65, 3), (224, 7), (225, 8)])
def test_the_last_map_is_the_picture_halved_five_times(size, side):
    assert DualHeadConfig(trunk=SMALL, image_size=size).map_size == side
    model = ResNet3d(SMALL).eval()
    assert model(video(size, frames=1)).shape == (2, 4 * 4 * 8, 1, side, side)


def test_the_heads_see_a_grid_of_means_channels_last():
    torch.manual_seed(0)
    model = DualHeadResNet(DualHeadConfig(trunk=SMALL, image_size=96, grid=2)).eval()  # a map of 3 x 3
    output = model(video(96))
    last = model.trunk(video(96))
    assert last.shape[-2:] == (3, 3)
    for clip in range(2):
        grids = []
        for frame in range(3):
            seen = last[clip, :, frame]
            cells = [seen[:, i : i + 2, j : j + 2].mean(dim=(1, 2)) for i in range(2) for j in range(2)]
            grids.append(torch.cat(cells))
        expected = [F.linear(grid, model.key_frame_head.weight, model.key_frame_head.bias)[0] for grid in grids]
        assert_close(output.key_frame[clip], torch.stack(expected))
        whole = torch.stack(grids).mean(dim=0)
        assert_close(output.state[clip], F.linear(whole, model.state_head.weight, model.state_head.bias))


def test_the_released_head_sees_8192_numbers():
    with torch.device("meta"):
        model = DualHeadResNet(dual_head_base())
    assert model.key_frame_head.weight.shape == (1, 8192)
    assert model.state_head.weight.shape == (2, 8192)
    assert model.trunk.stem.weight.shape == (64, 3, 3, 7, 7)


def test_it_learns_from_scratch_to_tell_two_clips_apart():
    torch.manual_seed(0)
    model = DualHeadResNet(DualHeadConfig(trunk=SMALL, image_size=64, heads="oscc", dropout=0.0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = None
    for _ in range(15):
        loss = F.cross_entropy(model(video()).state, torch.tensor([0, 1]))
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * first


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="a last map of side 1, too small for a grid of side 2"):
        DualHeadConfig(image_size=32)
    with pytest.raises(ValueError, match="dropout must lie in"):
        DualHeadConfig(dropout=1.0)
    with pytest.raises(ValueError, match="depths needs four numbers"):
        ResNet3dConfig(depths=(1, 0, 1, 1))
    with pytest.raises(ValueError, match="frames of 3x64x64 wanted, got 3x65x65"):
        DualHeadResNet(DualHeadConfig(trunk=SMALL, image_size=64))(video(65))


def test_settings_come_back_from_json():
    config = DualHeadConfig(trunk=SMALL, heads="pnr", image_size=96, grid=3)
    assert DualHeadConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
