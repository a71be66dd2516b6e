"""What pretraining is worth for Ego4D's challenges, on the generated world: the form of EgoVLP's Tables 1 to 3.

Three towers (untrained, pretrained with InfoNCE, with EgoNCE) over several seeds, each the same way: features of all
clips and queries, then VSLNet for NLQ and VSGN for MQ on them; fine-tuned whole for OSCC and PNR. Everything is scored
on the validation videos after the last step, so that no checkpoint of a head is chosen by its score.
"""

import json
import logging
import statistics
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from playhead.apps.demo import Demo, demo_recipe, prepare_world
from playhead.apps.heads import Challenge, Scores, always_same, save_untrained, train_head
from playhead.apps.prepare import Ego4DFolder
from playhead.recipes.base import BUNDLE, run
from playhead.recipes.small import ablation

logger = logging.getLogger(__name__)

Tower = Literal["untrained", "info_nce", "ego_nce"]

TOWERS: dict[Tower, str] = {"untrained": "none", "info_nce": "InfoNCE", "ego_nce": "EgoNCE"}
COLUMNS: dict[Challenge, tuple[str, ...]] = {
    "nlq": ("nlq/R1@0.3", "nlq/R5@0.3", "nlq/R1@0.5", "nlq/R5@0.5", "nlq/mIoU"),
    "mq": ("mq/R1x@0.3", "mq/R1x@0.5", "mq/R1x@0.7", "mq/mAP@0.1", "mq/mAP@0.3", "mq/mAP@0.5", "mq/mAP"),
    "oscc": ("oscc/accuracy",),
    "pnr": ("pnr/error", "pnr/error_official"),
}
"""What is reported of each challenge: percent, and seconds for PNR."""

HEADS: dict[Challenge, str] = {"nlq": "VSLNet", "mq": "VSGN", "oscc": "fine-tuned tower", "pnr": "fine-tuned tower"}


MEASURED_WORLD = replace(Demo().world, val_videos=30)
"""The demo's world with more videos to measure on: ten hold too few state changes to tell towers apart."""


@dataclass(frozen=True, kw_only=True)
class TransferSettings:
    """Which towers and seeds are compared, and where it all lies."""

    demo: Demo = field(default_factory=lambda: Demo(out=Path("runs/transfer"), steps=2500, world=MEASURED_WORLD))
    """World and pretraining, as in the demo but longer: which verb it is, is learnt long after which noun."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One pretraining and one transfer each."""
    towers: tuple[Tower, ...] = ("untrained", "info_nce", "ego_nce")
    """What is compared."""
    head_steps: int | None = None
    """Training steps of a head; the recipe's number by default."""


def transfer(challenge: Challenge, settings: TransferSettings) -> str:
    """Run what is missing and return the table as Markdown; it is also written, with the scores beside it."""
    folder = prepare_world(settings.demo)
    results: dict[Tower, list[Scores]] = {}
    for seed in settings.seeds:
        for tower in settings.towers:
            bundle, out = pretrained(tower, seed, folder, settings.demo), settings.demo.out
            scores = train_head(challenge, bundle, folder, out, seed=seed, steps=settings.head_steps)
            results.setdefault(tower, []).append(scores)
            told = ", ".join(f"{name} {scores[name]:.2f}" for name in COLUMNS[challenge])
            logger.info("%s, %s, seed %d: %s", challenge, TOWERS[tower], seed, told)
    table = as_markdown(challenge, results, settings.seeds, always_same(challenge, folder))
    out = settings.demo.out / f"transfer_{challenge}"
    out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    out.with_suffix(".md").write_text(table)
    return table


def pretrained(tower: Tower, seed: int, folder: Ego4DFolder, demo: Demo) -> Path:
    """Return the bundle of a tower, training it or going on with it if it is not done."""
    recipe = ablation("info_nce" if tower == "info_nce" else "ego_nce", tower != "info_nce", folder.root, seed)
    recipe = replace(recipe, train=replace(demo_recipe(demo).train, seed=seed))
    if tower == "untrained":
        return save_untrained(recipe, demo.out / f"untrained_{seed}")
    where = demo.out / (f"ego_nce_neighbours_{seed}" if tower == "ego_nce" else f"info_nce_{seed}")
    run(recipe, where)
    return where / BUNDLE


def as_markdown(
    challenge: Challenge, results: dict[Tower, list[Scores]], seeds: tuple[int, ...], baseline: Scores | None
) -> str:
    """Return one line per tower: mean and sample standard deviation over the seeds."""
    columns = COLUMNS[challenge]
    unit = "seconds" if challenge == "pnr" else "percent"
    first = next(iter(results.values()))[0]
    counted = {"nlq": "queries", "mq": "segments", "oscc": "clips", "pnr": "clips"}[challenge]
    number = int(first[f"{challenge}/{counted}"])
    lines = [
        f"{challenge.upper()} on the generated world, {number} {counted} of the validation videos, {unit}, mean and "
        f"standard deviation over seeds {', '.join(map(str, seeds))}.",
        "",
        f"| method | pretraining | {' | '.join(name.partition('/')[2] for name in columns)} |",
        f"|---|---|{'---|' * len(columns)}",
    ]
    digits = 3 if challenge == "pnr" else 1
    if baseline is not None:
        lines.append(f"| always same | - | {' | '.join(f'{baseline[name]:.{digits}f}' for name in columns)} |")
    for tower, scores in results.items():
        cells = [_spread([score[name] for score in scores], digits) for name in columns]
        lines.append(f"| {HEADS[challenge]} | {TOWERS[tower]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float], digits: int) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}"
