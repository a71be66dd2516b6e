"""Frames of a video file at given seconds, equal to sequential decoding pixel by pixel.

Time is in seconds from the first displayed frame, whatever the container calls that time. The frame at time t is the
one on screen at t: the last that begins no later. A file that is broken in part gives the frames that it still holds;
a time whose frame is broken is an error, and so is a time past the end. A frame that decodes but was predicted from a
broken one is given as the decoder gives it, as a player would show it.
"""

import math
import os
from collections.abc import Generator, Iterator
from contextlib import closing

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from playhead.errors import DecodeError
from playhead.types import Clip
from playhead.video.describe import describe
from playhead.video.forward import ForwardReader, Shown
from playhead.video.pixels import Scaler
from playhead.video.source import TOLERANCE, OnShort, Size, Times, VideoInfo

CUT_OFF = 1.0
"""A file whose frames end this many seconds before its header says was cut off."""

LOOK_AHEAD = 8
"""So many times are made known to the reader, the one asked for included: it then decodes less on the way to them."""


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
        ordered = sorted(set(asked))
        stamps = [_stamp_at(self._reader, time) for time in ordered]
        pixels = np.empty((len(asked), 3, scaler.height, scaler.width), np.uint8)
        first = {time: row for row, time in reversed(list(enumerate(asked)))}
        begins: dict[float, int] = {}
        rows: dict[int, int] = {}  # a frame asked for twice is scaled once
        for place, time in enumerate(ordered):
            shown = self._on_screen(time, stamps[place : place + LOOK_AHEAD], on_short)
            begins[time] = shown.stamp
            if shown.stamp not in rows:
                row = rows[shown.stamp] = first[time]
                scaler.draw(shown.frame, pixels[row])
        for row, time in enumerate(asked):
            if (drawn := rows[begins[time]]) != row:
                pixels[row] = pixels[drawn]
        decoded = [self._reader.time_of(begins[time]) for time in asked]
        return Clip(torch.from_numpy(pixels), torch.tensor(decoded, dtype=torch.float64))

    def stream(
        self, fps: float | None = None, start: float = 0.0, end: float | None = None, size: Size = None
    ) -> Generator[tuple[float, UInt8[Tensor, "C H W"]], None, None]:
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
                check_end(reader, self.info, end)

    def _scaler(self, size: Size) -> Scaler:
        if size not in self._scalers:
            self._scalers[size] = Scaler(size, self._reader.first.frame)
        return self._scalers[size]

    def _on_screen(self, time: float, stamps: list[int], on_short: OnShort) -> Shown:
        reader = self._reader
        frame = reader.on_screen(stamps[0], stamps[1:])
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


def check_end(reader: ForwardReader, info: VideoInfo, end: float | None = None):
    """Refuse to take a file that was cut off for one that has ended; `reader` has come to the end of its frames.

    Raises:
        DecodeError: frames are missing before `end`, or before what the file's header says.
    """
    found = reader.time_of(reader.end)
    promised = info.duration if end is None else min(end, info.duration)
    if (reader.failure and found < promised - TOLERANCE) or found < promised - CUT_OFF:
        why = reader.failure or "the file was cut off"
        raise DecodeError(
            f"its frames end here, though it should last {info.duration:.2f} s: {why}; "
            "fetch it again or give an earlier end.",
            path=reader.path,
            time=found,
        )


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
        then = [reader.stamp_at(start + (step + ahead) / fps) for ahead in range(1, LOOK_AHEAD)]
        shown = reader.on_screen(_stamp_at(reader, time), then)
        if shown is None or (reader.at_end and time >= reader.time_of(reader.end) - TOLERANCE):
            return
        yield shown
        step += 1
        time = start + step / fps
