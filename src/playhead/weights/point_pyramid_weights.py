"""ActionFormer's released checkpoints and configurations, into a `PointPyramid` and the settings beside it.

A released checkpoint does not hold its configuration; that is a YAML file of the repository. Read it with any YAML
reader and give the dictionary here; what it leaves out has the released defaults.
"""

import os
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from playhead.decoding.nms import Suppression
from playhead.decoding.point_spans import CandidateRules
from playhead.errors import WeightsError
from playhead.models.point_pyramid import PointPyramid, PointPyramidConfig
from playhead.weights.adapt import convert
from playhead.weights.checkpoint_files import TABLES, read_checkpoint
from playhead.weights.keymaps import KeyMap


def _block(name: str) -> tuple[tuple[str, str], ...]:
    theirs = f"backbone.{name}.*"
    lanes = ("query", "key", "value")
    return (
        (f"{theirs}.ln1", f"{name}.*.time.norm"),
        *((f"{theirs}.attn.{lane}_conv", f"{name}.*.time.{lane}.conv") for lane in lanes),
        *((f"{theirs}.attn.{lane}_norm", f"{name}.*.time.{lane}.norm") for lane in lanes),
        *((f"{theirs}.attn.{lane}", f"{name}.*.time.{lane}.linear") for lane in lanes),
        (f"{theirs}.attn.proj", f"{name}.*.time.out"),
        (f"{theirs}.attn.rel_pe", f"{name}.*.time.relative"),
        (f"{theirs}.drop_path_attn", f"{name}.*.time.residual"),
        (f"{theirs}.ln2", f"{name}.*.mlp.norm"),
        (f"{theirs}.mlp.0", f"{name}.*.mlp.up"),
        (f"{theirs}.mlp.3", f"{name}.*.mlp.down"),
        (f"{theirs}.drop_path_mlp", f"{name}.*.mlp.residual"),
        (f"{theirs}.conv1", f"{name}.*.first"),
        (f"{theirs}.conv2", f"{name}.*.second"),
        (f"{theirs}.downsample", f"{name}.*.skip"),
    )


ACTIONFORMER = KeyMap(
    name="ActionFormer",
    renames=(
        ("backbone.proj.*", "projections.*"),
        ("backbone.embd.*", "embedding.convs.*"),
        ("backbone.embd_norm.*", "embedding.norms.*"),
        *_block("stem"),
        *_block("branch"),
        ("neck.lateral_convs.*", "neck.lateral.*"),
        ("neck.fpn_convs.*", "neck.smooth.*"),
        ("neck.fpn_norms.*", "neck.norms.*"),
        ("cls_head.head.*", "class_tower.convs.*"),
        ("cls_head.norm.*", "class_tower.norms.*"),
        ("cls_head.cls_head", "class_head"),
        ("reg_head.head.*", "offset_tower.convs.*"),
        ("reg_head.norm.*", "offset_tower.norms.*"),
        ("reg_head.offset_head", "offset_head"),
        ("reg_head.scale.*.scale", "scales.*"),
    ),
    drops=(
        ("backbone.pos_embd", "a fixed table, which is computed"),
        ("point_generator.buffer_points", "a fixed table, which is computed"),
    ),
    fresh=("loss_normalizer",),
    prefixes=("module.",),
)
"""`epoch_*.pth.tar` of the released trainer, into a `PointPyramid` without text."""

# The released code's `core/config.py`, as far as it says what a model is and answers.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "dataset": {"input_dim": 2304, "num_classes": 97, "max_seq_len": 2304},
    "model": {
        "backbone_type": "convTransformer",
        "fpn_type": "identity",
        "backbone_arch": (2, 2, 5),
        "scale_factor": 2,
        "regression_range": ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10000)),
        "n_head": 4,
        "n_mha_win_size": -1,
        "embd_kernel_size": 3,
        "embd_dim": 512,
        "embd_with_ln": True,
        "fpn_dim": 512,
        "fpn_with_ln": True,
        "fpn_start_level": 0,
        "head_dim": 512,
        "head_kernel_size": 3,
        "head_num_layers": 3,
        "head_with_ln": True,
        "use_abs_pe": False,
        "use_rel_pe": False,
    },
    "train_cfg": {
        "center_sample": "radius",
        "center_sample_radius": 1.5,
        "cls_prior_prob": 0.01,
        "head_empty_cls": (),
        "dropout": 0.0,
        "droppath": 0.1,
    },
    "test_cfg": {
        "pre_nms_thresh": 0.001,
        "pre_nms_topk": 5000,
        "iou_threshold": 0.1,
        "min_score": 0.01,
        "max_seg_num": 1000,
        "nms_method": "soft",
        "nms_sigma": 0.5,
        "duration_thresh": 0.05,
        "multiclass_nms": True,
        "voting_thresh": 0.75,
    },
}

# What our pyramid always is; no released configuration differs.
_FIXED = {
    "scale_factor": 2,
    "fpn_start_level": 0,
    "embd_kernel_size": 3,
    "head_kernel_size": 3,
    "embd_with_ln": True,
    "fpn_with_ln": True,
    "head_with_ln": True,
}

_KINDS: dict[str, Literal["transformer", "convolution"]] = {"convTransformer": "transformer", "conv": "convolution"}
_METHODS: dict[str, Literal["gaussian", "greedy", "none"]] = {"soft": "gaussian", "hard": "greedy", "none": "none"}


