import json
import os

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from playhead.apps.convert import ConvertSettings, convert_checkpoint
from playhead.cli import main
from playhead.errors import WeightsError
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.types import Tokens
from playhead.weights.adapt import rename_keys
from playhead.weights.bundle import find_kind, load_bundle, load_tower
from playhead.weights.keymaps import VIT
from playhead.weights.official import Sizes, to_egovlp

SIZES = FrozenConfig(
    video=SpaceTimeConfig(image_size=(16, 16), patch_size=8, width=24, depth=2, heads=3, num_frames=4),
    text=DistilBertConfig(vocab_size=30, dim=24, n_layers=2, n_heads=3, hidden_dim=16, max_positions=8),
    shared_dim=10,
)
HEADS = Sizes(heads=3, text_heads=3)
HEADS_OF_A_VIT = Sizes(heads=3)


def some_frozen():
    model = Frozen(SIZES).eval()
    for seed, parameter in enumerate(model.parameters()):
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)) * 0.3
    return model


def save_egovlp(path, **extra):
    state = {f"module.{key}": value for key, value in to_egovlp(some_frozen()).items()}
    torch.save({"epoch": 1, "state_dict": state | extra}, path)
    return state


def save_vit(path):
    image = {key: value for key, value in some_frozen().video.state_dict().items() if not VIT.is_fresh(key)}
    save_file(rename_keys(image, VIT.inverted()) | {"head.weight": torch.zeros(7, 24)}, path)


