"""Contrastive pretraining on clips and their narrations: EgoClip with EgoNCE, or any captioned videos with InfoNCE.

Source: EgoVLP (Lin et al., 2022), sections 2.2 and 3.1.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from playhead.data.captions import CaptionPair, read_captions
from playhead.data.egoclip import EgoClip, EgoClipRow, multi_hot
from playhead.errors import RecipeError
from playhead.objectives.ego_nce import action_positives, ego_nce
from playhead.objectives.info_nce import info_nce
from playhead.tasks.clips import ClipReader
from playhead.text import load_tokenizer
from playhead.types import ClipRef, ClipTextBatch, DualEncoder, Loss
from playhead.video.decode import DecoderCache
from playhead.video.transforms import Augment, Preprocess, normalize


@dataclass(frozen=True, slots=True)
class ClipTextSample:
    """One row of a batch: uint8 frames, the text, its taxonomy ids as multi-hot rows, and where it came from."""

    frames: UInt8[Tensor, "T C S S"]
    text: str
    nouns: np.ndarray
    verbs: np.ndarray
    name: str


@dataclass(frozen=True)
class EgoClipSamples:
    """Rows of EgoClip, each with one neighbour in time if asked for."""

    table: EgoClip
    reader: ClipReader
    augment: Augment
    neighbour_within: float | None
    neighbour_rule: Literal["within", "released_bins"]

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
        return ClipTextSample(
            frames=self.reader.read_random(row.ref, self.augment, seed),
            text=row.text,
            nouns=multi_hot(row.nouns, self.table.num_nouns),
            verbs=multi_hot(row.verbs, self.table.num_verbs),
            name=f"{row.video_id} at {row.time:.2f} s",
        )


@dataclass(frozen=True)
class CaptionSamples:
    """Captioned clips without a taxonomy: every text is only its own clip's."""

    pairs: tuple[CaptionPair, ...]
    reader: ClipReader
    augment: Augment

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int, seed: int) -> tuple[ClipTextSample, ...]:
        """Return the one pair."""
        pair = self.pairs[index]
        ref = ClipRef(pair.file, pair.span) if pair.span is not None else self.reader.whole(pair.file)
        frames = self.reader.read_random(ref, self.augment, seed)
        none = np.zeros(0, dtype=bool)
        return (ClipTextSample(frames, pair.text, none, none, name=pair.file),)


@dataclass(frozen=True, kw_only=True)
class VideoText:
    """Pull each clip to its narration and away from the others' of the global batch.

    Raises:
        RecipeError: EgoNCE or neighbours are asked for on caption pairs, which have neither actions nor a time line.
    """

    videos: Path
    """Folder of the videos, one `<video_uid>.mp4` each."""
    pairs: Path
    """`egoclip.csv` in the published layout (or its .arrow), or caption pairs as .csv / .jsonl of `data.captions`."""
    kind: Literal["egoclip", "captions"] = "egoclip"
    """Layout of `pairs`."""
    loss_name: Literal["ego_nce", "info_nce"] = "ego_nce"
    """EgoNCE counts narrations of the same action as positives; InfoNCE only the clip's own."""
    temperature: float = 0.05
    """EgoVLP, section 3.1; fixed, not learned."""
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
    tokenizer: str = "bert-base-uncased"
    """Vocabulary of the text tower."""
    max_words: int | None = None
    """Longest text in tokens; the vocabulary's own limit by default."""
    open_videos: int = 8
    """Videos that each worker keeps open between clips; more spare the opening where all of them fit."""

    def __post_init__(self):
        if self.kind == "captions" and (self.loss_name == "ego_nce" or self.neighbour_within is not None):
            raise RecipeError(
                "caption pairs have no actions and no neighbours; set loss_name='info_nce' and neighbour_within=None."
            )
        if self.temperature <= 0:
            raise RecipeError(f"temperature must be above 0, got {self.temperature}.")

    def samples(self, split: str) -> EgoClipSamples | CaptionSamples:
        """Return the training pairs; `pairs` is one split."""
        reader = ClipReader(self.videos, self.preprocess, DecoderCache(capacity=self.open_videos))
        if self.kind == "captions":
            return CaptionSamples(tuple(read_captions(self.pairs)), reader, self.augment)
        table = EgoClip.open(self.pairs)
        return EgoClipSamples(table, reader, self.augment, self.neighbour_within, self.neighbour_rule)

    def collate(self, samples: list[tuple[ClipTextSample, ...]]) -> ClipTextBatch:
        """Stack all anchors, then all their neighbours."""
        rows = [row for place in zip(*samples, strict=True) for row in place]
        return ClipTextBatch(
            video=torch.stack([row.frames for row in rows]),
            text=load_tokenizer(self.tokenizer)([row.text for row in rows], max_length=self.max_words),
            nouns=torch.from_numpy(np.stack([row.nouns for row in rows])),
            verbs=torch.from_numpy(np.stack([row.verbs for row in rows])),
            names=tuple(row.name for row in rows),
        )

    def encode(self, model: DualEncoder, batch: ClipTextBatch) -> dict[str, Tensor]:
        """Return the unit rows of both sides and their tags."""
        return {
            "video": model.encode_video(normalize(batch.video, self.preprocess.mean, self.preprocess.std)),
            "text": model.encode_text(batch.text),
            "nouns": batch.nouns,
            "verbs": batch.verbs,
        }

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return EgoNCE or InfoNCE of the global batch; "accuracy" is how often a clip is nearest to a true text."""
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
        return Loss(total, {self.loss_name: float(total.detach()), "accuracy": float(accuracy)})