def load_actionformer(
    path: str | os.PathLike[str], config: PointPyramidConfig, *, averaged: bool = True
) -> PointPyramid:
    """Return the model of an ActionFormer checkpoint, in float32 on the CPU, in eval mode.

    `averaged` takes the running average of the weights (`state_dict_ema`), which the released evaluation always does,
    where the file has one.

    Raises:
        WeightsError: the file cannot be read, or does not fit `config`.
    """
    tables = ("state_dict_ema", *TABLES) if averaged else TABLES
    model = PointPyramid(config)
    state = actionformer_state(read_checkpoint(path, tables), model, path=path)
    model.load_state_dict(state, strict=True)
    return model.eval()


def actionformer_state(
    source: Mapping[str, Tensor], model: PointPyramid, *, path: str | os.PathLike[str] | None = None
) -> dict[str, Tensor]:
    """Return the tensors of an ActionFormer state dict under our names and in our shapes, for `load_state_dict`.

    Theirs keep axes of length one for convolutions over a single step and for norms over channels.

    Raises:
        WeightsError: the tensors do not fit the model.
    """
    expected = model.state_dict()
    fitted = {}
    for key, value in source.items():
        wanted = expected.get(ACTIONFORMER.rename(key) or "", value)
        fitted[key] = value.reshape(wanted.shape) if value.squeeze().shape == wanted.squeeze().shape else value
    state, _ = convert(fitted, ACTIONFORMER, expected, path=path)
    return expected | {key: value.float() for key, value in state.items()}


def pyramid_config(official: Mapping[str, Any]) -> PointPyramidConfig:
    """Return the sizes of the model that a released configuration describes.

    Raises:
        WeightsError: it asks for something that our pyramid does not have.
    """
    dataset, model, train = (_section(official, name) for name in ("dataset", "model", "train_cfg"))
    for name, value in _FIXED.items():
        if model[name] != value:
            raise WeightsError(
                f"this ActionFormer configuration has {name} = {model[name]!r}; only {value!r} is built."
            )
    if model["backbone_type"] not in _KINDS or model["fpn_type"] not in ("identity", "fpn"):
        found = f"{model['backbone_type']!r} with {model['fpn_type']!r}"
        raise WeightsError(
            f"this ActionFormer configuration has a backbone {found}; known are conv and convTransformer."
        )
    inputs, widths = _as_tuple(dataset["input_dim"]), _as_tuple(model["embd_dim"])
    embedding_layers, stem_blocks, branch_blocks = model["backbone_arch"]
    try:
        return PointPyramidConfig(
            input_widths=inputs,
            projected_widths=widths if isinstance(dataset["input_dim"], list | tuple) else (),
            num_classes=dataset["num_classes"],
            max_steps=dataset["max_seq_len"],
            kind=_KINDS[model["backbone_type"]],
            width=sum(widths),
            embedding_layers=embedding_layers,
            stem_blocks=stem_blocks,
            levels=branch_blocks + 1,
            heads=model["n_head"],
            windows=tuple(max(0, window) for window in _as_tuple(model["n_mha_win_size"])),
            absolute_positions=model["use_abs_pe"],
            relative_positions=model["use_rel_pe"],
            neck=model["fpn_type"],
            neck_width=model["fpn_dim"],
            head_width=model["head_dim"],
            head_layers=model["head_num_layers"],
            class_prior=float(train["cls_prior_prob"]),
            empty_classes=tuple(train["head_empty_cls"]),
            dropout=float(train["dropout"]),
            drop_path=float(train["droppath"]),
            layer_scale=1e-4 if train["droppath"] > 0 else None,
        )
    except (TypeError, ValueError) as problem:
        raise WeightsError(f"this ActionFormer configuration does not make a model: {problem}") from problem


def point_ranges(official: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    """Return the distances that each level answers for, as `objectives.detection.place_points` takes them."""
    return tuple((float(near), float(far)) for near, far in _section(official, "model")["regression_range"])


def center_radius(official: Mapping[str, Any]) -> float | None:
    """Return the radius of centre sampling, as `objectives.detection.assign_points` takes it."""
    train = _section(official, "train_cfg")
    return float(train["center_sample_radius"]) if train["center_sample"] == "radius" else None


def candidate_rules(official: Mapping[str, Any]) -> CandidateRules:
    """Return which points speak."""
    test = _section(official, "test_cfg")
    return CandidateRules(
        min_probability=float(test["pre_nms_thresh"]),
        top_per_level=test["pre_nms_topk"],
        min_length=float(test["duration_thresh"]),
    )


def suppression_of(official: Mapping[str, Any]) -> Suppression:
    """Return the suppression; a voting threshold that the released code ignores, per class, is left out.

    Raises:
        WeightsError: its `nms_method` is unknown.
    """
    test = _section(official, "test_cfg")
    if test["nms_method"] not in _METHODS:
        raise WeightsError(
            f"this ActionFormer configuration has nms_method = {test['nms_method']!r}; known are soft, hard and none."
        )
    votes = not test["multiclass_nms"] and test["voting_thresh"] > 0
    return Suppression(
        method=_METHODS[test["nms_method"]],
        per_class=test["multiclass_nms"],
        sigma=float(test["nms_sigma"]),
        iou_threshold=float(test["iou_threshold"]),
        min_score=float(test["min_score"]),
        voting_threshold=float(test["voting_thresh"]) if votes else None,
        top=test["max_seg_num"],
    )


def _section(official: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {**_DEFAULTS[name], **official.get(name, {})}


def _as_tuple(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)
