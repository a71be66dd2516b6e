"""Labelled segments (MQ, temporal action localisation): when does the video show what? From precomputed features.

    clip -> pieces of features (tasks/localization_samples) -> a network's targets (tasks/*_head) -> its loss
                                                            -> proposals of all pieces -> suppression -> detections

Source: Ego4D (Grauman et al., 2022), episodic memory, MQ; EgoVLP (Lin et al., 2022), Table 3; ActionFormer (Zhang et
al., 2022) for THUMOS14 and ActivityNet, and in InternVideo for HACS Segments and FineAction as well.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from playhead.data.class_scores import Kind, read_class_scores
from playhead.data.feature_files import FeatureSet
from playhead.data.moment_answers import ClipMoments, MomentAnswers
from playhead.data.segments import Layout, SegmentClip, SegmentClips, class_names, read_class_names, read_segments
from playhead.decoding.nms import Detections
from playhead.decoding.point_spans import fuse_video_scores
from playhead.errors import AnnotationError, RecipeError
from playhead.metrics.average_precision import CONVENTIONS
from playhead.tasks.actionformer_head import ActionFormerHead
from playhead.tasks.localization_samples import (
    LocalizationBatch,
    LocalizationSample,
    LocalizationSamples,
    collate_pieces,
    learnable_segments,
    require,
)
from playhead.tasks.moment_scores import score_moments
from playhead.tasks.vsgn_head import VSGNHead
from playhead.types import Loss

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class MomentAnswer:
    """What is found in one clip, best first; `retrieved` is what recall is measured on where that is another list."""

    clip_id: str
    detected: ClipMoments
    retrieved: ClipMoments | None = None


@dataclass(frozen=True, kw_only=True)
class TemporalLocalization:
    """Learn to find labelled segments, and score "mq/mAP", "mq/mAP@0.5", "mq/R1x@0.5" and the like in percent.

    Beside them stand "mq/clips", "mq/segments" and "mq/coverage" (the share of the clips that was answered).

    Raises:
        RecipeError: settings contradict each other.
    """

    train_segments: Path | None = None
    """Annotation file to learn from, and to take the names of the classes from."""
    val_segments: Path | None = None
    """Annotation file of the split "val"."""
    test_segments: Path | None = None
    """Annotation file of the split "test"; Ego4D's has no segments, and can be answered but not scored."""
    train_subset: str | None = None
    """Which clips of its file the split takes, by the name of their subset; unset takes all. Needed where one file
    holds several subsets, as ActivityNet's "training", "validation" and "testing"."""
    val_subset: str | None = None
    """The same of the split "val"."""
    test_subset: str | None = None
    """The same of the split "test"."""
    layout: Layout = "moments"
    """Layout of the annotation files, as in `data.segments`."""
    classes: Path | None = None
    """File with the order of the classes' names (`data.segments.read_class_names`), for networks that others trained;
    unset sorts the names that the training split has."""
    on_reversed: Literal["error", "skip"] = "error"
    """What to do with segments that end before they start."""
    features: FeatureSet
    """Features of the clips or of their videos."""
    without_features: Literal["error", "leave_out"] = "error"
    """What to do with clips that have no features; left out, all their segments count as missed."""
    head: VSGNHead | ActionFormerHead
    """How the network learns and answers; it must be the model's."""
    shortest: float = 0.0
    """Segments of fewer seconds are not learnt; ActionFormer's settings for Ego4D have 0.25."""
    empty_clips: Literal["leave_out", "keep"] = "leave_out"
    """Whether clips without a segment to learn are left out of training."""
    convention: Literal["official", "actionformer", "activitynet", "internvideo", "thumos"] = "official"
    """Whose numbers to report: see `metrics.average_precision.CONVENTIONS`."""
    thresholds: tuple[float, ...] | None = None
    """Other IoU at which average precision is measured than the convention's."""
    name: str = "mq"
    """What the scores' names begin with."""
    class_agnostic: bool = False
    """The network has one class, "segment"; what a segment shows, `class_scores` say."""
    class_scores: Path | None = None
    """File with class scores of whole videos by another model, in the order of `classes`."""
    class_scores_are: Kind = "probabilities"
    """What that file holds; "released" guesses, as the released code does."""
    top_classes: int = 2
    """Classes of a video that each of its segments is given, with the root of both scores' product."""
    top_segments: int | None = None
    """So many segments of a video, the best, are given classes; unset takes all."""

    def __post_init__(self):
        require(self.shortest >= 0, f"shortest cannot be negative, got {self.shortest}.")
        require(self.thresholds is None or min(self.thresholds, default=0) > 0, "thresholds must be above 0.")
        require(self.top_classes >= 1, f"top_classes must be at least 1, got {self.top_classes}.")
        require(
            self.class_agnostic == (self.class_scores is not None),
            "class_agnostic and class_scores need each other: the classes of segments come from the one or the other.",
        )

    def clips_of(self, split: str) -> SegmentClips:
        """Return the annotated clips of a split.

        Raises:
            RecipeError: the split has no file.
            AnnotationError: the file is not as it must be.
        """
        known = {
            "train": (self.train_segments, self.train_subset),
            "val": (self.val_segments, self.val_subset),
            "test": (self.test_segments, self.test_subset),
        }
        path, subset = known.get(split, (None, None))
        if path is None:
            raise RecipeError(f"split {split!r} of the segments asked for; set task.{split}_segments.")
        return read_segments(path, self.layout, subset=subset, on_reversed=self.on_reversed)

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes in the network's order.

        Raises:
            RecipeError: neither `classes` nor the training split is set.
            AnnotationError: the file is not as it must be.
        """
        if self.classes is not None:
            return read_class_names(self.classes)
        if self.train_segments is None:
            raise RecipeError("the names of the classes are not known; set task.classes or task.train_segments.")
        return class_names(self.clips_of("train"))

    def samples(self, split: str) -> LocalizationSamples:
        """Return the clips of a split; those of "train" are read as one piece each, with what is to be learnt.

        Raises:
            RecipeError: the split has no file.
            AnnotationError: a file is not as it must be, a segment to learn is of an unknown class, or no clip is left.
        """
        clips, classes, training = self.clips_of(split), self.class_names(), split == "train"
        self._tell(clips, classes, split)
        kept = [clip for clip in clips if self._has_features(clip)]
        if len(kept) < len(clips):
            logger.warning("split %s: %d of %d clips have no features", split, len(clips) - len(kept), len(clips))
        if training and self.empty_clips == "leave_out":
            kept = [clip for clip in kept if len(learnable_segments(clip, classes, self.shortest)[1])]
        if not kept:
            raise AnnotationError(f"no clip is left for split {split!r}: none has features, or a segment to learn.")
        return LocalizationSamples(
            clips=tuple(kept),
            features=self.features,
            head=self.head,
            classes=classes,
            training=training,
            shortest=self.shortest,
            class_agnostic=self.class_agnostic,
        )

    def collate(self, samples: list[LocalizationSample]) -> LocalizationBatch:
        """Lay the pieces of all clips one below the other, with the head's targets in training."""
        return collate_pieces(samples)

    def encode(self, model: Any, batch: LocalizationBatch) -> dict[str, Tensor]:
        """Return what each clip loses."""
        return self.head.encode(model, batch)

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return the loss of the global batch."""
        return self.head.loss(rows)

    @torch.no_grad()
    def answer(self, model: Any, batch: LocalizationBatch) -> list[MomentAnswer]:
        """Return the detections of each clip in its seconds, cut to the clip; what has no length then is left out."""
        answers = []
        for clip, duration, found in zip(batch.clips, batch.durations, self.head.find(model, batch), strict=True):
            about = (clip, duration, batch.classes)
            retrieved = None if found.retrieved is None else self._named(found.retrieved, *about)
            answers.append(MomentAnswer(clip.clip_id, self._named(found.detected, *about), retrieved))
        return answers

    def submission(self, answers: Sequence[MomentAnswer]) -> MomentAnswers:
        """Return the answers as the files of the challenge hold them; `data.moment_answers` checks and writes them."""
        detected = {answer.clip_id: answer.detected for answer in answers}
        retrieved = {answer.clip_id: answer.retrieved for answer in answers if answer.retrieved is not None}
        return MomentAnswers(detected, retrieved or None)

    def score(self, answers: Sequence[MomentAnswer], split: str) -> dict[str, float]:
        """Return average precision and recall over the split's clips; see the class for the names."""
        convention = CONVENTIONS[self.convention]
        if self.thresholds is not None:
            convention = replace(convention, thresholds=self.thresholds)
        submission = self.submission(answers)
        on_missing = "count" if self.without_features == "leave_out" else "error"
        return score_moments(submission, self.clips_of(split), convention, name=self.name, on_missing=on_missing)

    def _has_features(self, clip: SegmentClip) -> bool:
        return self.without_features == "error" or self.features.has(clip.video_id, clip.clip_id)

    def _tell(self, clips: SegmentClips, classes: Sequence[str], split: str) -> None:
        """Say what is odd about a split, and refuse classes that a network of these classes cannot learn."""
        for what, counts in (("left out", clips.skipped), ("odd", clips.odd)):
            if counts:
                told = ", ".join(f"{number} {reason}" for reason, number in counts.items())
                logger.info("split %s: %s: %s", split, what, told)
        unknown = set(class_names(clips)).difference(classes)
        if unknown and split == "train":
            raise AnnotationError(
                f"class {min(unknown)!r} of the training split is none of the names.", path=self.classes
            )
        if unknown:
            number = sum(segment.label in unknown for clip in clips for segment in clip.segments)
            told = f"{len(unknown)} classes that the network does not have"
            logger.warning("split %s: %d segments are of %s, and will be missed", split, number, told)

    def _named(self, found: Detections, clip: SegmentClip, duration: float, classes: tuple[str, ...]) -> ClipMoments:
        if self.class_scores is not None:
            scores = _class_scores(self.class_scores, len(classes), self.class_scores_are)
            if clip.video_id not in scores:
                raise AnnotationError(
                    f"no class scores of video {clip.video_id!r}; complete it.", path=self.class_scores
                )
            fused = {"top_classes": min(self.top_classes, len(classes)), "top_spans": self.top_segments}
            found = fuse_video_scores(found, scores[clip.video_id], **fused)
            found = found.take(np.argsort(-found.scores, kind="stable"))
        spans = np.clip(found.spans.astype(np.float64), 0.0, duration)
        kept = np.flatnonzero(spans[:, 1] > spans[:, 0])
        labels = tuple(classes[number] for number in found.labels[kept].tolist())
        return ClipMoments(labels, found.scores[kept].astype(np.float64), spans[kept])


@lru_cache(maxsize=4)
def _class_scores(path: Path, num_classes: int, kind: Kind) -> dict[str, np.ndarray]:
    return read_class_scores(path, num_classes, kind)
