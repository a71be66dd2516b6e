import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from playhead.errors import WeightsError
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.models.vslnet import VSLNet, VSLNetConfig
from playhead.types import Tokens
from playhead.video.transforms import Preprocess
from playhead.weights.bundle import (
    find_kind,
    load_bundle,
    load_task_bundle,
    load_tower,
    save_bundle,
    save_task_bundle,
    save_tower,
)

CONFIG = FrozenConfig(
    video=SpaceTimeConfig(image_size=16, patch_size=8, width=24, depth=1, heads=3, num_frames=4),
    text=DistilBertConfig(vocab_size=30, dim=16, n_layers=1, n_heads=2, hidden_dim=16, max_positions=8),
    shared_dim=10,
)
PREPROCESS = Preprocess(num_frames=4, image_size=16)
PROVENANCE = {"recipe": "egoclip", "step": 7}


def some_frozen(seed=0):
    torch.manual_seed(seed)
    return Frozen(CONFIG)


def save(path, model=None, preprocess=PREPROCESS, tokenizer="bert-base-uncased", provenance=PROVENANCE):
    return save_bundle(path, model or some_frozen(), preprocess, tokenizer, provenance)


def edit(path, **changes):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | changes))


@torch.no_grad()
def test_a_bundle_gives_back_what_was_saved(tmp_path):
    model = some_frozen().eval()
    identity = save(tmp_path / "bundle", model)
    bundle = load_bundle(tmp_path / "bundle")
    video = torch.randn(2, 4, 3, 16, 16)
    tokens = Tokens(ids=torch.tensor([[1, 2]]), mask=torch.ones(1, 2, dtype=torch.bool))
    assert_close(bundle.model.state_dict(), model.state_dict(), atol=0, rtol=0)
    assert_close(bundle.model(video, tokens), model(video, tokens))
    assert bundle.model.config == CONFIG
    assert not bundle.model.training
    assert all(parameter.requires_grad for parameter in bundle.model.parameters())
    assert bundle.preprocess == PREPROCESS
    assert bundle.provenance == PROVENANCE
    assert bundle.identity == identity


def test_a_bundle_is_two_files_for_everyone_to_read(tmp_path):
    save(tmp_path / "new" / "bundle")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"bundle"}
    assert {path.name for path in (tmp_path / "new" / "bundle").iterdir()} == {"config.json", "model.safetensors"}
    usual = tmp_path / "usual"
    usual.mkdir()
    assert (tmp_path / "new" / "bundle").stat().st_mode == usual.stat().st_mode


def test_the_tokenizer_is_built_when_asked_for(tmp_path):
    save(tmp_path / "bundle", tokenizer="bert-base-uncased")
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.tokenizer_name == "bert-base-uncased"
    assert bundle.tokenizer(["hello world"]).ids.tolist() == [[101, 7592, 2088, 102]]
    assert bundle.tokenizer is bundle.tokenizer


def test_the_identity_is_that_of_weights_and_settings_and_not_of_where_they_came_from(tmp_path):
    first = save(tmp_path / "a")
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert save(tmp_path / "b", provenance={"step": 8}) == first
    changed = some_frozen()
    with torch.no_grad():
        changed.video.cls_token[0, 0, 0] += 1e-7
    assert save(tmp_path / "c", changed) != first
    assert save(tmp_path / "d", preprocess=Preprocess(num_frames=4, image_size=16, window=2.0)) != first
    assert save(tmp_path / "e", tokenizer="clip-bpe") != first


def test_saving_a_loaded_bundle_keeps_its_identity(tmp_path):
    first = save(tmp_path / "a")
    bundle = load_bundle(tmp_path / "a")
    assert save_bundle(tmp_path / "b", bundle.model, bundle.preprocess, bundle.tokenizer_name, {}) == first


def test_a_bundle_is_replaced_as_a_whole(tmp_path):
    save(tmp_path / "bundle")
    second = save(tmp_path / "bundle", some_frozen(seed=1))
    assert load_bundle(tmp_path / "bundle").identity == second
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_failed_save_leaves_what_was_there(tmp_path):
    first = save(tmp_path / "bundle")
    for target in ("bundle", "other"):
        with pytest.raises(TypeError):
            save(tmp_path / target, some_frozen(seed=1), provenance={"object": object()})
    assert load_bundle(tmp_path / "bundle").identity == first
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_with_other_things_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(WeightsError, match="is no bundle; name another folder"):
        save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_changed_weights_are_noticed(tmp_path):
    save(tmp_path / "bundle")
    weights = load_file(tmp_path / "bundle" / "model.safetensors")
    weights["video.norm.bias"] = weights["video.norm.bias"] + 1
    save_file(weights, tmp_path / "bundle" / "model.safetensors")
    with pytest.raises(WeightsError, match="weights or settings were changed after saving"):
        load_bundle(tmp_path / "bundle")


def test_changed_settings_are_noticed(tmp_path):
    save(tmp_path / "bundle")
    edit(tmp_path / "bundle", tokenizer="clip-bpe")
    with pytest.raises(WeightsError, match="weights or settings were changed after saving"):
        load_bundle(tmp_path / "bundle")


