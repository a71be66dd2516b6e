"""Windows of the clips of a video, on the grids of frames by which features for localisation are made.

    grid        frames a second           windows
    paper       1.87 T, stretched         T frames each, not overlapping: 1.87 features a second
    released    the same, by number       of frames of 30 a second, as the released code counts them
    official    1.875 T                   T frames in 16 / 30 s: one feature per 16 frames of 30 a second
    own         WindowSettings.fps        one every WindowSettings.stride frames

T is how many frames the model sees at once. Frames lie in the middle of equal stretches of the clip; those that do not
fill a window at its end make none, as in the released code. A clip too short for one window gives one, its last frame
repeated.

Source: EgoVLP, test_nlq.py and test_mq.py (four frames a window, 1.87 windows a second); Ego4D's own features (1.875).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from playhead.apps.encoding import Cut, FailedPiece, PieceEnd, PieceWindow, reason_of
from playhead.apps.windows import WindowSettings, plan_windows
from playhead.data.challenge_clips import ChallengeClip
from playhead.data.feature_files import OFFICIAL_RATE, TimeBase
from playhead.errors import DecodeError
from playhead.types import Span
from playhead.video.sampling import RELEASED_FPS, released_features
from playhead.video.source import VideoSource
from playhead.video.transforms import Preprocess

Grid = Literal["paper", "released", "official", "own"]

PAPER_RATE = 1.87
"""Features per second of EgoVLP's features for NLQ and MQ."""

PAST_THE_END = 1.0
"""Seconds by which a clip may end after its video, and a video's frames before the end that its header tells."""

_FRAMES_AT_ONCE = 16  # read from the decoder; all that is held of a video beside one window per clip


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """The frames of a clip's windows, by their time in the video, and when the rows are, from the clip's start.

    Window i is frames [i * stride, i * stride + num_frames) of `times`.
    """

    clip: ChallengeClip
    seconds: float
    times: Float64[np.ndarray, " T"]
    num_frames: int
    stride: int
    time: TimeBase

    @property
    def num_rows(self) -> int:
        """How many windows there are."""
        return (len(self.times) - self.num_frames) // self.stride + 1

    def span_of(self, row: int) -> Span:
        """Return the seconds of the clip that a window spans, not past the clip's end."""
        start = self.time.start_of(row)
        return Span(start, min(self.time.end_of(row), max(self.seconds, start + 1e-3)))


def plan_clip(
    clip: ChallengeClip, duration: float, grid: Grid, preprocess: Preprocess, windows: WindowSettings
) -> ClipPlan:
    """Return the windows of a clip in a video of `duration` seconds.

    Raises:
        DecodeError: the clip begins after the video has ended, or ends more than a second after it.
    """
    if clip.end > duration + PAST_THE_END or clip.start >= duration:
        raise DecodeError(f"it lies at {clip.start:.2f} to {clip.end:.2f} s, but the video lasts {duration:.2f} s.")
    end = min(clip.end, duration)
    seconds, num_frames, stride = end - clip.start, preprocess.num_frames, preprocess.num_frames
    if grid == "released":
        frames = released_features(clip.start, end, round(duration * RELEASED_FPS))
        used = _used_frames(len(frames), num_frames, stride)
        times, fps = (frames[used] + 0.5) / RELEASED_FPS, len(frames) / seconds
    else:
        fps = OFFICIAL_RATE * num_frames
        if grid == "own":
            plan = plan_windows(preprocess, windows)
            fps, stride = plan.fps, plan.stride
        count = int(seconds * fps + 1e-6)
        if grid == "paper":
            count = int((clip.end - clip.start) * PAPER_RATE * num_frames + 1)
            fps = count / seconds
        used = _used_frames(count, num_frames, stride)
        times = clip.start + np.minimum((used + 0.5) / fps, seconds)
    return ClipPlan(clip, seconds, times, num_frames, min(stride, num_frames), TimeBase(fps, num_frames, stride))


def _used_frames(count: int, num_frames: int, stride: int) -> np.ndarray:
    """Return the numbers of the frames that lie in a window, of `count` in all."""
    if count < num_frames:
        return np.minimum(np.arange(num_frames), max(count - 1, 0))
    last = (count - num_frames) // stride * stride
    numbers = np.arange(last + num_frames)
    return numbers[numbers % stride < num_frames] if stride > num_frames else numbers


