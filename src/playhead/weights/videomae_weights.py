"""Official weights of VideoMAE into `VideoMAE` and `VideoMAEClassifier`, and back into the official names and those of
Hugging Face.

Four kinds of file are known by their names: the pretrained model of MCG-NJU/VideoMAE, InternVideo and VideoMAE V2
(`encoder.blocks.*`, `decoder.blocks.*`), their fine-tuned one (`blocks.*`, `fc_norm`, `head`), and both as Hugging Face
has them (`videomae.encoder.layer.*`, with or without a head). Wrappers' prefixes (`module.`, `backbone.`, `model.`) may
stand before every name.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from playhead.errors import WeightsError
from playhead.models.videomae import (
    Positions,
    VideoMAE,
    VideoMAEClassifier,
    VideoMAEClassifierConfig,
    VideoMAEConfig,
    VideoMAEEncoderConfig,
)
from playhead.weights.adapt import ConversionReport, convert, rename_keys
from playhead.weights.bundle import load_task_bundle
from playhead.weights.checkpoint_files import read_checkpoint
from playhead.weights.hub import local
from playhead.weights.keymaps import NO_HEAD, KeyMap, matches

FilePath = str | os.PathLike[str]
Renames = tuple[tuple[str, str], ...]

HEADS = {192: 3, 384: 6, 512: 8, 768: 12, 1024: 16, 1280: 16, 1408: 16}
"""Attention heads of the published widths, which no tensor shows."""

PREFIXES = ("module.", "backbone.", "model.")

_BLOCK: Renames = (
    ("norm1", "attention_norm"),
    ("attn.q_bias", "attention.query_bias"),
    ("attn.v_bias", "attention.value_bias"),
    ("attn.qkv", "attention.qkv"),
    ("attn.proj", "attention.proj"),
    ("norm2", "mlp_norm"),
    ("mlp.fc1", "mlp.up"),
    ("mlp.fc2", "mlp.down"),
    ("gamma_1", "attention_scale"),
    ("gamma_2", "mlp_scale"),
)
_HF_BLOCK: Renames = (
    ("layernorm_before", "attention_norm"),
    ("attention.attention.q_bias", "attention.query_bias"),
    ("attention.attention.v_bias", "attention.value_bias"),
    # From transformers 5 on the biases bear these names; they come first, as the weights' rules would match them too.
    ("attention.attention.query.bias", "attention.query_bias"),
    ("attention.attention.value.bias", "attention.value_bias"),
    ("attention.attention.query", "attention.qkv[0]"),
    ("attention.attention.key", "attention.qkv[1]"),
    ("attention.attention.value", "attention.qkv[2]"),
    ("attention.output.dense", "attention.proj"),
    ("layernorm_after", "mlp_norm"),
    ("intermediate.dense", "mlp.up"),
    ("output.dense", "mlp.down"),
)


def _within(theirs: str, ours: str, renames: Renames) -> Renames:
    return tuple((f"{theirs}.{their}", f"{ours}.{our}") for their, our in renames)


PRETRAINED = KeyMap(
    name="VideoMAE, pretrained",
    renames=(
        ("mask_token", "mask_token"),
        ("encoder.patch_embed.proj", "encoder.patch_embedding"),
        *_within("encoder.blocks.*", "encoder.layers.*", _BLOCK),
        ("encoder.norm", "encoder.norm"),
        ("encoder_to_decoder", "to_decoder"),
        *_within("decoder.blocks.*", "decoder.layers.*", _BLOCK),
        ("decoder.norm", "decoder.norm"),
        ("decoder.head", "decoder.head"),
    ),
    prefixes=PREFIXES,
)
"""The pretrained model of MCG-NJU/VideoMAE, InternVideo and VideoMAE V2, into a `VideoMAE`."""

FINE_TUNED = KeyMap(
    name="VideoMAE, fine-tuned",
    renames=(
        ("patch_embed.proj", "encoder.patch_embedding"),
        *_within("blocks.*", "encoder.layers.*", _BLOCK),
        ("fc_norm", "feature_norm"),
        ("head", "head"),
    ),
    prefixes=PREFIXES,
)
"""The fine-tuned model of the same, into a `VideoMAEClassifier`."""

_HF_ENCODER: Renames = (
    ("embeddings.patch_embeddings.projection", "encoder.patch_embedding"),
    *_within("encoder.layer.*", "encoder.layers.*", _HF_BLOCK),
)

HF_PRETRAINED = KeyMap(
    name="VideoMAE, pretrained (Hugging Face)",
    renames=(
        ("mask_token", "mask_token"),
        *_HF_ENCODER,
        ("layernorm", "encoder.norm"),
        ("encoder_to_decoder", "to_decoder"),
        *_within("decoder.decoder_layers.*", "decoder.layers.*", _HF_BLOCK),
        ("decoder.norm", "decoder.norm"),
        ("decoder.head", "decoder.head"),
    ),
    drops=(("position_embeddings", "a fixed table, which is computed"),),
    prefixes=("videomae.",),
)
"""`VideoMAEForPreTraining`, into a `VideoMAE`. With `use_mean_pooling`, its default, it has no last norm."""

HF_FINE_TUNED = KeyMap(
    name="VideoMAE, fine-tuned (Hugging Face)",
    renames=(*_HF_ENCODER, ("fc_norm", "feature_norm"), ("classifier", "head")),
    drops=(("position_embeddings", "a fixed table, which is computed"),),
    prefixes=("videomae.",),
)
"""`VideoMAEForVideoClassification`, into a `VideoMAEClassifier`."""


@dataclass(frozen=True, kw_only=True)
class Untold:
    """What the tensors of a file do not show."""

    heads: int | None = None
    """Attention heads of the encoder; those of the published size of that width by default."""
    decoder_heads: int | None = None
    """Attention heads of the decoder, in the same way."""
    image_size: int | tuple[int, int] = 224
    """Height and width of a frame in pixels."""
    num_frames: int = 16
    """Frames of a clip."""
    positions: Positions = "direct"
    """Positions of clips of another size than 16 frames of 224 pixels, see `VideoMAEEncoderConfig.positions`."""


@dataclass(frozen=True)
class VideoMAEFile:
    """The tensors of a file, and in which of the four layouts they are."""

    path: FilePath
    """Where it lies, for messages."""
    keymap: KeyMap
    """From its names to ours."""
    holds: Literal["pretrained", "fine_tuned"]
    """Of which model they are."""
    tensors: Mapping[str, Tensor]
    """By its names."""

    @property
    def native(self) -> dict[str, Tensor]:
        """The tensors by our names."""
        return rename_keys(self.tensors, self.keymap, path=self.path)


_SIGNS: tuple[tuple[str, KeyMap, Literal["pretrained", "fine_tuned"]], ...] = (
    ("encoder.patch_embed", PRETRAINED, "pretrained"),
    ("patch_embed", FINE_TUNED, "fine_tuned"),
    ("decoder.decoder_layers.*", HF_PRETRAINED, "pretrained"),
    ("fc_norm", HF_FINE_TUNED, "fine_tuned"),
    ("embeddings.patch_embeddings", HF_PRETRAINED, "pretrained"),
)
"""(a pattern of `keymaps`, the layout, what it holds), tried in this order."""


def read_videomae(path: FilePath) -> VideoMAEFile:
    """Read a file of one of the four layouts, or a bundle of either model, and say which it is.

    Raises:
        WeightsError: the file cannot be read safely, or is of none of them.
    """
    if local(path).is_dir():
        model = load_task_bundle(path).model
        if not isinstance(model, VideoMAE | VideoMAEClassifier):
            raise WeightsError(f"is the bundle of a {type(model).__name__}, not of a VideoMAE.", path=path)
        keymap, holds = (PRETRAINED, "pretrained") if isinstance(model, VideoMAE) else (FINE_TUNED, "fine_tuned")
        return VideoMAEFile(path, keymap, holds, to_official(model))
    tensors = read_checkpoint(path)
    for sign, keymap, holds in _SIGNS:
        if any(matches(sign, keymap.bare(key)) for key in tensors):
            return VideoMAEFile(path, keymap, holds, tensors)
    raise WeightsError(
        f"is no VideoMAE: it has {len(tensors)} tensors, such as {', '.join(list(tensors)[:3])}. Known are the "
        "pretrained and fine-tuned models of MCG-NJU, InternVideo, VideoMAE V2 and Hugging Face.",
        path=path,
    )


def load_videomae(path: FilePath, untold: Untold | None = None) -> VideoMAE:
    """Return the pretrained model of a file, in float32 on the CPU, in eval mode; strict on both sides.

    Raises:
        WeightsError: the file cannot be read, holds another model, or no whole one.
    """
    file = _read("pretrained", path)
    native = file.native
    config = _sized(native, untold or Untold(), path)
    try:
        decoder_width, depth = native["to_decoder.weight"].shape[0], _count(native, "decoder.layers.")
        hidden = native["decoder.layers.0.mlp.up.weight"].shape[0]
    except KeyError as missing:
        raise WeightsError(f"{missing} is not in this file; it has no whole decoder.", path=path) from missing
    heads = (untold or Untold()).decoder_heads or _guess_heads(decoder_width, "decoder_heads", path)
    sizes = VideoMAEConfig(
        encoder=config,
        decoder_width=decoder_width,
        decoder_depth=depth,
        decoder_heads=heads,
        decoder_mlp_ratio=hidden / decoder_width,
    )
    model = VideoMAE(sizes)
    state, _ = convert(file.tensors, file.keymap, model.state_dict(), path=path)
    return _filled(model, state)


def load_videomae_classifier(path: FilePath, untold: Untold | None = None) -> VideoMAEClassifier:
    """Return the fine-tuned model of a file, in float32 on the CPU, in eval mode; strict on both sides.

    Raises:
        WeightsError: the file cannot be read, holds another model, or no whole one.
    """
    file = _read("fine_tuned", path)
    native = file.native
    encoder = _sized(native, untold or Untold(), path)
    if "head.weight" not in native:
        raise WeightsError("has no head for classes; start a classifier from it (initialise_videomae).", path=path)
    model = VideoMAEClassifier(VideoMAEClassifierConfig(encoder=encoder, num_classes=len(native["head.weight"])))
    state, _ = convert(file.tensors, file.keymap, model.state_dict(), path=path)
    return _filled(model, state)


def initialise_videomae(
    model: VideoMAE | VideoMAEClassifier, path: FilePath, *, keep_head: bool = True
) -> ConversionReport:
    """Start a model from an official file or a bundle; positions are never read, so that clips may be of any size.

    A classifier takes the encoder of a pretrained file, without its last norm: it has one of its own behind the mean,
    which starts anew, as the head does. Of a fine-tuned file it takes all, without `keep_head` all but the head.

    Raises:
        WeightsError: the file cannot be read or does not fit; or a pretraining is to start from a classifier.
    """
    file = read_videomae(path)
    keymap, expected = file.keymap, model.state_dict()
    if isinstance(model, VideoMAE):
        _require(file, "pretrained")
    elif file.holds == "pretrained":
        keymap = _encoder_alone(keymap)
    elif not keep_head:
        theirs = "classifier" if keymap is HF_FINE_TUNED else "head"
        keymap = replace(keymap, drops=(*keymap.drops, (theirs, NO_HEAD)), fresh=("head",))
    elif "head.weight" not in file.native:
        keymap = replace(keymap, fresh=("head",))
    state, report = convert(file.tensors, keymap, expected, path=path)
    model.load_state_dict(expected | {key: value.float() for key, value in state.items()}, strict=True)
    return report


def to_official(model: VideoMAE | VideoMAEClassifier) -> dict[str, Tensor]:
    """Return the model's tensors under the names of MCG-NJU/VideoMAE, InternVideo and VideoMAE V2."""
    keymap = PRETRAINED if isinstance(model, VideoMAE) else FINE_TUNED
    return rename_keys(model.state_dict(), keymap.inverted())


