import re
from dataclasses import replace
from typing import get_args

import foreign_files as files
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from playhead.errors import WeightsError
from playhead.models.distilbert import DistilBert, DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig, SpaceTimeTransformer
from playhead.types import Tokens
from playhead.weights.adapt import rename_keys
from playhead.weights.bundle import save_tower
from playhead.weights.keymaps import VIT
from playhead.weights.layouts import LAYOUTS, LayoutName, read_foreign
from playhead.weights.official import (
    Sizes,
    fill_text_tower,
    fill_video_tower,
    initialise_from,
    load_dual_encoder,
    load_tower_weights,
    to_egovlp,
)

VIDEO = SpaceTimeConfig(
    image_size=files.SIDE,
    patch_size=files.PATCH,
    width=files.WIDTH,
    depth=files.DEPTH,
    heads=files.HEADS,
    mlp_ratio=files.HIDDEN / files.WIDTH,
    num_frames=files.FRAMES,
)
TEXT = DistilBertConfig(
    vocab_size=30, dim=files.WIDTH, n_layers=2, n_heads=files.HEADS, hidden_dim=files.HIDDEN, max_positions=8
)
HEADS = Sizes(heads=files.HEADS, text_heads=None)
IMAGE = files.noise(2, 3, files.SIDE, files.SIDE)
TOKENS = Tokens(ids=torch.tensor([[1, 5, 2], [1, 2, 0]]), mask=torch.tensor([[True] * 3, [True, True, False]]))


def as_image_model(tower, image):
    """Plain attention among all tokens of one image, block by block: what the tower does without time."""
    tokens = tower.embed(image[:, None])
    for block in tower.blocks():
        tokens = tokens + block.space_attention(block.space_norm(tokens), 1)
        tokens = tokens + block.mlp(block.mlp_norm(tokens))
    return tower.norm(tokens)


def vit_files(tmp_path):
    twin = files.vit_twin()
    timm = files.timm_vit(twin, tmp_path / "twin")
    save_file(timm, tmp_path / "timm.safetensors")
    save_file(files.as_saved(twin, tmp_path / "twin"), tmp_path / "hf.safetensors")
    save_file(files.as_saved(twin.vit, tmp_path / "bare"), tmp_path / "hf_bare.safetensors")
    np.savez(tmp_path / "google.npz", **files.google_vit(timm))
    np.savez(tmp_path / "augreg.npz", **files.google_vit(timm, prefix="opt/target/"))
    return twin


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("timm.safetensors", "timm-vit"),
        ("hf.safetensors", "hf-vit"),
        ("hf_bare.safetensors", "hf-vit"),
        ("google.npz", "google-vit"),
        ("augreg.npz", "google-vit"),
    ],
)
@torch.no_grad()
def test_an_image_vit_of_every_layout_gives_the_tokens_of_its_twin(tmp_path, name, layout):
    twin, tower = vit_files(tmp_path), SpaceTimeTransformer(VIDEO).eval()
    assert read_foreign(tmp_path / name).layout.name == layout
    report = fill_video_tower(tower, tmp_path / name)
    assert_close(as_image_model(tower, IMAGE), files.vit_hidden(twin, IMAGE), atol=1e-5, rtol=1e-4)
    assert all("time" in name for name in report.fresh) and report.fresh
    assert all(report.reasons[name] for name in report.dropped)
    assert {name for name, _ in report.renamed} | set(report.dropped) == set(report.shapes)


def test_all_image_layouts_give_the_same_tower(tmp_path):
    vit_files(tmp_path)
    towers = [
        load_tower_weights(read_foreign(tmp_path / name), Sizes(heads=None if name.endswith("npz") else files.HEADS))
        for name in ("timm.safetensors", "hf.safetensors", "google.npz")
    ]
    for tower in towers:
        assert tower.settings == replace(VIDEO, num_frames=1, image_size=(16, 16))
        assert tower.weights.keys() == towers[0].weights.keys()
        for name, value in tower.weights.items():
            assert torch.equal(value, towers[0].weights[name]), name


