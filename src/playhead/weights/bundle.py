"""A bundle: a folder that holds all that is needed to use a trained model.

    my_model/
        config.json         format, kind, sizes, preprocessing, tokenizer, provenance, identity
        model.safetensors   the weights

Everything after training reads and writes bundles. `identity` is a hash of weights and settings; whatever is computed
with a bundle (features, an index) records it. A dual encoder's bundle holds preprocessing and tokenizer; the bundle of
a network trained for a task (`TaskBundle`) holds the task's settings instead, which say what its input is.
"""

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from playhead.errors import WeightsError
from playhead.models.action_probe import ActionProbe, ActionProbeConfig
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frame_lstm import FrameLstm, FrameLstmConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.models.point_pyramid import PointPyramid, PointPyramidConfig
from playhead.models.resnet3d import DualHeadConfig, DualHeadResNet
from playhead.models.state_change import StateChangeConfig, StateChangeNet
from playhead.models.tan2d import Tan2d, Tan2dConfig
from playhead.models.videomae import VideoMAE, VideoMAEClassifier, VideoMAEClassifierConfig, VideoMAEConfig
from playhead.models.vsgn import VSGN, VSGNConfig
from playhead.models.vslnet import VSLNet, VSLNetConfig
from playhead.text import load_tokenizer
from playhead.text.bpe import ClipBPE
from playhead.text.wordpiece import WordPiece
from playhead.video.transforms import Preprocess
from playhead.weights.checkpoint_files import read_checkpoint
from playhead.weights.hub import local

FORMAT = 1
"""The version of the layout; it changes when a bundle of today could no longer be read."""

KINDS: dict[str, tuple[type[Any], type[nn.Module]]] = {"frozen": (FrozenConfig, Frozen)}
"""The dual encoders that a bundle can hold: kind -> (settings, network)."""

TASK_KINDS: dict[str, tuple[type[Any], type[nn.Module]]] = {
    "vslnet": (VSLNetConfig, VSLNet),
    "tan2d": (Tan2dConfig, Tan2d),
    "point_pyramid": (PointPyramidConfig, PointPyramid),
    "vsgn": (VSGNConfig, VSGN),
    "state_change": (StateChangeConfig, StateChangeNet),
    "frame_lstm": (FrameLstmConfig, FrameLstm),
    "dual_head_resnet": (DualHeadConfig, DualHeadResNet),
    "videomae": (VideoMAEConfig, VideoMAE),
    "videomae_classifier": (VideoMAEClassifierConfig, VideoMAEClassifier),
    "action_probe": (ActionProbeConfig, ActionProbe),
}
"""The networks of tasks that a task's bundle can hold."""

TOWER_KINDS: dict[str, type[Any]] = {"video_tower": SpaceTimeConfig, "text_tower": DistilBertConfig}
"""The halves of a dual encoder that lie by themselves, to start a model from: kind -> settings."""

_ALWAYS = ("format", "kind", "model", "provenance", "identity")
_OF_A_DUAL_ENCODER = ("preprocess", "tokenizer")
_OF_A_TASK = ("task",)
_OF_A_TOWER = ("missing",)


@dataclass(frozen=True)
class Bundle:
    """A model, in eval mode, with what its input needs."""

    model: Frozen
    """The network."""
    preprocess: Preprocess
    """From decoded frames to its input."""
    tokenizer_name: str
    """Its tokenizer, by name."""
    identity: str
    """16 hexadecimal digits: a hash of weights and settings."""
    provenance: Mapping[str, Any]
    """Where it came from, as told by who saved it."""

    @functools.cached_property
    def tokenizer(self) -> WordPiece | ClipBPE:
        """The tokenizer, built when first asked for."""
        return load_tokenizer(self.tokenizer_name)


@dataclass(frozen=True)
class TaskBundle:
    """A network trained for a task, in eval mode, with the settings of the task as plain JSON."""

    model: nn.Module
    """The network."""
    task: Mapping[str, Any]
    """The settings of its task, as `recipes.serialize.to_plain` gives them."""
    identity: str
    """16 hexadecimal digits: a hash of weights and settings."""
    provenance: Mapping[str, Any]
    """Where it came from, as told by who saved it."""


