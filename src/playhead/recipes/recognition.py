"""Action recognition with VideoMAE: fine-tuning, supervised post-pretraining on Kinetics-710, and probes.

Settings are those of the published scripts; rates follow the global batch as there, lr = base * batch / 256, and
repeated views are not counted. Figures are quoted as published; none of them was reproduced here, as data sets and
weights of that size were not at hand.

Source: VideoMAE (Tong et al., 2022), appendix; InternVideo (Wang et al., 2022) and its scripts, which give no batch for
the sizes base and large: 512 is then taken.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from playhead.models.action_probe import ActionProbeConfig
from playhead.models.videomae import VideoMAEClassifierConfig, videomae_classifier, videomae_encoder
from playhead.recipes.base import Init, Recipe
from playhead.tasks.recognition import Recognition, Views
from playhead.tasks.recognition_samples import ClipRule
from playhead.train.config import Optim, Train
from playhead.video.augment_policy import RandAugment
from playhead.video.erasing import Erase
from playhead.video.transforms import Augment, Preprocess

KINETICS, SOMETHING = Path("kinetics"), Path("something-something-v2")
BEST = "recognition/top1"


def fine_tuning(base_lr: float, batch: int, layer_decay: float, warmup_epochs: int = 5) -> Optim:
    """Return the optimiser of VideoMAE's fine-tuning."""
    scale = batch / 256
    return Optim(
        lr=base_lr * scale,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        layer_decay=layer_decay,
        schedule="cosine",
        warmup_epochs=warmup_epochs,
        warmup_start=0.0,
        min_lr=min(1e-6, base_lr) * scale,
    )


def kinetics_task(clips: int, classes: str | None = None, root: Path = KINETICS) -> Recognition:
    """Return recognition on Kinetics: 16 frames at a stride of 4, two views per clip, `clips` x 3 views in testing."""
    return Recognition(
        root=root,
        layout="kinetics",
        annotations=root / "annotations",
        classes=classes,
        clip=ClipRule(sampling="dense", stride=4),
        decode_size=320,
        repeats=2,
        views=Views(clips=clips, crops=3),
    )


def something_task(repeats: int, root: Path = SOMETHING) -> Recognition:
    """Return recognition on Something-Something v2: 16 frames over the whole video, never flipped, 2 x 3 views."""
    return Recognition(
        root=root / "videos",
        layout="something",
        annotations=root / "labels",
        clip=ClipRule(sampling="segments"),
        decode_size=240,
        repeats=repeats,
        augment=Augment(scale=(0.08, 1.0), flip=0.0),
        views=Views(clips=2, crops=3),
    )


def videomae_k400_base() -> Recipe:
    """Fine-tune VideoMAE-B on Kinetics-400 (published: top-1 81.5 from the hybrid pretraining, 16x5x3 views).

    Give `--init.videomae` the pretrained file, and `--task.root`, `--task.annotations` the videos and official lists.
    """
    return Recipe(
        model=videomae_classifier("base", num_classes=400, drop_path=0.1),
        task=kinetics_task(clips=5),
        optim=fine_tuning(1e-3, 512, layer_decay=0.75),
        train=Train(global_batch=512, epochs=100, precision="bf16", keep_best=BEST),
    )


def videomae_k400_large() -> Recipe:
    """Fine-tune VideoMAE-L on Kinetics-400, 16x5x3 views."""
    return Recipe(
        model=videomae_classifier("large", num_classes=400, drop_path=0.2),
        task=kinetics_task(clips=5),
        optim=fine_tuning(2e-3, 512, layer_decay=0.75),
        train=Train(global_batch=512, epochs=40, precision="bf16", keep_best=BEST),
    )


def videomae_k400_huge() -> Recipe:
    """Fine-tune VideoMAE-H on Kinetics-400, 16x7x3 views."""
    return Recipe(
        model=_huge(400),
        task=kinetics_task(clips=7),
        optim=fine_tuning(1e-3, 128, layer_decay=0.8),
        train=Train(global_batch=128, epochs=35, precision="bf16", keep_best=BEST),
    )


def videomae_ssv2_base() -> Recipe:
    """Fine-tune VideoMAE-B on Something-Something v2 (published: top-1 71.2 from the hybrid pretraining, 16x2x3 views).

    Without flips: its classes tell left from right.
    """
    return Recipe(
        model=videomae_classifier("base", num_classes=174, drop_path=0.1),
        task=something_task(repeats=2),
        optim=fine_tuning(2e-3, 512, layer_decay=0.65),
        train=Train(global_batch=512, epochs=25, precision="bf16", keep_best=BEST),
    )