def save_timesformer(tmp_path, layout):
    twin = files.timesformer_twin()
    if layout == "timesformer":
        content = {"epoch": 3, "model_state": files.public_timesformer(twin), "cfg": "a text", "optimizer_state": {}}
        torch.save(content, tmp_path / "net.pyth")
        return twin, tmp_path / "net.pyth"
    twin.save_pretrained(tmp_path / "hf")
    return twin, tmp_path / "hf" / "model.safetensors"


@pytest.mark.parametrize("layout", ["timesformer", "hf-timesformer"])
@torch.no_grad()
def test_a_timesformer_gives_the_clips_of_its_twin(tmp_path, layout):
    twin, path = save_timesformer(tmp_path, layout)
    assert read_foreign(path).layout.name == layout
    tower = SpaceTimeTransformer(replace(VIDEO, block="timesformer")).eval()
    report = fill_video_tower(tower, path)
    video = files.noise(2, files.FRAMES, 3, files.SIDE, files.SIDE)
    expected = twin.timesformer(pixel_values=video).last_hidden_state[:, 0]
    assert_close(tower(video), expected, atol=2e-5, rtol=1e-4)
    assert report.fresh == ()
    weights = load_tower_weights(read_foreign(path), HEADS)
    assert weights.settings == replace(VIDEO, image_size=(16, 16), block="timesformer")
    assert weights.weights.keys() == tower.state_dict().keys()


def test_a_timesformer_is_not_put_into_blocks_of_another_kind(tmp_path):
    _, path = save_timesformer(tmp_path, "timesformer")
    with pytest.raises(WeightsError, match=r"blocks of the kind 'timesformer'.*set model\.video\.block=timesformer"):
        fill_video_tower(SpaceTimeTransformer(VIDEO), path)


def test_an_image_vit_starts_either_kind_of_block(tmp_path):
    vit_files(tmp_path)
    tower = SpaceTimeTransformer(replace(VIDEO, block="timesformer"))
    report = fill_video_tower(tower, tmp_path / "timm.safetensors")
    assert "layers.1.time_output.weight" in report.fresh


@pytest.mark.parametrize(("layers", "kept"), [(2, (0, 1)), (12, (0, 2, 4, 7, 9, 11)), (4, (0, 3)), (3, (0,))])
@torch.no_grad()
def test_of_a_bert_the_layers_that_distilbert_took_are_taken(tmp_path, layers, kept):
    twin = files.bert_twin(layers)
    save_file({f"bert.{key}": value.clone() for key, value in twin.state_dict().items()}, tmp_path / "b.safetensors")
    tower = DistilBert(replace(TEXT, n_layers=len(kept))).eval()
    report = fill_text_tower(tower, tmp_path / "b.safetensors", of_bert=True)
    twin.encoder.layer = torch.nn.ModuleList(twin.encoder.layer[index] for index in kept)
    expected = twin(input_ids=TOKENS.ids, attention_mask=TOKENS.mask.long()).last_hidden_state
    assert_close(tower(TOKENS)[TOKENS.mask], expected[TOKENS.mask], atol=1e-5, rtol=1e-4)
    left = set(range(layers)) - set(kept)
    assert {int(name.split(".")[3]) for name in report.dropped if "layer" in name} == left
    assert "added to every position" in report.reasons["bert.embeddings.token_type_embeddings.weight"]


def test_by_default_half_of_the_layers_are_taken(tmp_path):
    for layers, taken in ((12, 6), (3, 2), (1, 1)):
        save_file(files.bert_twin(layers).state_dict(), tmp_path / "b.safetensors")
        tower = load_tower_weights(read_foreign(tmp_path / "b.safetensors"), Sizes(text_heads=files.HEADS))
        assert tower.settings == replace(TEXT, n_layers=taken)


