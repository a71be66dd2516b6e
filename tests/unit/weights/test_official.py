import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close
from transformers import DistilBertConfig as TwinConfig
from transformers import DistilBertForMaskedLM

from playhead.errors import WeightsError
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.types import Tokens
from playhead.weights.adapt import rename_keys
from playhead.weights.keymaps import LAVILA
from playhead.weights.official import initialise_from, load_egovlp, to_egovlp

TINY = FrozenConfig(
    video=SpaceTimeConfig(image_size=(16, 16), patch_size=8, width=24, depth=2, heads=12, num_frames=4),
    text=DistilBertConfig(vocab_size=30, dim=24, n_layers=2, n_heads=12, hidden_dim=16, max_positions=8),
    shared_dim=10,
)


def some_frozen():
    model = Frozen(TINY).eval()
    for seed, parameter in enumerate(model.parameters()):
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)) * 0.3
    return model


def some_input():
    video = torch.randn(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return video, Tokens(ids=torch.tensor([[1, 5, 2], [1, 2, 0]]), mask=torch.tensor([[True] * 3, [True, True, False]]))


def distilbert_twin():
    torch.manual_seed(0)
    config = TwinConfig(
        vocab_size=30, dim=24, n_layers=2, n_heads=12, hidden_dim=16, max_position_embeddings=8, initializer_range=0.3
    )
    return DistilBertForMaskedLM(config).eval()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("with_head", [True, False])
@torch.no_grad()
def test_a_hugging_face_distilbert_starts_the_text_tower(tmp_path, name, with_head):
    twin, (_, tokens) = distilbert_twin(), some_input()
    state = (twin if with_head else twin.distilbert).state_dict()
    state = {key: value.clone() for key, value in state.items()}
    state["distilbert.embeddings.position_ids" if with_head else "embeddings.position_ids"] = torch.arange(8)[None]
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    model = some_frozen()
    projection = model.text_projection.weight.clone()

    report = initialise_from(model, distilbert=tmp_path / name)["distilbert"]

    expected = twin.distilbert(input_ids=tokens.ids, attention_mask=tokens.mask.long()).last_hidden_state
    assert_close(model.text(tokens)[tokens.mask], expected[tokens.mask], atol=1e-5, rtol=1e-5)
    assert_close(model.text_projection.weight, projection, atol=0, rtol=0)
    assert not report.fresh
    assert {key.split(".")[0] for key in report.dropped} <= {
        "vocab_transform", "vocab_layer_norm", "vocab_projector", "distilbert", "embeddings"
    }  # fmt: skip


def image_vit():
    """The image part of a model, under timm's names, with a head."""
    theirs = {key.removeprefix("video_model."): value for key, value in to_egovlp(some_frozen()).items()}
    time = ("timeattn", "norm3", "temporal_embed")
    towers = ("text_model", "txt_proj", "vid_proj")
    image = {key: v for key, v in theirs.items() if not (key.startswith(towers) or any(part in key for part in time))}
    return {**image, "head.weight": torch.zeros(7, 24), "head.bias": torch.zeros(7)}


@torch.no_grad()
def test_a_clip_of_one_frame_starts_as_its_image(tmp_path):
    save_file(image_vit(), tmp_path / "vit.safetensors")
    model = Frozen(TINY).eval()
    report = initialise_from(model, vit=tmp_path / "vit.safetensors")["vit"]
    assert report.dropped == ("head.bias", "head.weight")
    assert all("time" in key for key in report.fresh)
    # A plain image transformer: every token sees every other, and time does nothing.
    video, _ = some_input()
    tokens = model.video.embed(video[:, :1])
    for block in model.video.blocks():
        tokens = tokens + block.space_attention(block.space_norm(tokens), 1)
        tokens = tokens + block.mlp(block.mlp_norm(tokens))
    assert_close(model.video(video[:, :1]), model.video.norm(tokens[:, 0]))


def test_an_image_vit_of_another_size_is_refused_by_name(tmp_path):
    state = image_vit()
    state["pos_embed"] = torch.zeros(1, 17, 24)
    save_file(state, tmp_path / "vit.safetensors")
    with pytest.raises(WeightsError, match=r"vit\.safetensors: .*position_embedding \(1, 17, 24\) for \(1, 5, 24\)"):
        initialise_from(some_frozen(), vit=tmp_path / "vit.safetensors")


@torch.no_grad()
def test_the_file_that_lavila_hosts_gives_the_same_model_in_half_precision(tmp_path):
    model, given = some_frozen(), some_input()
    theirs = rename_keys(model.state_dict(), LAVILA.inverted())
    torch.save({"state_dict": {f"module.{key}": v.half() for key, v in theirs.items()}}, tmp_path / "f16.pth")
    loaded = load_egovlp(tmp_path / "f16.pth", heads=12, text_heads=12)
    assert loaded.config == TINY
    assert not loaded.training
    assert all(p.dtype == torch.float32 and p.requires_grad for p in loaded.parameters())
    assert_close(loaded(*given), model(*given), atol=5e-3, rtol=0)


@torch.no_grad()
def test_a_published_model_loads_with_more_and_with_fewer_slots(tmp_path):
    model, (video, _) = some_frozen(), some_input()
    save_file(to_egovlp(model), tmp_path / "egovlp.safetensors")
    expected = model.project_video(video)
    for num_frames in (3, 8):
        loaded = load_egovlp(tmp_path / "egovlp.safetensors", num_frames=num_frames, heads=12, text_heads=12)
        assert loaded.config.video.num_frames == num_frames
        assert_close(loaded.project_video(video), expected)
    stretched = load_egovlp(
        tmp_path / "egovlp.safetensors", num_frames=8, inflation="egovlp_bilinear", heads=12, text_heads=12
    )
    assert_close(stretched.video.time_embedding[:, [0, -1]], model.video.time_embedding[:, [0, -1]])


def test_a_file_of_something_else_is_refused_by_name(tmp_path):
    save_file({"layer.weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"is of no layout known here; it has 1 tensors, such as layer\.weight"):
        load_egovlp(tmp_path / "other.safetensors")


def test_half_of_a_model_is_refused_by_name(tmp_path):
    state = {key: value for key, value in to_egovlp(some_frozen()).items() if not key.startswith("text_model.emb")}
    save_file(state, tmp_path / "half.safetensors")
    with pytest.raises(WeightsError, match=r"half\.safetensors: 'word_embedding\.weight' is not in this"):
        load_egovlp(tmp_path / "half.safetensors", heads=12, text_heads=12)


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path):
    save_file(to_egovlp(some_frozen()), tmp_path / "egovlp.safetensors")
    with pytest.raises(WeightsError, match="heads 7 must divide width 24"):
        load_egovlp(tmp_path / "egovlp.safetensors", heads=7)
