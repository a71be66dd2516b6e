"""The toy run with faults in its samples, its evaluation and its disk: real ones, in the process that they hit."""

import json
import multiprocessing
import os
import resource
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from toy_run import TRAIN, ToySamples, ToyTask, train_toy

from playhead.data.loading import EpochOrder
from playhead.errors import DecodeError
from playhead.train import checkpoint
from playhead.train.quarantine import FILE
from playhead.video.now_reading import now_reading

LONG = 200.0  # seconds; longer than a launch may take


@dataclass(frozen=True)
class FaultySamples(ToySamples):
    """Pairs of which some cannot be read, never come, kill who reads them, or send SIGTERM to the run and never come.

    `pipe` (a FIFO) is opened as a video for those that never come; without it they sleep. Who reads leaves its number
    in the folder `readers`.
    """

    unreadable: tuple[int, ...] = ()
    stalling: tuple[int, ...] = ()
    deadly: tuple[int, ...] = ()
    terminating: tuple[int, ...] = ()
    pipe: Path | None = None
    readers: Path | None = None

    def read(self, index, seed):
        if self.readers is not None:
            (self.readers / str(os.getpid())).touch()
        if index in self.unreadable:
            raise DecodeError("has no frame.", path=f"{index}.mp4", time=1.5)
        if index in self.terminating:
            is_worker = multiprocessing.current_process().daemon
            above = multiprocessing.parent_process() if is_worker else None
            os.kill(os.getpid() if above is None else above.pid, signal.SIGTERM)
        if index in self.stalling or index in self.terminating:
            if self.pipe is not None:
                now_reading(os.fspath(self.pipe))
                av.open(os.fspath(self.pipe))  # waits in FFmpeg's own code; `open_video` would refuse a pipe
            time.sleep(LONG)
        if index in self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(index, seed)


@dataclass(frozen=True)
class FaultyTask(ToyTask):
    """The toy task on faulty samples. Rank `signal_rank` may also get SIGTERM in a call of `answer`, or a full disk.

    `full_at` is an update and the bytes that a file may have from then on.
    """

    faults: FaultySamples = FaultySamples(22)
    evaluates_faults: bool = False
    sigterm_in_answer: int | None = None
    full_at: tuple[int, int] | None = None

    def samples(self, split):
        return self.faults if self.evaluates_faults or split == "train" else super().samples(split)

    def encode(self, model, batch):
        found = super().encode(model, batch)
        if self.full_at is not None and next(STEPS) == self.full_at[0] and self._is_hit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.full_at[1], resource.RLIM_INFINITY))
        return found

    def answer(self, model, batch):
        if next(ANSWERS) == self.sigterm_in_answer and self._is_hit():
            os.kill(os.getpid(), signal.SIGTERM)
        return super().answer(model, batch)

    def _is_hit(self):
        return os.environ.get("RANK", "0") == str(self.signal_rank)


STEPS, ANSWERS = iter(range(1, 10**6)), iter(range(1, 10**6))  # of this process


def faulty(**faults: Any) -> FaultyTask:
    """Return a task whose training samples have these faults."""
    return FaultyTask(faults=FaultySamples(22, **faults))


def train_and_interrupt_save(run_dir: Path, function: str, number: int, **options: Any):
    """Train the toy; SIGTERM comes in call `number` of a function of playhead.train.checkpoint, which goes on."""
    original, calls = getattr(checkpoint, function), iter(range(1, 10**6))

    def interrupted(*arguments, **named):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **named)

    setattr(checkpoint, function, interrupted)
    return train_toy(run_dir, **options)


def train_on_full_disk(run_dir: Path, **options: Any):
    """Train the toy with a task that fills the disk; what the rank prints goes nowhere, as it may find no room too."""
    nowhere, before = os.open(os.devnull, os.O_WRONLY), resource.getrlimit(resource.RLIMIT_FSIZE)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        return train_toy(run_dir, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def train_and_die_in_rmtree(run_dir: Path, **options: Any):
    """Train the toy; SIGKILL comes when the first folder is to be deleted."""
    shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    return train_toy(run_dir, **options)


def train_and_fail_in(run_dir: Path, function: str, error: Exception, number: int = 1, **options: Any):
    """Train the toy; call `number` of a function of playhead.train.checkpoint raises, on the first rank."""
    original, calls = getattr(checkpoint, function), iter(range(1, 10**6))

    def failing(*arguments, **named):
        if next(calls) == number:
            raise error
        return original(*arguments, **named)

    setattr(checkpoint, function, failing)
    return train_toy(run_dir, **options)


def first_step_with(index: int, settings=TRAIN) -> int:
    """Return the step (from 1) in which the toy reads a sample, found by walking through the order of the data."""
    order = EpochOrder(ToyTask().num_samples, settings.global_batch, settings.seed)
    return next(step + 1 for step in range(settings.steps) if index in order(step)[1])


def quarantine(run_dir: Path) -> list[dict[str, Any]]:
    """Return the lines of the quarantine file."""
    path = run_dir / FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def steps_saved(run_dir: Path) -> list[int]:
    """Return the steps of all that lies beside the checkpoints, -1 for what is none."""
    names = sorted(path.name for path in (run_dir / "checkpoints").iterdir())
    return [int(name.removeprefix("step_")) if name.startswith("step_") else -1 for name in names]


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