@dataclass(frozen=True)
class Tower:
    """The weights of a tower as they were published, under our names; not always of a whole tower.

    What an image model does not have (all that concerns time) is missing, and starts as in any new model.
    """

    settings: SpaceTimeConfig | DistilBertConfig
    """Its sizes."""
    weights: Mapping[str, Tensor]
    """By our names."""
    missing: tuple[str, ...]
    """Patterns (`keymaps`) of the parameters that the file did not bring."""
    identity: str
    """16 hexadecimal digits: a hash of weights and settings."""
    provenance: Mapping[str, Any]
    """Where it came from, as told by who saved it."""


def save_bundle(
    path: str | os.PathLike[str],
    model: Frozen,
    preprocess: Preprocess,
    tokenizer: str,
    provenance: Mapping[str, Any],
) -> str:
    """Write a bundle and return its identity. The folder is complete or absent; a bundle already there is replaced.

    Raises:
        WeightsError: the model is of no known kind, or `path` holds something that is no bundle.
    """
    entries = {"preprocess": preprocess.to_dict(), "tokenizer": tokenizer}
    return _save(Path(path), model, KINDS, entries, provenance)


def save_task_bundle(
    path: str | os.PathLike[str], model: nn.Module, task: Mapping[str, Any], provenance: Mapping[str, Any]
) -> str:
    """Write the bundle of a task's network and return its identity; as `save_bundle`."""
    return _save(Path(path), model, TASK_KINDS, {"task": dict(task)}, provenance)


def save_tower(
    path: str | os.PathLike[str],
    settings: SpaceTimeConfig | DistilBertConfig,
    weights: Mapping[str, Tensor],
    missing: Sequence[str],
    provenance: Mapping[str, Any],
) -> str:
    """Write the weights of a tower and return their identity; complete or absent, as `save_bundle`."""
    kind = next(name for name, of in TOWER_KINDS.items() if type(settings) is of)
    entries = {"kind": kind, "model": settings.to_dict(), "missing": list(missing)}
    return _write(Path(path), weights, entries, provenance)


