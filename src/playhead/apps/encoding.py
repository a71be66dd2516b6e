"""Many long videos to rows of features: decoding runs in the background while the model works, batches cross videos."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from queue import Empty, Full, Queue, SimpleQueue
from threading import Event

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn

from playhead.apps.windows import WindowSettings, stream_windows
from playhead.errors import DecodeError
from playhead.types import Span
from playhead.video.decode import open_video
from playhead.video.source import VideoInfo
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
class Progress:
    """How far a run is. `wait_seconds` is the part of `seconds` in which the model waited for frames."""

    videos_done: int
    num_videos: int
    windows: int
    seconds: float
    wait_seconds: float


Report = Callable[[Progress], None]


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
    run = _Run(encode, preprocess, settings, device)
    videos = list(dict.fromkeys(videos))
    waiting: SimpleQueue[str] = SimpleQueue()
    for path in videos:
        waiting.put(path)
    arrivals: Queue[_Arrival] = Queue(maxsize=2 * settings.batch_size)
    stop = Event()
    done = 0
    with ThreadPoolExecutor(settings.decoders, thread_name_prefix="playhead-decode") as pool:
        decoders = [
            pool.submit(_decode, waiting, preprocess, settings, arrivals, stop) for _ in range(settings.decoders)
        ]
        try:
            for arrival in _arrivals(arrivals, decoders, run):
                for result in run.take(arrival):
                    done += 1
                    yield result
                if progress is not None:
                    progress(run.progress(done, len(videos)))
        finally:
            stop.set()


@dataclass(frozen=True, slots=True)
class _Window:
    path: str
    span: Span
    frames: UInt8[Tensor, "T C H W"]


@dataclass(frozen=True, slots=True)
class _End:
    path: str
    info: VideoInfo


class _NoMore:
    """A decoder has run out of videos."""


_Arrival = _Window | _End | FailedVideo | _NoMore


class _StoppedError(Exception):
    """The consumer has gone; a decoder unwinds and closes its file."""


def _decode(
    waiting: "SimpleQueue[str]",
    preprocess: Preprocess,
    settings: WindowSettings,
    arrivals: "Queue[_Arrival]",
    stop: Event,
):
    """Decode one waiting video after the other; what a video raises beyond DecodeError is the caller's to see."""
    try:
        while not waiting.empty():
            try:
                path = waiting.get_nowait()
            except Empty:
                break
            try:
                with open_video(path) as source:
                    for span, frames in stream_windows(source, preprocess, settings):
                        _put(arrivals, _Window(path, span, frames), stop)
                    _put(arrivals, _End(path, source.info), stop)
            except DecodeError as error:
                _put(arrivals, FailedVideo(path, _reason(error)), stop)
        _put(arrivals, _NoMore(), stop)
    except _StoppedError:
        return


def _reason(error: DecodeError) -> str:
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
    """The model's side: windows that wait for a full batch, and rows that wait for the end of their video."""

    encode: Encode
    preprocess: Preprocess
    settings: WindowSettings
    device: torch.device
    batch: list[_Window] = field(default_factory=list)
    ends: list[_End] = field(default_factory=list)
    encoded: dict[str, list[tuple[Span, ndarray]]] = field(default_factory=dict)
    windows: int = 0
    wait_seconds: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def take(self, arrival: _Arrival) -> Iterator[EncodedVideo | FailedVideo]:
        """Take in one arrival; yield the videos that it completes."""
        match arrival:
            case _Window():
                self.batch.append(arrival)
                if len(self.batch) >= self.settings.batch_size:
                    self._encode_batch()
                    yield from self._complete()
            case _End():
                self.ends.append(arrival)
                if not any(window.path == arrival.path for window in self.batch):
                    yield from self._complete()
            case FailedVideo():
                self.batch = [window for window in self.batch if window.path != arrival.path]
                self.encoded.pop(arrival.path, None)
                yield arrival
            case _NoMore():
                self._encode_batch()
                yield from self._complete()

    def progress(self, done: int, num_videos: int) -> Progress:
        """Say how far the run is."""
        return Progress(done, num_videos, self.windows, time.perf_counter() - self.began, self.wait_seconds)

    def _encode_batch(self):
        rows = _encode(self.batch, self)
        for window, row in zip(self.batch, rows, strict=True):
            self.encoded.setdefault(window.path, []).append((window.span, row))
        self.windows += len(self.batch)
        self.batch = []

    def _complete(self) -> Iterator[EncodedVideo]:
        """Yield the ended videos of which no window waits any more."""
        open_paths = {window.path for window in self.batch}
        ready = [end for end in self.ends if end.path not in open_paths]
        self.ends = [end for end in self.ends if end.path in open_paths]
        for end in ready:
            windows = self.encoded.pop(end.path)
            spans = np.array([(span.start, span.end) for span, _ in windows], dtype=np.float64)
            yield EncodedVideo(end.path, end.info, spans, np.stack([row for _, row in windows]))


@torch.inference_mode()
def _encode(windows: list[_Window], run: _Run) -> list[ndarray]:
    """Return one float32 row per window."""
    if not windows:
        return []
    pixels = run.preprocess(torch.stack([window.frames for window in windows]).to(run.device))
    with torch.autocast(run.device.type, torch.bfloat16, enabled=run.settings.precision == "bf16"):
        return list(run.encode(pixels).float().cpu().numpy())
