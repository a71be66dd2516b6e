from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from playhead.errors import WeightsError
from playhead.models.tan2d import Tan2d, Tan2dConfig
from playhead.models.vslnet import VSLNet, VSLNetConfig, WordsConfig
from playhead.weights.adapt import rename_keys
from playhead.weights.vslnet_weights import VSLNET, load_tan2d, load_vslnet, tan2d_keymap

TINY = VSLNetConfig(
    video_dim=6, text_dim=5, width=8, heads=2, max_positions=12, conv_layers=2, kernel=3, convolve_padding=True
)
WORDS = WordsConfig(num_words=9, num_chars=7, word_dim=4, char_dim=3)
VARIANTS = [
    TINY,
    replace(TINY, predictor="lstm"),
    replace(TINY, text_dim=768, words=WORDS),
    replace(TINY, text_dim=768, words=replace(WORDS, fixed_vectors=False), predictor="lstm"),
]
TAN2D = Tan2dConfig(video_dim=5, text_dim=4, width=6, num_rows=12, scales=(4, 2), kernels=(3, 5), paddings=(3, 0))
TOLD = {"num_rows": 12, "scales": (4, 2), "paddings": (3, 0)}

AS_RELEASED = {  # names of convolutions over one row, by their end
    "video_affine.linear.conv1d.weight": (8, 6, 1),
    "feature_encoder.conv_block.depthwise_separable_conv.1.0.weight": (8, 1, 3),
    "feature_encoder.conv_block.depthwise_separable_conv.1.1.weight": (8, 8, 1),
    "feature_encoder.attention_block.out_layer.conv1d.weight": (8, 8, 1),
    "cq_attention.w4C": (8, 1),
    "cq_attention.w4mlu": (1, 1, 8),
    "cq_concat.weighted_pool.weight": (8, 1),
    "predictor.start_block.2.conv1d.weight": (1, 8, 1),
}


def released(model, keymap=VSLNET):
    """The state of a model under the released names, and in the released shapes where these are known above."""
    state = rename_keys(model.state_dict(), keymap.inverted())
    return {key: value.reshape(AS_RELEASED.get(key, value.shape)) for key, value in state.items()}


def write(path, state):
    torch.save(state, path)
    return path


@pytest.mark.parametrize("config", VARIANTS)
def test_every_variant_comes_back_with_its_sizes(config, tmp_path):
    model = VSLNet(config)
    loaded = load_vslnet(write(tmp_path / "vslnet_100.t7", released(model)), heads=2)
    assert loaded.config == config
    assert not loaded.training
    for key, value in model.state_dict().items():
        assert_close(loaded.state_dict()[key], value, atol=0, rtol=0)


def test_prefixes_of_wrappers_and_the_frozen_bert_are_left_out(tmp_path):
    model = VSLNet(TINY)
    state = {f"module.{key}": value.half() for key, value in released(model).items()}
    state["module.embedding_net.embedder.embeddings.word_embeddings.weight"] = torch.zeros(30, 8)
    loaded = load_vslnet(write(tmp_path / "a.t7", state), heads=2)
    assert loaded.config == TINY
    assert loaded.highlight.weight.dtype == torch.float32
    assert_close(loaded.highlight.weight, model.highlight.weight, atol=1e-3, rtol=1e-3)


def test_a_file_of_another_model_is_refused_by_name(tmp_path):
    state = released(VSLNet(TINY))
    extra = write(tmp_path / "extra.t7", state | {"reranker.weight": torch.zeros(3)})
    with pytest.raises(WeightsError, match=r"have no rule in VSLNet .*: reranker.weight"):
        load_vslnet(extra, heads=2)
    del state["predictor.end_layer_norm.bias"]
    with pytest.raises(WeightsError, match=r"are not in this VSLNet .*: predictor.end_norm.bias"):
        load_vslnet(write(tmp_path / "less.t7", state), heads=2)
    del state["video_affine.linear.conv1d.weight"]
    with pytest.raises(WeightsError, match=r"'video_projection.weight' is not in this VSLNet"):
        load_vslnet(write(tmp_path / "none.t7", state), heads=2)


def test_shapes_that_contradict_each_other_are_refused(tmp_path):
    state = released(VSLNet(TINY))
    state["highlight_layer.conv1d.conv1d.weight"] = torch.zeros(1, 9, 1)
    with pytest.raises(WeightsError, match=r"another shape .*: highlight.weight \(1, 9, 1\) for \(1, 8\)"):
        load_vslnet(write(tmp_path / "a.t7", state), heads=2)


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path):
    path = write(tmp_path / "a.t7", released(VSLNet(TINY)))
    with pytest.raises(WeightsError, match="do not make a model: VSLNetConfig: heads 3 must divide width 8"):
        load_vslnet(path, heads=3)


@pytest.mark.parametrize("moments", ["max", "conv"])
def test_2d_tan_comes_back_with_what_it_is_told(moments, tmp_path):
    model = Tan2d(replace(TAN2D, moments=moments))
    state = {f"module.{key}": value for key, value in released(model, tan2d_keymap(TAN2D.scales)).items()}
    state["module.frame_layer.vis_conv.weight"] = state["module.frame_layer.vis_conv.weight"][..., None]
    loaded = load_tan2d(write(tmp_path / "tan.pth", state), **TOLD)
    assert loaded.config == model.config
    for key, value in model.state_dict().items():
        assert_close(loaded.state_dict()[key], value, atol=0, rtol=0)


def test_2d_tan_of_other_lengths_than_told_is_refused(tmp_path):
    model = Tan2d(replace(TAN2D, moments="conv"))
    path = write(tmp_path / "tan.pth", released(model, tan2d_keymap(TAN2D.scales)))
    with pytest.raises(WeightsError, match=r"have no rule in 2D-TAN .*: prop_layer.layers.1.1.weight"):
        load_tan2d(path, **TOLD | {"scales": (4, 1)})
    with pytest.raises(WeightsError, match=r"are not in this 2D-TAN .*: moments.convs.4.weight"):
        load_tan2d(path, **TOLD | {"scales": (5, 2), "num_rows": 20})
    with pytest.raises(WeightsError, match="change the map's size"):
        load_tan2d(path, **TOLD | {"paddings": (2, 0)})