@torch.no_grad()
def test_old_names_of_norms_and_heads_for_pretraining_are_read(tmp_path):
    twin = files.bert_for_pretraining(2)
    old = {}
    for name, value in twin.state_dict().items():
        new = re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", name))
        old[new] = value.clone()
    torch.save(old, tmp_path / "pytorch_model.bin")
    assert any("gamma" in name for name in old)
    tower = DistilBert(TEXT).eval()
    fill_text_tower(tower, tmp_path / "pytorch_model.bin", of_bert=True)
    expected = twin.bert(input_ids=TOKENS.ids, attention_mask=TOKENS.mask.long()).last_hidden_state
    assert_close(tower(TOKENS)[TOKENS.mask], expected[TOKENS.mask], atol=1e-5, rtol=1e-4)


def test_more_layers_than_there_are_and_a_bert_without_types_are_refused(tmp_path):
    state = files.bert_twin(2).state_dict()
    save_file(state, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match="has 2 layers, of which 3 are wanted"):
        fill_text_tower(DistilBert(replace(TEXT, n_layers=3)), tmp_path / "b.safetensors", of_bert=True)
    del state["embeddings.token_type_embeddings.weight"]
    save_file(state, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match="no embedding of token types"):
        fill_text_tower(DistilBert(TEXT), tmp_path / "b.safetensors", of_bert=True)


def test_bert_and_distilbert_are_not_taken_for_each_other(tmp_path):
    save_file(files.bert_twin(2).state_dict(), tmp_path / "b.safetensors")
    save_file(files.distilbert_twin().state_dict(), tmp_path / "d.safetensors")
    with pytest.raises(WeightsError, match="is of the layout bert; give it as that, not as distilbert"):
        fill_text_tower(DistilBert(TEXT), tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match="is of the layout distilbert; give it as that, not as bert"):
        fill_text_tower(DistilBert(TEXT), tmp_path / "d.safetensors", of_bert=True)
    model = Frozen(FrozenConfig(video=VIDEO, text=TEXT, shared_dim=4))
    with pytest.raises(ValueError, match="not both"):
        initialise_from(model, distilbert=tmp_path / "d.safetensors", bert=tmp_path / "b.safetensors")


@torch.no_grad()
def test_a_converted_tower_starts_a_model_as_its_file_does(tmp_path):
    vit_files(tmp_path)
    save_file(files.distilbert_twin().state_dict(), tmp_path / "d.safetensors")
    for name, sizes in (("timm.safetensors", HEADS), ("d.safetensors", Sizes(text_heads=files.HEADS))):
        tower = load_tower_weights(read_foreign(tmp_path / name), sizes)
        save_tower(tmp_path / f"{name}_tower", tower.settings, tower.weights, tower.missing, {})
    for block in ("frozen", "timesformer"):
        models = []
        for vit, text in (("timm.safetensors", "d.safetensors"), ("timm.safetensors_tower", "d.safetensors_tower")):
            torch.manual_seed(0)
            model = Frozen(FrozenConfig(video=replace(VIDEO, block=block), text=TEXT, shared_dim=4))
            reports = initialise_from(model, vit=tmp_path / vit, distilbert=tmp_path / text)
            assert reports["vit"].fresh and not reports["distilbert"].fresh
            models.append(model.state_dict())
        for name, value in models[0].items():
            assert torch.equal(value, models[1][name]), name


def test_towers_are_not_put_into_the_other_half(tmp_path):
    vit_files(tmp_path)
    tower = load_tower_weights(read_foreign(tmp_path / "timm.safetensors"), HEADS)
    save_tower(tmp_path / "tower", tower.settings, tower.weights, tower.missing, {})
    with pytest.raises(WeightsError, match="holds a video tower; a text tower is needed here"):
        fill_text_tower(DistilBert(TEXT), tmp_path / "tower")
    save_file(files.distilbert_twin().state_dict(), tmp_path / "d.safetensors")
    with pytest.raises(WeightsError, match="is of the layout distilbert; a video tower is needed here"):
        fill_video_tower(SpaceTimeTransformer(VIDEO), tmp_path / "d.safetensors")


