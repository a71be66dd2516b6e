"""A video in files of a fixed length, `uid/0.mp4, uid/1.mp4, ...`, read as if it were one.

File k holds the seconds [k N, (k + 1) N). `playhead transcode` writes an index beside its chunks, which says exactly
when each begins; of other people's chunks, cut to at most a frame, the k-th is taken to begin at k N. Files may also
be named by their first second (`0.mp4, 15.mp4, ...`). An empty last file is what cutting a video whose length is a
multiple of N leaves behind; it counts as no file.

Source: EgoVLP, utils/video_chunk.py (600 s, by number); LaViLa and AVION (300 s and 15 s, by second).
"""

import itertools
import math
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from playhead.errors import DecodeError
from playhead.types import Clip
from playhead.video.chunk_files import ChunkIndex, is_empty, list_chunks, require_all
from playhead.video.decoder import Decoder
from playhead.video.source import TOLERANCE, OnShort, Size, Times, VideoInfo

SEAM = 0.25
"""So many seconds before the next chunk the frames of one may end, or two frames where these last longer."""

OPEN_CHUNKS = 2
"""So many chunks of a video stay open: one, and its neighbour where clips cross a border."""

Timed = tuple[float, UInt8[Tensor, "C H W"]]
"""When a frame begins, in seconds, and its pixels."""


