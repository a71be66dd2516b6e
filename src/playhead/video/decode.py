"""Frames of a video file at given seconds, equal to sequential decoding pixel by pixel.

Time is in seconds from the first displayed frame, whatever the container calls that time. The frame at time t is the
one on screen at t: the last that begins no later. A file that is broken in part gives the frames that it still holds;
a time whose frame is broken is an error, and so is a time past the end. A frame that decodes but was predicted from a
broken one is given as the decoder gives it, as a player would show it.
"""

import math
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from playhead.errors import DecodeError
from playhead.types import Clip
from playhead.video.describe import describe
from playhead.video.folder import FrameFolder
from playhead.video.forward import ForwardReader, Shown
from playhead.video.pixels import Scaler
from playhead.video.source import TOLERANCE, OnShort, Size, Times, VideoInfo, VideoSource

CUT_OFF = 1.0
"""A file whose frames end this many seconds before its header says was cut off."""


class Decoder:
    """Reads one video file; not to be shared between threads or processes.

    Going forward within a group of pictures costs no seek; any other time costs one. `threads` bounds the decoder's
    own threads. Frames come as uint8 RGB, as displayed; see `Scaler` for alpha, 10 bit and aspect.

    Raises:
        DecodeError: the file is no video, or not one frame of it can be decoded.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 1):
        if threads < 1:
            raise ValueError(f"threads needs at least 1, got {threads}.")
        self._path, self._threads = os.fspath(path), threads
        self._reader = ForwardReader(self._path, threads)
        self._scalers: dict[Size, Scaler] = {}
        self._info: VideoInfo | None = None

    @property
    def info(self) -> VideoInfo:
        """What is known of the video; asking reads the end of files that do not store their duration."""
        if self._info is None:
            self._info = describe(self._reader)
        return self._info

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Frames already given stay valid."""
        self._reader.close()

    def frames_at(self, times: Times, size: Size = None, on_short: OnShort = "error") -> Clip:
        """Return the frame on screen at each of `times`, in their order; they may be unsorted and repeated.

        `on_short="repeat_last"` gives the last whole frame for times past the end.

        Raises:
            ValueError: `times` is empty, or `size` has a side below 1.
            DecodeError: a time is before the first frame, past the end, or its frame is broken.
        """
        asked = [float(time) for time in times]
        if not asked:
            raise ValueError("times is empty; ask for at least one.")
        scaler = self._scaler(size)
        shown: dict[float, Shown] = {}
        pictures: dict[int, np.ndarray] = {}  # a frame asked for twice is scaled once
        for time in sorted(set(asked)):
            frame = shown[time] = self._on_screen(time, on_short)
            if frame.stamp not in pictures:
                pictures[frame.stamp] = scaler.picture(frame.frame)
        frames = torch.from_numpy(np.stack([pictures[shown[time].stamp] for time in asked]))
        decoded = [self._reader.time_of(shown[time].stamp) for time in asked]
        return Clip(frames, torch.tensor(decoded, dtype=torch.float64))

    def stream(
        self, fps: float | None = None, start: float = 0.0, end: float | None = None, size: Size = None
    ) -> Iterator[tuple[float, UInt8[Tensor, "C H W"]]]:
        """Read forward from `start` up to `end`, which is excluded; without `end`, up to the last frame.

        Without `fps` every frame comes once, the first being the one on screen at `start`. With `fps` exactly one
        frame comes for each of the times `start + k / fps`, so one may come again. The time beside a frame is the one
        at which it really begins. The stream has a file handle of its own: `frames_at` may be called in between.

        Raises:
            ValueError: `fps` is not above zero, or `size` has a side below 1.
            DecodeError: `start` is before the first frame, a frame on the way is broken, or the file was cut off.
        """
        if fps is not None and not fps > 0:
            raise ValueError(f"fps needs to be above zero, got {fps}.")
        scaler = self._scaler(size)
        with closing(ForwardReader(self._path, self._threads)) as reader:
            frames = _every_frame(reader, start, end) if fps is None else _frames_on_grid(reader, fps, start, end)
            for shown in frames:
                yield reader.time_of(shown.stamp), torch.from_numpy(scaler.picture(shown.frame))
            if reader.at_end:
                self._check_end(reader, end)

    def _scaler(self, size: Size) -> Scaler:
        if size not in self._scalers:
            self._scalers[size] = Scaler(size, self._reader.first.frame)
        return self._scalers[size]

    def _on_screen(self, time: float, on_short: OnShort) -> Shown:
        reader = self._reader
        frame = reader.on_screen(_stamp_at(reader, time))
        if frame is not None:
            return frame
        if on_short == "repeat_last":
            return reader.last
        end = reader.time_of(reader.end)
        why = f" ({reader.failure})" if reader.failure else ""
        raise DecodeError(
            f"asked for a frame, but the video ends at {end:.2f} s{why}; "
            "shorten the annotation or read with on_short='repeat_last'.",
            path=self._path,
            time=time,
        )

    def _check_end(self, reader: ForwardReader, end: float | None) -> None:
        """Refuse to take a file that was cut off for one that has ended."""
        found = reader.time_of(reader.end)
        promised = self.info.duration if end is None else min(end, self.info.duration)
        if (reader.failure and found < promised - TOLERANCE) or found < promised - CUT_OFF:
            why = reader.failure or "the file was cut off"
            raise DecodeError(
                f"its frames end here, though it should last {self.info.duration:.2f} s: {why}; "
                "fetch it again or give an earlier end.",
                path=self._path,
                time=found,
            )


