import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close
from transformers import ResNetConfig, ResNetModel

from playhead.errors import WeightsError
from playhead.models.frame_lstm import FrameLstm, FrameLstmConfig
from playhead.models.resnet3d import DualHeadConfig, DualHeadResNet, ResNet3d, ResNet3dConfig
from playhead.weights.resnet3d_weights import initialise_dual_head, initialise_frame_lstm, initialise_resnet3d

DEPTHS = (2, 1, 1, 1)
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def network(arch="slow_layer5", seed=0) -> ResNet3d:
    torch.manual_seed(seed)
    model = ResNet3d(ResNet3dConfig(arch=arch, width=4, depths=DEPTHS)).eval()
    for buffer in model.buffers():  # so that a statistic in the wrong place is seen
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2.0)
    return model


def clip(frames=3) -> torch.Tensor:
    return torch.randn(2, frames, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def pairs(stem, block, layers, norms):
    """Return {their name: our name}; `layers` are their names of reduce, middle, expand and shortcut."""
    names = {f"{stem[0]}.weight": "stem.weight"} | {f"{stem[1]}.{part}": f"stem_norm.{part}" for part in NORM}
    ours = ("reduce", "middle", "expand", "shortcut")
    for stage, depth in enumerate(DEPTHS):
        for place in range(depth):
            there, here = block(stage, place), f"stages.{stage}.{place}"
            for layer, norm, our in zip(layers, norms, ours, strict=True):
                if our == "shortcut" and place > 0:
                    continue
                names[f"{there}.{layer}.weight"] = f"{here}.{our}.weight"
                names |= {f"{there}.{norm}.{part}": f"{here}.{our}_norm.{part}" for part in NORM}
    return names


SLOWFAST = pairs(
    ("s1.pathway0_stem.conv", "s1.pathway0_stem.bn"),
    lambda stage, place: f"s{stage + 2}.pathway0_res{place}",
    ("branch2.a", "branch2.b", "branch2.c", "branch1"),
    ("branch2.a_bn", "branch2.b_bn", "branch2.c_bn", "branch1_bn"),
)
BRANCHES = ("branch2.conv_a", "branch2.conv_b", "branch2.conv_c", "branch1_conv")
BRANCH_NORMS = ("branch2.norm_a", "branch2.norm_b", "branch2.norm_c", "branch1_norm")
PYTORCHVIDEO = pairs(
    ("blocks.0.conv", "blocks.0.norm"),
    lambda stage, place: f"blocks.{stage + 1}.res_blocks.{place}",
    BRANCHES,
    BRANCH_NORMS,
)
POOLED = pairs(  # a pooling of time is block 2
    ("blocks.0.conv", "blocks.0.norm"),
    lambda stage, place: f"blocks.{(1, 3, 4, 5)[stage]}.res_blocks.{place}",
    BRANCHES,
    BRANCH_NORMS,
)
HEADS = {"slowfast": "head.projection", "pytorchvideo": "blocks.5.proj", "pooled": "blocks.6.proj"}
LAYOUTS = {"slowfast": SLOWFAST, "pytorchvideo": PYTORCHVIDEO, "pooled": POOLED}


def table_of(model: torch.nn.Module, names: dict[str, str], head: str | None = None) -> dict[str, torch.Tensor]:
    state = model.state_dict()
    table = {theirs: state[ours] for theirs, ours in names.items()}
    assert len(table) == len(state)
    if head is not None:
        table |= {f"{head}.weight": torch.zeros(400, 128), f"{head}.bias": torch.zeros(400)}
    return table


def test_the_names_are_those_of_the_public_files():
    for name in ("stem.bn.running_mean", "res1.branch2.c_bn.weight", "res0.branch1.weight"):
        assert any(key.endswith(f"pathway0_{name}") for key in SLOWFAST)
    for name in ("1.res_blocks.1.branch2.conv_b.weight", "4.res_blocks.0.branch1_norm.bias", "0.norm.weight"):
        assert f"blocks.{name}" in PYTORCHVIDEO


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_network_that_was_saved(tmp_path, layout):
    saved, model = network(), network(seed=5)
    torch.save({"model_state": table_of(saved, LAYOUTS[layout], HEADS[layout])}, tmp_path / "k400.pyth")
    report = initialise_resnet3d(model, tmp_path / "k400.pyth")
    assert_close(model(clip()), saved(clip()), atol=0, rtol=0)
    assert set(report.dropped) == {f"{HEADS[layout]}.weight", f"{HEADS[layout]}.bias"}
    assert report.fresh == ()


@pytest.mark.parametrize("wrap", ["safetensors", "bare", "state_dict", "checkpoint", "module", "old"])
def test_every_wrapping_is_opened(tmp_path, wrap):
    saved, model, path = network(), network(seed=5), tmp_path / "weights.pth"
    table = table_of(saved, SLOWFAST)
    if wrap == "safetensors":
        path = tmp_path / "weights.safetensors"
        save_file({key: value.contiguous() for key, value in table.items()}, path)
    elif wrap == "checkpoint":  # as SlowFast's trainer writes it
        torch.save({"epoch": 3, "model_state": table, "optimizer_state": {"lr": 0.1}, "cfg": "MODEL: {}"}, path)
    elif wrap == "module":
        torch.save({"state_dict": {f"module.{key}": value for key, value in table.items()}}, path)
    elif wrap == "old":  # before norms counted their batches
        torch.save({key: value for key, value in table.items() if not key.endswith("num_batches_tracked")}, path)
    else:
        torch.save(table if wrap == "bare" else {"state_dict": table}, path)
    initialise_resnet3d(model, path)
    assert_close(model(clip()), saved(clip()), atol=0, rtol=0)


@pytest.fixture
def image_network():
    """Return a ResNet of images by other hands, and its weights under torchvision's names."""
    torch.manual_seed(3)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[16, 32, 64, 128], depths=list(DEPTHS))
    twin = ResNetModel(config).eval()
    for buffer in twin.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2.0)
    names = {"embedder.embedder.convolution": "conv1", "embedder.embedder.normalization": "bn1"}
    for stage, depth in enumerate(DEPTHS):
        for place in range(depth):
            there, here = f"encoder.stages.{stage}.layers.{place}", f"layer{stage + 1}.{place}"
            for number in range(3):
                names[f"{there}.layer.{number}.convolution"] = f"{here}.conv{number + 1}"
                names[f"{there}.layer.{number}.normalization"] = f"{here}.bn{number + 1}"
            names[f"{there}.shortcut.convolution"] = f"{here}.downsample.0"
            names[f"{there}.shortcut.normalization"] = f"{here}.downsample.1"
    table = {}
    for key, value in twin.state_dict().items():
        module, _, part = key.rpartition(".")
        table[f"{names[module]}.{part}"] = value
    return twin, table | {"fc.weight": torch.zeros(1000, 128), "fc.bias": torch.zeros(1000)}


