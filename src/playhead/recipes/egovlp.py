"""EgoVLP's pretraining runs.

Published figures here are quoted from the papers; none was measured with this package unless a file under
`benchmarks/results/` says so.
"""

from dataclasses import replace
from pathlib import Path

from playhead.models.frozen import frozen_base
from playhead.recipes.base import Init, Recipe
from playhead.tasks.multiple_choice import EgoMCQ
from playhead.tasks.video_text import VideoText
from playhead.train.config import Optim, Train
from playhead.video.transforms import Preprocess

EGO4D = Path("ego4d")


def egoclip() -> Recipe:
    """Pretrain Frozen on EgoClip with EgoNCE and scene-aware negatives: the row "Frozen+EgoNCE, EgoClip".

    Source: EgoVLP report, sections 2.2 and 3.1: ViT-B/16 from ImageNet-21k, distilbert-base-uncased, 4 frames of
    224 px, shared space 256, temperature 0.05, Adam at 3e-5, batch 512, 10 epochs. Watch: EgoMCQ.
    Published: EgoMCQ 90.7 inter, 57.2 intra (32 A100, about two days); report, Tables 1 to 3, val: NLQ R@1 and R@5 at
    IoU 0.3 10.84, 18.84; MQ mean mAP 11.39; OSCC 73.9 %; PNR 0.622 s.
    """
    preprocess = Preprocess(num_frames=4, image_size=224)
    return Recipe(
        model=frozen_base(num_frames=4),
        init=Init(
            vit=EGO4D / "jx_vit_base_p16_224-80ecf9dd.pth", distilbert=EGO4D / "distilbert-base-uncased.safetensors"
        ),
        task=VideoText(videos=EGO4D / "full_scale", pairs=EGO4D / "egoclip.csv", preprocess=preprocess),
        watch=EgoMCQ(videos=EGO4D / "full_scale", questions=EGO4D / "egomcq.json", preprocess=preprocess),
        optim=Optim(lr=3e-5, eps=1e-6, weight_decay=0.0),
        train=Train(global_batch=512, epochs=10, precision="bf16", keep_best="egomcq/intra"),
    )


def egoclip_info_nce() -> Recipe:
    """Pretrain Frozen on EgoClip with InfoNCE: the row "Frozen, EgoClip" of the report's tables.

    Published (Tables 1 to 3, val): NLQ R@1 and R@5 at IoU 0.3 10.53, 17.94; MQ mean mAP 10.69; OSCC 73.4 %; PNR
    0.618 s.
    """
    recipe = egoclip()
    return replace(recipe, task=replace(recipe.task, loss_name="info_nce", neighbour_within=None))


def egoclip_released() -> Recipe:
    """Pretrain as the released code really does: no neighbours, and a rate that jumps to 2e-4 after the first epoch.

    Source: showlab/EgoVLP configs/pt/egoclip.json ("neg_param": false; 16 places in time of which 4 are trained) and
    its trainer's `_adjust_learning_rate`.
    """
    recipe = egoclip()
    return replace(
        recipe,
        model=frozen_base(num_frames=16),
        task=replace(recipe.task, neighbour_within=None, neighbour_rule="released_bins"),
        optim=replace(recipe.optim, schedule="egovlp_released"),
        train=replace(recipe.train, precision="fp32"),
    )


def egoclip_fast() -> Recipe:
    """Pretrain as `egoclip` does, arranged for few GPUs: what is learnt is the same, what it costs is not.

    Videos are what `playhead transcode --chunk-seconds 15` writes, in `ego4d/chunks`: a key frame every 15 pictures, so
    that a clip is decoded from near its start. Workers only decode and cut; the model's device resizes and flips.
    Attention keeps no matrix of weights (`models/layers.py`), blocks are recomputed in the backward pass, and a loss of
    over 1,024 rows is computed in blocks. The paper's 512 pairs with their neighbours are then 256 clips on each of
    four GPUs; on fewer, `--train.micro-batch 256 --train.no-checkpoint-activations` encodes so many at once, which has
    the same price of one more forward pass. `--train.global-batch` may be raised as memory allows; the paper knows 512
    only. What the run costs here, `playhead plan egoclip_fast` projects from measured clips per second.

    Published for `egoclip`, which this stands for: EgoMCQ 90.7 inter, 57.2 intra. No figure of this recipe is known.
    Source: AVION (Zhao and Kraehenbuehl, 2023), which trains a model of this size on Ego4D in about 130 A5000 hours by
    such means; rate, loss and epochs are EgoVLP's.
    """
    recipe = egoclip()
    assert isinstance(recipe.task, VideoText) and isinstance(recipe.watch, EgoMCQ)  # egoclip() says so
    chunks = EGO4D / "chunks"
    return replace(
        recipe,
        task=replace(recipe.task, videos=chunks, augment_on_device=True, open_videos=32),
        watch=replace(recipe.watch, videos=chunks),
        train=replace(recipe.train, checkpoint_activations=True, workers=8, max_broken=0.001, sample_timeout=120.0),
    )
