from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from playhead.errors import WeightsError
from playhead.models.point_pyramid import PointPyramid
from playhead.weights.adapt import rename_keys
from playhead.weights.point_pyramid_weights import (
    ACTIONFORMER,
    candidate_rules,
    center_radius,
    load_actionformer,
    point_ranges,
    pyramid_config,
    suppression_of,
)

# Ego4D with EgoVLP's features as ActionFormer released it, but for the sizes.
OFFICIAL = {
    "dataset": {"input_dim": 6, "num_classes": 3, "max_seq_len": 64},
    "model": {
        "backbone_arch": [2, 2, 3], "n_mha_win_size": 5, "embd_dim": 8, "n_head": 2, "fpn_dim": 8, "head_dim": 8,
        "use_abs_pe": True, "regression_range": [[0, 4], [2, 8], [4, 16], [8, 10000]],
    },
    "train_cfg": {"dropout": 0.1},
    "test_cfg": {"nms_sigma": 0.9, "max_seg_num": 2000, "min_score": 0.001, "voting_thresh": 0.95},
}  # fmt: skip


def changed(section, **values):
    return {**OFFICIAL, section: {**OFFICIAL[section], **values}}


def some_model(seed, official=OFFICIAL):
    model = PointPyramid(pyramid_config(official)).eval()
    for number, parameter in enumerate(model.parameters()):
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed + number))
    return model


def as_released(model):
    """The model's tensors as the released trainer saves them: its names, `module.`, and axes of length one."""
    theirs = {}
    for key, value in rename_keys(model.state_dict(), ACTIONFORMER.inverted()).items():
        is_norm = "norm" in key or ".ln" in key or "drop_path" in key
        one_step = key.endswith("weight") and value.ndim == 2
        if is_norm:
            value = value[None, :, None]
        elif one_step:
            value = value[..., None]
        elif key.endswith(".scale"):
            value = value[0]
        theirs[f"module.{key}"] = value
    return theirs


class SomeScheduler:
    """Stands for the objects in a released file."""


def save_release(path, plain, averaged):
    content = {"epoch": 14, "state_dict": as_released(plain), "state_dict_ema": as_released(averaged)}
    torch.save({**content, "scheduler": {"last": SomeScheduler()}, "optimizer": {}}, path)


def test_a_released_checkpoint_loads_its_running_average(tmp_path):
    plain, averaged = some_model(0), some_model(500)
    save_release(tmp_path / "epoch_015.pth.tar", plain, averaged)
    features, mask = torch.randn(1, 20, 6), torch.ones(1, 20, dtype=torch.bool)
    for expected, take_average in ((averaged, True), (plain, False)):
        model = load_actionformer(tmp_path / "epoch_015.pth.tar", plain.config, averaged=take_average)
        assert not model.training
        with torch.no_grad():
            assert_close(model(features, mask).logits, expected(features, mask).logits)


def test_a_file_without_an_average_gives_what_it_has(tmp_path):
    model = some_model(0)
    torch.save(as_released(model), tmp_path / "plain.pth")
    loaded = load_actionformer(tmp_path / "plain.pth", model.config)
    assert_close(loaded.state_dict(), model.state_dict())


def test_a_running_number_of_positives_is_in_no_release_and_keeps_its_start(tmp_path):
    model = some_model(0)
    torch.save(as_released(model), tmp_path / "plain.pth")
    loaded = load_actionformer(tmp_path / "plain.pth", replace(model.config, loss_normalizer=250.0))
    assert loaded.state_dict()["loss_normalizer"] == 250


def test_a_table_of_positions_in_the_file_is_not_needed(tmp_path):
    model = some_model(0)
    extra = {
        "module.backbone.pos_embd": torch.zeros(1, 8, 64),
        "module.point_generator.buffer_points.0": torch.zeros(4),
    }
    torch.save({**as_released(model), **extra}, tmp_path / "plain.pth")
    assert load_actionformer(tmp_path / "plain.pth", model.config).config == model.config


