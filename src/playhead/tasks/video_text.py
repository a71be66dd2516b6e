"""Contrastive pretraining on clips and their narrations: EgoClip with EgoNCE, or any captioned videos with InfoNCE.

Source: EgoVLP (Lin et al., 2022), sections 2.2 and 3.1. A picture is a video of as many equal frames as asked for; one,
as in Frozen in Time (Bain et al., 2021), whose video tower gives it the first place in time.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from playhead.data.caption_sources import CaptionFiles, CaptionSource, open_captions
from playhead.data.captions import CaptionPair, read_captions
from playhead.data.egoclip import EgoClip, EgoClipRow, multi_hot
from playhead.errors import RecipeError
from playhead.objectives.action_lists import action_lists
from playhead.objectives.blockwise import WIDEST, blockwise_ego_nce, blockwise_info_nce
from playhead.objectives.ego_nce import action_positives, ego_nce
from playhead.objectives.info_nce import info_nce
from playhead.tasks.clips import SUFFIXES, ClipReader
from playhead.text import load_tokenizer
from playhead.types import ClipRef, ClipTextBatch, DualEncoder, Loss, Tokens, View
from playhead.video.decode import DecoderCache
from playhead.video.transforms import Augment, Preprocess, normalize, show_views

DENSE_ROWS = 1024  # up to here N x N matrices are small beside a model, and their fewer operations start sooner


@dataclass(frozen=True, slots=True)
class ClipTextSample:
    """One row of a batch: uint8 frames, the text, its taxonomy ids as multi-hot rows, and where it came from.

    `view` says what is still to be done to the frames; nothing if unset.
    """

    frames: UInt8[Tensor, "T C H W"]
    text: str
    nouns: np.ndarray
    verbs: np.ndarray
    name: str
    view: View | None = None


@dataclass(frozen=True)
class EgoClipSamples:
    """Rows of EgoClip, each with one neighbour in time if asked for."""

    table: EgoClip
    reader: ClipReader
    augment: Augment
    neighbour_within: float | None
    neighbour_rule: Literal["within", "released_bins"]
    cut_only: bool = False

    def __len__(self) -> int:
        return len(self.table)

    def read(self, index: int, seed: int) -> tuple[ClipTextSample, ...]:
        """Return the pair, then (with `neighbour_within`) the pair of a neighbour."""
        generator = np.random.default_rng(seed)
        rows = [index]
        if self.neighbour_within is not None:
            rows.append(self.table.draw_neighbour(index, generator, self.neighbour_within, self.neighbour_rule))
        return tuple(self._read_row(row, int(generator.integers(2**31))) for row in rows)

    def _read_row(self, index: int, seed: int) -> ClipTextSample:
        row: EgoClipRow = self.table[index]
        frames, view = self.reader.read_random(row.ref, self.augment, seed, cut_only=self.cut_only)
        return ClipTextSample(
            frames=frames,
            text=row.text,
            nouns=multi_hot(row.nouns, self.table.num_nouns),
            verbs=multi_hot(row.verbs, self.table.num_verbs),
            name=f"{row.video_id} at {row.time:.2f} s",
            view=view,
        )


@dataclass(frozen=True)
class CaptionSamples:
    """Captioned clips without a taxonomy: every text is only its own clip's."""

    pairs: tuple[CaptionPair, ...]
    reader: ClipReader
    augment: Augment
    cut_only: bool = False

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int, seed: int) -> tuple[ClipTextSample, ...]:
        """Return the one pair."""
        pair = self.pairs[index]
        ref = ClipRef(pair.file, pair.span) if pair.span is not None else self.reader.whole(pair.file)
        frames, view = self.reader.read_random(ref, self.augment, seed, cut_only=self.cut_only)
        none = np.zeros(0, dtype=bool)
        return (ClipTextSample(frames, pair.text, none, none, pair.file, view),)


@dataclass(frozen=True)
class SourceSamples:
    """Captioned clips of a published source; what is random about a clip, its caption included, comes from the seed."""

    source: CaptionSource
    reader: ClipReader
    augment: Augment
    cut_only: bool = False

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int, seed: int) -> tuple[ClipTextSample, ...]:
        """Return the one pair."""
        pair, none = self.source.draw(index, np.random.default_rng(seed)), np.zeros(0, dtype=bool)
        if self.source.layout == "cc3m":
            read = self.reader.read_random_still(pair.file, self.augment, seed, cut_only=self.cut_only)
        else:
            ref = ClipRef(pair.file, pair.span) if pair.span is not None else self.reader.whole(pair.file)
            read = self.reader.read_random(ref, self.augment, seed, cut_only=self.cut_only)
        frames, view = read
        return (ClipTextSample(frames, pair.text, none, none, pair.file, view),)


