"""What a network that finds labelled segments is given: pieces of a clip's features, and what it is to learn there.

Axis letters: B samples (clips), R pieces (one per clip in training, all that an answer needs in evaluation), S rows of
a piece, D width of a row, G segments, M detections.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from playhead.data.feature_files import ClipFeatures, FeatureSet, TimeBase
from playhead.data.segments import SegmentClip
from playhead.data.stitching import StitchedClip
from playhead.decoding.nms import Detections
from playhead.errors import AnnotationError, RecipeError
from playhead.types import Loss


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a piece's rows are in time, relative to the clip, and how many of them are of the clip itself."""

    time: TimeBase
    num_rows: int
    stitched: StitchedClip | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Rows of a clip as the network takes them; `targets` are the head's own, and empty outside of training."""

    rows: Float32[np.ndarray, "S D"]
    mask: Bool[np.ndarray, " S"]
    place: Place
    targets: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class LocalizationSample:
    """A clip, the seconds that it lasts, and its pieces.

    Class k of the network is `classes[k]`; a class-agnostic one only tells segments from background.
    """

    clip: SegmentClip
    duration: float
    pieces: tuple[Piece, ...]
    classes: tuple[str, ...]
    class_agnostic: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class LocalizationBatch:
    """The pieces of all samples, one below the other; what is padded is false in `mask`.

    Piece r is of sample `sample_of[r]` and lies at `places[r]`. First axes of `targets` count pieces, second ones
    mostly segments, padded with zeros.
    """

    features: Float[Tensor, "R S D"]
    mask: Bool[Tensor, "R S"]
    targets: dict[str, Tensor]
    places: tuple[Place, ...]
    sample_of: tuple[int, ...]
    clips: tuple[SegmentClip, ...]
    durations: tuple[float, ...]
    classes: tuple[str, ...]
    class_agnostic: bool = False

    @property
    def num_classes(self) -> int:
        """How many classes the network tells."""
        return 1 if self.class_agnostic else len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of the clips."""
        return tuple(clip.clip_id for clip in self.clips)

    @property
    def known_classes(self) -> list[frozenset[int] | None]:
        """The classes that each clip is known to show; None where nothing is known of it, as in a test split."""
        number = {name: 0 if self.class_agnostic else k for k, name in enumerate(self.classes)}
        return [
            frozenset(number[s.label] for s in clip.segments if s.label in number) if clip.segments else None
            for clip in self.clips
        ]

    def to(self, device: torch.device | str) -> "LocalizationBatch":
        """Return the same batch on `device`."""
        targets = {name: target.to(device, non_blocking=True) for name, target in self.targets.items()}
        features, mask = (tensor.to(device, non_blocking=True) for tensor in (self.features, self.mask))
        return replace(self, features=features, mask=mask, targets=targets)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What is found in one clip, best first: spans in seconds of the clip, classes by number.

    `retrieved` is what recall is measured on where that is another list.
    """

    detected: Detections
    retrieved: Detections | None = None


@runtime_checkable
class LocalizationHead(Protocol):
    """What a network needs to learn segments and to find them: its own pieces, targets, loss and decoding."""

    def training_piece(
        self, found: ClipFeatures, spans: Float64[np.ndarray, "G 2"], classes: Int64[np.ndarray, " G"], seed: int
    ) -> Piece:
        """Return one piece of a clip to learn from, with its targets; spans are in seconds, classes count from 0."""
        ...

    def pieces(self, found: ClipFeatures) -> tuple[Piece, ...]:
        """Return the pieces that together answer for a clip."""
        ...

    def encode(self, model: Any, batch: LocalizationBatch) -> dict[str, Tensor]:
        """Return what each piece loses."""
        ...

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return the loss of the global batch."""
        ...

    def find(self, model: Any, batch: LocalizationBatch) -> list[Found]:
        """Return what is found in each clip of the batch."""
        ...


@dataclass(frozen=True)
class LocalizationSamples:
    """The clips of one split. In training each is read as one piece, drawn by the sample's seed."""

    clips: tuple[SegmentClip, ...]
    features: FeatureSet
    head: LocalizationHead
    classes: tuple[str, ...]
    training: bool
    shortest: float = 0.0
    class_agnostic: bool = False

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, index: int, seed: int) -> LocalizationSample:
        """Return a clip with the piece to learn from (training) or all its pieces.

        Raises:
            AnnotationError: its features are missing or bad, or end before the clip does.
        """
        clip = self.clips[index]
        end, is_open = _end_of(clip, self.features), clip.end is None
        found = self.features.rows_of(clip.video_id, clip.clip_id, clip.start, end, may_go_on=is_open)
        duration = found.time.reach_of(len(found.features)) if clip.duration is None else clip.duration
        if self.training:
            spans, numbers = learnable_segments(clip, self.classes, self.shortest)
            numbers = np.zeros_like(numbers) if self.class_agnostic else numbers
            pieces = (self.head.training_piece(found, spans, numbers, seed),)
        else:
            pieces = self.head.pieces(found)
        return LocalizationSample(clip, duration, pieces, self.classes, self.class_agnostic)