def load_bundle(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Bundle:
    """Return the bundle in folder `path`, or of that name on a hub (`hub.local`), its model on `device`.

    Raises:
        WeightsError: there is none, or it is no bundle, is of another format, does not fit together, or its weights or
            settings are not those that were saved.
    """
    path = local(path)
    config = _read_config(path, KINDS, _OF_A_DUAL_ENCODER)
    try:
        preprocess = Preprocess.from_dict(config["preprocess"])
    except (KeyError, TypeError, ValueError) as problem:
        raise WeightsError(f"its settings are not readable: {problem}", path=path / "config.json") from problem
    model = _load(path, config, KINDS, _OF_A_DUAL_ENCODER)
    assert isinstance(model, Frozen)  # the only kind there is
    return Bundle(model.to(device).eval(), preprocess, config["tokenizer"], config["identity"], config["provenance"])


def load_task_bundle(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> TaskBundle:
    """Return the bundle of a task's network in folder `path`, its model on `device`; raises as `load_bundle`."""
    path = local(path)
    config = _read_config(path, TASK_KINDS, _OF_A_TASK)
    model = _load(path, config, TASK_KINDS, _OF_A_TASK)
    return TaskBundle(model.to(device).eval(), config["task"], config["identity"], config["provenance"])


def load_tower(path: str | os.PathLike[str]) -> Tower:
    """Return the weights of a tower, in folder `path`; raises as `load_bundle`."""
    path = local(path)
    config = _read_config(path, TOWER_KINDS, _OF_A_TOWER)
    settings = _read_settings(TOWER_KINDS[config["kind"]], config, path)
    weights = _read_weights(path, config, _OF_A_TOWER)
    return Tower(settings, weights, tuple(config["missing"]), config["identity"], config["provenance"])


def holds_task(path: str | os.PathLike[str]) -> bool:
    """Whether a bundle holds the network of a task; False for a dual encoder.

    Raises:
        WeightsError: the folder is no bundle.
    """
    return _read_config(local(path), {**KINDS, **TASK_KINDS}, ())["kind"] in TASK_KINDS


def find_kind(path: str | os.PathLike[str]) -> str | None:
    """Return what the folder `path` holds, by its config.json: a kind of bundle or tower; None if it is neither."""
    try:
        config = json.loads((local(path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config["kind"] if isinstance(config, dict) and {"format", "kind", "identity"} <= set(config) else None


def _save(
    path: Path, model: nn.Module, kinds: Mapping[str, tuple], entries: dict[str, Any], provenance: Mapping[str, Any]
) -> str:
    kind = next((name for name, (_, network) in kinds.items() if type(model) is network), None)
    if kind is None:
        raise WeightsError(f"a {type(model).__name__} cannot be saved; give the bare model ({', '.join(kinds)}).")
    config: Any = model.config
    return _write(path, model.state_dict(), {"kind": kind, "model": config.to_dict(), **entries}, provenance)


def _write(path: Path, weights: Mapping[str, Tensor], entries: dict[str, Any], provenance: Mapping[str, Any]) -> str:
    weights = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    settings = json.loads(json.dumps(entries))  # as it will be read
    identity = _identify(weights, settings)
    content = {"format": FORMAT, **settings, "provenance": dict(provenance), "identity": identity}
    with _replaced_when_complete(path) as folder:
        (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        save_file(weights, folder / "model.safetensors")
    return identity


def _load(path: Path, config: dict[str, Any], kinds: Mapping[str, tuple], entries: tuple[str, ...]) -> nn.Module:
    """Return the model, on the CPU, once it is sure that weights and settings are those that were saved."""
    settings_kind, network = kinds[config["kind"]]
    settings = _read_settings(settings_kind, config, path)
    weights = _read_weights(path, config, entries)
    # Networks of tasks are made in full, since they may hold tables that are no weights; dual encoders need not be.
    with torch.device("meta" if kinds is KINDS else "cpu"):
        model = network(settings)
    _check_fit(model, weights, path)
    model.load_state_dict(weights, strict=True, assign=True)
    return model


def _read_settings(kind: type[Any], config: Mapping[str, Any], path: Path) -> Any:
    try:
        return kind.from_dict(config["model"])
    except (KeyError, TypeError, ValueError) as problem:
        raise WeightsError(f"its settings are not readable: {problem}", path=path / "config.json") from problem


def _read_weights(path: Path, config: Mapping[str, Any], entries: tuple[str, ...]) -> dict[str, Tensor]:
    weights = read_checkpoint(path / "model.safetensors")
    identity = _identify(weights, {name: config[name] for name in ("kind", "model", *entries)})
    if identity != config["identity"]:
        raise WeightsError(
            f"weights or settings were changed after saving: identity {config['identity']} is noted, "
            f"{identity} is found. Save the model again.",
            path=path,
        )
    return weights


def _read_config(path: Path, kinds: Mapping[str, Any], entries: tuple[str, ...]) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        raise WeightsError("is no bundle: it has no config.json.", path=path)
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise WeightsError(f"is not JSON: {problem}", path=file) from problem
    if not isinstance(config, dict) or "format" not in config:
        raise WeightsError("names no bundle format; is this a bundle of playhead?", path=file)
    if config["format"] != FORMAT:
        raise WeightsError(f"bundle format {config['format']}, this program reads {FORMAT}.", path=file)
    known = [*KINDS, *TASK_KINDS, *TOWER_KINDS]
    if (kind := config.get("kind")) not in kinds:
        if kind in known:
            raise WeightsError(f"holds a {kind!r}; a bundle of {' or '.join(kinds)} is needed here.", path=file)
        raise WeightsError(f"holds a {kind!r}; this program knows {', '.join(known)}.", path=file)
    if missing := sorted({*_ALWAYS, *entries} - set(config)):
        raise WeightsError(f"lacks {', '.join(missing)}.", path=file)
    return config


def _check_fit(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    if wrong := sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)):
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise WeightsError(f"weights do not fit config.json: {', '.join(wrong[:5])}{more}.", path=path)


def _identify(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> str:
    # Over names, types, shapes and bytes, not over the file, whose layout is the writer's business.
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for key in sorted(weights):
        value = weights[key].contiguous()
        digest.update(f"\n{key} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


@contextmanager
def _replaced_when_complete(path: Path) -> Iterator[Path]:
    # Others call their file config.json as well; what is theirs is not overwritten.
    if path.exists() and find_kind(path) is None and (path.is_file() or any(path.iterdir())):
        raise WeightsError("is there and is no bundle; name another folder.", path=path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unique = uuid4().hex[:8]
    folder, old = path.with_name(f".{path.name}.{unique}.part"), path.with_name(f".{path.name}.{unique}.old")
    folder.mkdir()
    try:
        yield folder
        if path.exists():
            path.rename(old)
        folder.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)  # the second rename failed: what was there stays
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
