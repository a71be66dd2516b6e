"""The words on the command line. Every command is a frozen dataclass: its fields are its options, `run` its work.

A mistake of the user ends in one line on standard error and exit code 2, a run that SIGTERM stopped in one and exit
code 143; anything else is a fault of the program and shows its traceback.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from playhead.apps.commands import (
    ClipFeatures,
    Convert,
    Features,
    Ground,
    Kinetics710,
    Load,
    Reconstruct,
    Submit,
    TextFeatures,
    Transcode,
    Transfer,
)
from playhead.apps.demo import Demo
from playhead.apps.extract import Extract, with_address
from playhead.apps.plan import PlanSettings, plan
from playhead.apps.prepare import Ego4DFolder, build_pairs
from playhead.apps.progress import progress_bar
from playhead.apps.search_commands import Doctor, Index, Search
from playhead.apps.sources import prepare_sources
from playhead.apps.sweep import sweep
from playhead.apps.tables import Tables
from playhead.apps.web.command import Serve
from playhead.errors import PlayheadError, RecipeError, RunStoppedError
from playhead.recipes.base import Recipe, open_task, read_recipe, run
from playhead.recipes.catalog import RECIPES, find_recipe, first_line
from playhead.recipes.overrides import read_grid
from playhead.recipes.serialize import to_plain
from playhead.recipes.small import toy
from playhead.tasks.multiple_choice import EgoMCQ
from playhead.train.evaluate import evaluate
from playhead.weights.bundle import holds_task, load_bundle
from playhead.world.config import WorldConfig
from playhead.world.world import make_world

console = Console()


@dataclass(frozen=True, kw_only=True)
class World:
    """Generate first-person videos with narrations, queries and labels, in the official file formats."""

    root: tyro.conf.Positional[Path]
    """Folder to write; what it already holds of the same settings is kept."""
    config: tyro.conf.OmitArgPrefixes[WorldConfig] = field(default_factory=WorldConfig)
    """What to generate."""
    inter: int = 400
    """EgoMCQ questions whose choices come from different videos; needs five videos outside `train`."""
    intra: int = 400
    """EgoMCQ questions whose choices come from one video."""

    def run(self) -> None:
        """Write the world and build EgoClip and EgoMCQ from it."""
        with progress_bar(console) as bar:
            task = bar.add_task("videos", total=None)
            make_world(self.root, self.config, lambda done, total: bar.update(task, completed=done, total=total))
        Pairs(root=self.root, inter=self.inter, intra=self.intra).run()


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Build EgoClip (egoclip.csv) and EgoMCQ (egomcq.json) from a folder in Ego4D's layout."""

    root: tyro.conf.Positional[Path]
    """Folder with `ego4d.json` and `annotations/`."""
    inter: int = 400
    """EgoMCQ questions whose choices come from different videos."""
    intra: int = 400
    """EgoMCQ questions whose choices come from one video."""
    test: int = 0
    """Questions of each kind about test videos only, kept out of egomcq.json and written to egomcq_test.json."""
    seed: int = 0
    """Which questions are drawn."""

    def run(self) -> None:
        """Write the files and say what was left out."""
        folder = Ego4DFolder(root=self.root)
        pairs = build_pairs(folder, num_inter=self.inter, num_intra=self.intra, num_test=self.test, seed=self.seed)
        console.print(f"egoclip.csv: {pairs.egoclip_rows:,} pairs; egomcq.json: {pairs.egomcq_questions:,} questions")
        if self.test:
            console.print(f"egomcq_test.json: {pairs.test_questions:,} questions")
        for reason, count in pairs.dropped.items():
            console.print(f"  left out: {count:,} {reason}")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a bundle: a dual encoder on EgoMCQ, a network trained for a task on the files of its training."""

    bundle: tyro.conf.Positional[Path]
    """Folder of the bundle."""
    videos: Path | None = None
    """Folder of the videos (EgoMCQ)."""
    questions: Path | None = None
    """egomcq.json."""
    split: str = "val"
    """Which of a task's splits."""
    batch_size: int = 32
    """Clips or queries at once."""
    workers: int = 0
    """Processes that read; 0 reads in this one."""

    def run(self) -> None:
        """Print the scores as JSON."""
        if holds_task(self.bundle):
            if self.videos is not None or self.questions is not None:
                raise RecipeError("--videos and --questions are for EgoMCQ; a task's bundle names its own files.")
            model, task = open_task(self.bundle)
        elif self.videos is None or self.questions is None:
            raise RecipeError("a dual encoder is scored on EgoMCQ; give --videos and --questions.")
        else:
            bundle = load_bundle(self.bundle)
            model, preprocess, tokenizer = bundle.model, bundle.preprocess, bundle.tokenizer_name
            task = EgoMCQ(videos=self.videos, questions=self.questions, preprocess=preprocess, tokenizer=tokenizer)
        scores = evaluate(model, task, self.split, batch_size=self.batch_size, workers=self.workers)
        console.print_json(json.dumps(scores))


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """List the recipes, or print one resolved."""

    name: tyro.conf.Positional[str | None] = None
    """A recipe, or module:function."""

    def run(self) -> None:
        """Print names and first lines, or the whole recipe as JSON."""
        if self.name is not None:
            console.print_json(json.dumps(to_plain(find_recipe(self.name))))
            return
        table = Table("recipe", "what it does")
        for name, recipe in RECIPES.items():
            table.add_row(name, first_line(recipe))
        console.print(table)


