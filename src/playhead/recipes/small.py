"""Runs that a laptop finishes: on the generated world, and any recipe shrunk to seconds."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from playhead.data.caption_sources import CaptionFiles
from playhead.data.feature_files import FeatureSet, TimeBase
from playhead.models.action_probe import ActionProbeConfig
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frame_lstm import FrameLstmConfig
from playhead.models.frozen import FrozenConfig, SpaceTimeConfig
from playhead.models.point_pyramid import PointPyramidConfig
from playhead.models.resnet3d import DualHeadConfig, ResNet3dConfig
from playhead.models.state_change import StateChangeConfig
from playhead.models.tan2d import Tan2dConfig
from playhead.models.videomae import VideoMAEClassifierConfig, VideoMAEConfig, VideoMAEEncoderConfig
from playhead.models.vsgn import VSGNConfig
from playhead.models.vslnet import VSLNetConfig
from playhead.recipes.base import Init, Model, Recipe
from playhead.tasks.actionformer_head import ActionFormerHead
from playhead.tasks.language_query import LanguageQuery
from playhead.tasks.masked_video import MaskedVideo
from playhead.tasks.mixture import Mixture
from playhead.tasks.multiple_choice import EgoMCQ
from playhead.tasks.query_heads import PointPyramidHead, Tan2dHead, VSLNetHead
from playhead.tasks.recognition import Recognition, Views
from playhead.tasks.recognition_samples import ClipRule
from playhead.tasks.retrieval import Retrieval
from playhead.tasks.state_change import StateChange
from playhead.tasks.temporal_localization import TemporalLocalization
from playhead.tasks.video_text import VideoText
from playhead.tasks.vsgn_head import VSGNHead
from playhead.train.config import Optim, Train
from playhead.video.transforms import Augment, Preprocess

WORLD = Path("runs/world")
TOY_WIDTH = 16  # of a toy's shared space, and so of its features
WORLD_MOMENTS = 14  # classes of the generated world's moments_train.json
QueryHead = VSLNetHead | Tan2dHead | PointPyramidHead
SegmentHead = VSGNHead | ActionFormerHead


def world_pairs(root: Path = WORLD) -> VideoText:
    """Return pretraining on the world's clips and narrations with EgoNCE."""
    return VideoText(
        videos=root / "full_scale",
        pairs=root / "egoclip.csv",
        preprocess=Preprocess(num_frames=4, image_size=48, resize=64, window=1.0),
        augment=Augment(scale=(0.6, 1.0)),
        open_videos=100,
    )


def world_tower(num_frames: int = 4) -> SpaceTimeConfig:
    """Return the video tower that is learnt on the world."""
    return SpaceTimeConfig(
        image_size=48, patch_size=8, width=128, depth=2, heads=4, num_frames=num_frames, time_init="zero_output"
    )


def world_ego_nce(root: Path = WORLD) -> Recipe:
    """Pretrain a small Frozen from scratch on the generated world with EgoNCE; the run of `make demo`.

    The settings that differ from the paper's do so because the model starts at random and sees few clips: a higher
    rate with warm-up and cosine, a smaller batch, 48 px.
    """
    task = world_pairs(root)
    return Recipe(
        model=FrozenConfig(
            video=world_tower(),
            text=DistilBertConfig(dim=128, n_layers=2, n_heads=4, hidden_dim=512, max_positions=64),
            shared_dim=128,
        ),
        task=task,
        watch=EgoMCQ(videos=task.videos, questions=root / "egomcq.json", preprocess=task.preprocess),
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
            augment=world_pairs().augment,
            max_words=64,
        ),
        watch=Retrieval(videos=Path("clips"), pairs=Path("clips/val.csv"), preprocess=preprocess, max_words=64),
        train=replace(recipe.train, keep_best="retrieval/t2v/R@5"),
    )


def ablation(loss_name: Literal["ego_nce", "info_nce"], neighbours: bool, root: Path = WORLD, seed: int = 0) -> Recipe:
    """Return one row of the ablation of EgoVLP's full paper, Table 5: objective x scene-aware negatives."""
    recipe, task = world_ego_nce(root), world_pairs(root)
    within = task.neighbour_within if neighbours else None
    return replace(
        recipe,
        task=replace(task, loss_name=loss_name, neighbour_within=within),
        train=replace(recipe.train, seed=seed),
    )


def world_features(root: Path = WORLD, tower: str = "ego_nce") -> FeatureSet:
    """Return features of the world's clips: a row a second, of four frames; none overlap, as in the paper."""
    time = TimeBase(fps=4.0, frames=4, stride=4)
    return FeatureSet(folders=(root / "features" / tower,), time=time, per="clip")