def to_hugging_face(model: VideoMAE | VideoMAEClassifier) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and `config.json` as `VideoMAEForPreTraining` or `VideoMAEForVideoClassification` reads them.

    `VideoMAEModel` reads the encoder of either. Queries' and values' biases are called as in the files on the hub
    (`q_bias`, `v_bias`), which transformers 5 reads as well.

    Raises:
        WeightsError: the network has what theirs does not: layer scale, positions that are interpolated, frames that
            are no squares.
    """
    encoder = model.config.encoder
    height, width = encoder.frame_size
    lacking = {
        "layer scale": encoder.layer_scale is not None,
        "interpolated positions": encoder.positions == "interpolated",
        f"frames of {height}x{width}": height != width,
    }
    if wrong := [name for name, is_so in lacking.items() if is_so]:
        raise WeightsError(f"Hugging Face's VideoMAE has no {', '.join(wrong)}.")
    keymap = HF_PRETRAINED if isinstance(model, VideoMAE) else HF_FINE_TUNED
    renames = tuple(
        (ours, theirs) for theirs, ours in keymap.renames if not theirs.endswith((".query.bias", ".value.bias"))
    )
    back = KeyMap(name=f"export to {keymap.name}", renames=renames)
    state = rename_keys(_unstacked(model.state_dict()), back)
    bare = ("mask_token", "encoder_to_decoder", "decoder", "fc_norm", "classifier")
    named = {key if key.split(".")[0] in bare else f"videomae.{key}": value for key, value in state.items()}
    return named, _hugging_face_config(model)


def _hugging_face_config(model: VideoMAE | VideoMAEClassifier) -> dict[str, Any]:
    encoder = model.config.encoder
    settings: dict[str, Any] = {
        "model_type": "videomae",
        "architectures": ["VideoMAEForPreTraining"],
        "image_size": encoder.frame_size[0],
        "patch_size": encoder.patch_size,
        "num_channels": 3,
        "num_frames": encoder.num_frames,
        "tubelet_size": encoder.tubelet,
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.heads,
        "intermediate_size": round(encoder.width * encoder.mlp_ratio),
        "hidden_act": "gelu",
        "layer_norm_eps": encoder.eps,
        "qkv_bias": True,
        "qv_bias": True,
        "use_mean_pooling": isinstance(model, VideoMAEClassifier),
    }
    if isinstance(model, VideoMAEClassifier):
        names = {str(number): f"LABEL_{number}" for number in range(model.config.num_classes)}
        heads = {"architectures": ["VideoMAEForVideoClassification"], "id2label": names}
        return settings | heads | {"label2id": {name: int(number) for number, name in names.items()}}
    sizes = model.config
    return settings | {
        "decoder_hidden_size": sizes.decoder_width,
        "decoder_num_hidden_layers": sizes.decoder_depth,
        "decoder_num_attention_heads": sizes.decoder_heads,
        "decoder_intermediate_size": round(sizes.decoder_width * sizes.decoder_mlp_ratio),
        "norm_pix_loss": True,
    }


def _unstacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Part what is stacked, under names that begin with the right sides of rules: "attention.qkv[0].weight"."""
    parted = {}
    for key, value in state.items():
        if key.endswith("attention.qkv.weight"):
            stem = key.removesuffix(".weight")
            parted |= {f"{stem}[{place}].weight": part.clone() for place, part in enumerate(value.chunk(3))}
        else:
            parted[key] = value
    return parted