@dataclass(frozen=True, kw_only=True)
class TrainUsage:
    """Train a recipe, or go on where it stopped; `playhead train` says how."""


@dataclass(frozen=True, kw_only=True)
class SweepUsage:
    """Train a grid of settings of a recipe and tell default and best apart; `playhead sweep` says how."""


@dataclass(frozen=True, kw_only=True)
class SourcesUsage:
    """Convert the sources of a pretraining, count what they hold and what is missing; `playhead sources` says how."""


@dataclass(frozen=True, kw_only=True)
class PlanUsage:
    """Project what a recipe costs (time, GPU hours, disk, decoder cores) from a few steps; `playhead plan` says how."""


COMMANDS = {
    "demo": Demo,
    "world": World,
    "egoclip": Pairs,
    "train": TrainUsage,  # the options of this and the next three depend on the recipe: parse_train reads them
    "sweep": SweepUsage,
    "sources": SourcesUsage,
    "plan": PlanUsage,
    "evaluate": Evaluate,
    "features": Features,
    "clip-features": ClipFeatures,
    "text-features": TextFeatures,
    "index": Index,
    "search": Search,
    "serve": Serve,
    "doctor": Doctor,
    "ground": Ground,
    "transcode": Transcode,
    "extract": Extract,
    "submit": Submit,
    "kinetics710": Kinetics710,
    "convert": Convert,
    "reconstruct": Reconstruct,
    "load": Load,
    "recipes": Recipes,
    "tables": Tables,
    "transfer": Transfer,
}
TRAIN_HELP = """usage: playhead train RECIPE [--run-dir DIR] [--toy] [any field of the recipe, such as --optim.lr 1e-4]

RECIPE is a name of `playhead recipes`, module:function, or a recipe.json of an earlier run.
`playhead train RECIPE --help` lists every field."""
SWEEP_HELP = """usage: playhead sweep RECIPE --grid FIELD=VALUE,VALUE [--grid ...] [--metric NAME] [--run-dir DIR]
       [--toy] [any field of the recipe]

Runs the recipe as it stands and with every combination of the grid, and reports default and best separately, such as
`playhead sweep nlq_vslnet_egoclip_egonce --grid optim.lr=5e-4,1e-4 --grid train.global_batch=8,32`. Call it again to
go on where it stopped."""

SOURCES_HELP = """usage: playhead sources RECIPE [--toy] [any field of the recipe, such as --task.pairs FILE]

Opens what a pretraining recipe learns from, as training would: converts published files to tables (once; a conversion
that was stopped goes on), counts what is left out and why, and says if media are missing."""


