"""A run as one frozen value, and run(), where model, data, training and evaluation meet."""

import json
import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from playhead.data.border import read_json, take
from playhead.data.classes import named_classes
from playhead.data.text_features import TextFeatures
from playhead.errors import RecipeError, RunStoppedError
from playhead.models.action_probe import ActionProbe, ActionProbeConfig
from playhead.models.frame_lstm import FrameLstm, FrameLstmConfig
from playhead.models.frozen import Frozen, FrozenConfig
from playhead.models.point_pyramid import PointPyramidConfig
from playhead.models.resnet3d import DualHeadConfig, DualHeadResNet
from playhead.models.state_change import StateChangeConfig, StateChangeNet
from playhead.models.tan2d import Tan2dConfig
from playhead.models.videomae import VideoMAE, VideoMAEClassifier, VideoMAEClassifierConfig, VideoMAEConfig
from playhead.models.vsgn import VSGNConfig
from playhead.models.vslnet import VSLNetConfig
from playhead.recipes.learnable import check_labels, fit_classes
from playhead.recipes.serialize import from_plain, to_plain
from playhead.tasks.language_query import LanguageQuery
from playhead.tasks.masked_video import MaskedVideo
from playhead.tasks.mixture import Mixture
from playhead.tasks.multiple_choice import EgoMCQ
from playhead.tasks.recognition import Recognition
from playhead.tasks.retrieval import Retrieval
from playhead.tasks.state_change import StateChange
from playhead.tasks.temporal_localization import TemporalLocalization
from playhead.tasks.video_text import VideoText
from playhead.train.checkpoint import latest
from playhead.train.config import Optim, Train
from playhead.train.loop import TrainResult, train
from playhead.weights.adapt import ConversionReport
from playhead.weights.bundle import (
    KINDS,
    TASK_KINDS,
    Bundle,
    load_bundle,
    load_task_bundle,
    save_bundle,
    save_task_bundle,
)
from playhead.weights.official import initialise_from
from playhead.weights.recognition_weights import start_classifier
from playhead.weights.resnet3d_weights import initialise_dual_head, initialise_frame_lstm
from playhead.weights.state_change_weights import initialise_from_bundle, initialise_from_vit
from playhead.weights.videomae_weights import initialise_videomae

logger = logging.getLogger(__name__)

BUNDLE = "bundle"  # the best model of a run, inside its folder
RECIPE = "recipe.json"
OF_THE_MACHINE = (
    *("workers", "prefetch", "threads", "parallel", "micro_batch", "eval_batch"),
    *("checkpoint_activations", "checkpoint_every", "checkpoint_keeps"),
    *("tensorboard", "log_every", "save_every", "keep_last", "max_broken", "sample_timeout"),
)
"""Fields of `train` that a run may change when it goes on: they decide where and how fast, not what is computed."""


Model = (
    FrozenConfig
    | VSLNetConfig
    | Tan2dConfig
    | PointPyramidConfig
    | VSGNConfig
    | StateChangeConfig
    | FrameLstmConfig
    | DualHeadConfig
    | VideoMAEConfig
    | VideoMAEClassifierConfig
    | ActionProbeConfig
)
"""The networks that a recipe can train, by their settings."""

ByItself = LanguageQuery | TemporalLocalization | StateChange | MaskedVideo | Recognition
"""Tasks that measure themselves, on the split that they are asked for; their bundles name their files."""
Pretraining = VideoText | Mixture
"""Tasks that learn from pairs of clips and texts, and watch another."""
Learnt = Pretraining | ByItself
"""What a recipe can learn."""


