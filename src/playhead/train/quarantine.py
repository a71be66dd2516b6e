"""The broken samples of a run, each named once in `quarantine.jsonl`, and how many of them are too many."""

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from playhead.data.reading import BrokenSample
from playhead.errors import TrainingError

FILE = "quarantine.jsonl"


def new_samples(broken: Sequence[BrokenSample], known: Collection[int]) -> list[BrokenSample]:
    """Return the first report of each sample that is not `known` yet."""
    first: dict[int, BrokenSample] = {}
    for one in broken:
        if one.index not in known:
            first.setdefault(one.index, one)
    return list(first.values())


def append(run_dir: Path, broken: Sequence[BrokenSample], *, step: int, epoch: int) -> None:
    """Name samples in the file; `step` and `epoch`, from 1, are those that needed them."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / FILE).open("a") as file:
        for one in broken:
            record = {
                "sample": one.index,
                "path": one.error.path,
                "error": str(one.error),
                "step": step,
                "epoch": epoch,
                "replaced_by": one.replaced_by,
            }
            file.write(json.dumps(record) + "\n")


def keep_only(run_dir: Path, known: Collection[int]) -> None:
    """Drop the lines that a killed run wrote after its last checkpoint: those of samples not `known`."""
    path = run_dir / FILE
    if not path.exists():
        return
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    fresh = path.with_suffix(".jsonl.writing")
    fresh.write_text("".join(line for line in lines if json.loads(line)["sample"] in known))
    os.replace(fresh, path)


def over_limit(run_dir: Path, step: int, last: BrokenSample, count: int, limit: int, num_samples: int) -> TrainingError:
    """Return the error that ends a run with too many broken samples."""
    return TrainingError(
        f"step {step}: {count} of {num_samples} samples are broken, train.max_broken allows {limit}; the last is "
        f"sample {last.index} ({last.error}). Repair or leave out what this file names, or raise train.max_broken, and "
        "start the same command again: it goes on from here.",
        path=run_dir / FILE,
    )
