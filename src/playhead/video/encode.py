"""Writing pictures as H.264 that is cheap to read at random: short groups of pictures, no B-frames, no costly filters.

Frames keep their times to the tick, as the stream's time base survives in the file; they are written as displayed, so
that nobody needs to turn them again.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av import VideoFrame
from av.error import FFmpegError
from av.video.frame import PictureType
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from jaxtyping import UInt8

from playhead.errors import DecodeError
from playhead.video.container import find_video_stream, open_container
from playhead.video.pixels import Orientation, read_orientation

Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
"""x264's presets: how long it searches for a smaller file of the same quality."""

SMALL = 128
"""Pictures with a side below this are small for x264."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How pictures are compressed. The same pictures give the same bytes."""

    keyframe_every: int
    """Frames from one keyframe to the next, at most."""
    preset: Preset
    """How long x264 searches for a smaller file."""
    crf: int
    """Constant rate factor: 0 loses nothing, 23 is x264's own choice, 51 is the worst."""

    def options(self, height: int, width: int) -> dict[str, str]:
        """Return the settings in x264's words.

        `fastdecode` leaves out the deblocking filter and arithmetic coding: decoding takes half the time, the file
        grows by a fifth.
        """
        return {
            "preset": self.preset,
            "tune": "fastdecode",
            "crf": str(self.crf),
            "g": str(self.keyframe_every),
            "bf": "0",
            "a53cc": "0",  # no closed captions among the pictures
            # Macroblock trees save a fifth of the file, but give pictures of a few blocks other bytes now and then.
            "mbtree": "1" if min(height, width) >= SMALL else "0",
        }


@dataclass(frozen=True, slots=True)
class Colors:
    """What the numbers of a picture mean, in FFmpeg's codes: matrix, range, primaries, transfer."""

    matrix: int
    range: int
    primaries: int
    transfer: int


class DisplayScaler:
    """Turns decoded pictures of one video into 8-bit 4:2:0 of one displayed size, turned and mirrored as displayed.

    The short side becomes `short_side`; the long one keeps the aspect and is rounded down to an even number. As in
    `Scaler`, alpha is dropped, 10 bits become 8 without tone mapping, and the sample aspect ratio is ignored. Colours
    keep their matrix, range, primaries and transfer; RGB becomes BT.601.

    Source: EgoVLP, utils/video_resize.py, `scale=trunc(oh*a/2)*2:256`; it sets the height where we set the short side.
    """

    def __init__(self, short_side: int, first: VideoFrame):
        self.orientation = read_orientation(first)
        height, width = first.height, first.width
        if self.orientation.transposed:
            height, width = width, height
        long_side = max(short_side, short_side * max(height, width) // min(height, width) // 2 * 2)
        self.height, self.width = (short_side, long_side) if height <= width else (long_side, short_side)
        self._from_rgb = first.format.is_rgb or first.format.has_palette
        self.colors = _colors_of(first, self._from_rgb)
        self._reformatter = VideoReformatter()

    def picture(self, frame: VideoFrame) -> VideoFrame:
        """Return one picture as displayed; its time is for the caller to set."""
        height, width = (self.width, self.height) if self.orientation.transposed else (self.height, self.width)
        scaled = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="yuv420p",
            interpolation=Interpolation.BICUBIC,
            dst_colorspace=Colorspace.ITU601 if self._from_rgb else None,
            dst_color_range=ColorRange.MPEG if self._from_rgb else None,
            threads=1,  # without it swscale starts a thread per core for every frame
        )
        return scaled if self.orientation == Orientation() else _turn(scaled, self.orientation)


def _colors_of(first: VideoFrame, from_rgb: bool) -> Colors:
    if from_rgb:
        matrix, unknown = 6, ColorPrimaries.UNSPECIFIED  # SMPTE 170M, which is BT.601
        return Colors(matrix, ColorRange.MPEG, unknown, ColorTrc.UNSPECIFIED)
    return Colors(first.colorspace, first.color_range, first.color_primaries, first.color_trc)


def _turn(frame: VideoFrame, orientation: Orientation) -> VideoFrame:
    """Turn and mirror a 4:2:0 picture plane by plane."""
    height, width = frame.height, frame.width
    flat = frame.to_ndarray()  # the three planes, one after the other
    ends = np.cumsum([height * width, height * width // 4])
    luma, *chroma = np.split(flat.reshape(-1), ends)
    planes = [luma.reshape(height, width), *(plane.reshape(height // 2, width // 2) for plane in chroma)]
    turned = [orientation.apply(plane[..., None])[..., 0] for plane in planes]
    stacked: UInt8[np.ndarray, "H W"] = np.concatenate([plane.reshape(-1) for plane in turned])
    return VideoFrame.from_ndarray(stacked.reshape(-1, turned[0].shape[1]), format="yuv420p")


class FastWriter:
    """Writes one MP4 file of pictures of one size, in the order in which they are shown.

    `tick` is the unit of the stamps, in seconds; `rate` the usual number of frames in a second.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        height: int,
        width: int,
        tick: Fraction,
        rate: Fraction,
        colors: Colors,
        encoding: Encoding,
    ):
        self.path, self._tick = os.fspath(path), tick
        self._container = av.open(self.path, "w", format="mp4", container_options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=rate, options=encoding.options(height, width))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        codec = self._stream.codec_context
        # One thread: the bytes do not depend on the machine, and other files are written beside this one.
        codec.thread_count = 1
        codec.colorspace, codec.color_range = colors.matrix, colors.range
        codec.color_primaries, codec.color_trc = colors.primaries, colors.transfer
        # MP4 counts in a fraction of a second with 1 above the line.
        self._unit = Fraction(1, tick.denominator)
        codec.time_base = self._stream.time_base = self._unit
        self._last = 0

    def write(self, picture: VideoFrame, stamp: int):
        """Add a picture that is on screen from `stamp` on; stamps ascend, and the first is usually 0."""
        picture.pts, picture.time_base = stamp * self._tick.numerator, self._unit
        picture.pict_type = PictureType.NONE  # else the encoder repeats the source's choice of keyframes
        self._last = picture.pts
        self._container.mux(self._stream.encode(picture))

    def finish(self, end: int):
        """Close the file; its last picture leaves the screen at stamp `end`."""
        for packet in self._stream.encode(None):
            if packet.pts == self._last:
                packet.duration = end * self._tick.numerator - self._last
            self._container.mux(packet)
        self.close()

    def close(self):
        """Let go of the file; without `finish` it lacks its last pictures."""
        self._container.close()


def check_written(path: str | os.PathLike[str], tick: Fraction, stamps: Sequence[int]):
    """Read the frame times of a file back.

    Raises:
        DecodeError: they are not `stamps`, in units of `tick`.
    """
    with open_container(path) as container:
        stream = find_video_stream(container, os.fspath(path))
        try:
            packets = [packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard]
        except FFmpegError as error:
            raise DecodeError(f"cannot be read back ({error.strerror}); is the disk sound?", path=path) from error
        base = stream.time_base or Fraction(1)
    unit = tick / base
    if packets != [stamp * unit for stamp in stamps]:
        raise DecodeError(
            f"{len(stamps)} frames were written, but {len(packets)} read back, or other times; is the disk sound?",
            path=path,
        )
