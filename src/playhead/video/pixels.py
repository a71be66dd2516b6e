"""From a decoded picture to uint8 RGB as it is displayed: scaled inside swscale, turned and mirrored after."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from av import VideoFrame
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from playhead.video.source import Size


@dataclass(frozen=True, slots=True)
class Orientation:
    """How stored pixels become displayed ones: swap the axes, then flip along each."""

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def rotation(self) -> int:
        """The clockwise turn in degrees, before any mirroring."""
        if self.transposed:
            return 270 if self.flip_y else 90
        return 180 if self.flip_y else 0

    @property
    def mirrored(self) -> bool:
        """Whether a flip from left to right follows the turn."""
        turned = {0: (False, False), 90: (True, False), 180: (True, True), 270: (False, True)}[self.rotation]
        return (self.flip_x, self.flip_y) != turned

    def apply(self, pixels: UInt8[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H2 W2 C"]:
        """Return a view of `pixels`, turned and mirrored."""
        if self.transposed:
            pixels = pixels.transpose(1, 0, 2)
        return pixels[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


def read_orientation(frame: VideoFrame) -> Orientation:
    """Return how `frame` wants to be displayed; a slanted matrix counts as the nearest quarter turn.

    The display matrix sends a stored pixel (x, y) to (a x + c y, b x + d y), up to a shift.

    Source: ISO/IEC 14496-12, 6.2.2; libavutil/display.h.
    """
    # PyAV's type stub calls this a mapping of names, but it iterates over the data.
    everything = cast(Iterator[SideData], iter(frame.side_data))
    matrices = [bytes(data) for data in everything if data.type == SideDataType.DISPLAYMATRIX]
    if not matrices:
        return Orientation()
    a, b, _, c, d = struct.unpack("<5i", matrices[0][:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(transposed=False, flip_x=a < 0, flip_y=d < 0)
    return Orientation(transposed=True, flip_x=c < 0, flip_y=b < 0)


def fit_size(size: Size, height: int, width: int) -> tuple[int, int]:
    """Return the (height, width) that `size` means for a video displayed at `height` x `width`.

    An int is the short side; the other keeps the aspect and is rounded down to an even number. A video whose short side
    is already right is left alone, so that it is not blurred for one odd column.

    Raises:
        ValueError: a side is below 1.

    Source: EgoVLP, utils/video_resize.py, `scale=trunc(oh*a/2)*2:256`; it sets the height where we set the short side.
    """
    if size is None:
        return height, width
    if isinstance(size, tuple):
        if min(size) < 1:
            raise ValueError(f"size needs sides of at least 1, got {size}.")
        return size
    if size < 1:
        raise ValueError(f"size needs a short side of at least 1, got {size}.")
    if min(height, width) == size:
        return height, width
    long_side = max(size, size * max(height, width) // min(height, width) // 2 * 2)
    return (size, long_side) if height <= width else (long_side, size)


class Scaler:
    """Turns decoded pictures of one video into uint8 RGB of one displayed size.

    Alpha is dropped, high dynamic range and 10-bit pictures are reduced to 8 bits without tone mapping, and the sample
    aspect ratio is ignored, as the published readers do.
    """

    def __init__(self, size: Size, first: VideoFrame):
        self.orientation = read_orientation(first)
        height, width = first.height, first.width
        if self.orientation.transposed:
            height, width = width, height
        self.height, self.width = fit_size(size, height, width)
        # One reformatter keeps its scaling tables; frame.reformat() would build them anew for every frame.
        self._reformatter = VideoReformatter()

    def picture(self, frame: VideoFrame) -> UInt8[np.ndarray, "C H W"]:
        """Return one picture as displayed, contiguous.

        NumPy, because torch would spread each of these small copies over all cores.
        """
        pixels = np.empty((3, self.height, self.width), np.uint8)
        self.draw(frame, pixels)
        return pixels

    def draw(self, frame: VideoFrame, pixels: UInt8[np.ndarray, "C H W"]):
        """Put one picture as displayed into `pixels`."""
        height, width = (self.width, self.height) if self.orientation.transposed else (self.height, self.width)
        # Without threads=1 swscale starts a thread per core for every frame.
        scaled = self._reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        # Not to_ndarray(), which would copy where FFmpeg pads the rows.
        rows = np.frombuffer(memoryview(scaled.planes[0]), np.uint8).reshape(height, -1)[:, : 3 * width]
        pixels[...] = self.orientation.apply(rows.reshape(height, width, 3)).transpose(2, 0, 1)