def world_nlq(root: Path = WORLD, tower: str = "ego_nce", seed: int = 0) -> Recipe:
    """Answer the world's language queries with a small VSLNet on features of a pretrained tower."""
    annotations = root / "annotations"
    return Recipe(
        model=VSLNetConfig(video_dim=128, text_dim=128, width=64, heads=4),
        task=LanguageQuery(
            train_queries=annotations / "nlq_train.json",
            val_queries=annotations / "nlq_val.json",
            features=world_features(root, tower),
            text=root / "text" / tower,
            head=VSLNetHead(),
        ),
        optim=Optim(lr=2e-3, weight_decay=0.01, schedule="linear", warmup_steps=20, clip_norm=1.0),
        train=Train(global_batch=32, steps=300, workers=0, eval_batch=64, seed=seed),
    )


def world_mq(root: Path = WORLD, tower: str = "ego_nce", seed: int = 0) -> Recipe:
    """Answer the world's moment queries with a small VSGN on features of a pretrained tower."""
    annotations = root / "annotations"
    return Recipe(
        model=VSGNConfig(
            feature_dim=128, num_classes=WORLD_MOMENTS, num_steps=128, width=64, num_levels=4, tower_layers=2
        ),
        task=TemporalLocalization(
            train_segments=annotations / "moments_train.json",
            val_segments=annotations / "moments_val.json",
            features=world_features(root, tower),
            head=VSGNHead(num_steps=128),
        ),
        optim=Optim(lr=1e-3, weight_decay=1e-4, schedule="cosine", warmup_steps=20, clip_norm=1.0),
        train=Train(global_batch=16, steps=200, workers=0, eval_batch=20, seed=seed),
    )


def world_state_change(root: Path = WORLD, tower: Path | None = None, seed: int = 0) -> Recipe:
    """Tell the world's state changes and their moment with the tower of `world_ego_nce`, fine-tuned whole.

    Whether anything changes, and in which of 16 frames, are learnt at once.
    """
    pairs = world_pairs(root)
    return Recipe(
        model=StateChangeConfig(video=world_tower(num_frames=16), key_frame_head="frames"),
        task=StateChange(
            videos=root / "full_scale",
            annotations=root / "annotations",
            kind="both",
            preprocess=replace(pairs.preprocess, num_frames=16),
            augment=pairs.augment,
            frame_rule="even",
            open_videos=100,
        ),
        init=Init(bundle=tower),
        optim=Optim(lr=5e-4, betas=(0.9, 0.98), weight_decay=0.05, schedule="cosine", warmup_steps=20, clip_norm=1.0),
        train=Train(global_batch=32, steps=240, workers=1, seed=seed),
    )


def world_actions(root: Path = WORLD) -> Recognition:
    """Return recognition of the world's actions, half of which are others played backwards; two views in testing.

    A clip is 16 frames over the whole action, and none is flipped.
    """
    return Recognition(
        root=root / "full_scale",
        layout="kinetics",
        annotations=root / "kinetics",
        classes=str(root / "kinetics" / "label_map.txt"),
        preprocess=Preprocess(num_frames=16, image_size=64, resize=64),
        clip=ClipRule(sampling="segments"),
        decode_size=72,
        augment=Augment(scale=(0.5, 1.0), flip=0.0),
        policy=None,
        erase=None,
        mixing=None,
        views=Views(clips=2, crops=1),
        fit_classes=True,
        open_videos=100,
    )


def world_videomae(root: Path = WORLD, seed: int = 0) -> Recipe:
    """Pretrain a small VideoMAE on the world's actions, whose classes it does not read; two crops of every clip.

    Three quarters are hidden, not nine tenths: at 64 pixels a patch is an eighth of the picture, and less would be left
    of a hand than tells what it does.
    """
    encoder = VideoMAEEncoderConfig(image_size=64, patch_size=8, width=128, depth=4, heads=4)
    return Recipe(
        model=VideoMAEConfig(encoder=encoder, decoder_width=64, decoder_depth=2, decoder_heads=2),
        task=MaskedVideo(
            videos=root / "full_scale",
            listing=root / "kinetics" / "train.csv",
            val_listing=root / "kinetics" / "val.csv",
            preprocess=Preprocess(num_frames=16, image_size=64, resize=72),
            patch_size=8,
            stride=2,
            mask_ratio=0.75,
            repeats=2,
            open_videos=100,
        ),
        optim=Optim(lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05, schedule="cosine", warmup_steps=60),
        train=Train(global_batch=16, steps=1500, workers=1, seed=seed),
    )


