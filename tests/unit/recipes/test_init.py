from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from playhead.errors import PlayheadError, RecipeError, WeightsError
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.models.state_change import StateChangeConfig
from playhead.recipes.base import Init, build_model
from playhead.recipes.serialize import from_plain, to_plain
from playhead.recipes.small import world_ego_nce, world_state_change
from playhead.weights.adapt import rename_keys
from playhead.weights.keymaps import VIT

VIDEO = SpaceTimeConfig(image_size=48, patch_size=16, width=24, depth=1, heads=3, num_frames=4)
TEXT = DistilBertConfig(vocab_size=30, dim=24, n_layers=1, n_heads=3, hidden_dim=16, max_positions=8)


def recipe(**init):
    small = FrozenConfig(video=VIDEO, text=TEXT, shared_dim=4)
    return replace(world_ego_nce(), model=small, init=Init(**init))


def save_vit(path, **sizes):
    tower = Frozen(FrozenConfig(video=replace(VIDEO, **sizes), text=TEXT, shared_dim=4)).video
    image = {key: value for key, value in tower.state_dict().items() if not VIT.is_fresh(key)}
    save_file(rename_keys(image, VIT.inverted()), path)
    return tower


def test_a_text_tower_starts_from_a_bert_by_name(tmp_path):
    sizes = {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 16}
    twin = BertModel(BertConfig(vocab_size=30, max_position_embeddings=8, num_hidden_layers=2, **sizes))
    save_file(twin.state_dict(), tmp_path / "bert.safetensors")
    model = build_model(recipe(bert=tmp_path / "bert.safetensors"))
    first = twin.encoder.layer[0].attention.self.query.weight
    assert torch.equal(model.get_parameter("text.layers.0.query.weight"), first)


def test_sizes_are_fitted_only_if_the_recipe_says_so_and_the_log_tells_it(tmp_path, caplog):
    tower = save_vit(tmp_path / "vit.safetensors", image_size=64)
    with pytest.raises(WeightsError, match=r"position_embedding \(1, 17, 24\) for \(1, 10, 24\)"):
        build_model(recipe(vit=tmp_path / "vit.safetensors"))
    with caplog.at_level("INFO"):
        model = build_model(recipe(vit=tmp_path / "vit.safetensors", resize=True))
    assert "init.vit: 18 tensors taken, 0 dropped, 7 of ours are not in it; resized: position_embedding" in caplog.text
    assert torch.equal(model.get_parameter("video.cls_token"), tower.cls_token)


def test_the_network_for_state_change_starts_from_a_vit_of_another_size(tmp_path):
    tower = save_vit(tmp_path / "vit.safetensors", image_size=64)
    start = Init(vit=tmp_path / "vit.safetensors", resize=True)
    task = world_state_change(Path("world"))
    model = build_model(replace(task, model=StateChangeConfig(video=replace(VIDEO, num_frames=16)), init=start))
    assert torch.equal(model.get_parameter("video.cls_token"), tower.cls_token)


def test_fields_that_exclude_each_other_are_refused():
    with pytest.raises(RecipeError, match=r"init\.distilbert and init\.bert both fill the text tower"):
        Init(distilbert=Path("a"), bert=Path("b"))
    with pytest.raises(RecipeError, match=r"init\.bundle already holds all weights"):
        Init(bundle=Path("a"), bert=Path("b"))
    task = replace(world_state_change(Path("world")), init=Init(bert=Path("b")))
    with pytest.raises(RecipeError, match=r"init\.bert is of no use to a StateChangeNet"):
        build_model(task)


@pytest.mark.parametrize(
    ("field", "name"), [("bundle", "hub:a/nothing"), ("vit", "hub:a/nothing:vit.npz"), ("bert", "hub:a/nothing:b.bin")]
)
def test_names_on_a_hub_are_taken_in_place_of_paths(tmp_path, monkeypatch, field, name):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = recipe(**{field: Path(name)})
    assert from_plain(type(asked), to_plain(asked)) == asked
    with pytest.raises(PlayheadError, match=r"hub:a/nothing@main(:\S+)?: is not in the cache"):
        build_model(asked)