@dataclass(frozen=True, kw_only=True)
class VideoText:
    """Pull each clip to its narration and away from the others' of the global batch.

    Raises:
        RecipeError: EgoNCE or neighbours are asked for on caption pairs, which have neither actions nor a time line.
    """

    videos: Path
    """Folder of the videos, one `<video_uid>.mp4` each, or of the pictures."""
    pairs: Path
    """`egoclip.csv` in the published layout (or its .arrow), caption pairs as .csv / .jsonl of `data.captions`,
    `results_2M_train.csv`, `Train_GCC-training.tsv`, or HowTo100M's `caption.json` or folder of csv files."""
    kind: Literal["egoclip", "captions", "webvid", "cc3m", "howto100m"] = "egoclip"
    """Layout of `pairs`."""
    files: CaptionFiles = field(default_factory=CaptionFiles)
    """How the files of WebVid, CC3M and HowTo100M lie on this disk, and which of their rows count."""
    loss_name: Literal["ego_nce", "info_nce"] = "ego_nce"
    """EgoNCE counts narrations of the same action as positives; InfoNCE only the clip's own."""
    temperature: float = 0.05
    """EgoVLP, section 3.1; fixed, not learned."""
    loss_form: Literal["auto", "dense", "blockwise", "blockwise_bf16"] = "auto"
    """How the loss of N rows is computed: with N x N matrices (dense) or in blocks of rows, with the same result up to
    rounding; "auto" is blockwise above 1,024 rows. "blockwise_bf16" halves its time where bf16 is fast and changes the
    gradient by about a hundredth."""
    positives: Literal["noun_and_verb", "noun", "verb"] = "noun_and_verb"
    """What two narrations must share to tell the same action (EgoNCE)."""
    neighbour_within: float | None = 60.0
    """Add to each pair a clip of the same video less than so many seconds away (scene-aware negatives); none if unset.
    The released configuration has them off, the paper on."""
    neighbour_rule: Literal["within", "released_bins"] = "within"
    """"within" is the paper's; "released_bins" the released code's fixed bins of the time line, the clip itself
    included."""
    preprocess: Preprocess = field(default_factory=Preprocess)
    """Frames per clip, sizes and normalisation."""
    augment: Augment = field(default_factory=Augment)
    """Random crop, flip and colour of the training clips."""
    augment_on_device: bool = False
    """Let workers only decode and cut; resize, flip and jitter on the model's device, with the same result up to
    rounding there."""
    tokenizer: str = "bert-base-uncased"
    """Vocabulary of the text tower."""
    max_words: int | None = None
    """Longest text in tokens; the vocabulary's own limit by default."""
    open_videos: int = 8
    """Videos that each worker keeps open between clips; more spare the opening where all of them fit."""

    def __post_init__(self):
        if self.kind != "egoclip" and (self.loss_name == "ego_nce" or self.neighbour_within is not None):
            raise RecipeError(
                "caption pairs have no actions and no neighbours; set loss_name='info_nce' and neighbour_within=None."
            )
        if self.temperature <= 0:
            raise RecipeError(f"temperature must be above 0, got {self.temperature}.")
        if self.loss_form != "dense" and self.temperature * WIDEST < 1:
            raise RecipeError(
                f"temperature {self.temperature} is too low for a loss in blocks, which takes {1 / WIDEST:.4f} up; "
                "raise it, or set loss_form='dense'."
            )

    def samples(self, split: str) -> EgoClipSamples | CaptionSamples | SourceSamples:
        """Return the training pairs; `pairs` is one split."""
        reader = ClipReader(self.videos, self.preprocess, DecoderCache(capacity=self.open_videos))
        cut_only = self.augment_on_device
        if self.kind == "captions":
            return CaptionSamples(tuple(read_captions(self.pairs)), reader, self.augment, cut_only)
        if self.kind != "egoclip":
            suffixes = SUFFIXES if self.kind == "howto100m" else ()  # the others name their files in full
            source = open_captions(self.kind, self.pairs, self.videos, self.files, suffixes)
            return SourceSamples(source, reader, self.augment, cut_only)
        table = EgoClip.open(self.pairs)
        return EgoClipSamples(table, reader, self.augment, self.neighbour_within, self.neighbour_rule, cut_only)

    def collate(self, samples: list[tuple[ClipTextSample, ...]]) -> ClipTextBatch:
        """Stack all anchors, then all their neighbours."""
        rows = [row for place in zip(*samples, strict=True) for row in place]
        is_varied = all(row.view is None for row in rows)
        return ClipTextBatch(
            video=torch.stack([row.frames for row in rows]) if is_varied else _in_corners([row.frames for row in rows]),
            text=load_tokenizer(self.tokenizer)([row.text for row in rows], max_length=self.max_words),
            nouns=torch.from_numpy(np.stack([row.nouns for row in rows])),
            verbs=torch.from_numpy(np.stack([row.verbs for row in rows])),
            names=tuple(row.name for row in rows),
            views=() if is_varied else tuple(row.view or View(0, 0, *row.frames.shape[-2:]) for row in rows),
        )

    def split(self, batch: ClipTextBatch, size: int) -> list[ClipTextBatch]:
        """Return the batch in parts of `size` rows (the last may have fewer), in its order."""
        bounds = [slice(first, first + size) for first in range(0, len(batch.names), size)]
        return [
            replace(
                batch,
                video=batch.video[part],
                text=Tokens(batch.text.ids[part], batch.text.mask[part]),
                nouns=batch.nouns[part],
                verbs=batch.verbs[part],
                names=batch.names[part],
                views=batch.views[part],
            )
            for part in bounds
        ]

    def encode(self, model: DualEncoder, batch: ClipTextBatch) -> dict[str, Tensor]:
        """Return the unit rows of both sides and their tags."""
        video = show_views(batch.video, batch.views, self.preprocess.image_size) if batch.views else batch.video
        return {
            "video": model.encode_video(normalize(video, self.preprocess.mean, self.preprocess.std)),
            "text": model.encode_text(batch.text),
            "nouns": batch.nouns,
            "verbs": batch.verbs,
        }

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return EgoNCE or InfoNCE of the global batch; "accuracy" is how often a clip is nearest to a true text."""
        is_dense = self.loss_form == "dense" or (self.loss_form == "auto" and len(rows["video"]) <= DENSE_ROWS)
        total, accuracy = self._dense(rows) if is_dense else self._blockwise(rows)
        return Loss(total, {self.loss_name: float(total.detach()), "accuracy": float(accuracy)})

    def _dense(self, rows: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        video, text = rows["video"].float(), rows["text"].float()
        if self.loss_name == "ego_nce":
            positives = action_positives(rows["nouns"], rows["verbs"], share=self.positives)
            total = ego_nce(video, text, positives, temperature=self.temperature)
        else:
            positives = torch.eye(len(video), dtype=torch.bool, device=video.device)
            total = info_nce(video, text, temperature=self.temperature)
        with torch.no_grad():
            nearest = (video @ text.T).argmax(dim=1, keepdim=True)
            accuracy = positives.gather(1, nearest).float().mean()
        return total, accuracy

    def _blockwise(self, rows: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        video, text, in_bf16 = rows["video"].float(), rows["text"].float(), self.loss_form == "blockwise_bf16"
        if self.loss_name == "info_nce":
            return blockwise_info_nce(video, text, temperature=self.temperature, bf16_products=in_bf16)
        positives = action_lists(rows["nouns"], rows["verbs"], share=self.positives)
        return blockwise_ego_nce(video, text, positives, temperature=self.temperature, bf16_products=in_bf16)


def _in_corners(clips: list[Tensor]) -> UInt8[Tensor, "R T C H W"]:
    """Stack clips of different sizes, each in the upper left corner of its row."""
    height, width = (max(clip.shape[axis] for clip in clips) for axis in (-2, -1))
    stacked = clips[0].new_zeros(len(clips), *clips[0].shape[:2], height, width)
    for row, clip in zip(stacked, clips, strict=True):
        row[..., : clip.shape[-2], : clip.shape[-1]] = clip
    return stacked