def world_recognition(root: Path = WORLD, encoder: Path | None = None, seed: int = 0) -> Recipe:
    """Tell the world's actions with a small VideoMAE classifier, from scratch or from a pretrained `encoder`."""
    sizes = VideoMAEEncoderConfig(image_size=64, patch_size=8, width=128, depth=4, heads=4)
    return Recipe(
        model=VideoMAEClassifierConfig(encoder=sizes, num_classes=14, head_scale=1.0),
        task=world_actions(root),
        init=Init(videomae=encoder),
        optim=Optim(lr=5e-4, weight_decay=0.05, schedule="cosine", warmup_steps=40, clip_norm=1.0),
        train=Train(global_batch=32, steps=600, workers=1, keep_best="recognition/top1", seed=seed),
    )


def toy(recipe: Recipe, root: Path = WORLD, steps: int = 2) -> Recipe:
    """Shrink any recipe to seconds on the generated world: its objective, schedule and precision stay, sizes go.

    Tasks on features read `root/features/toy` and `root/text/toy`, made with a toy's bundle.
    """
    short = replace(recipe.train, global_batch=8, epochs=None, steps=steps, workers=0, sample_timeout=None)
    short = replace(short, evaluate_every=steps, save_every=1)
    shrunk = replace(_toy_task(recipe, root), init=Init())
    return replace(shrunk, train=replace(short, keep_best=recipe.train.keep_best))


def _toy_task(recipe: Recipe, root: Path) -> Recipe:
    task = recipe.task
    if isinstance(task, VideoText | Mixture):
        return _toy_pretraining(recipe, task, root)
    if isinstance(task, StateChange):
        return _toy_state_change(recipe, task, root)
    if isinstance(task, Recognition):
        return _toy_recognition(recipe, task, root)
    if isinstance(task, MaskedVideo):
        return _toy_masked_video(recipe, task, root)
    features = replace(world_features(root, "toy"), widths=())
    annotations = root / "annotations"
    if isinstance(task, LanguageQuery):
        model, head = _toy_query_head(recipe.model, task.head)
        small = replace(
            task,
            train_queries=annotations / "nlq_train.json",
            val_queries=annotations / "nlq_val.json",
            test_queries=annotations / "nlq_test_unannotated.json",
            features=features,
            text=root / "text" / "toy",
            head=head,
        )
        return replace(recipe, model=model, task=small)
    model, head = _toy_segment_head(recipe.model, task.head)
    small = replace(
        task,
        train_segments=annotations / "moments_train.json",
        val_segments=annotations / "moments_val.json",
        test_segments=annotations / "moments_test_unannotated.json",
        features=features,
        head=head,
    )
    return replace(recipe, model=model, task=small)


def _toy_pyramid(model: PointPyramidConfig, text: int | None) -> PointPyramidConfig:
    """Return a small pyramid of the same kind."""
    sizes = {"width": 32, "neck_width": 32, "head_width": 32, "heads": 2, "levels": 3, "stem_blocks": 1}
    return replace(
        model, input_widths=(TOY_WIDTH,), projected_widths=(), max_steps=128, windows=(9,), text_width=text, **sizes
    )


def _toy_query_head(model: Model, head: QueryHead) -> tuple[Model, QueryHead]:
    if isinstance(model, VSLNetConfig):
        return replace(model, video_dim=TOY_WIDTH, text_dim=TOY_WIDTH, width=32, heads=2, max_positions=128), head
    if isinstance(model, Tan2dConfig):
        return replace(model, video_dim=TOY_WIDTH, text_dim=TOY_WIDTH, width=32), head
    assert isinstance(model, PointPyramidConfig)  # MODELS_OF
    return _toy_pyramid(model, TOY_WIDTH), head


def _toy_segment_head(model: Model, head: SegmentHead) -> tuple[Model, SegmentHead]:
    if isinstance(head, VSGNHead):
        assert isinstance(model, VSGNConfig)  # MODELS_OF
        sizes = {"num_steps": 128, "width": 32, "num_levels": 3, "tower_layers": 1}
        small = replace(model, feature_dim=TOY_WIDTH, num_classes=WORLD_MOMENTS, **sizes)
        return small, replace(head, num_steps=128)
    assert isinstance(model, PointPyramidConfig)  # MODELS_OF
    small = replace(_toy_pyramid(model, None), num_classes=WORLD_MOMENTS)
    return small, replace(head, crop=replace(head.crop, max_rows=128))


