"""Many long videos to rows of features: decoding runs in the background while the model works, batches cross videos.

What gets rows is a piece: a whole video, or one of several stretches that are cut out of a video in one reading of it.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from queue import Empty, Full, Queue, SimpleQueue
from threading import Event

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn

from playhead.apps.windows import WindowSettings, plan_windows, stream_windows
from playhead.data.feature_files import TimeBase
from playhead.errors import DecodeError
from playhead.models.frozen import Frozen
from playhead.types import Span
from playhead.video.decode import open_video
from playhead.video.source import VideoInfo, VideoSource
from playhead.video.transforms import Preprocess

Encode = Callable[[Tensor], Tensor]
"""Pixels as the model wants them, "B T C S S", to rows "B E"."""

_POLL = 0.1  # seconds between two looks at whether the other side is still there


@dataclass(frozen=True, slots=True)
class EncodedVideo:
    """All windows of one video: what each spans (seconds) and its row."""

    path: str
    info: VideoInfo
    spans: Float[ndarray, "S 2"]
    rows: Float[ndarray, "S E"]


@dataclass(frozen=True, slots=True)
class FailedVideo:
    """A video that gave no rows, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class PieceWindow:
    """The frames of one window of a piece, and what they span, in seconds; windows that overlap share frames.

    `share` is how much of its piece lies before the window's end, 0 where that is not known.
    """

    piece: str
    span: Span
    frames: UInt8[Tensor, "T C H W"] | tuple[UInt8[Tensor, "C H W"], ...]
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class PieceEnd:
    """A piece has no more windows; `info` is that of its video, `time` says when its rows are."""

    piece: str
    info: VideoInfo
    time: TimeBase


@dataclass(frozen=True, slots=True)
class FailedPiece:
    """A piece that gives no rows, and why."""

    piece: str
    reason: str


@dataclass(frozen=True, slots=True)
class EncodedPiece:
    """All windows of one piece: what each spans (seconds) and its row; see `PieceEnd`."""

    piece: str
    info: VideoInfo
    time: TimeBase
    spans: Float[ndarray, "S 2"]
    rows: Float[ndarray, "S E"]


Cut = PieceWindow | PieceEnd | FailedPiece


