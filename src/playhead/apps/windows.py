"""Sliding windows over a video of any length: every frame is decoded once, and only one window is held at a time."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from playhead.types import Span
from playhead.video.source import VideoSource
from playhead.video.transforms import Preprocess

Window = tuple[Span, UInt8[Tensor, "T C H W"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSettings:
    """How a long video is cut into windows and encoded; how many frames a window has is the bundle's to say."""

    fps: float | None = None
    """Sampled frames per second; None: the bundle's frames per window over its seconds per window."""
    stride: int | None = None
    """Sampled frames from one window's start to the next one's; None: as many as a window has, so none overlap."""
    projected: bool = True
    """Rows in the space shared with text; otherwise the video tower's own."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the model; bf16 runs under autocast."""
    batch_size: int = 16
    """Windows per forward pass, drawn from several videos where one does not fill it."""
    decoders: int = 1
    """Videos decoded at the same time, each in a thread of its own."""

    def __post_init__(self):
        if self.fps is not None and not self.fps > 0:
            raise ValueError(f"`fps` must be above zero, got {self.fps}.")
        for name in ("stride", "batch_size", "decoders"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """The settings with nothing left open: windows of `num_frames` frames, `fps` a second, one every `stride`."""

    num_frames: int
    fps: float
    stride: int

    @property
    def seconds(self) -> float:
        """How long a window lasts."""
        return self.num_frames / self.fps


def plan_windows(preprocess: Preprocess, settings: WindowSettings) -> WindowPlan:
    """Return the settings with the bundle's own values in the place of every None."""
    num_frames = preprocess.num_frames
    fps = settings.fps if settings.fps is not None else num_frames / preprocess.window
    return WindowPlan(num_frames, fps, settings.stride if settings.stride is not None else num_frames)


def stream_windows(source: VideoSource, preprocess: Preprocess, settings: WindowSettings) -> Iterator[Window]:
    """Yield the windows of a video in order of time, cut to the middle square but not yet normalised.

    Frame k is the one on screen in the middle of [k / fps, (k + 1) / fps), and a window of frames a..b-1 spans
    [a / fps, b / fps): the rule by which EgoVLP samples its features. The last window is aligned to the end, so that
    no sampled frame is left out; a video shorter than one window gives one, its last frame repeated to fill it.
    Memory holds one window's frames, whatever the length.

    Raises:
        DecodeError: the video breaks on the way, or has no frame at all.

    Source: EgoVLP's feature extraction for NLQ and MQ. Differs: the released code leaves the last few rows zero.
    """
    plan = plan_windows(preprocess, settings)
    recent: deque[Tensor] = deque(maxlen=plan.num_frames)
    count = covered = 0
    for _, frame in _sampled(source, preprocess, plan.fps):
        recent.append(preprocess.center_crop(frame))
        count += 1
        if count >= plan.num_frames and (count - plan.num_frames) % plan.stride == 0:
            covered = count
            yield _span(count - plan.num_frames, count, plan.fps, source.info.duration), torch.stack(tuple(recent))
    if count > covered:
        missing = plan.num_frames - len(recent)
        frames = torch.stack((*recent, *[recent[-1]] * missing))
        yield _span(max(0, count - plan.num_frames), count, plan.fps, source.info.duration), frames


def _sampled(source: VideoSource, preprocess: Preprocess, fps: float) -> Iterator[tuple[float, Tensor]]:
    """Yield the frames at the middles of equal stretches; of a video shorter than half a stretch, its first frame."""
    is_empty, middle = True, 0.5 / fps
    if source.info.duration > middle:
        for sampled in source.stream(fps=fps, start=middle, size=preprocess.decode_size):
            is_empty = False
            yield sampled
    if is_empty:
        clip = source.frames_at([0.0], size=preprocess.decode_size)
        yield float(clip.times[0]), clip.frames[0]


def _span(first: int, stop: int, fps: float, duration: float) -> Span:
    """Return the span of frames [first, stop), not past the end of the video where the container knows it."""
    start, end = first / fps, stop / fps
    return Span(start, min(end, duration) if duration > start else end)