def learnable_segments(
    clip: SegmentClip, classes: Sequence[str], shortest: float = 0.0
) -> tuple[Float64[np.ndarray, "G 2"], Int64[np.ndarray, " G"]]:
    """Return the segments of a clip that have a length, of `shortest` seconds or more, and their classes' numbers."""
    number = {name: k for k, name in enumerate(classes)}
    kept = [s for s in clip.segments if s.span is not None and s.span.duration >= shortest]
    spans = np.array([(s.start, s.end) for s in kept], dtype=np.float64).reshape(-1, 2)
    return spans, np.array([number[s.label] for s in kept], dtype=np.int64)


def _end_of(clip: SegmentClip, features: FeatureSet) -> float:
    if clip.end is not None:
        return clip.end
    if features.per == "video" or features.spread:
        problem = f"how long video {clip.video_id!r} is the annotation does not say; set features.per to 'clip', which"
        raise AnnotationError(f"{problem} takes its file as it is, and leave features.spread off.")
    # How long the video is the file does not say; but its features must reach the last segment.
    return clip.start + max([s.end for s in clip.segments if s.end > 0], default=features.time.step)


def collate_pieces(samples: Sequence[LocalizationSample]) -> LocalizationBatch:
    """Pad pieces and targets to the longest, and lay them one below the other.

    Raises:
        AnnotationError: features of two clips differ in width.
    """
    pieces = [piece for sample in samples for piece in sample.pieces]
    owner = [number for number, sample in enumerate(samples) for _ in sample.pieces]
    width = pieces[0].rows.shape[1]
    for number, piece in zip(owner, pieces, strict=True):
        if piece.rows.shape[1] != width:
            first, other = samples[0].clip.clip_id, samples[number].clip.clip_id
            raise AnnotationError(
                f"features of clip {first!r} have {width} columns, those of clip {other!r} have "
                f"{piece.rows.shape[1]}; extract them alike."
            )
    return LocalizationBatch(
        features=_padded([piece.rows for piece in pieces]),
        mask=_padded([piece.mask for piece in pieces]),
        targets={name: _padded([piece.targets[name] for piece in pieces]) for name in pieces[0].targets},
        places=tuple(piece.place for piece in pieces),
        sample_of=tuple(owner),
        clips=tuple(sample.clip for sample in samples),
        durations=tuple(sample.duration for sample in samples),
        classes=samples[0].classes,
        class_agnostic=samples[0].class_agnostic,
    )


def _padded(arrays: Sequence[np.ndarray]) -> Tensor:
    """Return arrays that differ in their first axis only, one below the other, with zeros at their ends."""
    longest = max(len(array) for array in arrays)
    padded = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return torch.from_numpy(padded)


def check_model(batch: LocalizationBatch, width: int, num_classes: int) -> None:
    """Check that a network reads features of this width, and tells the classes of the data.

    Raises:
        RecipeError: it does not.
    """
    found = batch.features.shape[2]
    require(
        found == width,
        f"the features have {found} columns, but the model reads {width}; change the model, or give the features that "
        "it was made for.",
    )
    told = f"the model tells {num_classes} classes, the data have {batch.num_classes}"
    require(num_classes == batch.num_classes, f"{told}; set model.num_classes, or task.class_agnostic.")


def require(holds: bool, problem: str) -> None:
    """Check a setting.

    Raises:
        RecipeError: it does not hold.
    """
    if not holds:
        raise RecipeError(problem)