def open_video(path: str | os.PathLike[str], fps: float | None = None, threads: int = 1) -> VideoSource:
    """Return the source that fits `path`: a video file, or a folder of numbered images shown at `fps`.

    Raises:
        DecodeError: it is neither, or a folder without `fps`.
    """
    if not os.path.isdir(path):
        return Decoder(path, threads)
    if fps is None:
        raise DecodeError("is a folder; to read it as numbered images, say their fps.", path=path)
    return FrameFolder(path, fps)


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Return what is known of a video file; one frame is decoded, to know that it can be.

    Raises:
        DecodeError: the file is no video, or not one frame of it can be decoded.
    """
    with Decoder(path) as decoder:
        return decoder.info


class DecoderCache:
    """The `capacity` sources used last, open; the one unused for longest is closed when another is needed.

    It belongs to one process. A fork and a copy sent to another process start empty: a decoder shared between
    processes moves the file position under the other's feet, and may wait for threads that the fork does not have.
    `fps` is for folders of frames, `threads` for each decoder.

    Raises:
        ValueError: `capacity` is below 1.
    """

    def __init__(self, capacity: int = 8, fps: float | None = None, threads: int = 1):
        if capacity < 1:
            raise ValueError(f"capacity needs at least 1, got {capacity}.")
        self.capacity, self._fps, self._threads = capacity, fps, threads
        self._sources: OrderedDict[str, VideoSource] = OrderedDict()
        self._inherited: list[OrderedDict[str, VideoSource]] = []
        self._process = os.getpid()

    def __reduce__(self):
        return DecoderCache, (self.capacity, self._fps, self._threads)

    def __len__(self) -> int:
        self._leave_parent()
        return len(self._sources)

    def get(self, path: str | os.PathLike[str]) -> VideoSource:
        """Return the source of `path`; it stays open until `capacity` others have been asked for.

        Raises:
            DecodeError: the path cannot be read as video.
        """
        self._leave_parent()
        name = os.fspath(path)
        if name not in self._sources:
            source = open_video(name, self._fps, self._threads)
            if len(self._sources) >= self.capacity:
                self._sources.popitem(last=False)[1].close()
            self._sources[name] = source
        self._sources.move_to_end(name)
        return self._sources[name]

    def close(self) -> None:
        """Close all that is open."""
        self._leave_parent()
        while self._sources:
            self._sources.popitem()[1].close()

    def _leave_parent(self) -> None:
        if self._process != os.getpid():
            # Kept, not closed: closing would wait for decoder threads that only the parent has.
            self._inherited.append(self._sources)
            self._sources, self._process = OrderedDict(), os.getpid()


def _stamp_at(reader: ForwardReader, time: float) -> int:
    if not math.isfinite(time) or time < -TOLERANCE:
        raise DecodeError(
            f"a frame at {time} s was asked for; times count from the first frame, 0 s.", path=reader.path
        )
    return reader.stamp_at(time)


def _every_frame(reader: ForwardReader, start: float, end: float | None) -> Iterator[Shown]:
    shown = reader.on_screen(_stamp_at(reader, start))
    while shown is not None and (end is None or reader.time_of(shown.stamp) < end - TOLERANCE):
        yield shown
        shown = reader.advance()


def _frames_on_grid(reader: ForwardReader, fps: float, start: float, end: float | None) -> Iterator[Shown]:
    step, time = 0, start
    while end is None or time < end - TOLERANCE:
        shown = reader.on_screen(_stamp_at(reader, time))
        if shown is None or (reader.at_end and time >= reader.time_of(reader.end) - TOLERANCE):
            return
        yield shown
        step += 1
        time = start + step / fps
