"""Runs that a laptop finishes: pretraining on the generated world, and any recipe shrunk to seconds."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import FrozenConfig, SpaceTimeConfig
from playhead.recipes.base import Init, Recipe
from playhead.tasks.multiple_choice import EgoMCQ
from playhead.tasks.retrieval import Retrieval
from playhead.tasks.video_text import VideoText
from playhead.train.config import Optim, Train
from playhead.video.transforms import Augment, Preprocess

WORLD = Path("runs/world")


def world_ego_nce(root: Path = WORLD) -> Recipe:
    """Pretrain a small Frozen from scratch on the generated world with EgoNCE; the run of `make demo`.

    The settings that differ from the paper's do so because the model starts at random and sees few clips: a higher
    rate with warm-up and cosine, a smaller batch, 48 px.
    """
    preprocess = Preprocess(num_frames=4, image_size=48, resize=64, window=1.0)
    return Recipe(
        model=FrozenConfig(
            video=SpaceTimeConfig(
                image_size=48, patch_size=8, width=128, depth=2, heads=4, num_frames=4, time_init="zero_output"
            ),
            text=DistilBertConfig(dim=128, n_layers=2, n_heads=4, hidden_dim=512, max_positions=64),
            shared_dim=128,
        ),
        task=VideoText(
            videos=root / "full_scale",
            pairs=root / "egoclip.csv",
            preprocess=preprocess,
            augment=Augment(scale=(0.6, 1.0)),
            open_videos=100,
        ),
        watch=EgoMCQ(videos=root / "full_scale", questions=root / "egomcq.json", preprocess=preprocess),
        optim=Optim(lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05, schedule="cosine", warmup_steps=60, clip_norm=1.0),
        train=Train(
            global_batch=32, steps=1000, workers=1, evaluate_every=200, save_every=200, keep_best="egomcq/intra"
        ),
    )


def world_info_nce(root: Path = WORLD) -> Recipe:
    """Pretrain as `world_ego_nce`, with InfoNCE and no neighbours: the baseline of the ablation."""
    return ablation("info_nce", neighbours=False, root=root)


def captions_small() -> Recipe:
    """Pretrain a small Frozen from scratch on captioned clips of your own with InfoNCE; watches retrieval.

    Give `--task.videos`, `--task.pairs`, `--watch.videos` and `--watch.pairs`: csv or jsonl with `file` and `text`.
    """
    recipe = world_ego_nce()
    preprocess = Preprocess(num_frames=4, image_size=48, resize=64, window=2.0)
    return replace(
        recipe,
        task=VideoText(
            videos=Path("clips"),
            pairs=Path("clips/train.csv"),
            kind="captions",
            loss_name="info_nce",
            neighbour_within=None,
            preprocess=preprocess,
            augment=recipe.task.augment,
            max_words=64,
        ),
        watch=Retrieval(videos=Path("clips"), pairs=Path("clips/val.csv"), preprocess=preprocess, max_words=64),
        train=replace(recipe.train, keep_best="retrieval/t2v/R@5"),
    )


def ablation(loss_name: Literal["ego_nce", "info_nce"], neighbours: bool, root: Path = WORLD, seed: int = 0) -> Recipe:
    """Return one row of the ablation of EgoVLP's full paper, Table 5: objective x scene-aware negatives."""
    recipe = world_ego_nce(root)
    within = recipe.task.neighbour_within if neighbours else None
    return replace(
        recipe,
        task=replace(recipe.task, loss_name=loss_name, neighbour_within=within),
        train=replace(recipe.train, seed=seed),
    )


def toy(recipe: Recipe, root: Path = WORLD, steps: int = 2) -> Recipe:
    """Shrink any recipe to seconds on the generated world: its objective, schedule and precision stay, sizes go."""
    small = world_ego_nce(root)
    preprocess = Preprocess(num_frames=min(recipe.task.preprocess.num_frames, 4), image_size=32, resize=32)
    video = replace(small.model.video, image_size=32, patch_size=16, width=32, depth=2, heads=2)
    text = replace(small.model.text, dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    videos, pairs = small.task.videos, small.task.pairs
    watch: EgoMCQ | Retrieval | None = recipe.watch
    if isinstance(watch, EgoMCQ):
        watch = EgoMCQ(videos=videos, questions=root / "egomcq.json", preprocess=preprocess, max_questions=8)
    elif isinstance(watch, Retrieval):
        watch = Retrieval(videos=root, pairs=root / "captions" / "val.jsonl", preprocess=preprocess)
    if recipe.task.kind == "captions":
        videos, pairs = root, root / "captions" / "train.jsonl"
    return replace(
        recipe,
        model=FrozenConfig(video=video, text=text, shared_dim=16),
        init=Init(),
        task=replace(recipe.task, videos=videos, pairs=pairs, preprocess=preprocess),
        watch=watch,
        train=replace(
            recipe.train, global_batch=8, epochs=None, steps=steps, workers=0, evaluate_every=steps, save_every=1
        ),
    )
