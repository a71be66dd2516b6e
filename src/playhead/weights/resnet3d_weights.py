"""Public weights of ResNets into `ResNet3d`, from whichever of the common layouts the file has.

SlowFast      s1.pathway0_stem.conv.weight, s2.pathway0_res0.branch2.a.weight, ...     also hands-and-objects
pytorchvideo  blocks.0.conv.weight, blocks.1.res_blocks.0.branch2.conv_a.weight, ...
torchvision   conv1.weight, layer1.0.conv1.weight, ...       a network of images, whose kernels are inflated
"""

import os
from collections.abc import Callable, Mapping

from torch import Tensor

from playhead.errors import WeightsError
from playhead.models.frame_lstm import FrameLstm
from playhead.models.resnet3d import DualHeadResNet, ResNet3d
from playhead.weights.adapt import ConversionReport, convert
from playhead.weights.checkpoint_files import read_checkpoint
from playhead.weights.keymaps import NO_HEAD, KeyMap

PREFIXES = ("module.", "model.")
"""What wrappers and trainers put before every name."""

RELEASED_HEADS = {"Keyframe_localisation_head": "key_frame_head", "State_detection_head": "state_head"}
"""What hands-and-objects calls the two heads of `DualHeadResNet`, and what we call them."""

# Files from before torch 0.4.1 do not count the batches of a norm.
_COUNTS = (
    "stem_norm.num_batches_tracked",
    *(f"stages.*.*.{part}_norm.num_batches_tracked" for part in ("reduce", "middle", "expand", "shortcut")),
)


def initialise_resnet3d(model: ResNet3d, path: str | os.PathLike[str]) -> ConversionReport:
    """Fill a network without head from a public file; a head in the file is left.

    Kernels of images become kernels of clips by repeating them in time and dividing by how often: of a still picture
    the clip network then says what the image network says, but for the ends, where time is padded with nothing
    (Carreira and Zisserman, 2017, "Bootstrapping parameters from pre-trained ImageNet models").

    Raises:
        WeightsError: the file cannot be read, is of no known layout, or does not fit the network.
    """
    return _fill(model, read_checkpoint(path), path)


def initialise_dual_head(model: DualHeadResNet, path: str | os.PathLike[str]) -> ConversionReport:
    """Fill the baseline from a checkpoint of hands-and-objects' i3d-resnet50, or its network below the heads from any.

    Of the checkpoint's two heads, those that the model has are taken; other files leave the model's heads as they are.

    Raises:
        WeightsError: as `initialise_resnet3d`.
    """
    source = read_checkpoint(path)
    if not any(_bare(key).split(".")[0] in RELEASED_HEADS for key in source):
        return _fill(model.trunk, source, path)
    trunk = _slowfast(model.config.trunk.depths)
    has = {theirs: getattr(model, ours) is not None for theirs, ours in RELEASED_HEADS.items()}
    heads = tuple((f"{theirs}.projection", ours) for theirs, ours in RELEASED_HEADS.items() if has[theirs])
    keymap = KeyMap(
        name="hands-and-objects",
        renames=(*((theirs, f"trunk.{ours}") for theirs, ours in trunk.renames), *heads),
        drops=tuple((theirs, "a head this network does not have") for theirs in RELEASED_HEADS if not has[theirs]),
        fresh=tuple(f"trunk.{name}" for name in trunk.fresh),
        prefixes=PREFIXES,
    )
    expected = model.state_dict()
    state, report = convert(source, keymap, expected, path=path)
    model.load_state_dict(expected | state, strict=True)
    return report


def initialise_frame_lstm(model: FrameLstm, path: str | os.PathLike[str]) -> ConversionReport:
    """Fill the image network of the LSTM baseline, as from torchvision's ImageNet ResNet-50; the rest stays.

    Raises:
        WeightsError: as `initialise_resnet3d`.
    """
    return initialise_resnet3d(model.trunk, path)


def _fill(model: ResNet3d, source: Mapping[str, Tensor], path: str | os.PathLike[str]) -> ConversionReport:
    keymap = _layout_of(source, model.config.depths, path)
    expected = model.state_dict()
    state, report = convert(_inflate(source, keymap, expected), keymap, expected, path=path)
    model.load_state_dict(expected | state, strict=True)
    return report


def _bare(key: str) -> str:
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    return key


