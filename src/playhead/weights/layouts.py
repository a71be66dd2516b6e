"""The layouts of files of weights that people have: how each is recognised, and what its shapes say about the network.

`official.py` turns files of these layouts into models and towers; `docs/checkpoints.md` lists them.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from playhead.errors import WeightsError
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import SpaceTimeConfig
from playhead.weights.checkpoint_files import read_checkpoint
from playhead.weights.keymaps import (
    DISTILBERT,
    EGOVLP,
    GOOGLE_VIT,
    HF_TIMESFORMER,
    HF_VIT,
    LAVILA,
    TIMESFORMER,
    VIT,
    KeyMap,
    bert_map,
    matches,
)

HEAD_WIDTH = 64
"""Every ViT, TimeSformer and BERT that was published has heads of this width; no tensor shows their number."""

FilePath = str | os.PathLike[str]

LayoutName = Literal[
    "egovlp", "frozen-in-time", "lavila", "timesformer", "hf-timesformer", "hf-vit", "google-vit", "timm-vit",
    "distilbert", "bert"
]  # fmt: skip
"""The layouts, as the command line calls them."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way of naming the tensors of one kind of network."""

    name: LayoutName
    """Its name on the command line."""
    keymap: KeyMap
    """From its names to ours."""
    holds: Literal["dual_encoder", "video_tower", "text_tower"]
    """What of ours such a file fills."""
    sign: str | None
    """A pattern of `keymaps` that some of its names match and no other layout's; None if only its user knows."""
    block: Literal["frozen", "timesformer"] = "frozen"
    """The video tower's blocks."""
    text_style: Literal["narration", "caption"] | None = None
    """Of what texts a dual encoder learnt."""
    foreign: tuple[tuple[str, str], ...] = ()
    """(pattern, what it means): files that share the names and not the network."""


LAYOUTS = (
    Layout(name="egovlp", keymap=EGOVLP, holds="dual_encoder", sign="video_model", text_style="narration"),
    Layout(name="frozen-in-time", keymap=EGOVLP, holds="dual_encoder", sign=None, text_style="caption"),
    Layout(
        name="lavila",
        keymap=LAVILA,
        holds="dual_encoder",
        sign="visual",
        text_style="narration",
        foreign=(
            ("visual.ln_pre", "is built on CLIP, with a norm before its blocks and CLIP's activation"),
            ("token_embedding", "has the text tower of CLIP"),
        ),
    ),
    Layout(
        name="timesformer", keymap=TIMESFORMER, holds="video_tower", sign="blocks.*.temporal_attn", block="timesformer"
    ),
    Layout(
        name="hf-timesformer",
        keymap=HF_TIMESFORMER,
        holds="video_tower",
        sign="encoder.layer.*.temporal_attention",
        block="timesformer",
    ),
    Layout(name="hf-vit", keymap=HF_VIT, holds="video_tower", sign="encoder.layer.*.layernorm_before"),
    Layout(name="google-vit", keymap=GOOGLE_VIT, holds="video_tower", sign="Transformer.encoderblock_*"),
    Layout(name="timm-vit", keymap=VIT, holds="video_tower", sign="blocks.*.attn"),
    Layout(name="distilbert", keymap=DISTILBERT, holds="text_tower", sign="transformer.layer.*.attention.q_lin"),
    Layout(name="bert", keymap=bert_map((), 0), holds="text_tower", sign="encoder.layer.*.attention.self"),
)
"""Tried in this order: a TimeSformer has all the names of a ViT."""


@dataclass(frozen=True)
class ForeignFile:
    """The tensors of a file, and the layout they are in."""

    path: FilePath
    """Where it lies, for messages."""
    layout: Layout
    """How it names them."""
    tensors: Mapping[str, Tensor]
    """By its names."""


def read_foreign(path: FilePath, layout: LayoutName | None = None) -> ForeignFile:
    """Read a file of weights and recognise its layout by its names, unless it is given.

    Raises:
        WeightsError: the file cannot be read safely, or is of no known layout, or of a network that we do not have.
    """
    tensors = read_checkpoint(path)
    found = next((known for known in LAYOUTS if known.name == layout), None) or _recognise(tensors, path)
    for key in tensors:
        for pattern, what in found.foreign:
            if matches(pattern, found.keymap.bare(key)):
                raise WeightsError(f"{what}; playhead has no such network.", path=path)
    return ForeignFile(path, found, tensors)


def _recognise(tensors: Mapping[str, Tensor], path: FilePath) -> Layout:
    for layout in LAYOUTS:
        sign = layout.sign
        if sign is not None and any(matches(sign, layout.keymap.bare(key)) for key in tensors):
            return layout
    names = ", ".join(layout.name for layout in LAYOUTS)
    raise WeightsError(
        f"is of no layout known here; it has {len(tensors)} tensors, such as {', '.join(list(tensors)[:3])}. "
        f"Known are {names}.",
        path=path,
    )


