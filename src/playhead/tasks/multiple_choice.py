"""EgoMCQ: which of five clips does the narration tell? The development set of egocentric pretraining.

Source: EgoVLP (Lin et al., 2022), section 2.2; spec of the file in `playhead.data.egomcq`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from playhead.data.egomcq import Question, read_egomcq
from playhead.errors import AnnotationError
from playhead.metrics.choice import multiple_choice_accuracy
from playhead.tasks.clips import ClipReader
from playhead.text import load_tokenizer
from playhead.types import ClipRef, DualEncoder, Tokens
from playhead.video.transforms import Preprocess


@dataclass(frozen=True, slots=True)
class ChoiceBatch:
    """Distinct clips and distinct query texts, each to be encoded once; some batches hold only one of the two."""

    clips: UInt8[Tensor, "B T C H W"] | None
    clip_indices: tuple[int, ...]
    text: Tokens | None
    text_indices: tuple[int, ...]
    names: tuple[str, ...]

    def to(self, device: torch.device | str) -> "ChoiceBatch":
        """Return the same batch on `device`."""
        return replace(
            self,
            clips=None if self.clips is None else self.clips.to(device, non_blocking=True),
            text=None if self.text is None else self.text.to(device),
        )


@dataclass(frozen=True, slots=True)
class ChoiceAnswer:
    """The unit rows of one distinct clip and one distinct text (either may be missing), with their places."""

    clip_index: int | None
    clip: np.ndarray | None
    text_index: int | None
    text: np.ndarray | None


@dataclass(frozen=True)
class ChoiceSamples:
    """Sample i is the i-th distinct clip of the questions and their i-th distinct text."""

    clips: tuple[ClipRef, ...]
    texts: tuple[str, ...]
    reader: ClipReader

    def __len__(self) -> int:
        return max(len(self.clips), len(self.texts))

    def read(self, index: int, seed: int) -> tuple[int, Tensor | None, str | None]:
        """Return (index, uint8 frames or None, text or None)."""
        frames = self.reader.read_uniform(self.clips[index]) if index < len(self.clips) else None
        return index, frames, self.texts[index] if index < len(self.texts) else None


@dataclass(frozen=True, kw_only=True)
class EgoMCQ:
    """Score "egomcq/inter" and "egomcq/intra": percent of narrations whose clip is found among five; chance is 20.

    Inter-video questions take the wrong clips from other videos, intra-video ones from the same video. Both names
    follow the paper; the released code prints them swapped.
    """

    videos: Path
    """Folder of the videos, one `<video_uid>.mp4` each."""
    questions: Path
    """`egomcq.json` in the published layout."""
    preprocess: Preprocess = field(default_factory=Preprocess)
    """Frames per clip, sizes and normalisation."""
    tokenizer: str = "bert-base-uncased"
    """Vocabulary of the text tower."""
    max_questions: int | None = None
    """Only the first so many questions of each kind; all by default."""

    def read_questions(self) -> list[Question]:
        """Return the questions that are scored, in file order."""
        questions = read_egomcq(self.questions)
        if self.max_questions is None:
            return questions
        kept, counts = [], dict.fromkeys(("inter", "intra"), 0)
        for question in questions:
            counts[question.kind] += 1
            if counts[question.kind] <= self.max_questions:
                kept.append(question)
        return kept

    def samples(self, split: str) -> ChoiceSamples:
        """Return the distinct clips and texts; the file is its own split."""
        questions = self.read_questions()
        if not questions:
            raise AnnotationError("holds no questions; EgoMCQ needs at least one.", path=self.questions)
        reader = ClipReader(self.videos, self.preprocess)
        return ChoiceSamples(tuple(_clips(questions)), tuple(_texts(questions)), reader)

    def collate(self, samples: list[Any]) -> ChoiceBatch:
        """Stack what there is of clips and of texts."""
        clips = [(index, frames) for index, frames, _ in samples if frames is not None]
        texts = [(index, text) for index, _, text in samples if text is not None]
        return ChoiceBatch(
            clips=torch.stack([frames for _, frames in clips]) if clips else None,
            clip_indices=tuple(index for index, _ in clips),
            text=load_tokenizer(self.tokenizer)([text for _, text in texts]) if texts else None,
            text_indices=tuple(index for index, _ in texts),
            names=tuple(f"egomcq item {index}" for index, _, _ in samples),
        )

    def answer(self, model: DualEncoder, batch: ChoiceBatch) -> list[ChoiceAnswer]:
        """Return the unit rows of each clip and text of the batch."""
        clips, texts = {}, {}
        if batch.clips is not None:
            rows = model.encode_video(self.preprocess(batch.clips)).float().cpu().numpy()
            clips = dict(zip(batch.clip_indices, rows, strict=True))
        if batch.text is not None:
            rows = model.encode_text(batch.text).float().cpu().numpy()
            texts = dict(zip(batch.text_indices, rows, strict=True))
        return [
            ChoiceAnswer(i if i in clips else None, clips.get(i), i if i in texts else None, texts.get(i))
            for i in sorted(clips.keys() | texts.keys())
        ]

    def score(self, answers: list[ChoiceAnswer], split: str) -> dict[str, float]:
        """Return the accuracy of each kind of question in percent, and how many questions there were."""
        questions = self.read_questions()
        clip_place = {ref: i for i, ref in enumerate(_clips(questions))}
        text_place = {text: i for i, text in enumerate(_texts(questions))}
        clips = {answer.clip_index: answer.clip for answer in answers if answer.clip is not None}
        texts = {answer.text_index: answer.text for answer in answers if answer.text is not None}
        similarities = np.stack(
            [
                np.stack([clips[clip_place[choice.ref]] for choice in question.choices])
                @ texts[text_place[question.query.text]]
                for question in questions
            ]
        )
        scores = multiple_choice_accuracy(
            similarities, np.array([question.answer for question in questions]), [q.kind for q in questions]
        )
        return {f"egomcq/{name}": value for name, value in scores.items()}


def _clips(questions: list[Question]) -> dict[ClipRef, None]:
    return dict.fromkeys(choice.ref for question in questions for choice in question.choices)


def _texts(questions: list[Question]) -> dict[str, None]:
    return dict.fromkeys(question.query.text for question in questions)