@dataclass(frozen=True, kw_only=True)
class Init:
    """Where the weights start; what is not given starts at random."""

    vit: Path | None = None
    """ImageNet ViT or TimeSformer in any layout that `playhead convert` knows, or the tower it wrote, for the video
    tower."""
    distilbert: Path | None = None
    """`distilbert-base-uncased` file in Hugging Face's layout, or a converted tower, for the text tower."""
    bert: Path | None = None
    """`bert-base-uncased` file in Hugging Face's layout for the text tower: every other layer, as DistilBERT was made;
    excludes `distilbert`."""
    resize: bool = False
    """Fit tables of positions and kernels of patches of another size, which are refused otherwise."""
    bundle: Path | None = None
    """A bundle of the same model, or for `StateChangeConfig` of a dual encoder, whose video tower is taken; excludes
    the others."""
    resnet: Path | None = None
    """ResNet-50 file (SlowFast, PyTorchVideo or torchvision names) for `FrameLstmConfig` and `DualHeadConfig`."""
    videomae: Path | None = None
    """A bundle or an official file of VideoMAE, pretrained or fine-tuned, for classifiers and probes of videos;
    a pretraining takes it up only from a pretrained one."""
    head_classes: str | None = None
    """Classes of the head of `videomae`, where that is an official file: a file of names, or "k400" to "k710" for the
    published orders. Its rows are taken by name; unset starts a new head. A bundle knows its own."""

    def __post_init__(self):
        others = (self.vit, self.distilbert, self.bert, self.resnet, self.videomae)
        if self.distilbert is not None and self.bert is not None:
            raise RecipeError("init.distilbert and init.bert both fill the text tower; give one.")
        if self.bundle is not None and others != (None,) * len(others):
            raise RecipeError("init.bundle already holds all weights; give no other field of init with it.")
        if self.head_classes is not None and self.videomae is None:
            raise RecipeError("init.head_classes names the head of init.videomae; give both.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a run depends on: the same recipe on the same data gives the same weights."""

    model: Model
    """Sizes of the network."""
    task: Learnt
    """What is learnt, from which files."""
    watch: EgoMCQ | Retrieval | None = None
    """What is measured while pretraining; the other tasks measure themselves, on their split "val"."""
    init: Init = field(default_factory=Init)
    """Where the weights start."""
    optim: Optim
    """How a step is made."""
    train: Train
    """How long, how many at once, how precise."""

    def __post_init__(self):
        if not isinstance(self.model, MODELS_OF[type(self.task)]):
            known = ", ".join(kind.__name__ for kind in MODELS_OF[type(self.task)])
            raise RecipeError(
                f"{type(self.task).__name__} cannot train a {type(self.model).__name__}; it trains {known}."
            )
        if isinstance(self.task, Pretraining):
            _check_pretraining(self)
        elif self.watch is not None:
            raise RecipeError(f"{type(self.task).__name__} measures itself; leave watch unset.")
        if isinstance(self.task, MaskedVideo | Recognition):
            _check_clips(self)
        if self.train.keep_best is not None and self.watched is None:
            raise RecipeError(
                f"train.keep_best is {self.train.keep_best!r}, but the recipe watches nothing; set watch."
            )

    @property
    def watched(self) -> EgoMCQ | Retrieval | ByItself | None:
        """What is measured while training, on its split "val"."""
        if isinstance(self.task, MaskedVideo) and self.task.val_listing is None:
            return None
        return self.watch if isinstance(self.task, Pretraining) else self.task


MODELS_OF: dict[type[Any], tuple[type[Any], ...]] = {
    VideoText: (FrozenConfig,),
    Mixture: (FrozenConfig,),
    LanguageQuery: (VSLNetConfig, Tan2dConfig, PointPyramidConfig),
    TemporalLocalization: (VSGNConfig, PointPyramidConfig),
    StateChange: (StateChangeConfig, FrameLstmConfig, DualHeadConfig),
    MaskedVideo: (VideoMAEConfig,),
    Recognition: (VideoMAEClassifierConfig, ActionProbeConfig),
}
"""Which networks each task can train."""


def _check_pretraining(recipe: Recipe) -> None:
    assert isinstance(recipe.task, Pretraining) and isinstance(recipe.model, FrozenConfig)  # the caller saw to it
    preprocess, video = recipe.task.preprocess, recipe.model.video
    if preprocess.num_frames > video.num_frames:
        raise RecipeError(
            f"task.preprocess.num_frames is {preprocess.num_frames}, but the model has only {video.num_frames} places "
            "in time; raise model.video.num_frames."
        )
    if video.frame_size != (preprocess.image_size, preprocess.image_size):
        raise RecipeError(
            f"task.preprocess.image_size is {preprocess.image_size}, model.video.image_size {video.image_size}; "
            "they must be equal."
        )
    if recipe.watch is not None and recipe.watch.preprocess != preprocess:
        raise RecipeError("watch.preprocess differs from task.preprocess; evaluate as you train.")


def _check_clips(recipe: Recipe) -> None:
    assert isinstance(recipe.task, MaskedVideo | Recognition)  # the caller saw to it
    assert isinstance(recipe.model, VideoMAEConfig | VideoMAEClassifierConfig | ActionProbeConfig)  # MODELS_OF
    preprocess, encoder = recipe.task.preprocess, recipe.model.encoder
    size = (preprocess.image_size, preprocess.image_size)
    if (preprocess.num_frames, size) != (encoder.num_frames, encoder.frame_size):
        raise RecipeError(
            f"task.preprocess gives {preprocess.num_frames} frames of {preprocess.image_size} pixels, model.encoder "
            f"takes {encoder.num_frames} of {encoder.frame_size[0]}x{encoder.frame_size[1]}; they must be equal."
        )
    for name in ("patch_size", "tubelet") if isinstance(recipe.task, MaskedVideo) else ():
        asked, has = getattr(recipe.task, name), getattr(encoder, name)
        if asked != has:
            raise RecipeError(f"task.{name} is {asked}, model.encoder.{name} {has}; they must be equal.")


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


def build_model(recipe: Recipe) -> nn.Module:
    """Return the model of a recipe with its starting weights, the same for the same seed.

    Raises:
        RecipeError: `init` gives what this model does not take.
        WeightsError: a file of `init` cannot be read, or does not fit.
    """
    torch.manual_seed(recipe.train.seed)
    networks = dict((*KINDS.values(), *TASK_KINDS.values()))
    model = networks[type(recipe.model)](recipe.model)
    _initialise(model, recipe)
    return model


def _initialise(model: nn.Module, recipe: Recipe) -> None:
    init = recipe.init
    files = ("vit", "distilbert", "bert", "bundle", "resnet", "videomae")
    asked = {name for name in files if getattr(init, name) is not None}
    takes = {"bundle"}
    if isinstance(model, Frozen | StateChangeNet):
        takes |= {"vit", "distilbert", "bert"} if isinstance(model, Frozen) else {"vit"}
    if isinstance(model, FrameLstm | DualHeadResNet):
        takes |= {"resnet"}
    if isinstance(model, VideoMAE | VideoMAEClassifier | ActionProbe):
        takes |= {"videomae"}
    if wrong := sorted(asked - takes):
        raise RecipeError(f"init.{wrong[0]} is of no use to a {type(model).__name__}; it takes {', '.join(takes)}.")
    if init.bundle is not None:
        _start_from_bundle(model, init.bundle)
    elif isinstance(model, Frozen) and asked:
        _tell(initialise_from(model, vit=init.vit, distilbert=init.distilbert, bert=init.bert, resize=init.resize))
    elif isinstance(model, StateChangeNet) and init.vit is not None:
        _tell({"vit": initialise_from_vit(model, init.vit, resize=init.resize)})
    elif isinstance(model, FrameLstm) and init.resnet is not None:
        initialise_frame_lstm(model, init.resnet)
    elif isinstance(model, DualHeadResNet) and init.resnet is not None:
        initialise_dual_head(model, init.resnet)
    elif isinstance(model, VideoMAEClassifier | ActionProbe) and init.videomae is not None:
        assert isinstance(recipe.task, Recognition)  # MODELS_OF
        names = None if init.head_classes is None else named_classes(init.head_classes)
        start = start_classifier(model, init.videomae, recipe.task.class_names(), names)
        logger.info("init.videomae: %s", start)
    elif isinstance(model, VideoMAE) and init.videomae is not None:
        _tell({"videomae": initialise_videomae(model, init.videomae)})


def _tell(reports: dict[str, ConversionReport]) -> None:
    for name, report in reports.items():
        counts = f"{len(report.renamed)} tensors taken, {len(report.dropped)} dropped"
        fresh = f", {len(report.fresh)} of ours are not in it" if report.fresh else ""
        resized = f"; resized: {', '.join(report.resized)}" if report.resized else ""
        logger.info("init.%s: %s%s%s", name, counts, fresh, resized)


def _start_from_bundle(model: nn.Module, path: Path) -> None:
    if isinstance(model, StateChangeNet):
        initialise_from_bundle(model, path)
        return
    start = (load_bundle(path) if isinstance(model, Frozen) else load_task_bundle(path)).model
    if start.config != model.config:
        raise RecipeError("init.bundle holds a model of other sizes than `model` asks for.", path=path)
    model.load_state_dict(start.state_dict())


def run(recipe: Recipe, run_dir: Path) -> TrainResult:
    """Train a recipe in `run_dir`, or go on where it stopped; the best model ends as the bundle `run_dir/bundle`.

    Raises:
        RunStoppedError: SIGTERM came; what was done is saved.
    """
    if isinstance(recipe.task, Recognition):
        assert isinstance(recipe.model, VideoMAEClassifierConfig | ActionProbeConfig)  # MODELS_OF
        recipe = replace(recipe, model=fit_classes(recipe.model, recipe.task))
    model = build_model(recipe)
    if isinstance(recipe.task, Recognition) and latest(run_dir) is None:
        check_labels(model, recipe.task, recipe.optim, recipe.train.seed)
    write_recipe(recipe, run_dir)

    def export(model: nn.Module, metrics: dict[str, float]) -> None:
        provenance: dict[str, Any] = {"recipe": to_plain(recipe), "metrics": metrics}
        if isinstance(recipe.task, Pretraining):
            assert isinstance(model, Frozen)  # MODELS_OF
            sources = recipe.task.sources if isinstance(recipe.task, Mixture) else (recipe.task,)
            only_narrations = all(source.kind == "egoclip" for source in sources)
            provenance["text_style"] = "narration" if only_narrations else "caption"  # what search turns questions into
            save_bundle(run_dir / BUNDLE, model, recipe.task.preprocess, recipe.task.tokenizer, provenance)
        else:
            provenance |= _made_of(recipe.task)
            save_task_bundle(run_dir / BUNDLE, model, to_plain(recipe.task), provenance)

    result = train(model, recipe.task, recipe.optim, recipe.train, run_dir, watch=recipe.watched, on_best=export)
    if result.interrupted:
        done = f"{result.step} steps are done and saved"
        raise RunStoppedError(f"{run_dir}: stopped by SIGTERM; {done}. Start the same command again to go on.")
    return result


def _made_of(task: Learnt) -> dict[str, Any]:
    """Return what a task's bundle notes: of which model its features are where their folders say it, its classes."""
    found: dict[str, Any] = {}
    if isinstance(task, LanguageQuery | TemporalLocalization):
        manifest = task.features.folders[0] / "manifest.json"
        if manifest.exists():
            found["features_of"] = take(read_json(manifest), "settings", dict, manifest, "file").get("model")
    if isinstance(task, LanguageQuery):
        found["wording"] = TextFeatures.open(task.text).settings.get("wording", "question")
    if isinstance(task, Recognition):
        found["classes"] = list(task.class_names())
    return found


def open_run(run_dir: Path) -> Bundle:
    """Return the best dual encoder of a finished pretraining."""
    return load_bundle(run_dir / BUNDLE)


def open_task(path: Path) -> tuple[nn.Module, ByItself]:
    """Return a network and its task from the bundle of a task.

    Raises:
        WeightsError: there is no bundle, or not of a task.
        RecipeError: its task's settings are not those of this program.
    """
    bundle = load_task_bundle(path)
    task = from_plain(ByItself, bundle.task, where=f"{path}: task")
    return bundle.model, task


def _binding(recipe: Recipe) -> dict[str, Any]:
    plain = to_plain(recipe)
    return {**plain, "train": {name: value for name, value in plain["train"].items() if name not in OF_THE_MACHINE}}


def _first_difference(found: Any, asked: Any, where: str = "recipe") -> str:
    if isinstance(found, dict) and isinstance(asked, dict) and found.keys() == asked.keys():
        differences = (_first_difference(found[key], asked[key], f"{where}.{key}") for key in found)
        return next((difference for difference in differences if difference), "")
    return "" if found == asked else f"{where} was {found!r}, now {asked!r}"