def test_sizes_other_than_the_files_are_made_only_if_asked_for(tmp_path):
    vit_files(tmp_path)
    larger = SpaceTimeTransformer(replace(VIDEO, image_size=(24, 32), patch_size=4))
    with pytest.raises(WeightsError, match=r"another shape.*\(resize\)"):
        fill_video_tower(larger, tmp_path / "timm.safetensors")
    report = fill_video_tower(larger, tmp_path / "timm.safetensors", resize=True)
    assert set(report.resized) == {"patch_embedding.weight", "position_embedding"}
    assert report.wanted["position_embedding"] == (1, 1 + 6 * 8, files.WIDTH)
    tower = load_tower_weights(read_foreign(tmp_path / "timm.safetensors"), replace(HEADS, image_size=32))
    assert tower.settings.num_patches == 16 and tower.weights["position_embedding"].shape[1] == 17


def test_a_shorter_text_tower_takes_the_first_positions_if_asked_for(tmp_path):
    twin = files.distilbert_twin()
    save_file(twin.state_dict(), tmp_path / "d.safetensors")
    tower = DistilBert(replace(TEXT, max_positions=5))
    with pytest.raises(WeightsError, match=r"another shape.*\(resize\)"):
        fill_text_tower(tower, tmp_path / "d.safetensors")
    assert fill_text_tower(tower, tmp_path / "d.safetensors", resize=True).resized == ("position_embedding.weight",)
    assert_close(tower.position_embedding.weight, twin.embeddings.position_embeddings.weight[:5], atol=0, rtol=0)
    with pytest.raises(WeightsError, match="another shape"):
        fill_text_tower(DistilBert(replace(TEXT, max_positions=9)), tmp_path / "d.safetensors", resize=True)


def frozen():
    return files.shaken(Frozen(FrozenConfig(video=replace(VIDEO, image_size=(16, 16)), text=TEXT, shared_dim=5)))


BOTH = Sizes(heads=files.HEADS, text_heads=files.HEADS)


@torch.no_grad()
def test_lavilas_own_training_of_the_same_network_is_read(tmp_path):
    model = frozen()
    renames = {"video_model": "visual", "text_model": "textual", "vid_proj": "image_projection"}
    theirs = {}
    for name, value in to_egovlp(model).items():
        first, _, rest = name.partition(".")
        theirs[f"module.{renames.get(first, 'text_projection')}.{rest}"] = value
    theirs["module.logit_scale"] = torch.tensor(2.0)
    torch.save({"epoch": 4, "state_dict": theirs, "args": "some settings"}, tmp_path / "lavila.pt")
    file = read_foreign(tmp_path / "lavila.pt")
    assert file.layout.name == "lavila"
    loaded, report = load_dual_encoder(file, BOTH)
    assert report.dropped == ("module.logit_scale",)
    video = files.noise(2, files.FRAMES, 3, files.SIDE, files.SIDE)
    for ours, expected in zip(loaded(video, TOKENS), model(video, TOKENS), strict=True):
        assert_close(ours, expected)
    theirs["module.visual.ln_pre.weight"] = torch.ones(files.WIDTH)
    torch.save({"state_dict": theirs}, tmp_path / "clip.pt")
    with pytest.raises(WeightsError, match=r"is built on CLIP.*no such network"):
        read_foreign(tmp_path / "clip.pt")


def test_the_layout_of_frozen_in_time_is_that_of_egovlp_by_another_name(tmp_path):
    save_file(to_egovlp(frozen()), tmp_path / "webvid.safetensors")
    assert read_foreign(tmp_path / "webvid.safetensors").layout.name == "egovlp"
    named = read_foreign(tmp_path / "webvid.safetensors", "frozen-in-time")
    assert named.layout.text_style == "caption"
    assert load_dual_encoder(named, BOTH)[0].config == frozen().config


