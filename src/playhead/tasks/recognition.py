"""Action recognition: which of K classes does a short video show?

A video takes this road in training: `TrainingClips.read` draws a clip, reads it once, and varies it (RandAugment, crop,
flip) in one or more views; `encode` erases and mixes on the device and gives one loss per view; `loss` is their mean.
In testing `TestClips.read` reads the frames of all clips once; `answer` cuts the squares, runs all views of a batch of
videos together and averages; `score` measures.

Source: VideoMAE (Tong et al., 2022) and InternVideo (Wang et al., 2022), fine-tuning.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from playhead.data.action_videos import UNKNOWN, Missing, some
from playhead.data.class_folders import HoldOut
from playhead.data.classes import ActionFiles, ActionSplit, Layout
from playhead.data.label_checks import mirrored_classes
from playhead.data.something import V1_FPS
from playhead.errors import AnnotationError, RecipeError
from playhead.metrics.classify import Average, class_ranks, mean_class_accuracy, top_accuracy
from playhead.objectives.classification import soft_cross_entropy, soft_targets
from playhead.tasks.recognition_samples import (
    ClipRule,
    TestBatch,
    TestClips,
    TestSample,
    TrainingBatch,
    TrainingClips,
    TrainingSample,
    VideoReader,
    collate_test,
    collate_training,
)
from playhead.types import Loss
from playhead.video.augment_policy import RandAugment
from playhead.video.decode import DecoderCache
from playhead.video.erasing import Erase, erase
from playhead.video.mixing import Mixing, draw_mix, mix_clips, mix_targets
from playhead.video.transforms import Augment, Preprocess, normalize
from playhead.video.views import crop_squares


@dataclass(frozen=True, kw_only=True)
class Views:
    """With how many clips and crops a video of the split "test" is seen, and how their scores become one."""

    clips: int = 5
    """Clips spread evenly over the video."""
    crops: int = 3
    """Squares of each clip, from one end of the long side to the other."""
    average: Average = "probabilities"
    """What is averaged: the views' softmax, as published, or their logits before it."""
    at_once: int = 16
    """Views that go through the model together."""

    def __post_init__(self):
        for name in ("clips", "crops", "at_once"):
            if getattr(self, name) < 1:
                raise ValueError(f"views.{name} needs to be at least 1, got {getattr(self, name)}.")


