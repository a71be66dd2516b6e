"""Heads on a pretrained tower, trained and scored on the generated world: what `transfer` and the demo share."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import torch

from playhead.apps.clip_features import ClipFeatureSettings, extract_clip_features, extract_text_features
from playhead.apps.prepare import Ego4DFolder
from playhead.apps.windows import WindowSettings
from playhead.models.frozen import Frozen
from playhead.recipes.base import BUNDLE, Recipe, build_model, run
from playhead.recipes.small import world_features, world_mq, world_nlq, world_pairs, world_state_change
from playhead.tasks.language_query import LanguageQuery
from playhead.tasks.state_change import StateChange
from playhead.weights.bundle import Bundle, load_bundle, save_bundle

Challenge = Literal["nlq", "mq", "oscc", "pnr"]
Scores = dict[str, float]


def train_head(
    challenge: Challenge,
    tower: Path,
    folder: Ego4DFolder,
    out: Path,
    *,
    seed: int = 0,
    steps: int | None = None,
    videos: Sequence[Path] | None = None,
) -> Scores:
    """Train a head on the bundle `tower` and return its validation scores after the last step.

    Features and runs lie below `out`, under the identity of the tower, and are used again where they are done. OSCC and
    PNR are learnt in one run. `videos` are those whose features are extracted (NLQ, MQ), all by default; queries about
    others are left out.
    """
    bundle = load_bundle(tower)
    if challenge in ("oscc", "pnr"):
        recipe, kind = world_state_change(folder.root, tower, seed), "state_change"
    else:
        features, text = extract(bundle, folder, out, videos)
        recipe = world_nlq(folder.root, seed=seed) if challenge == "nlq" else world_mq(folder.root, seed=seed)
        task = replace(recipe.task, features=replace(recipe.task.features, folders=(features,)))  # pyright: ignore
        if isinstance(task, LanguageQuery):
            task = replace(task, text=text)
        if videos is not None:
            task = replace(task, without_features="leave_out")
        recipe, kind = replace(recipe, task=task), challenge
    return run(measured_once(recipe, steps), out / f"{kind}_{bundle.identity}_{seed}").metrics


def extract(bundle: Bundle, folder: Ego4DFolder, out: Path, videos: Sequence[Path] | None = None) -> tuple[Path, Path]:
    """Write the features of clips and queries, but for those that are there; return both folders."""
    annotations = folder.root / "annotations"
    queries = [annotations / f"nlq_{split}.json" for split in ("train", "val")]
    moments = [annotations / f"moments_{split}.json" for split in ("train", "val")]
    grid = world_features().time
    windows = WindowSettings(fps=grid.fps, stride=int(grid.stride), batch_size=64)
    settings = ClipFeatureSettings(grid="own", windows=windows)
    features, text = (out / kind / bundle.identity for kind in ("features", "text"))
    extract_clip_features(bundle, [*queries, *moments], videos or folder.videos, features, settings)
    extract_text_features(bundle, queries, text)
    return features, text


def save_untrained(recipe: Recipe, where: Path) -> Path:
    """Save the tower of a pretraining recipe as it starts, unless it is there; return its bundle."""
    bundle = where / BUNDLE
    if not bundle.exists():
        task, model = world_pairs(), cast(Frozen, build_model(recipe))
        save_bundle(bundle, model, task.preprocess, task.tokenizer, {"text_style": "narration", "steps": 0})
    return bundle


def measured_once(recipe: Recipe, steps: int | None) -> Recipe:
    """Return the recipe with so many steps (its own by default), measured at the end, in the fastest arithmetic.

    Towers compute in bf16 where that is fast; heads on features stay in fp32, whose products oneDNN makes twice as fast
    ("medium").
    """
    number = recipe.train.steps if steps is None else steps
    fast = {"precision": fast_precision()} if isinstance(recipe.task, StateChange) else {"matmul": "medium"}
    return replace(recipe, train=replace(recipe.train, steps=number, evaluate_every=number, **fast))


def fast_precision() -> Literal["fp32", "bf16"]:
    """Return bf16 where the processor computes it, since it is at least twice as fast there."""
    return "bf16" if torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported() else "fp32"


def always_same(challenge: Challenge, folder: Ego4DFolder) -> Scores | None:
    """Return the scores of always giving the same answer, which needs no training; None where there is no such."""
    if challenge not in ("oscc", "pnr"):
        return None
    return cast(StateChange, world_state_change(folder.root).task).always_same("val")