PLAN_HELP = """usage: playhead plan RECIPE [--toy] [any field of the recipe, such as --train.global-batch 1024]
       [--gpus N] [--samples N] [--clips-per-second X] [--decode-ms X] [--videos FILE ...]
       [--hours X] [--mbit X] [--batch N] [--steps N]

Projects what a recipe costs: a few real steps of the model at its real size on noise, on this machine, and random clips
of videos that are given or made up. What is known already may be said instead:
  --gpus N               devices that share the work (1)
  --samples N            training samples of an epoch; else those of the recipe's files, or the published number
  --clips-per-second X   clips that one device trains on; measured otherwise
  --decode-ms X          milliseconds of a core to decode the clips of one sample; measured otherwise
  --videos FILE ...      videos to measure that with
  --hours X, --mbit X    hours of video, and their rate as they will lie on the disk
  --batch N, --steps N   samples of a measured step (2 on a CPU, up to 64 on a GPU), and how many such steps (3)"""


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train a recipe, or go on where it stopped."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    """What to run."""
    run_dir: Path
    """Folder of checkpoints, log and bundle."""

    def run(self) -> None:
        """Train, and say where the best model lies."""
        result = run(self.recipe, self.run_dir)
        if int(os.environ.get("RANK", "0")) == 0:
            console.print(f"step {result.step}: {self.run_dir / 'bundle'}")
            console.print_json(json.dumps(result.metrics))


@dataclass(frozen=True, kw_only=True)
class SourcesCommand:
    """Make the sources of a recipe ready."""

    train: TrainCommand
    """The recipe; nothing is trained."""

    def run(self) -> None:
        """Print each source with its samples and what was left out."""
        table = Table("source", "file", "samples", "left out")
        for report in prepare_sources(self.train.recipe):
            table.add_row(report.name, str(report.pairs), f"{report.num_samples:,}", report.reasons)
        console.print(table)


@dataclass(frozen=True, kw_only=True)
class PlanCommand:
    """Project what a recipe costs."""

    train: TrainCommand
    """The recipe; nothing is trained."""
    name: str
    """Its name, for what is published of its data."""
    settings: PlanSettings
    """What is known already."""

    def run(self) -> None:
        """Print the projection."""
        for what, told in plan(self.train.recipe, self.name, self.settings).lines():
            console.print(f"{what:<10}{told}", highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class SweepCommand:
    """Run a grid of settings of one recipe."""

    train: TrainCommand
    """The recipe as it stands, and the folder of all runs."""
    grid: tuple[str, ...]
    """Axes such as "optim.lr=1e-4,5e-5"."""
    metric: str | None
    """What the runs are compared by; the recipe's own choice by default."""

    def run(self) -> None:
        """Run what is missing and print all runs, best first."""
        report = sweep(self.train.recipe, read_grid(self.grid), self.train.run_dir, self.metric)
        console.print(report.as_markdown(), highlight=False, soft_wrap=True)


def parse_train(arguments: Sequence[str], verb: str = "train", usage: str = TRAIN_HELP) -> TrainCommand:
    """Read the words after `playhead train`."""
    if not arguments or arguments[0] in ("-h", "--help"):
        console.print(usage, highlight=False, markup=False, soft_wrap=True)
        raise SystemExit(0 if arguments else 2)
    name, *rest = arguments
    recipe = read_recipe(Path(name)) if name.endswith(".json") else find_recipe(name)
    if "--toy" in rest:
        rest.remove("--toy")
        recipe = toy(recipe)
    stem = Path(name).parent.name if name.endswith(".json") else name.rpartition(":")[2]
    folder = Path("runs") / (stem if verb == "train" else f"{verb}_{stem}")
    return tyro.cli(
        TrainCommand,
        default=TrainCommand(recipe=recipe, run_dir=folder),
        args=rest,
        prog=f"playhead {verb} {name}",
        config=(tyro.conf.AvoidSubcommands,),
    )


def parse_sweep(arguments: Sequence[str]) -> SweepCommand:
    """Read the words after `playhead sweep`."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--grid", action="append", default=[])
    own.add_argument("--metric")
    found, rest = own.parse_known_args(arguments)
    train = parse_train(rest, "sweep", SWEEP_HELP)
    if not found.grid:
        raise RecipeError("a sweep needs at least one --grid FIELD=VALUE,VALUE.")
    return SweepCommand(train=train, grid=tuple(found.grid), metric=found.metric)


def parse_plan(arguments: Sequence[str]) -> PlanCommand:
    """Read the words after `playhead plan`."""
    if not arguments or arguments[0].startswith("-"):
        parse_train(arguments[:1] if arguments[:1] in (["-h"], ["--help"]) else [], "plan", PLAN_HELP)
    name, *rest = arguments
    settings, rest = tyro.cli(PlanSettings, args=rest, prog="playhead plan", add_help=False, return_unknown_args=True)
    return PlanCommand(train=parse_train([name, *rest], "plan", PLAN_HELP), name=name, settings=settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=Console(stderr=True), show_path=False)]
    )
    try:
        if arguments[:1] == ["train"]:
            command = parse_train(arguments[1:])
        elif arguments[:1] == ["sweep"]:
            command = parse_sweep(arguments[1:])
        elif arguments[:1] == ["plan"]:
            command = parse_plan(arguments[1:])
        elif arguments[:1] == ["sources"]:
            command = SourcesCommand(train=parse_train(arguments[1:], "sources", SOURCES_HELP))
        else:
            command = tyro.extras.subcommand_cli_from_dict(
                COMMANDS, args=with_address(arguments), prog="playhead", description=__doc__
            )
        command.run()
    except PlayheadError as error:
        Console(stderr=True, soft_wrap=True).print(f"playhead: {error}", style="red", markup=False, highlight=False)
        return 2
    except RunStoppedError as stop:
        if int(os.environ.get("RANK", "0")) == 0:
            Console(stderr=True, soft_wrap=True).print(f"playhead: {stop}", markup=False, highlight=False)
        return 143  # as a shell tells of what SIGTERM ended
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
