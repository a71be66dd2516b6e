"""What every source of frames offers, whatever it reads from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from playhead.types import Clip

Size = int | tuple[int, int] | None
"""Pixels wanted: `None` as displayed, an int for the short side, or (height, width)."""

Times = Sequence[float] | Sequence[int] | np.ndarray
"""Seconds from the first displayed frame."""

OnShort = Literal["error", "repeat_last"]
"""What to do with a time past the end: raise, or give the last frame again."""

TOLERANCE = 0.0005 + 1e-6
"""A frame that begins this many seconds after an asked time still counts as on screen.

Matroska rounds time stamps to the millisecond, so frame 2 of a 30 fps video begins at 0.067 s, but is asked for as
2 / 30 s; annotations rounded to three places err as much the other way.
"""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a video without reading all of it.

    `duration` is in seconds from the first displayed frame, `width` and `height` are as displayed (rotation applied,
    the sample aspect ratio ignored). `fps` is the mean rate; `num_frames` is what the container says, or an estimate.
    `rotation` is the clockwise turn, in degrees, from stored to displayed pixels; `mirrored` says that a flip from left
    to right follows it. All are the container's word: a truncated file may hold less.
    """

    path: str
    duration: float
    width: int
    height: int
    fps: float
    num_frames: int
    codec: str
    rotation: int
    mirrored: bool = False


@runtime_checkable
class VideoSource(Protocol):
    """Frames by time. Time is in seconds from the first displayed frame."""

    @property
    def info(self) -> VideoInfo:
        """What is known of the video."""
        ...

    def frames_at(self, times: Times, size: Size = None, on_short: OnShort = "error") -> Clip:
        """Return the frame on screen at each of `times`, in their order."""
        ...

    def stream(
        self, fps: float | None = None, start: float = 0.0, end: float | None = None, size: Size = None
    ) -> Iterator[tuple[float, UInt8[Tensor, "C H W"]]]:
        """Read forward from `start` to `end`."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...

    def __enter__(self) -> "VideoSource": ...

    def __exit__(self, *exception: object) -> None: ...