@dataclass(frozen=True, slots=True)
class RecognitionAnswer:
    """The scores of all classes for one video, averaged over its views: probabilities or logits."""

    name: str
    scores: Float32[np.ndarray, " K"]


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """Train and measure classifiers of short videos.

    Scores, in percent of the "recognition/videos" videos: "recognition/top1", "recognition/top5" (with more than five
    classes), "recognition/mean_class" (each class counts alike), and "recognition/chance", what always naming the most
    frequent class would get. Split "val" is seen with one view per video, split "test" with `views`.
    """

    root: Path
    """Folder of the videos."""
    layout: Layout = "folders"
    """How the data set is told: one folder per class, a list, or the official files of a data set."""
    annotations: Path | None = None
    """Folder of the lists; unset takes `root`."""
    classes: str | None = None
    """File of the class names, one per line, in the order of the head; or "k400", "k600", "k700", "k710" for the
    published orders. Unset takes what the layout tells."""
    more_roots: tuple[Path, ...] = ()
    """Further folders of videos."""
    missing: Missing = "error"
    """Videos that a list names and that are not there: an error, or counted and left out."""
    split_number: int = 1
    """Which of the three splits of HMDB51 and UCF101."""
    hold_out: HoldOut = field(default_factory=HoldOut)
    """What is not trained on, where class folders do not say it."""
    test_on: Literal["val", "test"] = "val"
    """Which list the split "test" is; published figures are those of the validation videos."""
    frame_fps: float | None = None
    """Frames per second of videos that are folders of images; 12 for Something-Something v1."""

    preprocess: Preprocess = field(default_factory=lambda: Preprocess(num_frames=16, resize=224))
    """Frames per clip, sizes and normalisation."""
    clip: ClipRule = field(default_factory=ClipRule)
    """Which frames make a clip."""
    decode_size: int = 256
    """Short side at which training clips are read, in pixels; they are then cropped."""
    repeats: int = 1
    """Random views of each training clip, which is decoded once; a step has that many times the clips."""
    augment: Augment = field(default_factory=lambda: Augment(scale=(0.08, 1.0)))
    """Random crop and flip. No flip where labels have a direction."""
    policy: RandAugment | None = field(default_factory=RandAugment)
    """RandAugment before the crop."""
    erase: Erase | None = field(default_factory=Erase)
    """Random erasing after it."""
    mixing: Mixing | None = field(default_factory=Mixing)
    """Mixup and CutMix of the clips of a rank."""
    label_smoothing: float = 0.1
    """Share of each target that is spread over all classes."""
    views: Views = field(default_factory=Views)
    """How the split "test" is seen."""

    fit_classes: bool = False
    """Let the model have as many classes as the data; otherwise another number is an error."""
    overfit_steps: int = 0
    """Steps on one batch before a new run, which must then be told without a mistake; 0 leaves the check out."""
    flip_directions: bool = False
    """Flip although two class names differ only in "left" and "right"."""
    open_videos: int = 8
    """Videos that each worker keeps open between clips."""

    def __post_init__(self):
        if not 0 <= self.label_smoothing < 1:
            raise RecipeError(f"task.label_smoothing must lie in [0, 1), got {self.label_smoothing}.")
        if self.repeats < 1 or self.decode_size < 1:
            raise RecipeError(
                f"task.repeats and task.decode_size must be at least 1, got {self.repeats} and {self.decode_size}."
            )
        if self.split_number not in (1, 2, 3):
            raise RecipeError(f"task.split_number must be 1, 2 or 3, got {self.split_number}.")
        if self.overfit_steps < 0:
            raise RecipeError(f"task.overfit_steps must not be negative, got {self.overfit_steps}.")
        if self.layout == "something" and self.augment.flip > 0 and not self.flip_directions:
            raise RecipeError(
                f"task.augment.flip is {self.augment.flip}, but Something-Something tells left from right; set it to 0."
            )

    @property
    def files(self) -> ActionFiles:
        """Where videos and lists lie."""
        names = ("root", "layout", "annotations", "classes", "more_roots", "missing", "split_number", "hold_out")
        return ActionFiles(**{name: getattr(self, name) for name in names})

    def read_split(self, split: str) -> ActionSplit:
        """Return the videos of a split; raises `AnnotationError` as `ActionFiles.read`."""
        return self.files.read(self.test_on if split == "test" else split)

    def class_names(self) -> tuple[str, ...]:
        """Return the classes in the order of the head; raises `AnnotationError` as `ActionFiles.read`."""
        return self.files.class_names()

    def samples(self, split: str) -> TrainingClips | TestClips:
        """Return the videos of a split; those of "train" are varied.

        Raises:
            AnnotationError: as `ActionFiles.read`.
            RecipeError: clips are flipped, but two classes differ only in "left" and "right".
        """
        found = self.read_split(split)
        fps = self.frame_fps or (V1_FPS if self.layout == "something" else None)
        reader = VideoReader(self.clip, self.preprocess.num_frames, DecoderCache(self.open_videos, fps=fps))
        if split != "train":
            clips, crops = (self.views.clips, self.views.crops) if split == "test" else (1, 1)
            return TestClips(found.videos, reader, self.preprocess, clips, crops)
        self._check_direction(found.classes)
        size = self.preprocess.image_size
        return TrainingClips(found.videos, reader, self.decode_size, size, self.augment, self.policy, self.repeats)

    def collate(self, samples: list[TrainingSample] | list[TestSample]) -> TrainingBatch | TestBatch:
        """Stack training views; put videos to test beside each other."""
        training = [sample for sample in samples if isinstance(sample, TrainingSample)]
        if training:
            return collate_training(training)
        return collate_test([sample for sample in samples if isinstance(sample, TestSample)])

    def encode(self, model: nn.Module, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return one loss per view, and whether the class of its greater part is the best."""
        video = normalize(batch.video, self.preprocess.mean, self.preprocess.std)
        if self.erase is not None:
            video = erase(video, batch.seeds, self.erase)
        mix = None if self.mixing is None else draw_mix(batch.seed, video.shape[-2], video.shape[-1], self.mixing)
        logits = model(video if mix is None else mix_clips(video, mix))
        targets = soft_targets(batch.labels, logits.shape[1], self.label_smoothing)
        if mix is not None:
            targets = mix_targets(targets, mix)
        right = logits.detach().argmax(dim=1) == targets.argmax(dim=1)
        return {"loss": soft_cross_entropy(logits, targets), "right": right}

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return the mean over the views of the global batch."""
        mean = rows["loss"].mean()
        accuracy = float(rows["right"].float().mean())
        return Loss(mean, {"cross_entropy": float(mean.detach()), "accuracy": accuracy})

    def answer(self, model: nn.Module, batch: TestBatch) -> list[RecognitionAnswer]:
        """Return the scores of each video, averaged over its views; a view that repeats another is run once."""
        views = [distinct_views(*one) for one in zip(batch.frames, batch.clips, batch.crops, strict=True)]
        logits = self._logits(model, [clip for clips, _ in views for clip in clips])
        answers, done = [], 0
        for name, (clips, weights) in zip(batch.names, views, strict=True):
            rows = logits[done : done + len(clips)]
            done += len(clips)
            scores = rows.softmax(dim=1) if self.views.average == "probabilities" else rows
            mean = (scores * torch.tensor(weights, device=scores.device)[:, None]).sum(dim=0)
            answers.append(RecognitionAnswer(name, mean.detach().cpu().numpy()))
        return answers

    def score(self, answers: list[RecognitionAnswer], split: str) -> dict[str, float]:
        """Return the metrics over all videos of a split, whatever the order of the answers.

        Raises:
            AnnotationError: a video has no answer, or the split tells no classes.
        """
        found = self.read_split(split)
        if secret := [video.key for video in found.videos if video.label == UNKNOWN]:
            raise AnnotationError(f"tells no class of {some(secret)}; there is nothing to measure.", path=found.source)
        by_name = {answer.name: answer.scores for answer in answers}
        if lacking := [video.key for video in found.videos if video.key not in by_name]:
            raise AnnotationError(f"no answer is given to {len(lacking)} videos: {some(lacking)}.", path=found.source)
        labels = np.array([video.label for video in found.videos], dtype=np.int64)
        scores = np.stack([by_name[video.key] for video in found.videos])
        if scores.shape[1] != len(found.classes):
            raise AnnotationError(
                f"has {len(found.classes)} classes, but the answers tell {scores.shape[1]} apart.", path=found.source
            )
        ranks = class_ranks(scores, labels)
        metrics = {"recognition/top1": top_accuracy(ranks, 1)}
        if len(found.classes) > 5:
            metrics["recognition/top5"] = top_accuracy(ranks, 5)
        metrics["recognition/mean_class"] = mean_class_accuracy(ranks, labels)
        metrics["recognition/chance"] = 100.0 * float(np.bincount(labels).max() / len(labels))
        metrics["recognition/videos"] = len(labels)
        return metrics

    def _logits(self, model: nn.Module, views: Sequence[UInt8[Tensor, "T C R R"]]) -> Float[Tensor, "V K"]:
        """Return the logits of all views, `views.at_once` together whatever video they come from."""
        rows = []
        for start in range(0, len(views), self.views.at_once):
            clips = torch.stack(list(views[start : start + self.views.at_once]))
            rows.append(model(self.preprocess(clips)).float())
        return torch.cat(rows)

    def _check_direction(self, classes: Sequence[str]) -> None:
        pair = mirrored_classes(classes)
        if self.augment.flip > 0 and pair is not None and not self.flip_directions:
            raise RecipeError(
                f"clips are flipped with chance {self.augment.flip}, but the classes {pair[0]!r} and {pair[1]!r} tell "
                "left from right; set task.augment.flip to 0."
            )


def distinct_views(
    frames: UInt8[Tensor, "F C H W"], clips: Tensor, num_crops: int
) -> tuple[list[UInt8[Tensor, "T C R R"]], list[float]]:
    """Return the views of a video that differ, and how much each weighs in the mean of all.

    Clips of a video that is shorter than one are all alike, and so are the crops of a square picture.
    """
    squares = crop_squares(frames, num_crops)
    if frames.shape[-2] == frames.shape[-1]:
        squares = squares[:1]
    counts: dict[tuple[int, ...], int] = {}
    for clip in clips.tolist():
        counts[tuple(clip)] = counts.get(tuple(clip), 0) + 1
    views = [square[list(clip)] for clip in counts for square in squares]
    return views, [count / (len(clips) * len(squares)) for count in counts.values() for _ in squares]
