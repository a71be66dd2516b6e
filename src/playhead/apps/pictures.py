"""Frames as JPEG, and curves as SVG: the pictures of a report, without a plotting library."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from html import escape

import av
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from playhead.types import Span
from playhead.video.decode import open_video
from playhead.video.sampling import uniform_times
from playhead.video.source import VideoInfo


def jpeg(frame: UInt8[Tensor, "C H W"]) -> bytes:
    """Return an RGB frame as a JPEG file."""
    _, height, width = frame.shape
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = width, height
    encoder.pix_fmt, encoder.time_base = "yuvj444p", Fraction(1, 25)
    encoder.options = {"qscale": "3", "strict": "-1"}
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()), format="rgb24")
    picture = picture.reformat(format="yuvj444p")
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


def thumbnail_of(path: str, time: float, height: int = 180) -> bytes:
    """Return the frame on screen at a time (the last, after the end) as a JPEG file of so many rows.

    Raises:
        DecodeError: the video cannot be decoded.
    """
    with open_video(path) as source:
        size = (height, _width(height, source.info))
        clip = source.frames_at([max(0.0, time)], size=size, on_short="repeat_last")
    return jpeg(clip.frames[0])


def strip_of(path: str, span: Span, num_frames: int = 5, height: int = 96) -> bytes:
    """Return frames of a moment, side by side, as a JPEG file.

    Raises:
        DecodeError: the video cannot be decoded.
    """
    with open_video(path) as source:
        end = min(span.end, source.info.duration)
        inside = Span(min(span.start, end - 0.01), end) if end > 0.01 else Span(0.0, 0.01)
        size = (height, _width(height, source.info))
        clip = source.frames_at(uniform_times(inside, num_frames), size=size, on_short="repeat_last")
    return jpeg(torch.cat(list(clip.frames), dim=2))  # (C, H, T * W)


def filmstrip(path: str, span: Span, num_frames: int = 3, height: int = 96) -> str:
    """Return frames of a moment, side by side, as a data address for an <img>."""
    return "data:image/jpeg;base64," + base64.b64encode(strip_of(path, span, num_frames, height)).decode()


def _width(height: int, info: VideoInfo) -> int:
    return max(2, round(height * info.width / info.height / 2) * 2)


@dataclass(frozen=True)
class Curve:
    """One line of a chart: its name, its points, and the number (1 to 4) of its colour in the report's style."""

    name: str
    points: Sequence[tuple[float | int, float | int]]
    color: int = 1


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 240, 44, 96, 14, 30


def line_chart(
    curves: Sequence[Curve], x_label: str, floor: float | None = None, level: tuple[str, float] | None = None
) -> str:
    """Return an SVG of the curves, each named at its right end; `level` is a dashed line such as chance.

    Raises:
        ValueError: no curve has a point.
    """
    curves = [replace(curve, points=[(float(x), float(y)) for x, y in curve.points]) for curve in curves]
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points] + ([level[1]] if level else [])
    if not xs:
        raise ValueError("a chart needs at least one point.")
    low, high = (min(ys) if floor is None else floor), max(ys)
    high = high if high > low else low + 1
    step = _round_step(high - low)
    high = step * np.ceil(high / step)
    right = max(max(xs), min(xs) + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - min(xs)) / (right - min(xs)) * (WIDTH - LEFT - RIGHT)
        return LEFT + across, HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(", ".join(c.name for c in curves))}">'
    ]
    for value in np.arange(np.ceil(low / step) * step, high + step / 2, step):
        _, y = place(min(xs), float(value))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in (min(xs), right):
        x, _ = place(value, low)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{value:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="tick" x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>')
    if level:
        x, y = place(right, level[1])
        parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="name" x="{x + 6:.1f}" y="{y + 4:.1f}">{escape(level[0])}</text>')
    parts += _lines(curves, place)
    return "".join(parts) + "</svg>"


def _lines(curves: Sequence[Curve], place) -> list[str]:
    ends = sorted(((place(*curve.points[-1]), curve) for curve in curves if curve.points), key=lambda end: end[0][1])
    parts, last = [], -np.inf
    for (x, y), curve in ends:
        points = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in curve.points)
        parts.append(f'<polyline class="curve c{curve.color}" points="{points}"/>')
        last = max(y, last + 14)  # names of lines that end together stand below each other
        label = f"{curve.name} {curve.points[-1][1]:.3g}"
        parts.append(f'<text class="name c{curve.color}" x="{x + 6:.1f}" y="{last + 4:.1f}">{escape(label)}</text>')
    return parts


def _round_step(extent: float, ticks: int = 4) -> float:
    rough = extent / ticks
    magnitude = 10.0 ** np.floor(np.log10(rough))
    return float(next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough))