def videomae_ssv2_huge() -> Recipe:
    """Fine-tune VideoMAE-H on Something-Something v2 (published, with UniFormerV2 as InternVideo: top-1 77.2)."""
    return Recipe(
        model=_huge(174, head_dropout=0.3),
        task=something_task(repeats=1),
        optim=fine_tuning(5e-4, 128, layer_decay=0.8),
        train=Train(global_batch=128, epochs=30, precision="bf16", keep_best=BEST),
    )


def k710_postpretrain() -> Recipe:
    """Train VideoMAE-H on Kinetics-710, the union of Kinetics-400, -600 and -700, as InternVideo's classifiers start.

    Make the lists with `playhead kinetics710`. Published for the size base: top-1 79.3 on its validation videos.
    """
    return Recipe(
        model=_huge(710),
        task=kinetics_task(clips=7, classes="k710"),
        optim=fine_tuning(1e-3, 128, layer_decay=0.8),
        train=Train(global_batch=128, epochs=40, precision="bf16", keep_best=BEST),
    )


def k710_to_k400() -> Recipe:
    """Fine-tune `k710_postpretrain` on Kinetics-400; its head is carried over by the names of the classes."""
    return _after_k710("k400")


def k710_to_k600() -> Recipe:
    """Fine-tune `k710_postpretrain` on Kinetics-600; its head is carried over by the names of the classes."""
    return _after_k710("k600")


def k710_to_k700() -> Recipe:
    """Fine-tune `k710_postpretrain` on Kinetics-700; its head is carried over by the names of the classes."""
    return _after_k710("k700")


def recognition() -> Recipe:
    """Train a small VideoMAE classifier on videos of your own, one folder per class: `--task.root my_clips/`.

    It starts at random, unless `--init.videomae` gives a pretrained model, whose sizes `--model.encoder` must then
    name. The number of classes is that of the data. First one batch is learnt by heart, to see that labels and videos
    belong together.
    """
    encoder = videomae_encoder("small", image_size=112, depth=6)
    return Recipe(
        model=VideoMAEClassifierConfig(encoder=encoder, num_classes=2, head_scale=1.0),
        task=Recognition(
            root=Path("my_clips"),
            preprocess=Preprocess(num_frames=16, image_size=112, resize=128),
            decode_size=128,
            augment=Augment(scale=(0.5, 1.0)),
            policy=RandAugment(operations=2, magnitude=5.0, bicubic=False),
            erase=Erase(),
            mixing=None,
            fit_classes=True,
            overfit_steps=80,
        ),
        optim=Optim(lr=3e-4, betas=(0.9, 0.999), weight_decay=0.05, schedule="cosine", warmup_epochs=2, clip_norm=1.0),
        train=Train(global_batch=16, epochs=30, keep_best=BEST),
    )


def recognition_linear_probe() -> Recipe:
    """Learn a linear layer over the frozen encoder of a pretrained VideoMAE-B, on videos of your own."""
    return _probe("linear")


def recognition_attentive_probe() -> Recipe:
    """Learn one query and one block over the frozen encoder of a pretrained VideoMAE-B, on videos of your own."""
    return _probe("attentive")


def _huge(num_classes: int, head_dropout: float = 0.5) -> VideoMAEClassifierConfig:
    return videomae_classifier("huge", num_classes=num_classes, head_dropout=head_dropout, drop_path=0.2)


def _after_k710(name: Literal["k400", "k600", "k700"]) -> Recipe:
    """Source: InternVideo's scripts: rate 2e-6 for a batch of 256, 3 epochs, 1 of them warm-up; 8 GPUs x 4 clips."""
    after = k710_postpretrain()
    num_classes = int(name.removeprefix("k"))
    return replace(
        after,
        model=_huge(num_classes),
        task=kinetics_task(clips=7, root=Path(name)),
        init=Init(videomae=Path("runs/k710_postpretrain/bundle"), head_classes="k710"),
        optim=fine_tuning(2e-6, 32, layer_decay=0.8, warmup_epochs=1),
        train=replace(after.train, global_batch=32, epochs=3),
    )


def _probe(kind: Literal["linear", "attentive"]) -> Recipe:
    own = recognition()
    assert isinstance(own.task, Recognition)  # see above
    task = replace(
        own.task,
        preprocess=Preprocess(num_frames=16, resize=224),
        decode_size=256,
        policy=None,
        erase=None,
        label_smoothing=0.0,
    )
    return replace(
        own,
        model=ActionProbeConfig(encoder=videomae_encoder("base"), num_classes=2, kind=kind),
        task=task,
        optim=Optim(lr=1e-3, weight_decay=0.01, schedule="cosine", warmup_epochs=1),
        train=Train(global_batch=32, epochs=20, keep_best=BEST),
    )