def cut_clips(
    source: VideoSource, clips: Sequence[ChallengeClip], grid: Grid, preprocess: Preprocess, windows: WindowSettings
) -> Iterator[Cut]:
    """Yield the windows of the clips of one video, and the end of each clip; a clip that breaks fails alone.

    The video is read forward once: a frame that several windows or clips show is decoded once. Clips that overlap are
    cut side by side, and break together.
    """
    plans: list[ClipPlan] = []
    for clip in clips:
        try:
            plans.append(plan_clip(clip, source.info.duration, grid, preprocess, windows))
        except DecodeError as error:
            yield FailedPiece(clip.clip_id, error.problem)
    for group in _overlapping(plans):
        left = {plan.clip.clip_id for plan in group}
        try:
            for cut in _cut_together(source, group, preprocess):
                if isinstance(cut, PieceEnd):
                    left.remove(cut.piece)
                yield cut
        except DecodeError as error:
            for piece in sorted(left):
                yield FailedPiece(piece, reason_of(error))


def _overlapping(plans: Sequence[ClipPlan]) -> list[list[ClipPlan]]:
    """Return the plans in order of time, those together that overlap."""
    groups: list[list[ClipPlan]] = []
    reached = -np.inf
    for plan in sorted(plans, key=lambda plan: (plan.times[0], plan.times[-1])):
        if plan.times[0] >= reached:
            groups.append([])
        groups[-1].append(plan)
        reached = max(reached, plan.times[-1])
    return groups


@dataclass(slots=True)
class _Cutter:
    """Collects the frames of one clip and hands out its windows."""

    plan: ClipPlan
    recent: deque[Tensor] = field(init=False)
    count: int = 0
    row: int = 0

    def __post_init__(self):
        self.recent = deque(maxlen=self.plan.num_frames)

    def push(self, frame: UInt8[Tensor, "C H W"]) -> PieceWindow | None:
        """Take the next frame; return the window that it completes."""
        self.recent.append(frame)
        self.count += 1
        if self.count < self.plan.num_frames or (self.count - self.plan.num_frames) % self.plan.stride:
            return None
        span = self.plan.span_of(self.row)
        self.row += 1
        return PieceWindow(self.plan.clip.clip_id, span, tuple(self.recent))


def _cut_together(source: VideoSource, plans: Sequence[ClipPlan], preprocess: Preprocess) -> Iterator[Cut]:
    cutters = [_Cutter(plan) for plan in plans]
    times = np.concatenate([plan.times for plan in plans])
    owners = np.repeat(np.arange(len(plans)), [len(plan.times) for plan in plans])
    order = np.argsort(times, kind="stable")
    for first in range(0, len(order), _FRAMES_AT_ONCE):
        places = order[first : first + _FRAMES_AT_ONCE]
        frames = preprocess.center_crop(_read(source, times[places], preprocess.decode_size))
        for place, frame in zip(places, frames, strict=True):
            cutter = cutters[owners[place]]
            window = cutter.push(frame)
            if window is not None:
                yield window
                if cutter.row == cutter.plan.num_rows:
                    yield PieceEnd(cutter.plan.clip.clip_id, source.info, cutter.plan.time)


def _read(source: VideoSource, times: np.ndarray, size: int) -> UInt8[Tensor, "T C H W"]:
    """Return the frames at `times`; in the last second that the header promises, the last frame where there is none."""
    promised = source.info.duration - PAST_THE_END
    sure = int(np.searchsorted(times, promised))
    parts = [source.frames_at(times[:sure], size=size).frames] if sure else []
    if sure < len(times):
        rest = source.frames_at(times[sure:], size=size, on_short="repeat_last")
        allowed = PAST_THE_END + 2 / source.info.fps  # a frame may stay long on screen
        if float(rest.times[0]) < times[sure] - allowed:
            raise DecodeError(
                f"its frames end here, though it should last {source.info.duration:.2f} s: the file was cut off; "
                "fetch it again.",
                path=source.info.path,
                time=float(rest.times[0]),
            )
        parts.append(rest.frames)
    return parts[0] if len(parts) == 1 else torch.cat(parts)
