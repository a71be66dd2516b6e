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
from typing import Literal, cast

from playhead.apps.clip_features import ClipFeatureSettings, extract_clip_features, extract_text_features
from playhead.apps.demo import Demo, demo_recipe, prepare_world
from playhead.apps.prepare import Ego4DFolder
from playhead.apps.windows import WindowSettings
from playhead.models.frozen import Frozen
from playhead.recipes.base import BUNDLE, Recipe, build_model, run
from playhead.recipes.small import ablation, world_features, world_mq, world_nlq, world_pairs, world_state_change
from playhead.tasks.state_change import StateChange
from playhead.weights.bundle import load_bundle, save_bundle

logger = logging.getLogger(__name__)

Challenge = Literal["nlq", "mq", "oscc", "pnr"]
Tower = Literal["untrained", "info_nce", "ego_nce"]
Scores = dict[str, float]

TOWERS: dict[Tower, str] = {"untrained": "none", "info_nce": "InfoNCE", "ego_nce": "EgoNCE"}
COLUMNS: dict[Challenge, tuple[str, ...]] = {
    "nlq": ("nlq/R1@0.3", "nlq/R5@0.3", "nlq/R1@0.5", "nlq/R5@0.5", "nlq/mIoU"),
    "mq": ("mq/R1x@0.3", "mq/R1x@0.5", "mq/R1x@0.7", "mq/mAP@0.1", "mq/mAP@0.3", "mq/mAP@0.5", "mq/mAP"),
    "oscc": ("oscc/accuracy",),
    "pnr": ("pnr/error", "pnr/error_official"),
}
"""What is reported of each challenge: percent, and seconds for PNR."""

HEADS: dict[Challenge, str] = {"nlq": "VSLNet", "mq": "VSGN", "oscc": "fine-tuned tower", "pnr": "fine-tuned tower"}


@dataclass(frozen=True, kw_only=True)
class TransferSettings:
    """Which towers and seeds are compared, and where it all lies."""

    demo: Demo = field(default_factory=lambda: Demo(out=Path("runs/tables")))
    """World and pretraining, as in the demo; shared with `playhead tables`, whose runs are used where they are done."""
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
            scores = transfer_one(challenge, tower, seed, folder, settings)
            results.setdefault(tower, []).append(scores)
            told = ", ".join(f"{name} {scores[name]:.2f}" for name in COLUMNS[challenge])
            logger.info("%s, %s, seed %d: %s", challenge, TOWERS[tower], seed, told)
    table = as_markdown(challenge, results, settings.seeds, baseline_of(challenge, folder))
    out = settings.demo.out / f"transfer_{challenge}"
    out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    out.with_suffix(".md").write_text(table)
    return table


def transfer_one(
    challenge: Challenge, tower: Tower, seed: int, folder: Ego4DFolder, settings: TransferSettings
) -> Scores:
    """Return the validation scores of one tower and seed on a challenge, pretraining the tower if need be."""
    bundle = pretrained(tower, seed, folder, settings.demo)
    name = f"{tower}_{seed}"
    if challenge in ("oscc", "pnr"):
        recipe, kind = world_state_change(folder.root, bundle, seed), "state_change"  # both are learnt in one run
    else:
        extract(bundle, name, folder)
        recipe = (world_nlq if challenge == "nlq" else world_mq)(folder.root, name, seed)
        kind = challenge
    recipe = shortened(recipe, settings.head_steps)
    return run(recipe, settings.demo.out / f"{kind}_{name}").metrics


def pretrained(tower: Tower, seed: int, folder: Ego4DFolder, demo: Demo) -> Path:
    """Return the bundle of a tower, training it or going on with it if it is not done."""
    objective = "info_nce" if tower == "info_nce" else "ego_nce"
    recipe = ablation(objective, neighbours=tower != "info_nce", root=folder.root, seed=seed)
    if tower == "untrained":
        where = demo.out / f"untrained_{seed}" / BUNDLE
        if not where.exists():
            task = world_pairs(folder.root)
            model = cast(Frozen, build_model(recipe))
            save_bundle(where, model, task.preprocess, task.tokenizer, {"text_style": "narration", "steps": 0})
        return where
    where = demo.out / (f"ego_nce_neighbours_{seed}" if tower == "ego_nce" else f"info_nce_{seed}")
    run(replace(recipe, train=replace(demo_recipe(demo).train, seed=seed)), where)
    return where / BUNDLE


def extract(bundle_path: Path, name: str, folder: Ego4DFolder) -> None:
    """Write the features of all clips and of the words of all queries, but for those that are there."""
    bundle = load_bundle(bundle_path)
    annotations = folder.root / "annotations"
    queries = [annotations / f"nlq_{split}.json" for split in ("train", "val")]
    moments = [annotations / f"moments_{split}.json" for split in ("train", "val")]
    grid = world_features().time
    windows = WindowSettings(fps=grid.fps, stride=int(grid.stride), batch_size=64)
    settings = ClipFeatureSettings(grid="own", windows=windows)
    extract_clip_features(bundle, [*queries, *moments], folder.videos, folder.root / "features" / name, settings)
    extract_text_features(bundle, queries, folder.root / "text" / name)


def shortened(recipe: Recipe, steps: int | None) -> Recipe:
    """Return the recipe with so many steps, measured once at the end."""
    number = recipe.train.steps if steps is None else steps
    return replace(recipe, train=replace(recipe.train, steps=number, evaluate_every=number))


def baseline_of(challenge: Challenge, folder: Ego4DFolder) -> Scores | None:
    """Return the scores of always giving the same answer, which needs no training; None where there is no such."""
    if challenge not in ("oscc", "pnr"):
        return None
    return cast(StateChange, world_state_change(folder.root).task).always_same("val")


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
