"""Official VSGN checkpoints of Ego4D's moment queries, with and without the graph, into `VSGN`."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from playhead.errors import WeightsError
from playhead.models.vsgn import VSGN, VSGNConfig
from playhead.weights.adapt import convert, rename_keys
from playhead.weights.checkpoint_files import read_checkpoint
from playhead.weights.keymaps import KeyMap

_PYRAMID = (
    ("xGPN.conv0.0", "pyramid.stem"),
    ("xGPN.levels_enc.*.tconv1", "pyramid.encoder.*.conv"),
    ("xGPN.levels_enc.*.nconv1.mlp", "pyramid.encoder.*.graph.message"),
    ("xGPN.levels_enc.*.0", "pyramid.encoder.*.conv"),
    ("xGPN.levels_dec.*.0", "pyramid.upsample.*"),
    ("xGPN.levels1.*.0", "pyramid.smooth.*"),
    ("xGPN.levels2.*.0", "pyramid.lateral.*"),
)
_HEADS = (
    ("head_dec.cls_tower", "classes.layers"),
    ("head_dec.cls_logits", "classes.out"),
    ("head_dec.bbox_tower", "boxes.layers"),
    ("head_dec.bbox_pred", "boxes.out"),
    ("head_actionness", "action"),
    ("head_startness", "start"),
    ("head_endness", "end"),
    ("bd_adjust.start_conv.0", "adjust_start.around"),
    ("bd_adjust.start_conv.2", "adjust_start.out"),
    ("bd_adjust.end_conv.0", "adjust_end.around"),
    ("bd_adjust.end_conv.2", "adjust_end.out"),
)
VSGN_KEYS = KeyMap(name="VSGN (Ego4D moment queries)", renames=(*_PYRAMID, *_HEADS), prefixes=("module.",))
"""Of the graph and of the plain pyramid; `export_names` says which of both a model of ours has."""


def load_vsgn(
    path: str | os.PathLike[str],
    *,
    num_steps: int = 928,
    anchor_scales: tuple[int, ...] = (1, 10),
    num_neighbours: int = 12,
    stitched: bool = False,
    short_ratio: float = 0.4,
    stitch_gap: int = 30,
) -> VSGN:
    """Return the model of an official `best.pth.tar` or plain state dict, in float32 on the CPU, in eval mode.

    Widths, levels, tower layers, classes, and whether there is a graph are read from the tensors; the settings that no
    tensor shows are arguments, with the official values. The file numbers its classes; `data.segments.read_class_names`
    reads their order.

    Raises:
        WeightsError: the file cannot be read, or is not of this layout and these settings.
    """
    source = read_checkpoint(path)
    native = rename_keys(source, VSGN_KEYS, path=path)
    try:
        config = VSGNConfig(
            **_sizes_of(native, len(anchor_scales)),
            num_steps=num_steps,
            anchor_scales=anchor_scales,
            num_neighbours=num_neighbours,
            stitched=stitched,
            short_ratio=short_ratio,
            stitch_gap=stitch_gap,
        )
    except KeyError as missing:
        raise WeightsError(f"{missing} is not in this {VSGN_KEYS.name} file.", path=path) from missing
    except (ValueError, IndexError) as problem:
        raise WeightsError(f"its shapes do not make a model: {problem}", path=path) from problem
    with torch.device("meta"):
        model = VSGN(config)
    state, _ = convert(source, VSGN_KEYS, model.state_dict(), path=path)
    model.load_state_dict({key: value.float() for key, value in state.items()}, strict=True, assign=True)
    return model.eval()


def to_vsgn(model: VSGN) -> dict[str, Tensor]:
    """Return the model's tensors under the official names, without the `module.` of its trainer."""
    return rename_keys(model.state_dict(), export_map(model.config.graph))


def export_map(graph: bool) -> KeyMap:
    """Return the map from our names to the official ones, of a model with the graph or without."""
    theirs = "xGPN.levels_enc.*.0" if graph else "xGPN.levels_enc.*.tconv1"
    return replace(VSGN_KEYS, renames=tuple(rule for rule in VSGN_KEYS.renames if rule[0] != theirs)).inverted()


def _sizes_of(state: Mapping[str, Tensor], per_step: int) -> dict[str, Any]:
    width, feature_dim = state["pyramid.stem.weight"].shape[:2]
    outputs = state["classes.out.bias"].shape[0]
    if outputs % per_step:
        raise ValueError(f"{outputs} class scores per step do not divide into {per_step} anchors.")
    return {
        "feature_dim": feature_dim,
        "num_classes": outputs // per_step - 1,
        "width": width,
        "num_levels": _count(state, "pyramid.smooth."),
        "tower_layers": _count(state, "classes.layers.") // 2,  # convolutions and norms have tensors
        "graph": "pyramid.encoder.0.graph.message.weight" in state,
    }


def _count(state: Mapping[str, Tensor], start: str) -> int:
    return len({key.removeprefix(start).split(".")[0] for key in state if key.startswith(start)})
