import pytest
import torch

from playhead.models.frozen import Frozen, frozen_base
from playhead.weights.keymaps import DISTILBERT, EGOVLP, LAVILA, VIT, KeyMap

with torch.device("meta"):
    OURS = tuple(Frozen(frozen_base()).state_dict())


@pytest.mark.parametrize("keymap", [EGOVLP, LAVILA], ids=lambda keymap: keymap.name)
def test_every_parameter_of_ours_has_a_name_of_theirs_and_comes_back(keymap):
    theirs = [keymap.inverted().rename(key) for key in OURS]
    assert None not in theirs
    assert len(set(theirs)) == len(OURS)
    assert tuple(keymap.rename(f"module.{key}") for key in theirs) == OURS


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("module.video_model.blocks.11.norm3.weight", "video.layers.11.time_norm.weight"),
        ("video_model.blocks.0.timeattn.qkv.bias", "video.layers.0.time_attention.qkv.bias"),
        ("video_model.norm.bias", "video.norm.bias"),
        ("text_model.transformer.layer.5.ffn.lin2.weight", "text.layers.5.mlp.down.weight"),
        ("txt_proj.1.weight", "text_projection.weight"),
        ("video_model.blocks.x.norm3.weight", None),
        ("video_model.blocks.0.norm4.weight", None),
        ("video_model", None),
        ("head.weight", None),
    ],
)
def test_names_follow_whole_parts(theirs, ours):
    assert EGOVLP.rename(theirs) == ours


def test_what_an_image_model_lacks_is_known_and_nothing_else():
    fresh = {key.split(".", 3)[-1] for key in OURS if VIT.is_fresh(key.removeprefix("video."))}
    assert fresh == {
        "time_embedding",
        "time_norm.weight",
        "time_norm.bias",
        "time_attention.qkv.weight",
        "time_attention.qkv.bias",
        "time_attention.proj.weight",
        "time_attention.proj.bias",
    }


def test_heads_and_position_numbers_are_dropped():
    assert VIT.why_dropped("head.weight")
    assert VIT.why_dropped("pre_logits.fc.bias")
    assert DISTILBERT.why_dropped("vocab_layer_norm.weight")
    assert DISTILBERT.why_dropped("distilbert.embeddings.position_ids")
    assert EGOVLP.why_dropped("module.text_model.embeddings.position_ids")
    assert VIT.why_dropped("headline.weight") is None
    assert EGOVLP.why_dropped("head.weight") is None


def test_stars_keep_their_numbers_in_order():
    keymap = KeyMap(name="test", renames=(("a.*.b.*", "x.*.*.y"),))
    assert keymap.rename("a.3.b.12.weight") == "x.3.12.y.weight"
    assert keymap.inverted().rename("x.3.12.y.weight") == "a.3.b.12.weight"
