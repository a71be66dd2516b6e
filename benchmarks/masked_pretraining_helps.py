"""Does masked pretraining help? Pretrain then fine-tune, against the same budget from scratch, seed by seed.

On the generated world's actions, half of which are others played backwards, and on a folder of one's own classes (such
as two classes of real surveillance clips), held out in blocks of neighbours. "The same budget" is in training steps:
the fine-tuning's, for both; and once more from scratch with as many steps as pretraining and fine-tuning have together,
so that more training alone cannot be what helps. Prints top-1 with its spread over seeds, and chance.

    python -m benchmarks.masked_pretraining_helps --world runs/world [--own clips/] [--seeds 0 1 2]
        [--pretrain-steps 3000] [--steps 600]
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

from playhead.data.class_folders import HoldOut
from playhead.recipes.base import Recipe, open_task, run
from playhead.recipes.small import world_recognition, world_videomae
from playhead.tasks.masked_video import MaskedVideo
from playhead.tasks.recognition import Recognition
from playhead.train.evaluate import evaluate
from playhead.video.transforms import Augment


def world_pair(root: Path, seed: int) -> tuple[Recipe, Recipe]:
    """Return pretraining and recognition on the world."""
    return world_videomae(root), world_recognition(root, seed=seed)


def own_pair(root: Path, lists: Path, seed: int, block: int | None) -> tuple[Recipe, Recipe]:
    """Return pretraining and recognition on a folder of classes; flips are allowed, and a dense clip is taken."""
    pretraining, recognition = world_videomae(), world_recognition(seed=seed)
    assert isinstance(pretraining.task, MaskedVideo) and isinstance(recognition.task, Recognition)
    task = replace(
        recognition.task,
        root=root,
        layout="folders",
        annotations=None,
        classes=None,
        augment=Augment(scale=(0.5, 1.0)),
        hold_out=HoldOut(share=0.2, block=block),
    )
    lists.mkdir(parents=True, exist_ok=True)
    listing = lists / "train.txt"  # the videos that are trained on alone: what is measured on must stay unseen
    names = [video.path.relative_to(root).as_posix() for video in task.read_split("train").videos]
    listing.write_text("".join(f"{name}\n" for name in names))
    masked = replace(pretraining.task, videos=root, listing=listing, val_listing=None)
    return replace(pretraining, task=masked), replace(recognition, task=task)


def with_steps(recipe: Recipe, steps: int, seed: int) -> Recipe:
    """Return the recipe with another length and seed, measured at its end."""
    warmup = min(recipe.optim.warmup_steps or steps // 15, steps)
    optim = replace(recipe.optim, warmup_steps=warmup, warmup_epochs=0)
    settings = replace(recipe.train, epochs=None, steps=steps, seed=seed, evaluate_every=steps, keep_best=None)
    return replace(recipe, optim=optim, train=settings)


def accuracy(run_dir: Path, split: str = "test") -> dict[str, float]:
    """Return the scores of a run's bundle, many views per video."""
    model, task = open_task(run_dir / "bundle")
    return evaluate(model, task, split, batch_size=8)


def compare(name: str, pairs: dict[int, tuple[Recipe, Recipe]], runs: Path, pretrain_steps: int, steps: int) -> None:
    """Run all seeds of one data set and print what each start reaches."""
    found: dict[str, list[float]] = {"pretrained": [], "from scratch": [], "from scratch, all steps": []}
    chance, videos = 0.0, 0.0
    for seed, (pretraining, recognition) in pairs.items():
        folder = runs / name / f"seed{seed}"
        run(with_steps(pretraining, pretrain_steps, seed), folder / "pretraining")
        started = replace(recognition, init=replace(recognition.init, videomae=folder / "pretraining" / "bundle"))
        plans = {
            "pretrained": (started, steps),
            "from scratch": (recognition, steps),
            "from scratch, all steps": (recognition, steps + pretrain_steps),
        }
        for start, (recipe, length) in plans.items():
            place = folder / start.replace(", ", "_").replace(" ", "_")
            run(with_steps(recipe, length, seed), place)
            scores = accuracy(place)
            found[start].append(scores["recognition/top1"])
            chance, videos = scores["recognition/chance"], scores["recognition/videos"]
            print(f"{name} seed {seed} {start}: top-1 {scores['recognition/top1']:.1f}", flush=True)
    print(f"== {name}: {videos:.0f} videos, chance {chance:.1f} %, {len(pairs)} seeds")
    for start, values in found.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(
            f"{start:24} top-1 {statistics.mean(values):5.1f} +- {spread:.1f}  {[round(value, 1) for value in values]}"
        )
    gains = [one - other for one, other in zip(found["pretrained"], found["from scratch"], strict=True)]
    print(f"pretraining adds {statistics.mean(gains):+.1f} ({min(gains):+.1f} .. {max(gains):+.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, default=None, help="folder of a generated world")
    parser.add_argument("--own", type=Path, default=None, help="folder with one folder per class")
    parser.add_argument("--runs", type=Path, default=Path("runs/masked_pretraining_helps"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="on --own also the block held out")
    parser.add_argument("--pretrain-steps", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    lengths = arguments.pretrain_steps, arguments.steps
    if arguments.world is not None:
        pairs = {seed: world_pair(arguments.world, seed) for seed in arguments.seeds}
        compare("world", pairs, arguments.runs, *lengths)
    if arguments.own is not None:
        lists = {seed: arguments.runs / "lists" / f"seed{seed}" for seed in arguments.seeds}
        pairs = {seed: own_pair(arguments.own, lists[seed], seed, seed % 5) for seed in arguments.seeds}
        compare(arguments.own.name, pairs, arguments.runs, *lengths)


if __name__ == "__main__":
    main()
