"""What a run says: `log.jsonl` (one line per logged step or evaluation), the terminal, and TensorBoard if asked."""

import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from playhead.data.reading import BrokenSample
from playhead.errors import RecipeError, TrainingError
from playhead.train.speed import SpeedReport
from playhead.types import Loss

FILE = "log.jsonl"


class RunLog:
    """The log of one rank; ranks other than the first (`quiet`) say nothing and write nothing.

    Lines after `first_step` are from a run that was killed after its last checkpoint; they are dropped, so that the
    file has each step once. So is the evaluation of that step if the run `owes` it.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        first_step: int,
        total_steps: int,
        tensorboard: bool = False,
        quiet: bool = False,
        owes_evaluation: bool = False,
    ):
        self.path, self.total_steps, self.quiet = run_dir / FILE, total_steps, quiet
        self._start, self._first_step = time.monotonic(), first_step
        self._console = Console(stderr=True, quiet=quiet)
        self._board = _board(run_dir, first_step) if tensorboard and not quiet else None
        self._bar = Progress(
            TextColumn("[bold]train[/]"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=total_steps, completed=first_step, state="")
        if not quiet:
            run_dir.mkdir(parents=True, exist_ok=True)
            _keep_lines(self.path, first_step, owes_evaluation)

    def __enter__(self) -> "RunLog":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()

    def advance(self, step: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=step)

    def step(
        self, step: int, epoch: int, loss: Loss, lr: float, grad_norm: float, speed: SpeedReport, broken: int = 0
    ) -> None:
        """Log one step; `step` counts updates done, so the first is 1, and `broken` the samples replaced so far."""
        if self.quiet:
            return
        record = {
            "step": step,
            "epoch": epoch,
            "loss": float(loss.total.detach()),
            "parts": loss.parts,
            "lr": lr,
            "grad_norm": grad_norm,
            "clips_per_second": round(speed.clips_per_second, 3),
            "data_wait": round(speed.data_wait, 4),
            "broken": broken,
            "mfu": None if speed.mfu is None else round(speed.mfu, 4),
            "memory_gib": round(memory_gib(), 3),
            "time": round(time.time(), 3),
        }
        self._write(record, step)
        self._say(record, speed)

    def metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Log one evaluation."""
        if self.quiet:
            return
        self._write({"step": step, "metrics": metrics, "time": round(time.time(), 3)}, step)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self._console.print(f"step {step}: {shown}", highlight=False, soft_wrap=True)

    def replaced(self, step: int, broken: Sequence[BrokenSample]) -> None:
        """Say which samples were broken in one step and what was read instead."""
        for one in broken:
            line = f"step {step}: sample {one.index} is broken, {one.replaced_by} was read instead: {one.error}"
            self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _write(self, record: dict[str, Any], step: int) -> None:
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            problem = f"the log cannot be written ({error.strerror}); make room and start the same command again."
            raise TrainingError(problem, path=self.path) from error
        if self._board is not None:
            for name, value in _numbers(record):
                self._board.add_scalar(name, value, step)

    def _say(self, record: dict[str, Any], speed: SpeedReport) -> None:
        mfu = "" if speed.mfu is None else f"  MFU {speed.mfu:.0%}"
        pace = f"{speed.clips_per_second:.1f} clips/s  waiting for data {speed.data_wait:.0%}{mfu}"
        broken = f"  broken samples {record['broken']}" if record["broken"] else ""
        state = f"loss {record['loss']:.4f}  {pace}{broken}"
        self._bar.update(self._task, state=state)
        if not self._console.is_terminal:
            done = record["step"] - self._first_step
            left = (time.monotonic() - self._start) / done * (self.total_steps - record["step"])
            line = f"step {record['step']}/{self.total_steps}  {state}  ETA {_clock(left)}"
            self._console.print(line, highlight=False, soft_wrap=True)


def read_log(run_dir: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log; a last line cut short by a kill is left out."""
    path = run_dir / FILE
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def memory_gib() -> float:
    """Return the most memory used so far, in GiB: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _keep_lines(path: Path, last: int, without_its_evaluation: bool) -> None:
    kept = [record for record in read_log(path.parent) if record["step"] <= last]
    if without_its_evaluation:
        kept = [record for record in kept if record["step"] < last or "metrics" not in record]
    fresh = path.with_suffix(".jsonl.writing")
    fresh.write_text("".join(json.dumps(record) + "\n" for record in kept))
    os.replace(fresh, path)


def _board(run_dir: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise RecipeError("train.tensorboard needs TensorBoard; pip install 'playhead[log]'.") from error
    return SummaryWriter(str(run_dir / "tensorboard"), purge_step=first_step + 1)


def _numbers(record: dict[str, Any]) -> list[tuple[str, float]]:
    nested = record.get("parts", {}) | record.get("metrics", {})
    plain = {name: value for name, value in record.items() if name not in ("step", "time", "parts", "metrics")}
    return [(name, float(value)) for name, value in (plain | nested).items() if value is not None]


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
