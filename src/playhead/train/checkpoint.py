"""Checkpoints that are complete or absent, and hold all a run needs to go on bit-identically.

A checkpoint is the folder `checkpoints/step_00000123`: the tensors in the format of torch.distributed.checkpoint (any
number of ranks can read what any other number wrote) and `progress.json`. It is written under another name, flushed to
disk and renamed last. It holds no random states: nothing random has state (docs/architecture.md, "Randomness").
"""

import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.distributed.checkpoint.state_dict_saver import save as save_tensors
from torch.optim import AdamW

from playhead.errors import TrainingError
from playhead.train.config import metric_value
from playhead.train.ema import Ema
from playhead.train.parallel import World, gather_objects

FOLDER = "checkpoints"
PROGRESS = "progress.json"
WRITING = ".writing_"
ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: updates done, the last and the best evaluation, and the settings it must go on with."""

    settings: dict[str, Any]
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    best_step: int | None = None

    def after_evaluation(self, metrics: dict[str, float], keep_best: str | None) -> "Progress":
        """Return the progress with new metrics; a metric that is as good as the best before, or NaN, is no new best.

        Raises:
            RecipeError: `keep_best` is not among the metrics.
        """
        value = math.nan if keep_best is None else metric_value(metrics, keep_best)
        if not math.isnan(value) and (self.best is None or value > self.best):
            return replace(self, metrics=metrics, best=value, best_step=self.step)
        return replace(self, metrics=metrics)


def latest(run_dir: Path) -> Path | None:
    """Return the newest complete checkpoint of a run, or None."""
    complete = _complete(run_dir)
    return complete[max(complete)] if complete else None


def remove_unfinished(run_dir: Path) -> None:
    """Delete what a killed run left half-written."""
    complete = set(_complete(run_dir).values())
    for path in (run_dir / FOLDER).glob("*"):
        is_ours = path.name.startswith((WRITING, "step_")) and path.is_dir()
        if is_ours and path not in complete:
            shutil.rmtree(path)


def save(run_dir: Path, progress: Progress, model: nn.Module, optimizer: AdamW, ema: Ema | None, world: World) -> Path:
    """Write a checkpoint on all ranks together and return its folder."""
    final = run_dir / FOLDER / f"step_{progress.step:08d}"
    writing = final.with_name(WRITING + final.name)
    if world.is_first:
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir(parents=True)
    _wait_for_all()
    with _no_word_about_one_process():
        save_tensors(
            _tensors(model, optimizer, ema),
            storage_writer=FileSystemWriter(writing, sync_files=True),
            no_dist=not dist.is_initialized(),
        )
    if world.is_first:
        _write_synced(writing / PROGRESS, json.dumps(asdict(progress), indent=1) + "\n")
        _sync_folder(writing)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(writing, final)
        _sync_folder(final.parent)
    _wait_for_all()
    return final


def restore(path: Path, settings: Mapping[str, Any], model: nn.Module, optimizer: AdamW, ema: Ema | None) -> Progress:
    """Fill model, optimiser and average from a checkpoint and return how far it is.

    Raises:
        TrainingError: the checkpoint was made with other settings, or holds other tensors than this run has.
    """
    progress = Progress(**json.loads((path / PROGRESS).read_text()))
    _check_settings(path, progress.settings, settings)
    stored = FileSystemReader(path).read_metadata().state_dict_metadata
    sizes = {name: entry.size for name, entry in stored.items() if isinstance(entry, TensorStorageMetadata)}
    # A parameter that never got a gradient has no state; the checkpoint says which have.
    for name, parameter in model.named_parameters():
        if f"optimizer/{name}/step" in sizes:
            optimizer.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            }
    tensors = _tensors(model, optimizer, ema)
    _check_sizes(path, sizes, {name: tensor.size() for name, tensor in tensors.items()})
    with _no_word_about_one_process():
        load_tensors(tensors, storage_reader=FileSystemReader(path), no_dist=not dist.is_initialized())
    return progress


def prune(run_dir: Path, keep_last: int, best_step: int | None) -> None:
    """Delete all checkpoints but the last `keep_last` and that of `best_step`."""
    complete = _complete(run_dir)
    for step in sorted(complete)[:-keep_last]:
        if step != best_step:
            # Renamed first: a kill in the middle must not leave a folder that looks complete.
            doomed = complete[step].with_name(WRITING + complete[step].name)
            os.replace(complete[step], doomed)
            shutil.rmtree(doomed)


def _complete(run_dir: Path) -> dict[int, Path]:
    found = {}
    for path in (run_dir / FOLDER).glob("step_*"):
        match = re.fullmatch(r"step_(\d{8,})", path.name)
        if match and (path / PROGRESS).is_file() and (path / ".metadata").is_file():
            found[int(match[1])] = path
    return found


def _tensors(model: nn.Module, optimizer: AdamW, ema: Ema | None) -> dict[str, Tensor]:
    """Return every tensor of a run by name; they share memory with it, so that loading fills it in place."""
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter, {})
        tensors |= {f"optimizer/{name}/{key}": state[key] for key in ADAM_STATE if key in state}
    if ema is not None:
        tensors |= {f"ema/{name}": tensor for name, tensor in ema.weights.items()}
    return tensors


def _check_settings(path: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(now))  # tuples became lists in the file
    for name in sorted(saved.keys() | now.keys()):
        if saved.get(name) != now.get(name):
            raise TrainingError(
                f"this run was begun with {name} = {saved.get(name)!r}, now it is {now.get(name)!r}; set it back, or "
                "train in another folder.",
                path=path,
            )


def _check_sizes(path: Path, saved: Mapping[str, torch.Size], now: Mapping[str, torch.Size]) -> None:
    wrong = sorted(name for name in saved.keys() | now.keys() if saved.get(name) != now.get(name))
    if wrong:
        name = wrong[0]
        found, asked = saved.get(name), now.get(name)
        raise TrainingError(
            f"{name} is {'absent' if found is None else tuple(found)} in the checkpoint and "
            f"{'absent' if asked is None else tuple(asked)} in this run ({len(wrong)} tensors differ); the model is "
            "another one: train in another folder.",
            path=path,
        )


@contextmanager
def _no_word_about_one_process() -> Iterator[None]:
    # Told with no_dist that there is one process, torch still warns that it takes it for one process.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        yield


def _wait_for_all() -> None:
    gather_objects(None)


def _write_synced(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