def test_an_image_resnet_by_other_hands_says_the_same_of_every_frame(tmp_path, image_network):
    twin, table = image_network
    torch.save(table, tmp_path / "resnet.pth")
    model = FrameLstm(FrameLstmConfig(trunk=ResNet3dConfig(arch="c2d", width=4, depths=DEPTHS), hidden=3)).eval()
    initialise_frame_lstm(model, tmp_path / "resnet.pth")
    expected = twin(clip().flatten(0, 1)).last_hidden_state  # (B T, D, h, w)
    assert_close(model.trunk(clip()).transpose(1, 2).flatten(0, 1), expected, atol=1e-5, rtol=1e-4)


def test_an_inflated_network_says_of_a_still_picture_what_the_image_network_says(tmp_path, image_network):
    twin, table = image_network
    torch.save(table, tmp_path / "resnet.pth")
    model = network("slow_layer5")
    initialise_resnet3d(model, tmp_path / "resnet.pth")
    still = clip(frames=1).expand(-1, 17, -1, -1, -1)
    # Seven layers look one frame to each side: only frames 7 to 9 see nothing of the ends, where time is padded.
    expected = twin(clip(frames=1)[:, 0]).last_hidden_state
    assert_close(model(still)[:, :, 8], expected, atol=1e-5, rtol=1e-4)


def test_the_released_baseline_is_loaded_with_its_heads(tmp_path):
    config = DualHeadConfig(trunk=ResNet3dConfig(arch="slow_layer5", width=4, depths=DEPTHS), image_size=64)
    saved, model = DualHeadResNet(config).eval(), DualHeadResNet(config).eval()
    names = {theirs: f"trunk.{ours}" for theirs, ours in SLOWFAST.items()}
    for theirs, ours in (("Keyframe_localisation_head", "key_frame_head"), ("State_detection_head", "state_head")):
        names |= {f"{theirs}.projection.{part}": f"{ours}.{part}" for part in ("weight", "bias")}
    table = table_of(saved, names)
    torch.save({"state_dict": {f"model.{key}": value for key, value in table.items()}}, tmp_path / "last.ckpt")
    initialise_dual_head(model, tmp_path / "last.ckpt")
    video = torch.randn(2, 3, 3, 64, 64)
    assert_close(model(video).state, saved(video).state, atol=0, rtol=0)
    assert_close(model(video).key_frame, saved(video).key_frame, atol=0, rtol=0)

    alone = DualHeadResNet(DualHeadConfig(trunk=config.trunk, image_size=64, heads="oscc")).eval()
    initialise_dual_head(alone, tmp_path / "last.ckpt")
    assert_close(alone(video).state, saved(video).state, atol=0, rtol=0)


def test_a_public_network_fills_the_baseline_below_its_heads(tmp_path):
    saved = network()
    model = DualHeadResNet(DualHeadConfig(trunk=saved.config, image_size=64)).eval()
    before = model.state_head.weight.clone()
    torch.save({"model_state": table_of(saved, PYTORCHVIDEO, "blocks.5.proj")}, tmp_path / "k400.pyth")
    initialise_dual_head(model, tmp_path / "k400.pyth")
    assert_close(model.trunk(clip()), saved(clip()), atol=0, rtol=0)
    assert_close(model.state_head.weight, before, atol=0, rtol=0)


def test_nothing_is_left_out_silently(tmp_path):
    table = table_of(network(), SLOWFAST)
    path = tmp_path / "weights.pth"

    def refused(changed, message):
        torch.save(changed, path)
        with pytest.raises(WeightsError, match=message):
            initialise_resnet3d(network(), path)

    refused(table | {"s6.extra": torch.zeros(1)}, "1 entries have no rule in SlowFast: s6.extra")
    refused({key: value for key, value in table.items() if "s3" not in key}, r"are not in this SlowFast file: stages.1")
    refused(table | {"s1.pathway0_stem.conv.weight": torch.zeros(4, 3, 1, 7, 7)}, "another shape")
    refused({"video.weight": torch.zeros(1)}, "is no ResNet of SlowFast, pytorchvideo or torchvision; it holds video")
    refused({"model_state": {"a": 3}}, "no tensor")
    refused({f"blocks.{n}.res_blocks.0.x": torch.zeros(1) for n in range(2)}, "has 2 stages of blocks")
    with pytest.raises(WeightsError, match="no such file"):
        initialise_resnet3d(network(), tmp_path / "none.pth")
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="not a readable PyTorch file"):
        initialise_resnet3d(network(), path)
