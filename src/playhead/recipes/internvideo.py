"""Masked video pretraining of InternVideo: VideoMAE of three sizes on UnlabeledHybrid.

Every figure here is quoted as *published*, top-1 on Kinetics-400 after fine-tuning; none was measured with this
package. Where the paper's text and the released scripts differ, the scripts count: they made the released weights.

UnlabeledHybrid is about 1.35 M clips of K710, Something-Something v2, AVA, WebVid and of InternVideo's own, which were
not published. Its list is VideoMAE's: `path start_index total_frames label`, in `unlabeled_hybrid/list.txt`.

Learning rates follow `base * global batch / 256`, where the repeats of a clip are not counted (VideoMAE V2's authors
confirm it), and rise from 0: the scripts' --warmup_lr is never used. Both run in bf16 here, in fp16 there.

Source: InternVideo (Wang et al., 2022), section 3.1 and appendix; its Pretrain/VideoMAE/scripts.
"""

from pathlib import Path

from playhead.models.videomae import Size, videomae
from playhead.recipes.base import Recipe
from playhead.tasks.masked_video import MaskedVideo
from playhead.train.config import Optim, Train

UNLABELED = Path("unlabeled_hybrid")


def _pretraining(
    size: Size,
    *,
    global_batch: int,
    epochs: int,
    warmup_epochs: int,
    base_lr: float,
    base_min_lr: float,
    repeats: int = 1,
) -> Recipe:
    scale = global_batch / 256
    return Recipe(
        model=videomae(size),
        task=MaskedVideo(
            videos=UNLABELED,
            listing=UNLABELED / "list.txt",
            strides=(("SomethingV2", 2),),  # its videos have 12 frames a second
            repeats=repeats,
        ),
        optim=Optim(
            lr=base_lr * scale,
            min_lr=base_min_lr * scale,
            betas=(0.9, 0.95),
            weight_decay=0.05,
            schedule="cosine",
            warmup_epochs=warmup_epochs,
            warmup_start=0.0,
        ),
        train=Train(global_batch=global_batch, epochs=epochs, precision="bf16", workers=8),
    )


def videomae_base() -> Recipe:
    """Pretrain VideoMAE ViT-B on UnlabeledHybrid: 800 epochs, 32 GPUs of 64 clips. Published: 81.5."""
    return _pretraining("base", global_batch=2048, epochs=801, warmup_epochs=40, base_lr=1.5e-4, base_min_lr=1e-5)


def videomae_large() -> Recipe:
    """Pretrain VideoMAE ViT-L on UnlabeledHybrid: 800 epochs, 48 GPUs of 24 clips, a decoder of 12 blocks."""
    return _pretraining("large", global_batch=1152, epochs=801, warmup_epochs=40, base_lr=1.5e-4, base_min_lr=1e-5)


def videomae_huge() -> Recipe:
    """Pretrain VideoMAE ViT-H on UnlabeledHybrid: 300 epochs of four crops each, 64 GPUs of 6 clips.

    The paper's text says 1200 epochs, counting each of the four, and a tenth of them to warm up; the script 15 of 301.
    Published: 89.5 with 32 frames of 384 pixels (a file's name says it).
    """
    return _pretraining(
        "huge", global_batch=384, epochs=301, warmup_epochs=15, base_lr=1e-3, base_min_lr=5e-5, repeats=4
    )