def _toy_state_change(recipe: Recipe, task: StateChange, root: Path) -> Recipe:
    model: Model = recipe.model
    trunk = ResNet3dConfig(arch="c2d", width=4, depths=(1, 1, 1, 1))
    if isinstance(model, StateChangeConfig):
        video = replace(model.video, image_size=32, patch_size=16, width=32, depth=1, heads=2)
        model = replace(model, video=video)
    elif isinstance(model, FrameLstmConfig):
        model = replace(model, trunk=trunk, hidden=8)
    elif isinstance(model, DualHeadConfig):
        model = replace(model, trunk=replace(trunk, arch=model.trunk.arch), image_size=32, grid=1)
    preprocess = replace(task.preprocess, image_size=32, resize=32)
    small = replace(
        task, videos=root / "full_scale", annotations=root / "annotations", preprocess=preprocess, frame_rule="even"
    )
    return replace(recipe, model=model, task=small)


def _toy_masked_video(recipe: Recipe, task: MaskedVideo, root: Path) -> Recipe:
    assert isinstance(recipe.model, VideoMAEConfig)  # MODELS_OF
    sizes = {"image_size": 32, "patch_size": 8, "num_frames": 4, "width": 32, "depth": 2, "heads": 2}
    encoder = replace(recipe.model.encoder, **sizes)
    model = replace(recipe.model, encoder=encoder, decoder_width=16, decoder_depth=1, decoder_heads=2)
    small = replace(
        task,
        videos=root / "full_scale",
        listing=None,
        val_listing=None if task.val_listing is None else root / "kinetics" / "val.csv",
        preprocess=Preprocess(num_frames=4, image_size=32, resize=32),
        patch_size=8,
    )
    return replace(recipe, model=model, task=small)


def _toy_recognition(recipe: Recipe, task: Recognition, root: Path) -> Recipe:
    model: Model = recipe.model
    assert isinstance(model, VideoMAEClassifierConfig | ActionProbeConfig)  # MODELS_OF
    encoder = replace(
        model.encoder, image_size=32, patch_size=16, num_frames=4, width=32, depth=2, heads=2, mlp_ratio=4
    )
    heads = {"heads": 2} if isinstance(model, ActionProbeConfig) else {}
    model = replace(model, encoder=encoder, **heads)
    own, preprocess = world_actions(root), Preprocess(num_frames=4, image_size=32, resize=32)
    where = {name: getattr(own, name) for name in ("root", "layout", "annotations", "classes")}
    small = replace(task, **where, preprocess=preprocess, decode_size=40, fit_classes=True, overfit_steps=0)
    return replace(recipe, model=model, task=replace(small, flip_directions=False))


def _toy_pretraining(recipe: Recipe, task: VideoText | Mixture, root: Path) -> Recipe:
    small = world_ego_nce(root)
    assert isinstance(small.model, FrozenConfig)  # MODELS_OF
    video = replace(small.model.video, image_size=32, patch_size=16, width=32, depth=2, heads=2)
    text = replace(small.model.text, dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    if isinstance(task, Mixture):
        task = replace(task, sources=tuple(_toy_source(source, root) for source in task.sources))
    else:
        task = _toy_source(task, root)
    watch: EgoMCQ | Retrieval | None = recipe.watch
    if isinstance(watch, EgoMCQ):
        videos, questions = world_pairs(root).videos, root / "egomcq.json"
        watch = EgoMCQ(videos=videos, questions=questions, preprocess=task.preprocess, max_questions=8)
    elif isinstance(watch, Retrieval):
        watch = Retrieval(videos=root, pairs=root / "captions" / "val.jsonl", preprocess=task.preprocess)
    model = FrozenConfig(video=video, text=text, shared_dim=TOY_WIDTH)
    return replace(recipe, model=model, task=task, watch=watch, init=Init())


def _toy_source(task: VideoText, root: Path) -> VideoText:
    """Return one source on the world's files of its layout."""
    videos, pairs = {
        "egoclip": (root / "full_scale", root / "egoclip.csv"),
        "captions": (root, root / "captions" / "train.jsonl"),
        "webvid": (root / "webvid" / "videos", root / "webvid" / "results_2M_train.csv"),
        "cc3m": (root / "cc3m" / "training", root / "cc3m" / "Train_GCC-training.tsv"),
        "howto100m": (root / "full_scale", root / "howto100m" / "caption.json"),
    }[task.kind]
    preprocess = Preprocess(num_frames=min(task.preprocess.num_frames, 4), image_size=32, resize=32)
    files = CaptionFiles(epoch_of="clips", max_characters=task.files.max_characters)  # a small world has few videos
    return replace(task, videos=videos, pairs=pairs, preprocess=preprocess, files=files)