def _layout_of(source: Mapping[str, Tensor], depths: tuple[int, int, int, int], path: str | os.PathLike[str]) -> KeyMap:
    bare = {_bare(key) for key in source}
    if any(key.startswith("s1.pathway0_stem.") for key in bare):
        return _slowfast(depths)
    if any(".res_blocks." in key for key in bare):
        return _pytorchvideo(bare, path)
    if "conv1.weight" in bare and any(key.startswith("layer1.") for key in bare):
        return _TORCHVISION
    found = ", ".join(sorted(bare)[:3]) or "nothing"
    raise WeightsError(f"is no ResNet of SlowFast, pytorchvideo or torchvision; it holds {found}, ...", path=path)


def _block(theirs: str, ours: str, names: Callable[[str], str]) -> tuple[tuple[str, str], ...]:
    """Return the rules of one block; `names` gives their name of a layer of ours."""
    layers = ("reduce", "middle", "expand", "shortcut")
    both = (*layers, *(f"{layer}_norm" for layer in layers))
    return tuple((f"{theirs}.{names(layer)}", f"{ours}.{layer}") for layer in both)


def _slowfast(depths: tuple[int, int, int, int]) -> KeyMap:
    letters = {"reduce": "branch2.a", "middle": "branch2.b", "expand": "branch2.c", "shortcut": "branch1"}

    def names(layer: str) -> str:
        bare = layer.removesuffix("_norm")
        return letters[bare] + ("_bn" if layer != bare else "")

    blocks = [
        rule
        for stage, depth in enumerate(depths)
        for place in range(depth)
        for rule in _block(f"s{stage + 2}.pathway0_res{place}", f"stages.{stage}.{place}", names)
    ]
    return KeyMap(
        name="SlowFast",
        renames=(("s1.pathway0_stem.conv", "stem"), ("s1.pathway0_stem.bn", "stem_norm"), *blocks),
        drops=tuple((name, NO_HEAD) for name in ("head", *RELEASED_HEADS)),
        fresh=_COUNTS,
        prefixes=PREFIXES,
    )


def _pytorchvideo(keys: set[str], path: str | os.PathLike[str]) -> KeyMap:
    letters = {"reduce": "branch2.conv_a", "middle": "branch2.conv_b", "expand": "branch2.conv_c"}

    def names(layer: str) -> str:
        bare = layer.removesuffix("_norm")
        name = letters.get(bare, "branch1_conv")
        return name.replace("conv", "norm") if layer != bare else name

    # Networks with a pooling of time count it as a block, without weights, between the first two stages.
    stages = sorted({int(key.split(".")[1]) for key in keys if key.startswith("blocks.") and ".res_blocks." in key})
    if len(stages) != 4:
        raise WeightsError(f"has {len(stages)} stages of blocks; a ResNet has four.", path=path)
    blocks = [
        rule
        for ours, theirs in enumerate(stages)
        for rule in _block(f"blocks.{theirs}.res_blocks.*", f"stages.{ours}.*", names)
    ]
    return KeyMap(
        name="pytorchvideo",
        renames=(("blocks.0.conv", "stem"), ("blocks.0.norm", "stem_norm"), *blocks),
        drops=((f"blocks.{stages[-1] + 1}.proj", NO_HEAD),),
        fresh=_COUNTS,
        prefixes=PREFIXES,
    )


def _torchvision() -> KeyMap:
    numbers = {"reduce": "conv1", "middle": "conv2", "expand": "conv3", "shortcut": "downsample.0"}

    def names(layer: str) -> str:
        bare = layer.removesuffix("_norm")
        name = numbers[bare]
        return name if layer == bare else name.replace("conv", "bn").replace("downsample.0", "downsample.1")

    blocks = [rule for stage in range(4) for rule in _block(f"layer{stage + 1}.*", f"stages.{stage}.*", names)]
    return KeyMap(
        name="torchvision",
        renames=(("conv1", "stem"), ("bn1", "stem_norm"), *blocks),
        drops=(("fc", NO_HEAD),),
        fresh=_COUNTS,
        prefixes=PREFIXES,
    )


_TORCHVISION = _torchvision()


def _inflate(source: Mapping[str, Tensor], keymap: KeyMap, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    inflated = {}
    for key, value in source.items():
        wanted = expected.get(keymap.rename(key) or "")
        if wanted is not None and value.ndim == 4 and wanted.ndim == 5:
            frames = wanted.shape[2]
            value = (value / frames)[:, :, None].expand(-1, -1, frames, -1, -1).contiguous()
        inflated[key] = value
    return inflated
