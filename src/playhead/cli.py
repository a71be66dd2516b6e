"""The words on the command line. Every command is a frozen dataclass: its fields are its options, `run` its work.

A mistake of the user ends in one line on standard error and exit code 2; anything else is a fault of the program and
shows its traceback.
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
    Ground,
    Submit,
    TextFeatures,
    Transcode,
    Transfer,
    list_failures,
    show_moments,
)
from playhead.apps.demo import Demo
from playhead.apps.features import WindowSettings, extract_features
from playhead.apps.index import VideoIndex
from playhead.apps.prepare import Ego4DFolder, build_pairs
from playhead.apps.progress import progress_bar, video_progress
from playhead.apps.search import search
from playhead.apps.sweep import sweep
from playhead.apps.tables import Tables
from playhead.errors import PlayheadError, RecipeError
from playhead.recipes.base import Recipe, read_recipe, run
from playhead.recipes.catalog import RECIPES, find_recipe, first_line
from playhead.recipes.overrides import read_grid
from playhead.recipes.serialize import to_plain
from playhead.recipes.small import toy
from playhead.tasks.multiple_choice import EgoMCQ
from playhead.text.questions import as_narration
from playhead.train.evaluate import evaluate
from playhead.video.transforms import Preprocess
from playhead.weights.bundle import load_bundle, save_bundle
from playhead.weights.official import load_egovlp
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
    """Score a bundle on EgoMCQ."""

    bundle: tyro.conf.Positional[Path]
    """Folder of the bundle."""
    videos: Path
    """Folder of the videos."""
    questions: Path
    """egomcq.json."""
    batch_size: int = 32
    """Clips encoded at once."""
    workers: int = 0
    """Processes that decode; 0 decodes in this one."""

    def run(self) -> None:
        """Print the scores as JSON."""
        bundle = load_bundle(self.bundle)
        task = EgoMCQ(
            videos=self.videos, questions=self.questions, preprocess=bundle.preprocess, tokenizer=bundle.tokenizer_name
        )
        scores = evaluate(bundle.model, task, "val", batch_size=self.batch_size, workers=self.workers)
        console.print_json(json.dumps(scores))


@dataclass(frozen=True, kw_only=True)
class Features:
    """Write the features of videos, window by window, with a manifest of how they were made."""

    bundle: tyro.conf.Positional[Path]
    """Folder of the bundle."""
    videos: tyro.conf.Positional[tuple[Path, ...]]
    """Files or folders."""
    out: Path
    """Folder to write."""
    windows: tyro.conf.OmitArgPrefixes[WindowSettings] = field(default_factory=WindowSettings)
    """How the windows lie."""

    def run(self) -> None:
        """Write the features and list what failed."""
        with video_progress(console) as show:
            report = extract_features(load_bundle(self.bundle), self.videos, self.out, self.windows, show)
        console.print(
            f"{len(report.written)} written, {len(report.skipped)} there already, {len(report.failed)} failed"
        )
        list_failures(report.failed)


@dataclass(frozen=True, kw_only=True)
class Index:
    """Index videos for search, or bring an index up to date with its folders."""

    bundle: tyro.conf.Positional[Path]
    """Folder of the bundle."""
    roots: tyro.conf.Positional[tuple[Path, ...]]
    """Files or folders of videos."""
    out: Path = Path("runs/index")
    """Folder of the index."""
    retry_failed: bool = False
    """Try files that failed before again, even if they did not change."""
    windows: tyro.conf.OmitArgPrefixes[WindowSettings] = field(default_factory=WindowSettings)
    """How the windows lie."""

    def run(self) -> None:
        """Update the index, say what changed and list what failed."""
        bundle = load_bundle(self.bundle)
        index = VideoIndex.open_or_create(self.out, bundle, self.windows)
        with video_progress(console) as show:
            report = index.update(self.roots, bundle, self.windows, progress=show, retry_failed=self.retry_failed)
        counts = ("added", "changed", "moved", "deleted", "unchanged", "failed")
        console.print(", ".join(f"{len(getattr(report, name))} {name}" for name in counts))
        list_failures(report.failed)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Ask an index in words: "where did I put the keys?"."""

    index: tyro.conf.Positional[Path]
    """Folder of the index."""
    text: tyro.conf.Positional[str]
    """What to look for."""
    bundle: Path
    """Folder of the bundle that made the index."""
    top: int = 5
    """Moments to show."""
    verbatim: bool = False
    """Ask with the text as it is; otherwise a question is first turned into the narration that answers it, for models
    that were trained on narrations."""
    json: bool = False
    """Print JSON lines instead of a table."""

    def __post_init__(self):
        if self.top < 1:
            raise ValueError(f"`top` must be at least 1, got {self.top}.")

    def run(self) -> None:
        """Print the moments, best first."""
        bundle = load_bundle(self.bundle)
        narrated = bundle.provenance.get("text_style") == "narration" and not self.verbatim
        text = as_narration(self.text) if narrated else self.text
        moments = search(VideoIndex.open(self.index, bundle), bundle, text, self.top)
        show_moments(moments, text, self.json)


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Turn a published EgoVLP checkpoint into a bundle; nothing of the checkpoint is run."""

    checkpoint: tyro.conf.Positional[Path]
    """The .pth file."""
    out: tyro.conf.Positional[Path]
    """Folder of the bundle to write."""
    num_frames: int | None = None
    """Time slots of the new model; as in the file by default."""
    heads: int = 12
    """Attention heads of the video tower, which no tensor shows."""
    text_heads: int = 12
    """Attention heads of the text tower."""

    def run(self) -> None:
        """Write the bundle and say what it is."""
        model = load_egovlp(self.checkpoint, num_frames=self.num_frames, heads=self.heads, text_heads=self.text_heads)
        size = model.config.video.frame_size[0]
        preprocess = Preprocess(num_frames=min(4, model.config.video.num_frames), image_size=size, resize=size * 8 // 7)
        provenance = {"source": self.checkpoint.name, "text_style": "narration"}
        identity = save_bundle(self.out, model, preprocess, "bert-base-uncased", provenance)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        console.print(f"{self.out}: bundle {identity}, {parameters:,} parameters")


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


COMMANDS = {
    "demo": Demo,
    "world": World,
    "egoclip": Pairs,
    "train": TrainUsage,  # read by parse_train and parse_sweep, since their options depend on the recipe
    "sweep": SweepUsage,
    "evaluate": Evaluate,
    "features": Features,
    "clip-features": ClipFeatures,
    "text-features": TextFeatures,
    "index": Index,
    "search": Search,
    "ground": Ground,
    "transcode": Transcode,
    "submit": Submit,
    "convert": Convert,
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
        console.print(usage, highlight=False)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=console, show_path=False)]
    )
    try:
        if arguments[:1] == ["train"]:
            command = parse_train(arguments[1:])
        elif arguments[:1] == ["sweep"]:
            command = parse_sweep(arguments[1:])
        else:
            command = tyro.extras.subcommand_cli_from_dict(
                COMMANDS, args=arguments, prog="playhead", description=__doc__
            )
        command.run()
    except PlayheadError as error:
        Console(stderr=True, soft_wrap=True).print(f"playhead: {error}", style="red", markup=False, highlight=False)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
