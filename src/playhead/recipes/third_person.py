"""Pretraining on third-person sources: the rows "CC3M+WebVid2M" and "HowTo100M" of EgoVLP's tables.

Every figure here is quoted as *published* (EgoVLP report, Tables 1 to 3, val): NLQ is R@1 and R@5 at IoU 0.3, MQ the
mean mAP, OSCC accuracy and PNR error; none was measured with this package. The report says that pretraining follows
Frozen in Time and gives one set of numbers for all rows; how it trained on these sources, or whose checkpoints it took,
it does not say. What is taken from elsewhere, or chosen here, is told in each recipe.
"""

from dataclasses import replace
from pathlib import Path

from playhead.data.caption_sources import CaptionFiles
from playhead.recipes.base import Recipe
from playhead.recipes.egovlp import egoclip
from playhead.tasks.mixture import Mixture
from playhead.tasks.video_text import VideoText
from playhead.video.transforms import Preprocess

SOURCES = Path("sources")


def webvid_cc3m() -> Recipe:
    """Pretrain Frozen on CC3M's pictures and WebVid-2M's clips in turn: the row "Frozen, CC3M+WebVid2M".

    Published: NLQ 5.06, 10.30; MQ 6.58; OSCC 71.5 %; PNR 0.614 s.

    Source: Frozen in Time (Bain et al., 2021), section 4 and released configuration `cc-webvid2m-pt-i2k.json`: a batch
    of each source in turn, pictures as one frame, captions of WebVid cut at 350 letters, InfoNCE at 0.05, AdamW at
    3e-5. Its author: first one frame of both until the loss is flat, then four of WebVid and one of CC3M. This is the
    second stage; the first is `--task.sources.1.preprocess.num-frames 1 --watch.preprocess.num-frames 1`, whose bundle
    `--init.bundle` then takes up. Batch, epochs and the watch on EgoMCQ are the report's for EgoClip.
    """
    preprocess = Preprocess(num_frames=4, image_size=224)
    cc3m = VideoText(
        videos=SOURCES / "cc3m" / "training",
        pairs=SOURCES / "cc3m" / "Train_GCC-training.tsv",
        kind="cc3m",
        loss_name="info_nce",
        neighbour_within=None,
        preprocess=replace(preprocess, num_frames=1),
    )
    webvid = replace(
        cc3m,
        videos=SOURCES / "webvid" / "videos",
        pairs=SOURCES / "webvid" / "results_2M_train.csv",
        kind="webvid",
        files=CaptionFiles(max_characters=350),
        preprocess=preprocess,
    )
    return replace(egoclip(), task=Mixture(sources=(cc3m, webvid), weights=(1.0, 1.0)))


def howto100m() -> Recipe:
    """Pretrain Frozen on HowTo100M: the row "Frozen, HowTo100M".

    Published: NLQ 3.95, 8.72; MQ 6.72; OSCC 71.7 %; PNR 0.611 s.

    An epoch passes every video once, with one of its captions drawn anew, and captions of less than 4 s are widened:
    both as in the released loader of MIL-NCE (Miech et al., 2020), for lack of anything published about this row; a
    pass over all 136 M captions is `--task.files.epoch-of clips`. The rest is the report's setting for EgoClip, with
    InfoNCE, since these captions have no tags.
    """
    recipe = egoclip()
    assert isinstance(recipe.task, VideoText)  # egoclip() says so
    task = replace(
        recipe.task,
        videos=SOURCES / "howto100m" / "videos",
        pairs=SOURCES / "howto100m" / "caption.json",
        kind="howto100m",
        loss_name="info_nce",
        neighbour_within=None,
    )
    return replace(recipe, task=task)
