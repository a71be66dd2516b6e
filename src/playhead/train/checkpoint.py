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
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.distributed.checkpoint.state_dict_saver import save as save_tensors
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future
from torch.optim import AdamW

from playhead.errors import PlayheadError, TrainingError
from playhead.train.config import metric_value
from playhead.train.ema import Ema
from playhead.train.parallel import World
from playhead.train.together import on_first

FOLDER = "checkpoints"
PROGRESS = "progress.json"
WRITING = ".writing_"
GIB = 2**30
ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: updates done, the last and the best evaluation, and the settings it must go on with."""

    settings: dict[str, Any]
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    best_step: int | None = None
    owes_evaluation: bool = False  # after this step one is due, and a stop came before its end
    broken: list[int] = field(default_factory=list)  # samples that were replaced so far, in ascending order

    def after_evaluation(self, metrics: dict[str, float], keep_best: str | None) -> "Progress":
        """Return the progress with new metrics; a metric that is as good as the best before, or NaN, is no new best.

        Raises:
            RecipeError: `keep_best` is not among the metrics.
        """
        value = math.nan if keep_best is None else metric_value(metrics, keep_best)
        if not math.isnan(value) and (self.best is None or value > self.best):
            return replace(self, metrics=metrics, best=value, best_step=self.step, owes_evaluation=False)
        return replace(self, metrics=metrics, owes_evaluation=False)


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
    """Write a checkpoint on all ranks together and return its folder.

    Raises:
        TrainingError: it cannot be written, on whichever rank; nothing of it is left, and older ones are untouched.
    """
    final = run_dir / FOLDER / f"step_{progress.step:08d}"
    writing = final.with_name(WRITING + final.name)
    tensors = _tensors(model, optimizer, ema)
    try:
        on_first(world, partial(_begin, writing))
        with _no_word_about_one_process():
            save_tensors(tensors, storage_writer=_Writer(writing, sync_files=True), no_dist=not dist.is_initialized())
        on_first(world, partial(_finish, writing, final, progress))
    except (CheckpointException, _UnwritableError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        raise on_first(world, partial(_given_up, run_dir, writing, size, reason)) from error
    return final


def rewrite_progress(run_dir: Path, progress: Progress) -> None:
    """Put other progress beside the weights of a checkpoint, in one step.

    Raises:
        TrainingError: it cannot be written; the old one is still there.
    """
    path = run_dir / FOLDER / f"step_{progress.step:08d}" / PROGRESS
    fresh = path.with_name(WRITING + PROGRESS)
    try:
        _write_synced(fresh, _as_text(progress))
        os.replace(fresh, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise TrainingError(f"cannot be written ({error.strerror}); make room and start again.", path=path) from error


def restore(
    path: Path,
    settings: Mapping[str, Any],
    model: nn.Module,
    optimizer: AdamW,
    ema: Ema | None,
    defaults: Mapping[str, Any] | None = None,
) -> Progress:
    """Fill model, optimiser and average from a checkpoint and return how far it is.

    A setting that the checkpoint does not know, since it is older than that setting, must have its value in `defaults`.

    Raises:
        TrainingError: the checkpoint was made with other settings, or holds other tensors than this run has.
    """
    progress = Progress(**json.loads((path / PROGRESS).read_text()))
    _check_settings(path, {**_younger(progress.settings, defaults or {}), **progress.settings}, settings)
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
    """Delete all checkpoints but the last `keep_last` and that of `best_step`.

    Raises:
        TrainingError: one cannot be deleted; the disk would fill up unseen.
    """
    complete = _complete(run_dir)
    for step in sorted(complete)[:-keep_last]:
        if step != best_step:
            # Renamed first: a kill in the middle must not leave a folder that looks complete.
            doomed = complete[step].with_name(WRITING + complete[step].name)
            try:
                os.replace(complete[step], doomed)
                shutil.rmtree(doomed)
            except OSError as error:
                problem = f"this old checkpoint cannot be deleted ({error}); see who may write there."
                raise TrainingError(problem, path=doomed) from error


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


class _Writer(FileSystemWriter):
    """Torch's writer, but with the system's word on why writing failed.

    Torch raises its own RuntimeError about a position in the file, and on the way to the other ranks loses the rest.
    """

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write this rank's tensors."""
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


class _UnwritableError(PlayheadError):
    """The first rank could not write its files."""


def _begin(writing: Path) -> None:
    with _writing():
        if writing.exists():
            shutil.rmtree(writing)
        writing.mkdir(parents=True)


def _finish(writing: Path, final: Path, progress: Progress) -> None:
    with _writing():
        _write_synced(writing / PROGRESS, _as_text(progress))
        _sync_folder(writing)
        os.replace(writing, final)
        _sync_folder(final.parent)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _UnwritableError(error.strerror or str(error)) from error


def _reason(error: BaseException) -> str | None:
    """Return why the system did not write, or None if that is not what happened."""
    if isinstance(error, _UnwritableError):
        return error.problem
    failures = [failure for failure, _ in error.failures.values()] if isinstance(error, CheckpointException) else []
    return next((one.strerror or str(one) for one in failures if isinstance(one, OSError)), None)


def _given_up(run_dir: Path, writing: Path, size: int, reason: str) -> TrainingError:
    """Delete what was written of a checkpoint and return what the user is told."""
    shutil.rmtree(writing, ignore_errors=True)  # what resists is deleted at the next start
    free, last = shutil.disk_usage(run_dir).free, latest(run_dir)
    kept = "there is no older one" if last is None else f"the last one, {last.name}, is untouched"
    return TrainingError(
        f"a checkpoint cannot be written: {reason}. It needs {size / GIB:.3g} GiB, {free / GIB:.3g} GiB are free; "
        f"{kept}. Make room (or lower train.keep_last) and start the same command again.",
        path=run_dir / FOLDER,
    )


def _younger(saved: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in json.loads(json.dumps(defaults)).items() if name not in saved}


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


def _as_text(progress: Progress) -> str:
    return json.dumps(asdict(progress), indent=1) + "\n"


def _write_synced(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
