from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from playhead.errors import WeightsError
from playhead.models.vsgn import VSGN, VSGNConfig
from playhead.weights.vsgn_weights import load_vsgn, to_vsgn

TINY = VSGNConfig(
    feature_dim=6, num_classes=4, num_steps=16, width=32, num_levels=3, tower_layers=2, num_neighbours=3, stitch_gap=2
)
SETTINGS = {"num_steps": 16, "num_neighbours": 3, "stitch_gap": 2}


@pytest.mark.parametrize("config", [TINY, replace(TINY, graph=False)])
def test_a_trainers_file_gives_back_the_model(config, tmp_path):
    model = VSGN(config)
    state = {f"module.{name}": tensor for name, tensor in to_vsgn(model).items()}
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"state": {}}}, tmp_path / "best.pth.tar")

    loaded = load_vsgn(tmp_path / "best.pth.tar", **SETTINGS)

    assert loaded.config == replace(config, num_neighbours=3)
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_names_are_the_official_ones():
    names = set(to_vsgn(VSGN(TINY)))
    for name in (
        "xGPN.conv0.0.weight",
        "xGPN.levels_enc.1.tconv1.weight",
        "xGPN.levels_enc.2.nconv1.mlp.bias",
        "xGPN.levels_dec.0.0.weight",
        "xGPN.levels1.2.0.weight",
        "xGPN.levels2.1.0.weight",
        "head_dec.cls_tower.4.weight",
        "head_dec.bbox_pred.bias",
        "head_startness.2.weight",
        "bd_adjust.end_conv.0.weight",
    ):
        assert name in names
    assert "xGPN.levels_enc.1.0.weight" in to_vsgn(VSGN(replace(TINY, graph=False)))


def saved(tmp_path, change):
    state = to_vsgn(VSGN(TINY))
    change(state)
    save_file(state, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("head_actionness.2.bias"), r"not in this VSGN.*action\.2\.bias"),
        (lambda state: state.pop("xGPN.conv0.0.weight"), r"pyramid\.stem\.weight"),
        (lambda state: state.update({"backbone.weight": torch.zeros(1)}), "have no rule"),
        (lambda state: state.update({"bd_adjust.end_conv.2.bias": torch.zeros(2)}), "another shape"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(change, message, tmp_path):
    with pytest.raises(WeightsError, match=message):
        load_vsgn(saved(tmp_path, change), **SETTINGS)


def test_settings_that_do_not_fit_the_file_are_refused(tmp_path):
    path = saved(tmp_path, lambda state: None)
    with pytest.raises(WeightsError, match="10 class scores per step do not divide into 3"):
        load_vsgn(path, **SETTINGS, anchor_scales=(1, 2, 4))
    with pytest.raises(WeightsError, match="cannot be halved"):
        load_vsgn(path, **(SETTINGS | {"num_steps": 18}))
