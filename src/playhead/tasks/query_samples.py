"""What a network that answers language queries is given: windows of features, words, and what it is to learn.

Axis letters: B samples (queries), R windows (one per sample in training, all windows of its clip in evaluation), S rows
of a window, D width of a row, L words, E width of a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from playhead.data.feature_files import ClipFeatures, FeatureSet
from playhead.data.queries import ClipQuery, QueryClip
from playhead.data.query_windows import Window, choose_window, cut_window, released_window, window_spans
from playhead.data.text_features import TextFeatures
from playhead.decoding.nms import Detections
from playhead.errors import AnnotationError
from playhead.types import Loss, Span

Times = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Asked:
    """A query and its clip, without its other queries; `truth` is what is to be learnt, in seconds of the clip."""

    clip: QueryClip
    query: ClipQuery
    truth: Times | None


@dataclass(frozen=True, slots=True, eq=False)
class QuerySample:
    """A query with the windows to look at, and for each the part of the answer in it, None where there is none."""

    asked: Asked
    windows: tuple[Window, ...]
    truths: tuple[Times | None, ...]
    words: Float32[np.ndarray, "L E"]


@dataclass(frozen=True, slots=True, eq=False)
class QueryBatch:
    """Windows of all samples, one after the other, and the words of each sample; padding is false in the masks.

    Window r belongs to sample `sample_of[r]`; its rows last from `origins[r]` on for `durations[r]` seconds of the
    clip. `labels` are the head's own.
    """

    video: Float[Tensor, "R S D"]
    video_mask: Bool[Tensor, "R S"]
    origins: Float[Tensor, " R"]
    durations: Float[Tensor, " R"]
    sample_of: Int[Tensor, " R"]
    words: Float[Tensor, "B L E"]
    words_mask: Bool[Tensor, "B L"]
    labels: dict[str, Tensor]
    asked: tuple[Asked, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of the queries."""
        return tuple(asked.query.query_id for asked in self.asked)

    @property
    def words_of_windows(self) -> tuple[Float[Tensor, "R L E"], Bool[Tensor, "R L"]]:
        """The words and their mask once for each window."""
        return self.words[self.sample_of], self.words_mask[self.sample_of]

    def to(self, device: torch.device | str) -> "QueryBatch":
        """Return the same batch on `device`."""
        tensors = ("video", "video_mask", "origins", "durations", "sample_of", "words", "words_mask")
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in tensors}
        labels = {name: label.to(device, non_blocking=True) for name, label in self.labels.items()}
        return replace(self, **moved, labels=labels)


@runtime_checkable
class QueryHead(Protocol):
    """What a network needs to be trained for queries and to answer them: its own grid, labels, loss and answers."""

    def lay(self, rows: Float32[np.ndarray, "S D"]) -> Float32[np.ndarray, "N D"]:
        """Return the rows of a window as the network takes them."""
        ...

    def labels(
        self, windows: Sequence[Window], truths: Sequence[Times | None], num_rows: int, *, released: bool
    ) -> dict[str, Tensor]:
        """Return what is to be learnt from windows padded to `num_rows`; first axes count windows."""
        ...

    def encode(self, model: Any, batch: QueryBatch) -> dict[str, Tensor]:
        """Return what each window of a batch loses."""
        ...

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return the loss of the global batch."""
        ...

    def propose(self, model: Any, batch: QueryBatch) -> list[Detections]:
        """Return candidate answers of each window, in seconds of the clip."""
        ...


@dataclass(frozen=True, slots=True)
class Looking:
    """How a network looks at a clip: through windows of `window` seconds (None: whole), every `stride` seconds.

    `released` gives whole clips the released time line.
    """

    head: QueryHead
    window: float | None
    stride: float | None
    released: bool

    def spans(self, duration: float) -> list[Span]:
        """Return where the windows of a clip are."""
        return window_spans(duration, self.window, self.stride)

    def windows(self, found: ClipFeatures, duration: float, only: int | None = None) -> tuple[Window, ...]:
        """Return the windows of a clip, or `only` one of them, laid on the network's grid."""
        spans = self.spans(duration)
        if len(spans) == 1:
            windows = [released_window(found, duration) if self.released else cut_window(found)]
        else:
            windows = [cut_window(found, span) for span in (spans if only is None else spans[only : only + 1])]
        return tuple(replace(window, rows=self.head.lay(window.rows)) for window in windows)


