"""A grid of runs of one recipe, with the default and the best told apart.

The published NLQ and MQ rows of EgoVLP are the best of 96 and 144 runs each, chosen on the set they are reported on
(its NLQ and MQ artefacts); a default run of the same code gives clearly less. So a sweep always runs the recipe as it
stands beside its grid, and reports both.

    sweep/
        default/ , optim.lr=0.0001,train.global_batch=8/ , ...     one run each, as `playhead train` leaves it
        sweep.json      every run with its settings and scores
        sweep.md        the same as a table, best first
"""

import json
import logging
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from playhead.data.border import write_whole
from playhead.errors import PlayheadError, RecipeError
from playhead.recipes.base import Recipe, run
from playhead.recipes.overrides import Setting, with_settings
from playhead.train.config import metric_value
from playhead.train.log import read_log

logger = logging.getLogger(__name__)

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One run: its folder's name, what differs from the recipe, the scores of its best step, or why it failed."""

    name: str
    settings: dict[str, Any]
    scores: dict[str, float] = field(default_factory=dict)
    failure: str = ""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """All runs; `default` is the recipe as it stands, `best` the run with the highest score of `metric`."""

    metric: str
    runs: tuple[SweepRun, ...]

    @property
    def default(self) -> SweepRun:
        """The recipe as it stands."""
        return self.runs[0]

    @property
    def best(self) -> SweepRun:
        """The first of the runs with the highest score."""
        return max((run for run in self.runs if run.scores), key=self._value)

    def _value(self, one: SweepRun) -> float:
        value = metric_value(one.scores, self.metric)
        return -math.inf if math.isnan(value) else value

    def as_markdown(self) -> str:
        """Return a table of all runs, best first, and what the choice of the best is worth."""
        scored = sorted((run for run in self.runs if run.scores), key=self._value, reverse=True)
        names = sorted({name for run in scored for name in run.scores})
        bare = self.metric.removeprefix("-")
        values = [one.scores[bare] for one in scored if not math.isnan(one.scores[bare])]
        spread = f", standard deviation {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        lines = [
            f"{len(self.runs)} runs, chosen by {bare} on the split that is reported. Default "
            f"{self.default.scores.get(bare, math.nan):.2f}, best {self.best.scores[bare]:.2f}, mean "
            f"{statistics.mean(values):.2f}{spread}.",
            "",
            f"| run | {' | '.join(names)} |",
            f"|---|{'---|' * len(names)}",
        ]
        for one in scored:
            cells = (f"{one.scores[name]:.2f}" if name in one.scores else "" for name in names)
            lines.append(f"| {one.name} | {' | '.join(cells)} |")
        lines += [f"| {one.name} | failed: {one.failure} |" for one in self.runs if one.failure]
        return "\n".join(lines) + "\n"


def sweep(
    recipe: Recipe,
    grid: Sequence[tuple[Setting, ...]],
    out: Path,
    metric: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SweepReport:
    """Run the recipe as it stands, then every combination of the grid, and write what came of it after each run.

    Called again it goes on: finished runs are not run again, an interrupted one resumes. A run that fails is listed
    with its reason and stops nothing. All settings are checked before the first run.

    Raises:
        RecipeError: a setting does not exist or has another type, no metric is named, or a run did not measure it.
    """
    metric = metric or recipe.train.keep_best
    if metric is None:
        raise RecipeError("a sweep needs a metric to compare its runs by; set --metric or train.keep_best.")
    planned = [(DEFAULT, (), recipe)]
    planned += [(run_name(settings), settings, with_settings(recipe, settings)) for settings in grid]
    out.mkdir(parents=True, exist_ok=True)
    runs: list[SweepRun] = []
    for number, (name, settings, one) in enumerate(planned):
        progress(number, len(planned))
        runs.append(_run_one(name, dict(settings), one, out, metric))
        _write(SweepReport(metric, tuple(runs)), out)
    progress(len(planned), len(planned))
    if not any(run.scores for run in runs):
        raise RecipeError(f"every run failed; the first because: {runs[0].failure}", path=out)
    return SweepReport(metric, tuple(runs))


def run_name(settings: Sequence[Setting]) -> str:
    """Return the folder's name of a run: its fields with their values."""
    text = ",".join(f"{path}={value}" for path, value in settings)
    return "".join(sign if sign.isalnum() or sign in "=,.+-_" else "_" for sign in text)


def _run_one(name: str, settings: dict[str, Any], recipe: Recipe, out: Path, metric: str) -> SweepRun:
    logger.info("sweep: %s", name)
    try:
        result = run(recipe, out / name)
    except PlayheadError as error:
        logger.warning("%s failed: %s", name, error)
        return SweepRun(name, settings, failure=str(error))
    step = result.best_step if recipe.train.keep_best == metric and result.best_step is not None else result.step
    measured = {line["step"]: line["metrics"] for line in read_log(out / name) if "metrics" in line}
    scores = measured.get(step, result.metrics)
    metric_value(scores, metric)  # says so if the run did not measure it
    return SweepRun(name, settings, dict(scores))


def _write(report: SweepReport, out: Path) -> None:
    content = {"metric": report.metric, "runs": [asdict(run) for run in report.runs]}
    with write_whole(out / "sweep.json") as file:
        file.write(json.dumps(content, indent=1) + "\n")
    if any(run.scores for run in report.runs):
        with write_whole(out / "sweep.md") as file:
            file.write(report.as_markdown())