@pytest.mark.parametrize("name", ["timm.safetensors", "google.npz", "hf.safetensors"])
def test_an_extra_a_missing_and_a_misshapen_tensor_are_named(tmp_path, name):
    vit_files(tmp_path)
    whole = dict(read_foreign(tmp_path / name).tensors)
    victim = {"timm": "blocks.1.norm2.bias", "google": "Transformer/encoderblock_1/MlpBlock_3/Dense_0/kernel"}
    victim = victim.get(name.split(".")[0], "vit.encoder.layer.1.attention.attention.key.weight")
    write(tmp_path / name, whole | {"stranger.weight": torch.ones(2)})
    with pytest.raises(WeightsError, match=r"1 entries have no rule in image ViT .*stranger\.weight"):
        fill_video_tower(SpaceTimeTransformer(VIDEO), tmp_path / name)
    write(tmp_path / name, {key: value for key, value in whole.items() if key != victim})
    ours = r"layers\.1\.(mlp_norm\.bias|mlp\.up\.weight|space_attention\.qkv\.weight)"
    with pytest.raises(WeightsError, match=ours):
        fill_video_tower(SpaceTimeTransformer(VIDEO), tmp_path / name)
    write(tmp_path / name, whole | {victim: torch.ones(7, 5)})
    with pytest.raises(WeightsError, match=ours):
        fill_video_tower(SpaceTimeTransformer(VIDEO), tmp_path / name)


def write(path, tensors):
    if path.suffix == ".npz":
        np.savez(path, **{key: value.numpy() for key, value in tensors.items()})
    else:
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)


def test_the_number_of_heads_is_told_by_their_width_by_the_file_or_not_at_all(tmp_path):
    vit_files(tmp_path)
    with pytest.raises(WeightsError, match="24 is not a multiple of 64, so that the number of heads must be given"):
        load_tower_weights(read_foreign(tmp_path / "timm.safetensors"))
    settings = load_tower_weights(read_foreign(tmp_path / "google.npz")).settings
    assert isinstance(settings, SpaceTimeConfig) and settings.heads == files.HEADS
    wide = SpaceTimeTransformer(replace(VIDEO, width=128, heads=2, depth=1)).state_dict()
    image = {key: value for key, value in wide.items() if not VIT.is_fresh(key)}
    save_file(rename_keys(image, VIT.inverted()), tmp_path / "wide.safetensors")
    settings = load_tower_weights(read_foreign(tmp_path / "wide.safetensors")).settings
    assert isinstance(settings, SpaceTimeConfig) and settings.heads == 2


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("timm.safetensors", Sizes(heads=3, num_frames=4), "is an image model, which has no time slots"),
        ("timm.safetensors", Sizes(heads=3, text_heads=3), "text_heads is of no use to it"),
        ("timm.safetensors", Sizes(heads=3, image_size=20), "cannot be made to fit: .*do not divide into"),
        ("d.safetensors", Sizes(text_heads=3, image_size=32), "image_size is of no use to it"),
        ("d.safetensors", Sizes(text_heads=3, text_layers=1), "text_layers is of no use to it"),
        ("both.safetensors", Sizes(heads=3, text_heads=3), "holds a whole dual encoder"),
    ],
)
def test_what_a_layout_has_no_use_for_is_refused(tmp_path, name, sizes, message):
    vit_files(tmp_path)
    save_file(files.distilbert_twin().state_dict(), tmp_path / "d.safetensors")
    save_file(to_egovlp(frozen()), tmp_path / "both.safetensors")
    with pytest.raises(WeightsError, match=message):
        load_tower_weights(read_foreign(tmp_path / name), sizes)


def test_every_layout_has_a_name_for_the_command_line():
    assert sorted(layout.name for layout in LAYOUTS) == sorted(get_args(LayoutName))
