"""The things that travel between parts: spans, clips, narrations, batches, and what a model and a task must offer.

Axis letters, the same everywhere: B batch, R rows of a batch (anchors, then their neighbours), T frames, C channels,
H W pixels, N tokens, D width, L words, E shared space, K classes. Time is in seconds; spans are half-open.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The stretch [start, end) of a video's time line, in seconds.

    Raises:
        ValueError: an end is not finite, or `end <= start`.
    """

    start: float
    end: float

    def __post_init__(self):
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise ValueError(f"a span needs finite ends, got [{self.start}, {self.end}).")
        if self.end <= self.start:
            raise ValueError(f"a span needs end > start, got [{self.start}, {self.end}).")

    @property
    def duration(self) -> float:
        """Length in seconds, always above zero."""
        return self.end - self.start

    @property
    def center(self) -> float:
        """The middle, in seconds."""
        return (self.start + self.end) / 2

    def overlap(self, other: "Span") -> float:
        """Seconds that both spans cover; 0 where they are apart or only touch."""
        return max(0.0, min(self.end, other.end) - max(self.start, other.start))

    def iou(self, other: "Span") -> float:
        """Intersection over union in time, between 0 and 1."""
        shared = self.overlap(other)
        return shared / (self.duration + other.duration - shared)


@dataclass(frozen=True, slots=True)
class ClipRef:
    """Which piece of which video."""

    video_id: str
    span: Span


@dataclass(frozen=True, slots=True)
class Clip:
    """The pixels of a clip; `times` are those really decoded (seconds from the first frame), not those asked for."""

    frames: UInt8[Tensor, "T C H W"]
    times: Float[Tensor, " T"]


@dataclass(frozen=True, slots=True)
class Narration:
    """One sentence that an annotator wrote at one moment of a video: EgoClip's raw material.

    `nouns` and `verbs` are taxonomy ids; `source` names the annotator's pass ("narration_pass_1").
    """

    video_id: str
    time: float
    text: str
    nouns: tuple[int, ...] = ()
    verbs: tuple[int, ...] = ()
    source: str = "narration_pass_1"


@dataclass(frozen=True, slots=True)
class Query:
    """A question in words about one video, with the span that answers it where that is known."""

    query_id: str
    video_id: str
    text: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """One answer of search, language query and moment query alike; a higher `score` is better."""

    video_id: str
    span: Span
    score: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A batch of texts as token ids, right-padded; `mask` is true on real tokens."""

    ids: Int[Tensor, "B L"]
    mask: Bool[Tensor, "B L"]

    def to(self, device: torch.device | str) -> "Tokens":
        """Return the same tokens on `device`."""
        return replace(self, ids=self.ids.to(device, non_blocking=True), mask=self.mask.to(device, non_blocking=True))


@dataclass(frozen=True, slots=True)
class View:
    """How a clip is varied for training: a box in pixels, whether to flip it, and factors of its colours.

    The colours are brightness, contrast and saturation; a factor of 1 leaves them.
    """

    top: int
    left: int
    height: int
    width: int
    flipped: bool = False
    colors: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class ClipTextBatch:
    """Clips and their narrations, row by row: rows 0..B-1 are anchors, rows B..2B-1 (if any) their neighbours in time.

    `nouns` and `verbs` are multi-hot over the taxonomy. `names` say which sample a row came from, for error messages.
    `views`, where there are some, say what is still to be done to each clip on the model's device: it lies in the upper
    left corner of its row.
    """

    video: UInt8[Tensor, "R T C H W"]
    text: Tokens
    nouns: Bool[Tensor, "R Kn"]
    verbs: Bool[Tensor, "R Kv"]
    names: tuple[str, ...]
    views: tuple[View, ...] = ()

    def to(self, device: torch.device | str) -> "ClipTextBatch":
        """Return the same batch on `device`."""
        return replace(
            self,
            video=self.video.to(device, non_blocking=True),
            text=self.text.to(device),
            nouns=self.nouns.to(device, non_blocking=True),
            verbs=self.verbs.to(device, non_blocking=True),
        )


@dataclass(frozen=True, slots=True)
class Loss:
    """What is minimised (`total`, a scalar with gradient) and what is logged (`parts`, plain numbers by name)."""

    total: Float[Tensor, ""]
    parts: dict[str, float]


@runtime_checkable
class VideoEncoder(Protocol):
    """A video tower. `blocks` is the one list for FSDP units, compile, checkpointing and layer-wise decay."""

    num_frames: int
    width: int

    def forward_tokens(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B N D"]:
        """Return every token after the final norm."""
        ...

    def blocks(self) -> Sequence[nn.Module]:
        """Return the transformer blocks, first to last."""
        ...


@runtime_checkable
class DualEncoder(Protocol):
    """Two towers that meet in one space; rows have unit length."""

    def encode_video(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B E"]:
        """Return one unit row per clip."""
        ...

    def encode_text(self, text: Tokens) -> Float[Tensor, "B E"]:
        """Return one unit row per text."""
        ...


@runtime_checkable
class Batch(Protocol):
    """What `collate` returns: it can move to a device and names its samples."""

    @property
    def names(self) -> tuple[str, ...]:
        """One name per sample, for error messages."""
        ...

    def to(self, device: torch.device | str) -> "Batch":
        """Return the same batch on `device`."""
        ...


@runtime_checkable
class Samples(Protocol):
    """A data set of one split, read by index.

    Everything random in a sample comes from `seed`, so that a sample is the same in whichever worker, rank or resumed
    run it is read. Objects are sent to worker processes: they must be cheap to pickle and open files lazily.
    """

    def __len__(self) -> int: ...

    def read(self, index: int, seed: int) -> Any:
        """Return sample `index`."""
        ...


@runtime_checkable
class TrainTask(Protocol):
    """What to learn. The loss of a batch is a property of the global batch, so a task gives rows and a loss of rows.

    `encode` turns the batch of one rank into rows (tensors whose first axis counts samples); the loop gathers the rows
    of all ranks, with gradient, and `loss` sees them all. A task whose loss is a mean over samples returns one row of
    losses per sample.
    """

    def samples(self, split: str) -> Samples:
        """Return the samples of "train" or another split."""
        ...

    def collate(self, samples: list[Any]) -> Batch:
        """Make one batch of samples."""
        ...

    def encode(self, model: Any, batch: Any) -> dict[str, Tensor]:
        """Return this rank's rows."""
        ...

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return the loss of the global batch."""
        ...


@runtime_checkable
class SplittingTask(Protocol):
    """A train task that can be encoded part by part, because each row of a batch depends on that row alone."""

    def split(self, batch: Any, size: int) -> list[Any]:
        """Return parts of at most `size` rows each, whose encoded rows, part after part, are those of the batch."""
        ...


@runtime_checkable
class EvalTask(Protocol):
    """What to measure. `score` names its convention in its keys, and also works on answers read from a file."""

    def samples(self, split: str) -> Samples:
        """Return the samples of a split."""
        ...

    def collate(self, samples: list[Any]) -> Batch:
        """Make one batch of samples."""
        ...

    def answer(self, model: Any, batch: Any) -> list[Any]:
        """Return one picklable answer per sample of the batch, in its order."""
        ...

    def score(self, answers: list[Any], split: str) -> dict[str, float]:
        """Return the metrics of all answers, given in sample order."""
        ...