def test_another_format_is_refused_with_both_versions(tmp_path):
    save(tmp_path / "bundle")
    edit(tmp_path / "bundle", format=2)
    with pytest.raises(WeightsError, match="bundle format 2, this program reads 1"):
        load_bundle(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "thawed"}, "holds a 'thawed'; this program knows frozen"),
        ({"model": {"video": {}, "text": {}, "colour": 1}}, "FrozenConfig has no setting colour"),
        ({"preprocess": {"colour": 1}}, "colour"),
    ],
)
def test_settings_that_this_program_does_not_know_are_named(tmp_path, changes, message):
    save(tmp_path / "bundle")
    edit(tmp_path / "bundle", **changes)
    with pytest.raises(WeightsError, match=message):
        load_bundle(tmp_path / "bundle")


def test_a_folder_that_is_no_bundle_says_what_is_missing(tmp_path):
    with pytest.raises(WeightsError, match=r"is no bundle: it has no config\.json"):
        load_bundle(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="is not JSON"):
        load_bundle(tmp_path)
    (tmp_path / "config.json").write_text('{"vocab_size": 3}')
    with pytest.raises(WeightsError, match="names no bundle format"):
        load_bundle(tmp_path)
    (tmp_path / "config.json").write_text('{"format": 1, "kind": "frozen"}')
    with pytest.raises(WeightsError, match="lacks identity, model, preprocess, provenance, tokenizer"):
        load_bundle(tmp_path)


def test_a_bundle_without_its_weights_names_the_file(tmp_path):
    save(tmp_path / "bundle")
    (tmp_path / "bundle" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors: there is no such file"):
        load_bundle(tmp_path / "bundle")


def test_a_model_of_no_known_kind_is_refused(tmp_path):
    wrapped = torch.nn.Sequential(some_frozen())
    with pytest.raises(Exception, match="Sequential"):
        save(tmp_path / "bundle", wrapped)
    assert not (tmp_path / "bundle").exists()


def some_vslnet():
    torch.manual_seed(0)
    return VSLNet(VSLNetConfig(video_dim=6, text_dim=5, width=16, heads=2, max_positions=8)).eval()


def test_a_task_bundle_gives_back_network_and_task_settings(tmp_path):
    model = some_vslnet()
    identity = save_task_bundle(tmp_path / "head", model, {"windows": (1.0, 2.0)}, PROVENANCE)
    bundle = load_task_bundle(tmp_path / "head")
    assert_close(bundle.model.state_dict(), model.state_dict(), atol=0, rtol=0)
    assert bundle.model.config == model.config and not bundle.model.training
    assert bundle.task == {"windows": [1.0, 2.0]} and bundle.identity == identity
    assert save_task_bundle(tmp_path / "other", model, {"windows": (1.0, 3.0)}, PROVENANCE) != identity


def test_each_kind_of_bundle_is_refused_where_the_other_is_needed(tmp_path):
    save(tmp_path / "encoder")
    save_task_bundle(tmp_path / "head", some_vslnet(), {}, PROVENANCE)
    with pytest.raises(WeightsError, match="holds a 'vslnet'; a bundle of frozen is needed here"):
        load_bundle(tmp_path / "head")
    with pytest.raises(WeightsError, match="holds a 'frozen'; a bundle of vslnet or"):
        load_task_bundle(tmp_path / "encoder")


def some_tower(tmp_path, **changes):
    settings = CONFIG.text
    weights = some_frozen().text.state_dict()
    given = {"settings": settings, "weights": weights, "missing": (), "provenance": PROVENANCE} | changes
    return save_tower(tmp_path / "tower", **given), weights


def test_a_tower_gives_back_what_was_saved(tmp_path):
    identity, weights = some_tower(tmp_path)
    tower = load_tower(tmp_path / "tower")
    assert_close(dict(tower.weights), dict(weights), atol=0, rtol=0)
    assert (tower.settings, tower.missing, tower.identity) == (CONFIG.text, (), identity)
    assert tower.provenance == PROVENANCE
    assert find_kind(tmp_path / "tower") == "text_tower"


def test_a_tower_is_no_bundle_and_a_bundle_no_tower(tmp_path):
    some_tower(tmp_path)
    save(tmp_path / "bundle")
    with pytest.raises(WeightsError, match="holds a 'text_tower'; a bundle of frozen is needed here"):
        load_bundle(tmp_path / "tower")
    with pytest.raises(WeightsError, match="holds a 'frozen'; a bundle of video_tower or text_tower is needed here"):
        load_tower(tmp_path / "bundle")


def test_a_changed_tower_is_noticed(tmp_path):
    some_tower(tmp_path)
    edit(tmp_path / "tower", missing=["layers.*"])
    with pytest.raises(WeightsError, match="weights or settings were changed after saving"):
        load_tower(tmp_path / "tower")


def test_the_folder_of_another_librarys_model_is_not_overwritten(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(WeightsError, match="is no bundle; name another folder"):
        save(tmp_path / "theirs")
    assert find_kind(tmp_path / "theirs") is None
    assert (tmp_path / "theirs" / "config.json").read_text() == '{"model_type": "vit"}'
