"""A run as one frozen value, and run(), where model, data, training and evaluation meet."""

import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from playhead.errors import RecipeError
from playhead.models.frozen import Frozen, FrozenConfig
from playhead.recipes.serialize import from_plain, to_plain
from playhead.tasks.multiple_choice import EgoMCQ
from playhead.tasks.retrieval import Retrieval
from playhead.tasks.video_text import VideoText
from playhead.train.checkpoint import latest
from playhead.train.config import Optim, Train
from playhead.train.loop import TrainResult, train
from playhead.weights.bundle import Bundle, load_bundle, save_bundle
from playhead.weights.official import initialise_from

logger = logging.getLogger(__name__)

BUNDLE = "bundle"  # the best model of a run, inside its folder
RECIPE = "recipe.json"
OF_THE_MACHINE = (
    *("workers", "prefetch", "threads", "parallel", "checkpoint_activations", "eval_batch"),
    *("tensorboard", "log_every", "save_every", "keep_last"),
)
"""Fields of `train` that a run may change when it goes on: they decide where and how fast, not what is computed."""


@dataclass(frozen=True, kw_only=True)
class Init:
    """Where the weights start; what is not given starts at random."""

    vit: Path | None = None
    """ImageNet ViT file in timm's naming (.pth, .safetensors) for the video tower."""
    distilbert: Path | None = None
    """`distilbert-base-uncased` file in Hugging Face's layout for the text tower."""
    bundle: Path | None = None
    """A bundle of the same model; excludes the other two."""

    def __post_init__(self):
        if self.bundle is not None and (self.vit is not None or self.distilbert is not None):
            raise RecipeError("init.bundle already holds both towers; do not give init.vit or init.distilbert with it.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a run depends on: the same recipe on the same data gives the same weights."""

    model: FrozenConfig
    """Sizes of the network."""
    task: VideoText
    """What is learnt, from which files."""
    watch: EgoMCQ | Retrieval | None = None
    """What is measured while training."""
    init: Init = field(default_factory=Init)
    """Where the weights start."""
    optim: Optim
    """How a step is made."""
    train: Train
    """How long, how many at once, how precise."""

    def __post_init__(self):
        frames, slots = self.task.preprocess.num_frames, self.model.video.num_frames
        if frames > slots:
            raise RecipeError(
                f"task.preprocess.num_frames is {frames}, but the model has only {slots} places in time; "
                "raise model.video.num_frames."
            )
        size = self.task.preprocess.image_size
        if self.model.video.frame_size != (size, size):
            raise RecipeError(
                f"task.preprocess.image_size is {size}, model.video.image_size {self.model.video.image_size}; "
                "they must be equal."
            )
        if self.watch is not None and self.watch.preprocess != self.task.preprocess:
            raise RecipeError("watch.preprocess differs from task.preprocess; evaluate as you train.")
        if self.train.keep_best is not None and self.watch is None:
            raise RecipeError(
                f"train.keep_best is {self.train.keep_best!r}, but the recipe watches nothing; set watch."
            )


def write_recipe(recipe: Recipe, run_dir: Path) -> None:
    """Write `recipe.json` on the first rank, or check it if the run goes on; what only concerns the machine may change.

    A folder without a checkpoint binds to nothing: a run that failed at its start may begin anew with other settings.

    Raises:
        RecipeError: another recipe was begun there; the message names the first field that differs.
    """
    path = run_dir / RECIPE
    if path.exists() and latest(run_dir) is not None:
        difference = _first_difference(_binding(read_recipe(path)), _binding(recipe))
        if difference:
            raise RecipeError(
                f"this run was begun with other settings: {difference}. Use another run folder.", path=path
            )
    elif int(os.environ.get("RANK", "0")) == 0:  # torchrun's number of this process
        run_dir.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(to_plain(recipe), indent=1) + "\n")


def read_recipe(path: Path) -> Recipe:
    """Read a `recipe.json`.

    Raises:
        RecipeError: the file is not one, or holds fields this program does not know.
    """
    try:
        plain = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RecipeError(f"cannot be read as a recipe: {error}.", path=path) from error
    return from_plain(Recipe, plain)


def build_model(recipe: Recipe) -> Frozen:
    """Return the model of a recipe with its starting weights, the same for the same seed."""
    torch.manual_seed(recipe.train.seed)
    model = Frozen(recipe.model)
    if recipe.init.bundle is not None:
        start = load_bundle(recipe.init.bundle)
        if start.model.config != recipe.model:
            raise RecipeError(
                "init.bundle holds a model of other sizes than `model` asks for.", path=recipe.init.bundle
            )
        model.load_state_dict(start.model.state_dict())
    elif recipe.init.vit is not None or recipe.init.distilbert is not None:
        initialise_from(model, vit=recipe.init.vit, distilbert=recipe.init.distilbert)
    return model


def run(recipe: Recipe, run_dir: Path) -> TrainResult:
    """Train a recipe in `run_dir`, or go on where it stopped; the best model ends as the bundle `run_dir/bundle`."""
    model = build_model(recipe)
    write_recipe(recipe, run_dir)

    def export(model: Frozen, metrics: dict[str, float]) -> None:
        style = "narration" if recipe.task.kind == "egoclip" else "caption"  # what search turns questions into
        provenance: dict[str, Any] = {"recipe": to_plain(recipe), "metrics": metrics, "text_style": style}
        save_bundle(run_dir / BUNDLE, model, recipe.task.preprocess, recipe.task.tokenizer, provenance)

    return train(model, recipe.task, recipe.optim, recipe.train, run_dir, watch=recipe.watch, on_best=export)


def open_run(run_dir: Path) -> Bundle:
    """Return the best model of a finished run."""
    return load_bundle(run_dir / BUNDLE)


def _binding(recipe: Recipe) -> dict[str, Any]:
    plain = to_plain(recipe)
    return {**plain, "train": {name: value for name, value in plain["train"].items() if name not in OF_THE_MACHINE}}


def _first_difference(found: Any, asked: Any, where: str = "recipe") -> str:
    if isinstance(found, dict) and isinstance(asked, dict) and found.keys() == asked.keys():
        differences = (_first_difference(found[key], asked[key], f"{where}.{key}") for key in found)
        return next((difference for difference in differences if difference), "")
    return "" if found == asked else f"{where} was {found!r}, now {asked!r}"