def _encoder_alone(keymap: KeyMap) -> KeyMap:
    """Return the map of a pretrained file into a classifier."""
    dropped = ("mask_token", "encoder_to_decoder", "decoder", "encoder.norm", "layernorm")
    why = "of pretraining: decoder, mask token, and a norm before the mean"
    drops = tuple((pattern, why) for pattern in dropped)
    return replace(keymap, drops=(*keymap.drops, *drops), fresh=("feature_norm", "head"))


def _read(wanted: Literal["pretrained", "fine_tuned"], path: FilePath) -> VideoMAEFile:
    file = read_videomae(path)
    _require(file, wanted)
    return file


def _require(file: VideoMAEFile, wanted: Literal["pretrained", "fine_tuned"]) -> None:
    told = {"pretrained": "pretrained model (with a decoder)", "fine_tuned": "fine-tuned classifier"}
    if file.holds != wanted:
        raise WeightsError(f"holds a {told[file.holds]}; a {told[wanted]} is needed here.", path=file.path)


def _sized(native: Mapping[str, Tensor], untold: Untold, path: FilePath) -> VideoMAEEncoderConfig:
    """Return the encoder whose tensors, by our names, are `native`."""
    try:
        width, _, tubelet, patch_size, _ = native["encoder.patch_embedding.weight"].shape
        hidden = native["encoder.layers.0.mlp.up.weight"].shape[0]
        return VideoMAEEncoderConfig(
            image_size=untold.image_size,
            patch_size=patch_size,
            tubelet=tubelet,
            num_frames=untold.num_frames,
            width=width,
            depth=_count(native, "encoder.layers."),
            heads=untold.heads or _guess_heads(width, "heads", path),
            mlp_ratio=hidden / width,
            layer_scale=0.1 if "encoder.layers.0.attention_scale" in native else None,
            positions=untold.positions,
        )
    except KeyError as missing:
        raise WeightsError(f"{missing} is not in this file.", path=path) from missing
    except ValueError as problem:
        raise WeightsError(f"its shapes do not make a model: {problem}", path=path) from problem


def _guess_heads(width: int, name: str, path: FilePath) -> int:
    if width not in HEADS:
        known = ", ".join(map(str, HEADS))
        raise WeightsError(f"has a width of {width}, which no published model has ({known}); give {name}.", path=path)
    return HEADS[width]


def _count(native: Mapping[str, Tensor], start: str) -> int:
    return len({key.removeprefix(start).split(".")[0] for key in native if key.startswith(start)})


def _filled(model: Any, state: Mapping[str, Tensor]) -> Any:
    with torch.no_grad():
        model.load_state_dict({key: value.float() for key, value in state.items()}, strict=True)
    return model.eval()
