"""The ablation of objectives on the generated world, in the form of the paper's table, over several seeds."""

import json
import logging
import statistics
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from playhead.apps.demo import Demo, demo_recipe, prepare_world, reported_questions
from playhead.recipes.base import open_run, run
from playhead.recipes.small import ablation
from playhead.train.evaluate import evaluate

logger = logging.getLogger(__name__)

Row = tuple[str, Literal["ego_nce", "info_nce"], bool]
ROWS: tuple[Row, ...] = (
    ("InfoNCE", "info_nce", False),
    ("InfoNCE, scene-aware negatives", "info_nce", True),
    ("EgoNCE without scene-aware negatives", "ego_nce", False),
    ("EgoNCE", "ego_nce", True),
)


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Compare InfoNCE and EgoNCE, with and without scene-aware negatives, over several seeds; writes tables.md."""

    demo: Demo = field(default_factory=lambda: Demo(out=Path("runs/tables"), steps=None))
    """World and questions, as in the demo."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each."""

    def run(self) -> None:
        """Train what is missing, then write `tables.json` and `tables.md`."""
        run_tables(self)


def run_tables(settings: Tables) -> str:
    """Train every row with every seed and return the table as Markdown."""
    folder = prepare_world(settings.demo)
    results: dict[str, list[dict[str, float]]] = {}
    for name, loss_name, neighbours in ROWS:
        for seed in settings.seeds:
            recipe = ablation(loss_name, neighbours, folder.root, seed)
            recipe = replace(recipe, train=replace(demo_recipe(settings.demo).train, seed=seed))
            where = settings.demo.out / f"{loss_name}{'_neighbours' if neighbours else ''}_{seed}"
            run(recipe, where)
            scores = evaluate(open_run(where).model, reported_questions(recipe, folder), "test")
            results.setdefault(name, []).append(scores)
            logger.info(
                "%s, seed %d: inter %.1f, intra %.1f", name, seed, scores["egomcq/inter"], scores["egomcq/intra"]
            )
    trained = demo_recipe(settings.demo).train
    table = as_markdown(results, settings.seeds, f"{trained.steps} steps of {trained.global_batch} pairs")
    (settings.demo.out / "tables.json").write_text(json.dumps(results, indent=1) + "\n")
    (settings.demo.out / "tables.md").write_text(table)
    return table


def as_markdown(results: dict[str, list[dict[str, float]]], seeds: tuple[int, ...], length: str) -> str:
    """Return one line per row: mean and sample standard deviation over the seeds; `length` is that of a run."""
    lines = [
        "EgoMCQ on the test videos of the generated world, percent, mean and standard deviation over seeds "
        f"{', '.join(map(str, seeds))}; {length}. Scene-aware negatives put a neighbour beside each pair, so those "
        "rows see twice the clips a step.",
        "",
        "| objective | inter-video | intra-video |",
        "|---|---|---|",
    ]
    for name, scores in results.items():
        cells = [_spread([score[f"egomcq/{kind}"] for score in scores]) for kind in ("inter", "intra")]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {deviation:.1f}"