class ChunkedVideo:
    """Reads the chunks in one folder as one video; not to be shared between threads or processes.

    `chunk_seconds` is N. An index knows it; without one, and without `chunk_seconds`, it is the length of the first
    chunk, if that is a whole number of seconds. `threads` bounds each decoder's own threads. An error names the chunk,
    and its time counts from that chunk's first frame.

    Raises:
        ValueError: `chunk_seconds` is below 1.
        DecodeError: no chunks lie there, one is missing or unreadable, or N is another than asked or not to be told.
    """

    def __init__(self, path: str | os.PathLike[str], chunk_seconds: int | None = None, threads: int = 1):
        if chunk_seconds is not None and chunk_seconds < 1:
            raise ValueError(f"chunk_seconds needs at least 1, got {chunk_seconds}.")
        self._path, self._threads = os.fspath(path), threads
        self._decoders: OrderedDict[int, Decoder] = OrderedDict()
        self._info: VideoInfo | None = None
        self._shape: tuple[int, int] | None = None
        self._files: list[str] = []
        self._starts: list[float] = [0.0]
        self._num_chunks: int | None = None  # whether the last file is empty is seen when that matters
        self._chunk_seconds = chunk_seconds
        index = ChunkIndex.read(path)
        self._exact = index is not None
        if index is None:
            self._use_files(chunk_seconds)
        else:
            self._use_index(index, chunk_seconds)

    @property
    def info(self) -> VideoInfo:
        """What is known of the whole; without an index, asking opens the first and the last chunk."""
        if self._info is None:
            first, last = self._decoder(0).info, self._decoder(self._last).info
            num_frames = first.num_frames if self._last == 0 else first.num_frames * self._last + last.num_frames
            duration = self._starts[self._last] + last.duration
            self._info = replace(first, path=self._path, duration=duration, num_frames=num_frames)
        return self._info

    def __enter__(self) -> "ChunkedVideo":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files. Frames already given stay valid."""
        while self._decoders:
            self._decoders.popitem()[1].close()

    def frames_at(self, times: Times, size: Size = None, on_short: OnShort = "error") -> Clip:
        """Return the frame on screen at each of `times`, in their order; see `Decoder.frames_at`."""
        asked = [float(time) for time in times]
        if not asked:
            raise ValueError("times is empty; ask for at least one.")
        rows: dict[int, list[int]] = {}
        for row in sorted(range(len(asked)), key=asked.__getitem__):
            rows.setdefault(self._place(asked[row]), []).append(row)
        clips: list[Clip | None] = [None] * len(asked)
        for place, members in rows.items():
            start = self._starts[place]
            clip = self._read(place, [asked[row] - start for row in members], size, on_short)
            if len(rows) == 1 and members == list(range(len(asked))):
                return Clip(clip.frames, clip.times + start)
            for position, row in enumerate(members):
                one = slice(position, position + 1)
                clips[row] = Clip(clip.frames[one], clip.times[one] + start)
        found = [clip for clip in clips if clip is not None]
        return Clip(torch.cat([clip.frames for clip in found]), torch.cat([clip.times for clip in found]))

    def stream(
        self, fps: float | None = None, start: float = 0.0, end: float | None = None, size: Size = None
    ) -> Iterator[Timed]:
        """Read forward from `start` up to `end`, which is excluded; see `Decoder.stream`."""
        if fps is not None and not fps > 0:
            raise ValueError(f"fps needs to be above zero, got {fps}.")
        # Files of its own, so that `frames_at` may be called in between.
        with ChunkedVideo(self._path, self._chunk_seconds, self._threads) as own:
            yield from own._every_frame(start, end, size) if fps is None else own._grid(fps, start, end, size)

    def _use_index(self, index: ChunkIndex, chunk_seconds: int | None):
        if chunk_seconds not in (None, index.chunk_seconds):
            raise DecodeError(
                f"chunks of {chunk_seconds} s asked for, but these are of {index.chunk_seconds} s; say that.",
                path=self._path,
            )
        held = [(number, start) for number, start in enumerate(index.starts) if start is not None]
        self._files = [os.path.join(self._path, f"{number}.mp4") for number, _ in held]
        self._starts = [start for _, start in held]
        self._chunk_seconds, self._num_chunks = index.chunk_seconds, len(held)
        self._shape = (index.width, index.height)
        self._info = VideoInfo(
            self._path, index.duration, index.width, index.height, index.fps, index.num_frames, index.codec, rotation=0
        )

    def _use_files(self, chunk_seconds: int | None):
        numbered = list_chunks(self._path)
        numbers = sorted(numbered)
        if len(numbers) > 1 and os.path.getsize(numbered[numbers[-1]]) == 0:
            numbers.pop()
        self._files = [numbered[number] for number in numbers]
        if len(numbers) > 1:
            seconds = self._chunk_seconds = chunk_seconds or self._length_of_first()
            require_all(numbers, seconds, self._path)
            self._starts = [float(place * seconds) for place in range(len(numbers))]

    def _length_of_first(self) -> int:
        info = self._decoder(0).info
        duration = info.duration
        if round(duration) < 1 or abs(duration - round(duration)) > _seam(info):
            raise DecodeError(
                f"the first chunk lasts {duration:.2f} s, no whole number of seconds; say chunk_seconds.",
                path=self._path,
            )
        return round(duration)

    @property
    def _last(self) -> int:
        """The place of the last chunk that has frames."""
        if self._num_chunks is None:
            count = len(self._files)
            self._num_chunks = count - 1 if count > 1 and is_empty(self._files[-1]) else count
        return self._num_chunks - 1

    def _place(self, time: float) -> int:
        """Return the place of the chunk that shows what is on screen at `time`."""
        if not math.isfinite(time) or time < -TOLERANCE:
            raise DecodeError(f"a frame at {time} s was asked for; times count from the first, 0 s.", path=self._path)
        place = max(0, bisect_right(self._starts, time) - 1)
        if place + 1 < len(self._starts) and time - self._starts[place + 1] >= -TOLERANCE:
            place += 1
        return place if place + 1 < len(self._starts) else min(place, self._last)

    def _decoder(self, place: int) -> Decoder:
        if place not in self._decoders:
            decoder = Decoder(self._files[place], self._threads)
            self._check_chunk(place, decoder.info)
            if len(self._decoders) >= OPEN_CHUNKS:
                self._decoders.popitem(last=False)[1].close()
            self._decoders[place] = decoder
        self._decoders.move_to_end(place)
        return self._decoders[place]

    def _check_chunk(self, place: int, info: VideoInfo):
        """Refuse a chunk that does not belong to the others."""
        self._shape = self._shape or (info.width, info.height)
        if (info.width, info.height) != self._shape:
            raise DecodeError(
                f"is {info.width}x{info.height}, but the chunks before are {self._shape[0]}x{self._shape[1]}; "
                "cut all from one video.",
                path=info.path,
            )
        if not self._exact and place + 1 < len(self._starts):
            length = self._starts[place + 1] - self._starts[place]
            if info.duration > length + _seam(info):
                raise DecodeError(
                    f"lasts {info.duration:.2f} s, but the next chunk begins after {length:g} s; were they cut at "
                    "keyframes, or is chunk_seconds another?",
                    path=info.path,
                )

    def _read(self, place: int, times: list[float], size: Size, on_short: OnShort) -> Clip:
        """Read from one chunk; its last frame stays on screen until the next chunk begins, if that is soon."""
        decoder = self._decoder(place)
        if place == self._last:
            return decoder.frames_at(times, size, on_short)
        try:
            return decoder.frames_at(times, size)
        except DecodeError:
            if self._exact or not self._ends_well(place):
                raise
            clip = decoder.frames_at(times, size, "repeat_last")
            late = torch.tensor(times, dtype=torch.float64) - clip.times
            if bool((late > 2 * _seam(decoder.info)).any()):
                raise
            return clip

    def _ends_well(self, place: int) -> bool:
        """Whether a chunk reaches the next, but for a few frames."""
        length, info = self._starts[place + 1] - self._starts[place], self._decoder(place).info
        return info.duration >= length - _seam(info)

    def _every_frame(self, start: float, end: float | None, size: Size) -> Iterator[Timed]:
        first = self._place(start)
        for place in range(first, self._last + 1):
            begin, is_last = self._starts[place], place == self._last
            if place > first and end is not None and begin >= end - TOLERANCE:
                return
            ends = [time for time in (end, None if is_last else self._starts[place + 1]) if time is not None]
            bound = min(ends) - begin if ends else None
            local, given = (start - begin, 0) if place == first else (0.0, 0)
            with closing(self._decoder(place).stream(start=local, end=bound, size=size)) as frames:
                for time, frame in frames:
                    given += 1
                    yield begin + time, frame
            if not given and not is_last and (bound is None or local < bound - TOLERANCE):
                yield self._one(place, local, size)  # `start` lies between the chunks
            if not is_last and not self._exact and (end is None or end > self._starts[place + 1]):
                self._require_end(place)

    def _grid(self, fps: float, start: float, end: float | None, size: Size) -> Iterator[Timed]:
        def stays(step: int, place: int) -> bool:
            time = start + step / fps
            return (end is None or time < end - TOLERANCE) and self._place(time) == place

        step = 0
        while end is None or start + step / fps < end - TOLERANCE:
            place = self._place(start + step / fps)
            begin = self._starts[place]
            local, is_last = start + step / fps - begin, place == self._last
            bound = end - begin if is_last and end is not None else None
            count = None if is_last else next(n for n in itertools.count(1) if not stays(step + n, place))
            given = 0
            with closing(self._decoder(place).stream(fps, local, bound, size)) as frames:
                for time, frame in itertools.islice(frames, count):
                    given += 1
                    yield begin + time, frame
            if count is None:
                return
            for late in range(given, count):
                yield self._one(place, start + (step + late) / fps - begin, size)
            step += count

    def _one(self, place: int, local: float, size: Size) -> Timed:
        clip = self._read(place, [local], size, "error")
        return self._starts[place] + clip.times.item(), clip.frames[0]

    def _require_end(self, place: int):
        if not self._ends_well(place):
            raise DecodeError(
                f"its frames end here, but the next chunk begins {self._starts[place + 1] - self._starts[place]:g} s "
                "after this one; fetch it again.",
                path=self._files[place],
                time=self._decoder(place).info.duration,
            )


def _seam(info: VideoInfo) -> float:
    return max(SEAM, 2 / info.fps)
