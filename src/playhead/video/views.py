"""Which frames of a video make the clips of action recognition, counted from its first frame; and where its crops lie.

"dense" takes every `stride`-th frame of a window, as for Kinetics; "segments" one frame of each of equal parts of the
whole video, as for Something-Something, where the whole gesture must be seen. In training one clip is drawn; in testing
several lie evenly over the video ("views"), each cut out in one or three squares.

A video shorter than a clip gives its frames as far as they go, then its last one again.

Source: VideoMAE's fine-tuning and test data sets; UniFormerV2's sparse sampling. Names that begin with a model's give
exactly the frame numbers of its published code; the differences are of one frame at most.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Int64
from torch import Tensor

Sampling = Literal["dense", "segments"]
Frames = Int64[np.ndarray, " T"]


def dense_window(length: int, num_frames: int, stride: int, generator: np.random.Generator | None = None) -> Frames:
    """Return `num_frames` frames of a window of `num_frames * stride`, drawn at random or in the middle of the video.

    Source: VideoMAE, kinetics.py: the frames lie evenly over the window with both its ends, so that their distance is
    a little more than `stride`.
    """
    _check(length, num_frames, stride)
    span = num_frames * stride
    if length <= span:
        start, end = 0, length
        places = np.linspace(0, length, num=min(num_frames, max(1, length // stride)))
        places = np.concatenate([places, np.full(num_frames - len(places), length)])
    else:
        start = (length - span) // 2 if generator is None else int(generator.integers(length - span + 1))
        end = start + span
        places = np.linspace(start, end, num=num_frames)
    return np.clip(places, start, end - 1).astype(np.int64)


def dense_views(length: int, num_frames: int, stride: int, num_clips: int) -> list[Frames]:
    """Return the frames of `num_clips` clips whose starts lie evenly from the video's first frame to the last possible.

    Source: VideoMAE, kinetics.py, mode "test". Differs: a single clip is the middle one, where the published code
    divides by zero.
    """
    _check(length, num_frames, stride)
    shown = np.arange(0, length, stride, dtype=np.int64)
    shown = np.concatenate([shown, np.full(max(0, num_frames - len(shown)), shown[-1])])
    room = len(shown) - num_frames
    if num_clips == 1:
        return [shown[room // 2 : room // 2 + num_frames]]
    step = room / (num_clips - 1)
    starts = [int(step * clip) for clip in range(num_clips)]
    return [shown[start : start + num_frames] for start in starts]


def segment_frames(length: int, num_frames: int, generator: np.random.Generator | None = None) -> Frames:
    """Return one frame of each of `num_frames` equal parts of the video, at random or the middle one."""
    _check(length, num_frames)
    part = 0.5 if generator is None else generator.random(num_frames)
    return ((np.arange(num_frames) + part) * (length / num_frames)).astype(np.int64)


def segment_views(length: int, num_frames: int, num_clips: int) -> list[Frames]:
    """Return clips of one frame per equal part of the video; clip k takes the frame k / `num_clips` into each part.

    Source: VideoMAE, ssv2.py, mode "test". Differs: a single clip takes the middles.
    """
    _check(length, num_frames)
    if num_clips == 1:
        return [segment_frames(length, num_frames)]
    part = length / num_frames
    return [
        np.array([int(part * (place + clip / num_clips)) for place in range(num_frames)], dtype=np.int64)
        for clip in range(num_clips)
    ]


def uniformerv2_segment_views(length: int, num_frames: int, num_clips: int) -> list[Frames]:
    """Return clips of one frame per equal part of the video; clip k lies (k + 1) / (`num_clips` + 1) into each part.

    Source: UniFormerV2, sparse sampling of Kinetics, testing.
    """
    _check(length, num_frames)
    part = (length - 1) / num_frames
    firsts = np.round(part * np.arange(num_frames)).astype(np.int64)
    return [firsts + int(part / (num_clips + 1) * (clip + 1)) for clip in range(num_clips)]


def clip_frames(
    sampling: Sampling, length: int, num_frames: int, stride: int, generator: np.random.Generator | None = None
) -> Frames:
    """Return the frames of one clip: drawn, or without a generator from the middle."""
    if sampling == "dense":
        return dense_window(length, num_frames, stride, generator)
    return segment_frames(length, num_frames, generator)


def view_frames(sampling: Sampling, length: int, num_frames: int, stride: int, num_clips: int) -> list[Frames]:
    """Return the frames of each of the clips that a video is tested with."""
    if sampling == "dense":
        return dense_views(length, num_frames, stride, num_clips)
    return segment_views(length, num_frames, num_clips)


def crop_squares(video: Tensor, num_crops: int) -> list[Tensor]:
    """Return squares of the short side's length, evenly from one end of the long side to the other; one is the middle.

    `video` is "... H W"; the squares share its memory.

    Source: VideoMAE, kinetics.py, mode "test": three crops of the short side's length.

    Raises:
        ValueError: `num_crops` is below 1.
    """
    if num_crops < 1:
        raise ValueError(f"num_crops needs to be at least 1, got {num_crops}.")
    height, width = video.shape[-2:]
    side, room = min(height, width), abs(height - width)
    starts = [room // 2] if num_crops == 1 else [int(room / (num_crops - 1) * crop) for crop in range(num_crops)]
    if height >= width:
        return [video[..., start : start + side, :] for start in starts]
    return [video[..., start : start + side] for start in starts]


def count_frames(seconds: float, fps: float) -> int:
    """Return how many frames a stretch of a video holds at a rate; at least one."""
    return max(1, math.floor(seconds * fps + 0.5))


def _check(length: int, num_frames: int, stride: int = 1) -> None:
    if min(length, num_frames, stride) < 1:
        raise ValueError(f"length, num_frames and stride need to be at least 1, got {length}, {num_frames}, {stride}.")