class WindowCache:
    """Windows of clips, laid on the grid, up to so many megabytes; those not asked for longest go first.

    It belongs to one process: sent to a worker, it arrives empty.
    """

    def __init__(self, megabytes: float):
        self.megabytes, self._held, self._bytes = megabytes, dict[str, tuple[Window, ...]](), 0

    def __reduce__(self):
        return WindowCache, (self.megabytes,)

    def get(self, clip_id: str) -> tuple[Window, ...] | None:
        """Return the windows of a clip, if they are here."""
        windows = self._held.pop(clip_id, None)
        if windows is not None:
            self._held[clip_id] = windows
        return windows

    def keep(self, clip_id: str, windows: tuple[Window, ...]) -> None:
        """Hold the windows of a clip that is not here yet, if they fit."""
        size = _bytes_of(windows)
        if size > self.megabytes * 1e6:
            return
        self._held[clip_id] = windows
        self._bytes += size
        while self._bytes > self.megabytes * 1e6:
            self._bytes -= _bytes_of(self._held.pop(next(iter(self._held))))


def _bytes_of(windows: Sequence[Window]) -> int:
    return sum(window.rows.nbytes for window in windows)


@dataclass(frozen=True)
class QuerySamples:
    """Queries of one split. In training each is read with one window, drawn by the sample's seed."""

    asked: tuple[Asked, ...]
    features: FeatureSet
    text: TextFeatures
    looking: Looking
    training: bool
    negatives: float
    cache: WindowCache

    def __len__(self) -> int:
        return len(self.asked)

    def read(self, index: int, seed: int) -> QuerySample:
        """Return a query with its window (training) or all windows of its clip."""
        asked = self.asked[index]
        words = self.text.of(asked.query.text)
        if not self.training:
            windows = self._windows(asked.clip)
            return QuerySample(asked, windows, (None,) * len(windows), words)
        assert asked.truth is not None, "the task leaves out queries without a truth"
        generator = np.random.default_rng(seed)
        number, truth = choose_window(self.looking.spans(asked.clip.duration), asked.truth, generator, self.negatives)
        return QuerySample(asked, self._windows(asked.clip, only=number), (truth,), words)

    def _windows(self, clip: QueryClip, only: int | None = None) -> tuple[Window, ...]:
        """Return the windows of a clip, or `only` one of them."""
        whole = only is None or len(self.looking.spans(clip.duration)) == 1
        windows = self.cache.get(clip.clip_id) if whole else None
        if windows is None:
            found = self.features.rows_of(clip.video_id, clip.clip_id, clip.start, clip.end)
            windows = self.looking.windows(found, clip.duration, only)
            # What is a view of the features themselves is mapped, not held.
            if whole and not np.shares_memory(windows[0].rows, found.features):
                self.cache.keep(clip.clip_id, windows)
        return windows


def collate_queries(samples: Sequence[QuerySample], looking: Looking, *, training: bool) -> QueryBatch:
    """Pad the windows of all samples and their words to the longest.

    Raises:
        AnnotationError: features of two clips differ in width.
    """
    windows = [window for sample in samples for window in sample.windows]
    widths = {window.rows.shape[1] for window in windows}
    if len(widths) > 1:
        narrow, wide = (
            next(s.asked.clip.clip_id for s in samples if s.windows[0].rows.shape[1] == width)
            for width in sorted(widths)[:2]
        )
        raise AnnotationError(
            f"features of clip {narrow!r} have {min(widths)} columns, those of clip {wide!r} have {sorted(widths)[1]}; "
            "extract them alike."
        )
    video, video_mask = _pad([window.rows for window in windows])
    words, words_mask = _pad([sample.words for sample in samples])
    truths = [truth for sample in samples for truth in sample.truths]
    labels = looking.head.labels(windows, truths, video.shape[1], released=looking.released) if training else {}
    return QueryBatch(
        video=video,
        video_mask=video_mask,
        origins=torch.tensor([window.origin for window in windows], dtype=torch.float64),
        durations=torch.tensor([window.duration for window in windows], dtype=torch.float64),
        sample_of=torch.arange(len(samples)).repeat_interleave(torch.tensor([len(s.windows) for s in samples])),
        words=words,
        words_mask=words_mask,
        labels=labels,
        asked=tuple(sample.asked for sample in samples),
    )


def _pad(pieces: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return pieces of rows (S, D) one below the other, padded with zeros at their ends, and which rows are real."""
    longest = max(len(piece) for piece in pieces)
    padded = np.zeros((len(pieces), longest, pieces[0].shape[1]), dtype=np.float32)
    for row, piece in enumerate(pieces):
        padded[row, : len(piece)] = piece
    lengths = torch.tensor([len(piece) for piece in pieces])
    return torch.from_numpy(padded), torch.arange(longest) < lengths[:, None]
