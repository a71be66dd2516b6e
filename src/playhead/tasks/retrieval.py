"""Text-to-clip retrieval over captioned clips: is a text's own clip among the first k of all?"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from playhead.data.captions import CaptionPair, read_captions
from playhead.metrics.retrieval import retrieval_recall
from playhead.tasks.clips import ClipReader
from playhead.text import load_tokenizer
from playhead.types import ClipRef, DualEncoder, Tokens
from playhead.video.transforms import Preprocess


@dataclass(frozen=True)
class RetrievalSamples:
    """Captioned clips, in file order."""

    pairs: tuple[CaptionPair, ...]
    reader: ClipReader

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int, seed: int) -> tuple[Tensor, str, str]:
        """Return uint8 frames, the text and the file."""
        pair = self.pairs[index]
        ref = ClipRef(pair.file, pair.span) if pair.span is not None else self.reader.whole(pair.file)
        return self.reader.read_uniform(ref), pair.text, pair.file


@dataclass(frozen=True, slots=True)
class RetrievalBatch:
    """Clips and their texts, row by row."""

    video: UInt8[Tensor, "B T C H W"]
    text: Tokens
    names: tuple[str, ...]

    def to(self, device: torch.device | str) -> "RetrievalBatch":
        """Return the same batch on `device`."""
        return replace(self, video=self.video.to(device, non_blocking=True), text=self.text.to(device))


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """Score "retrieval/t2v/R@k" and "retrieval/v2t/R@k" in percent, by cosine, ties counted against the model.

    Clips of the same text are all right answers to it.
    """

    videos: Path
    """Folder of the files that the pairs name."""
    pairs: Path
    """Caption pairs as .csv or .jsonl of `data.captions`."""
    preprocess: Preprocess = field(default_factory=Preprocess)
    """Frames per clip, sizes and normalisation."""
    tokenizer: str = "bert-base-uncased"
    """Vocabulary of the text tower."""
    max_words: int | None = None
    """Longest text in tokens; the vocabulary's own limit by default."""

    def samples(self, split: str) -> RetrievalSamples:
        """Return the pairs; the file is its own split."""
        return RetrievalSamples(tuple(read_captions(self.pairs)), ClipReader(self.videos, self.preprocess))

    def collate(self, samples: list[tuple[Tensor, str, str]]) -> RetrievalBatch:
        """Stack clips and tokenise texts."""
        frames, texts, names = zip(*samples, strict=True)
        tokens = load_tokenizer(self.tokenizer)(list(texts), max_length=self.max_words)
        return RetrievalBatch(video=torch.stack(frames), text=tokens, names=tuple(names))

    def answer(self, model: DualEncoder, batch: RetrievalBatch) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the unit rows of each clip and of its text."""
        video = model.encode_video(self.preprocess(batch.video)).float().cpu().numpy()
        text = model.encode_text(batch.text).float().cpu().numpy()
        return list(zip(video, text, strict=True))

    def score(self, answers: list[tuple[np.ndarray, np.ndarray]], split: str) -> dict[str, float]:
        """Return recall and ranks of both directions over all pairs."""
        texts = [pair.text for pair in read_captions(self.pairs)]
        same = np.array(texts)[:, None] == np.array(texts)[None, :]
        video, text = (np.stack(side) for side in zip(*answers, strict=True))
        scores: dict[str, Any] = {}
        for direction, similarity in (("t2v", text @ video.T), ("v2t", video @ text.T)):
            scores |= {f"retrieval/{direction}/{k}": v for k, v in retrieval_recall(similarity, same).items()}
        return scores