@torch.no_grad()
def test_a_dual_encoder_becomes_a_bundle_with_the_same_rows(tmp_path):
    save_egovlp(tmp_path / "egovlp.pth")
    converted = convert_checkpoint(tmp_path / "egovlp.pth", tmp_path / "out", ConvertSettings(sizes=HEADS))
    bundle = load_bundle(tmp_path / "out")
    assert (converted.layout, converted.kind, converted.identity) == ("egovlp", "frozen", bundle.identity)
    assert bundle.provenance == {"source": "egovlp.pth", "layout": "egovlp", "text_style": "narration"}
    video = torch.randn(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    tokens = Tokens(ids=torch.tensor([[1, 5, 2]]), mask=torch.ones(1, 3, dtype=torch.bool))
    for ours, expected in zip(bundle.model(video, tokens), some_frozen()(video, tokens), strict=True):
        assert_close(ours, expected)


def test_the_report_tells_every_tensor_on_both_sides(tmp_path):
    state = save_egovlp(tmp_path / "egovlp.pth", **{"module.text_model.embeddings.position_ids": torch.arange(8)[None]})
    settings = ConvertSettings(sizes=Sizes(heads=3, text_heads=3, num_frames=6, image_size=32))
    convert_checkpoint(tmp_path / "egovlp.pth", tmp_path / "out", settings, tmp_path / "report.json")
    told = json.loads((tmp_path / "report.json").read_text())
    ours = load_file(tmp_path / "out" / "model.safetensors")
    assert {entry["from"] for entry in told["renamed"]} == set(state)
    assert {entry["to"] for entry in told["renamed"]} == set(ours)
    assert all(entry["shape"] == list(state[entry["from"]].shape) for entry in told["renamed"])
    (dropped,) = told["dropped"]
    assert dropped["name"] == "module.text_model.embeddings.position_ids" and dropped["shape"] == [1, 8]
    assert "the numbers 0, 1, 2" in dropped["why"]
    resized = {entry["name"]: (entry["from_shape"], entry["to_shape"]) for entry in told["resized"]}
    assert resized == {
        "video.time_embedding": ([1, 4, 24], [1, 6, 24]),
        "video.position_embedding": ([1, 5, 24], [1, 17, 24]),
    }
    assert told["counts"] == {
        "in_file": len(state) + 1, "renamed": len(state), "dropped": 1, "resized": 2, "missing": 0
    }  # fmt: skip


def test_an_image_vit_becomes_a_tower_and_what_it_lacks_is_told(tmp_path):
    save_vit(tmp_path / "vit.safetensors")
    converted = convert_checkpoint(
        tmp_path / "vit.safetensors", tmp_path / "out", ConvertSettings(sizes=HEADS_OF_A_VIT)
    )
    assert find_kind(tmp_path / "out") == converted.kind == "video_tower"
    missing = {entry["name"] for entry in converted.to_plain()["missing"]}
    tower = load_tower(tmp_path / "out")
    assert not missing & set(tower.weights)
    assert missing | set(tower.weights) == set(some_frozen().video.state_dict())


def test_the_lines_tell_layers_once(tmp_path):
    save_vit(tmp_path / "vit.safetensors")
    settings = ConvertSettings(sizes=HEADS_OF_A_VIT)
    lines = list(convert_checkpoint(tmp_path / "vit.safetensors", tmp_path / "out", settings).lines())
    assert "  blocks.*.attn.qkv.weight -> layers.*.space_attention.qkv.weight  72x24  (2 times)" in lines
    assert "  cls_token -> cls_token  1x1x24" in lines
    assert "  head.weight  7x24: a head for its own classes" in lines
    assert "  layers.*.time_norm.bias  24  (2 times)" in lines
    assert "tensors: 31 in file, 30 renamed, 1 dropped, 0 resized, 13 missing" in lines[0]


class Runs:
    """On an ordinary unpickle, makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_file_is_converted_without_running_it_or_refused(tmp_path):
    marker = tmp_path / "was_here"
    state = {f"module.{key}": value for key, value in to_egovlp(some_frozen()).items()}
    torch.save({"state_dict": state, "config": Runs(marker)}, tmp_path / "beside.pth")
    convert_checkpoint(tmp_path / "beside.pth", tmp_path / "out", ConvertSettings(sizes=HEADS))
    torch.save({"state_dict": state | {"module.video_model.cls_token": Runs(marker)}}, tmp_path / "inside.pth")
    with pytest.raises(WeightsError, match=r"inside\.pth: holds no table of tensors"):
        convert_checkpoint(tmp_path / "inside.pth", tmp_path / "other", ConvertSettings(sizes=HEADS))
    assert not marker.exists() and not (tmp_path / "other").exists()


def wrong_files(tmp_path):
    save_egovlp(tmp_path / "good.pth")
    save_egovlp(tmp_path / "extra.pth", **{"module.stranger.weight": torch.ones(2)})
    save_egovlp(tmp_path / "shape.pth", **{"module.vid_proj.0.bias": torch.ones(3)})
    half = {key: v for key, v in save_egovlp(tmp_path / "x.pth").items() if "norm3" not in key}
    torch.save(half, tmp_path / "missing.pth")
    save_file({"a.b": torch.ones(1)}, tmp_path / "other.safetensors")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "good.pth").read_bytes()[:5000])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extra.pth", "out"], "1 entries have no rule in EgoVLP: module.stranger.weight"),
        (["shape.pth", "out"], "video_projection.bias (3,) for (10,)"),
        (["missing.pth", "out"], "layers.0.time_norm.weight"),
        (["other.safetensors", "out"], "is of no layout known here; it has 1 tensors, such as a.b"),
        (["cut.pth", "out"], "cut.pth: not a readable PyTorch file"),
        (["nowhere.pth", "out"], "nowhere.pth: there is no such file of weights"),
        (["good.pth", "out", "--layout", "bert"], "heads is of no use to it"),
        (["good.pth", "out", "--image-size", "20"], "cannot be made to fit"),
        (["good.pth", "hub:a/b"], "is a name on a hub; give a folder to write to"),
        (["good.pth", "thesis"], "is there and is no bundle; name another folder"),
        (["good.pth", "out", "--report", "no/such/folder.json"], "cannot be written"),
        (["good.pth", "good.pth/out"], "cannot be written"),
        (["hub:a/b:net.pth", "out"], "the hub may not be asked"),
    ],
)
def test_a_mistake_ends_in_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys, arguments, message):
    wrong_files(tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert main(["convert", *arguments, "--heads", "3", "--text-heads", "3"]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_the_command_writes_prints_and_replaces(tmp_path, capsys):
    save_egovlp(tmp_path / "good.pth")
    line = ["convert", str(tmp_path / "good.pth"), str(tmp_path / "out"), "--heads", "3", "--text-heads", "3"]
    for more, style in (([], "narration"), (["--layout", "frozen-in-time"], "caption")):
        assert main([*line, *more]) == 0
        said = capsys.readouterr().out
        assert "module.video_model.blocks.*.timeattn.qkv.weight -> video.layers.*.time_attention.qkv.weight" in said
        assert load_bundle(tmp_path / "out").provenance["text_style"] == style


def test_load_prints_where_a_bundle_lies_and_says_if_it_is_none(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name, is_ours in (("ours", True), ("theirs", False)):
        folder = tmp_path / "cache" / f"models--a--{name}" / "snapshots" / ("c" * 40)
        (folder.parents[1] / "refs").mkdir(parents=True)
        (folder.parents[1] / "refs" / "main").write_text("c" * 40)
        if is_ours:
            save_egovlp(tmp_path / "good.pth")
            convert_checkpoint(tmp_path / "good.pth", folder, ConvertSettings(sizes=HEADS))
        else:
            folder.mkdir(parents=True)
            (folder / "config.json").write_text("{}")
            (folder / "model.safetensors").write_text("")
        assert main(["load", f"hub:a/{name}"]) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0] == str(folder)
        assert said[1:] == ([] if is_ours else [
            "This is no bundle of playhead; `playhead convert hub:a/theirs@main:model.safetensors OUT` may make one."
        ])  # fmt: skip
    assert main(["load", "hub:a/nothing"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("playhead: hub:a/nothing@main: is not in the cache")