@dataclass(frozen=True, slots=True)
class Reading:
    """One video file and the pieces that `cut` makes of it; each piece ends or fails once."""

    path: str
    pieces: tuple[str, ...]
    cut: Callable[[VideoSource], Iterator[Cut]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. `wait_seconds` is the part of `seconds` in which the model waited for frames.

    `shares` says of each piece that is begun and not done how much of it is encoded.
    """

    videos_done: int
    num_videos: int
    windows: int
    seconds: float
    wait_seconds: float
    shares: Mapping[str, float] = field(default_factory=dict)


Report = Callable[[Progress], None]


def encoder_of(model: Frozen, settings: WindowSettings) -> Encode:
    """Return what makes the rows that are asked for: of the space shared with text, or the tower's own."""
    return model.project_video if settings.projected else model.video


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's weights lie; the CPU for a model without any."""
    weight = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if weight is None else weight.device


def encode_videos(
    videos: Sequence[str],
    encode: Encode,
    preprocess: Preprocess,
    settings: WindowSettings,
    device: torch.device,
    progress: Report | None = None,
) -> Iterator[EncodedVideo | FailedVideo]:
    """Yield every video once, as soon as its last window is encoded or its decoder has given up.

    A video that cannot be decoded is yielded as `FailedVideo` and stops nothing; any other error is raised here,
    whichever thread met it. With one decoder the videos come in their order, and so do the batches.
    """
    readings = read_whole(videos, preprocess, settings)
    with closing(encode_pieces(readings, encode, preprocess, settings, device, progress)) as results:
        for result in results:
            yield as_video(result)


def read_whole(videos: Sequence[str], preprocess: Preprocess, settings: WindowSettings) -> list[Reading]:
    """Return one reading per video that makes one piece of it, named by its path."""
    return [Reading(path, (path,), partial(_cut_whole, path, preprocess, settings)) for path in dict.fromkeys(videos)]


def as_video(result: EncodedPiece | FailedPiece) -> EncodedVideo | FailedVideo:
    """Return what came of a piece that is all of its video."""
    if isinstance(result, EncodedPiece):
        return EncodedVideo(result.piece, result.info, result.spans, result.rows)
    return FailedVideo(result.piece, result.reason)


def encode_pieces(
    readings: Sequence[Reading],
    encode: Encode,
    preprocess: Preprocess,
    settings: WindowSettings,
    device: torch.device,
    progress: Report | None = None,
) -> Generator[EncodedPiece | FailedPiece, None, None]:
    """Yield every piece of every reading once, as soon as its last window is encoded or its decoder has given up.

    No piece may have the name of another. Of `settings`, only what concerns the encoding is used. Errors and order are
    as in `encode_videos`.
    """
    run = _Run(encode, preprocess, settings, device)
    waiting: SimpleQueue[Reading] = SimpleQueue()
    for reading in readings:
        waiting.put(reading)
    num_pieces = sum(len(reading.pieces) for reading in readings)
    arrivals: Queue[_Arrival] = Queue(maxsize=2 * settings.batch_size)
    stop = Event()
    done = 0
    with ThreadPoolExecutor(settings.decoders, thread_name_prefix="playhead-decode") as pool:
        decoders = [pool.submit(_decode, waiting, arrivals, stop) for _ in range(settings.decoders)]
        try:
            for arrival in _arrivals(arrivals, decoders, run):
                for result in run.take(arrival):
                    done += 1
                    yield result
                if progress is not None:
                    progress(run.progress(done, num_pieces))
        finally:
            stop.set()


def _cut_whole(path: str, preprocess: Preprocess, settings: WindowSettings, source: VideoSource) -> Iterator[Cut]:
    """Make one piece of a video, named by its path."""
    duration = source.info.duration
    for span, frames in stream_windows(source, preprocess, settings):
        yield PieceWindow(path, span, frames, min(1.0, span.end / duration) if duration > 0 else 0.0)
    plan = plan_windows(preprocess, settings)
    yield PieceEnd(path, source.info, TimeBase(plan.fps, plan.num_frames, plan.stride))


class _NoMore:
    """A decoder has run out of videos."""


_Arrival = Cut | _NoMore


class _StoppedError(Exception):
    """The consumer has gone; a decoder unwinds and closes its file."""


def _decode(waiting: "SimpleQueue[Reading]", arrivals: "Queue[_Arrival]", stop: Event):
    """Decode one waiting video after the other; what a video raises beyond DecodeError is the caller's to see."""
    try:
        while not waiting.empty():
            try:
                reading = waiting.get_nowait()
            except Empty:
                break
            left = dict.fromkeys(reading.pieces)
            try:
                with open_video(reading.path) as source:
                    for cut in reading.cut(source):
                        if not isinstance(cut, PieceWindow):
                            del left[cut.piece]
                        _put(arrivals, cut, stop)
            except DecodeError as error:
                for piece in left:
                    _put(arrivals, FailedPiece(piece, reason_of(error)), stop)
        _put(arrivals, _NoMore(), stop)
    except _StoppedError:
        return


def reason_of(error: DecodeError) -> str:
    """Return the message without the path, which stands beside it."""
    return error.problem if error.time is None else f"at {error.time:.2f} s: {error.problem}"


def _put(arrivals: "Queue[_Arrival]", arrival: _Arrival, stop: Event):
    while not stop.is_set():
        try:
            return arrivals.put(arrival, timeout=_POLL)
        except Full:
            continue
    raise _StoppedError


def _arrivals(arrivals: "Queue[_Arrival]", decoders: list[Future], run: "_Run") -> Iterator[_Arrival]:
    """Yield what the decoders send until the last of them has no more; raise what one of them raised."""
    working = len(decoders)
    while working:
        asked = time.perf_counter()
        try:
            arrival = arrivals.get(timeout=_POLL)
        except Empty:
            for decoder in decoders:
                if decoder.done():
                    decoder.result()
            continue
        finally:
            run.wait_seconds += time.perf_counter() - asked
        if isinstance(arrival, _NoMore):
            working -= 1
        else:
            yield arrival
    yield _NoMore()


@dataclass(slots=True)
class _Run:
    """The model's side: windows that wait for a full batch, and rows that wait for the end of their piece."""

    encode: Encode
    preprocess: Preprocess
    settings: WindowSettings
    device: torch.device
    batch: list[PieceWindow] = field(default_factory=list)
    ends: list[PieceEnd] = field(default_factory=list)
    encoded: dict[str, list[tuple[Span, ndarray]]] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    windows: int = 0
    wait_seconds: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def take(self, arrival: _Arrival) -> Iterator[EncodedPiece | FailedPiece]:
        """Take in one arrival; yield the pieces that it completes."""
        match arrival:
            case PieceWindow():
                self.batch.append(arrival)
                if len(self.batch) >= self.settings.batch_size:
                    self._encode_batch()
                    yield from self._complete()
            case PieceEnd():
                self.ends.append(arrival)
                if not any(window.piece == arrival.piece for window in self.batch):
                    yield from self._complete()
            case FailedPiece():
                self.batch = [window for window in self.batch if window.piece != arrival.piece]
                self.encoded.pop(arrival.piece, None)
                self.shares.pop(arrival.piece, None)
                yield arrival
            case _NoMore():
                self._encode_batch()
                yield from self._complete()

    def progress(self, done: int, num_videos: int) -> Progress:
        """Say how far the run is."""
        seconds = time.perf_counter() - self.began
        return Progress(done, num_videos, self.windows, seconds, self.wait_seconds, dict(self.shares))

    def _encode_batch(self):
        rows = _encode(self.batch, self)
        for window, row in zip(self.batch, rows, strict=True):
            self.encoded.setdefault(window.piece, []).append((window.span, row))
            self.shares[window.piece] = window.share
        self.windows += len(self.batch)
        self.batch = []

    def _complete(self) -> Iterator[EncodedPiece]:
        """Yield the ended pieces of which no window waits any more."""
        open_pieces = {window.piece for window in self.batch}
        ready = [end for end in self.ends if end.piece not in open_pieces]
        self.ends = [end for end in self.ends if end.piece in open_pieces]
        for end in ready:
            windows = self.encoded.pop(end.piece)
            self.shares.pop(end.piece, None)
            spans = np.array([(span.start, span.end) for span, _ in windows], dtype=np.float64)
            yield EncodedPiece(end.piece, end.info, end.time, spans, np.stack([row for _, row in windows]))


@torch.inference_mode()
def _encode(windows: list[PieceWindow], run: _Run) -> list[ndarray]:
    """Return one float32 row per window."""
    if not windows:
        return []
    frames = torch.stack([frame for window in windows for frame in window.frames])
    pixels = run.preprocess(frames.unflatten(0, (len(windows), -1)).to(run.device))
    with torch.autocast(run.device.type, torch.bfloat16, enabled=run.settings.precision == "bf16"):
        return list(run.encode(pixels).float().cpu().numpy())