def as_distilbert(file: ForeignFile, num_layers: int | None = None) -> tuple[dict[str, Tensor], KeyMap]:
    """Return the tensors of a BERT, and the map by which `num_layers` of its layers fill a `DistilBert`.

    The layers are taken evenly from the first to the last, of 12 for 6 those with the numbers 0, 2, 4, 7, 9 and 11; by
    default half of them. The row of token type 0, which BERT adds to every word of a single text, is added to every
    position: with all layers taken, the tower gives BERT's own hidden states.

    Raises:
        WeightsError: it has no layers, or not as many as are wanted.

    Source: DistilBERT (Sanh et al., 2019), section 3, "taking one layer out of two"; the numbers are those of the
    released `extract_distilbert.py`, which leaves token types out.
    """
    names = {file.layout.keymap.bare(key): key for key in file.tensors}
    layers = [name.split(".")[2] for name in names if name.startswith("encoder.layer.")]
    found = max((int(number) for number in layers if number.isdecimal()), default=-1) + 1
    wanted = (found + 1) // 2 if num_layers is None else num_layers
    if not 1 <= wanted <= found:
        raise WeightsError(f"has {found} layers, of which {wanted} are wanted.", path=file.path)
    kept = tuple(round(index * (found - 1) / max(1, wanted - 1)) for index in range(wanted))
    keymap, tensors = bert_map(kept, found), dict(file.tensors)
    types = names.get("embeddings.token_type_embeddings.weight")
    positions = names.get("embeddings.position_embeddings.weight")
    if types is None or positions is None:
        lacking = "token types" if types is None else "positions"
        raise WeightsError(f"has no embedding of {lacking}; is this a whole BERT?", path=file.path)
    if tensors[types].ndim != 2 or tensors[types].shape[1:] != tensors[positions].shape[1:]:
        raise WeightsError("its token types and its positions are of different widths.", path=file.path)
    tensors[positions] = tensors[positions] + tensors[types][0]
    return tensors, keymap


def video_settings(
    state: Mapping[str, Tensor],
    *,
    heads: int | None = None,
    image_size: tuple[int, int] | None = None,
    block: Literal["frozen", "timesformer"] = "frozen",
    path: FilePath | None = None,
) -> SpaceTimeConfig:
    """Return the sizes of a video tower whose tensors, by our names, are `state`.

    Frames are taken to be square unless `image_size` says otherwise; a file without time has one slot.

    Raises:
        WeightsError: the shapes do not make a tower, or the number of heads cannot be told.
    """
    try:
        patch_size, width = state["patch_embedding.weight"].shape[-1], state["cls_token"].shape[-1]
        side = math.isqrt(state["position_embedding"].shape[1] - 1) * patch_size
        return SpaceTimeConfig(
            image_size=image_size or (side, side),
            patch_size=patch_size,
            width=width,
            depth=_count_layers(state),
            heads=heads or _guess_heads(width),
            mlp_ratio=state["layers.0.mlp.up.weight"].shape[0] / width,
            num_frames=state["time_embedding"].shape[1] if "time_embedding" in state else 1,
            block=block,
        )
    except KeyError as missing:
        raise WeightsError(f"{missing} is not in this file.", path=path) from missing
    except (ValueError, IndexError, ZeroDivisionError) as problem:
        raise WeightsError(f"its shapes do not make a model: {problem}", path=path) from problem


def text_settings(
    state: Mapping[str, Tensor], *, heads: int | None = None, path: FilePath | None = None
) -> DistilBertConfig:
    """Return the sizes of a text tower whose tensors, by our names, are `state`; raises as `video_settings`."""
    try:
        vocab_size, dim = state["word_embedding.weight"].shape
        return DistilBertConfig(
            vocab_size=vocab_size,
            dim=dim,
            n_layers=_count_layers(state),
            n_heads=heads or _guess_heads(dim),
            hidden_dim=state["layers.0.mlp.up.weight"].shape[0],
            max_positions=state["position_embedding.weight"].shape[0],
        )
    except KeyError as missing:
        raise WeightsError(f"{missing} is not in this file.", path=path) from missing
    except (ValueError, IndexError) as problem:
        raise WeightsError(f"its shapes do not make a model: {problem}", path=path) from problem


def heads_of(file: ForeignFile) -> int | None:
    """Return the number of heads where the tensors show it, as flax's do; None elsewhere."""
    kernels = (
        value for key, value in file.tensors.items() if key.endswith("MultiHeadDotProductAttention_1/out/kernel")
    )
    kernel = next(kernels, None)
    return kernel.shape[0] if kernel is not None and kernel.ndim == 3 else None


def _guess_heads(width: int) -> int:
    if width % HEAD_WIDTH:
        raise ValueError(f"{width} is not a multiple of {HEAD_WIDTH}, so that the number of heads must be given.")
    return width // HEAD_WIDTH


def _count_layers(state: Mapping[str, Tensor]) -> int:
    return len({key.split(".")[1] for key in state if key.startswith("layers.")})