@pytest.mark.parametrize(
    ("change", "named"),
    [(changed("model", backbone_arch=[2, 2, 4], regression_range=[[0, 4]] * 5), "branch.3"),
     (changed("model", backbone_arch=[2, 1, 3]), "fit no parameter"),
     (changed("dataset", num_classes=4), "class_head")],
)  # fmt: skip
def test_a_checkpoint_of_other_sizes_is_an_error(tmp_path, change, named):
    torch.save(as_released(some_model(0)), tmp_path / "plain.pth")
    with pytest.raises(WeightsError, match=named):
        load_actionformer(tmp_path / "plain.pth", pyramid_config(change))


def test_a_parameter_that_the_file_lacks_is_named(tmp_path):
    tensors = as_released(some_model(0))
    del tensors["module.reg_head.scale.2.scale"]
    torch.save(tensors, tmp_path / "plain.pth")
    with pytest.raises(WeightsError, match=r"scales\.2"):
        load_actionformer(tmp_path / "plain.pth", pyramid_config(OFFICIAL))


def test_what_a_configuration_leaves_out_has_the_released_defaults():
    config = pyramid_config({"dataset": {"input_dim": 2048, "num_classes": 20}})
    assert (config.input_widths, config.projected_widths, config.num_classes) == ((2048,), (), 20)
    assert (config.max_steps, config.levels, config.width, config.heads) == (2304, 6, 512, 4)
    assert (config.level_windows, config.layer_scale, config.dropout) == ((0,) * 6, 1e-4, 0.0)
    assert center_radius({}) == 1.5
    assert point_ranges({})[-1] == (64.0, 10000.0)
    assert suppression_of({}).sigma == 0.5
    assert candidate_rules({}).top_per_level == 5000


def test_the_settings_for_ego4d_are_read():
    config = pyramid_config(OFFICIAL)
    assert (config.levels, config.level_windows, config.absolute_positions, config.dropout) == (4, (5,) * 4, True, 0.1)
    assert point_ranges(OFFICIAL) == ((0, 4), (2, 8), (4, 16), (8, 10000))
    assert center_radius(changed("train_cfg", center_sample="none")) is None
    suppression = suppression_of(OFFICIAL)
    assert (suppression.method, suppression.per_class, suppression.top) == ("gaussian", True, 2000)
    assert suppression.voting_threshold is None  # per class the released code does not vote
    assert suppression_of(changed("test_cfg", multiclass_nms=False)).voting_threshold == 0.95
    assert suppression_of(changed("test_cfg", nms_method="hard")).method == "greedy"


def test_several_feature_sets_are_projected_and_one_is_not():
    several = pyramid_config(
        {"dataset": {"input_dim": [2304, 1536, 256], "num_classes": 110},
         "model": {"embd_dim": [256, 384, 384], "n_head": 16,
         "fpn_dim": 1024}}
    )  # fmt: skip
    assert (several.input_widths, several.projected_widths) == ((2304, 1536, 256), (256, 384, 384))
    assert several.width == 1024
    assert pyramid_config(changed("train_cfg", droppath=0)).layer_scale is None
    mixed = pyramid_config(changed("model", n_mha_win_size=[7, 7, 7, -1]))
    assert mixed.level_windows == (7, 7, 7, 0)


@pytest.mark.parametrize(
    ("change", "named"),
    [(changed("model", fpn_start_level=1), "fpn_start_level"), (changed("model", backbone_type="mamba"), "mamba"),
     (changed("model", fpn_type="bifpn"), "bifpn"), (changed("model", n_head=3), "heads 3")],
)  # fmt: skip
def test_a_configuration_that_is_not_built_is_an_error(change, named):
    with pytest.raises(WeightsError, match=named):
        pyramid_config(change)


def test_an_unknown_nms_is_an_error():
    with pytest.raises(WeightsError, match="fast"):
        suppression_of(changed("test_cfg", nms_method="fast"))
