"""Which moments of a video to look at: in seconds, or in frame numbers where released numbers depend on them.

The rules named `released_*` and `state_change_*` are EgoVLP's, as its published code really does them, and count frames
at an assumed 30 per second. The others are what the papers mean, and know no frame rate.
"""

import math
import random
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64

from playhead.types import Span

RELEASED_FPS = 30
"""EgoVLP takes every video to have this rate."""

CHUNK_SECONDS = 600
"""EgoVLP cuts its videos into files of this length."""

FEATURE_FPS = 1.87 * 4
"""Frames per second of EgoVLP's features for NLQ and MQ: 1.87 windows of 4 frames."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a video and the times of its frames; `first` is the number of its first frame on the common grid."""

    first: int
    span: Span
    times: tuple[float, ...]


def uniform_times(span: Span, num_frames: int) -> Float64[np.ndarray, " T"]:
    """Return the mid-points of `num_frames` equal intervals of `span`."""
    _check_count(num_frames)
    return span.start + (np.arange(num_frames) + 0.5) * (span.duration / num_frames)


def segment_times(span: Span, num_frames: int, generator: np.random.Generator) -> Float64[np.ndarray, " T"]:
    """Return one random time of each of `num_frames` equal intervals of `span`."""
    _check_count(num_frames)
    return span.start + (np.arange(num_frames) + generator.random(num_frames)) * (span.duration / num_frames)


def grid_times(duration: float, fps: float) -> Float64[np.ndarray, " T"]:
    """Return the times (k + 0.5) / fps that lie in [0, duration); of a video shorter than that, its middle.

    Raises:
        ValueError: `duration` or `fps` is not above zero.
    """
    if not duration > 0 or not fps > 0:
        raise ValueError(f"duration and fps need to be above zero, got {duration} and {fps}.")
    count = max(0, math.ceil(duration * fps - 0.5))
    return (np.arange(count) + 0.5) / fps if count else np.array([duration / 2])


def sliding_windows(duration: float, num_frames: int, fps: float, stride: int | None = None) -> list[Window]:
    """Return windows of `num_frames` frames that together show every frame of the grid of `fps` frames per second.

    `stride` counts frames of the grid; the default is one window after the other. The last window is moved back to the
    end of the grid where the stride leaves a rest; its span ends with the video. A video shorter than one window gives
    one window, its last frame repeated. EgoVLP's features are `sliding_windows(duration, 4, FEATURE_FPS)`.

    Raises:
        ValueError: `duration` or `fps` is not above zero, or `num_frames` or `stride` is below 1.

    Source: EgoVLP, test_nlq.py and test_mq.py. Differs: the released code leaves the rows of the rest zero.
    """
    stride = num_frames if stride is None else stride
    _check_count(num_frames)
    if stride < 1:
        raise ValueError(f"stride needs at least 1 frame, got {stride}.")
    times = grid_times(duration, fps)
    last = max(0, len(times) - num_frames)
    firsts = list(range(0, last + 1, stride))
    if firsts[-1] != last:
        firsts.append(last)
    windows = []
    for first in firsts:
        places = [min(first + offset, len(times) - 1) for offset in range(num_frames)]
        end = duration if first == last else min(duration, (first + num_frames) / fps)
        windows.append(Window(first, Span(first / fps, end), tuple(float(times[place]) for place in places)))
    return windows


def released_whole(num_video_frames: int, num_frames: int) -> Int64[np.ndarray, " T"]:
    """Return the middle frames of equal intervals of a whole video.

    Source: EgoVLP, base/base_dataset.py, `sample_frames(..., sample='uniform')`.
    """
    return _middles(_bounds(0, num_video_frames, num_frames))


def released_clip(start: float, end: float, num_frames: int) -> Int64[np.ndarray, " T"]:
    """Return the middle frames of equal intervals of a clip, `start` and `end` in seconds.

    Source: EgoVLP, base/base_dataset.py, `sample_frames_start_end(..., sample='uniform')`.
    """
    return _middles(_bounds(int(start * RELEASED_FPS), int(end * RELEASED_FPS), num_frames))


def released_random_clip(
    start: float, end: float, num_frames: int, generator: random.Random
) -> Int64[np.ndarray, " T"]:
    """Return a random frame of each of equal intervals of a clip; never the last frame of an interval.

    `random.Random(seed)` gives what the released code gives after `random.seed(seed)`.

    Raises:
        IndexError: an interval holds one frame only, as in every clip of at most 0.2 s with 4 frames, or of 1 s with
            16. The released loader then trains on a black clip, without a word.

    Source: EgoVLP, base/base_dataset.py, `sample_frames_start_end(..., sample='rand')`.
    """
    bounds = _bounds(int(start * RELEASED_FPS), int(end * RELEASED_FPS), num_frames)
    return np.array([generator.choice(range(int(a), int(b) - 1)) for a, b in pairwise(bounds)], dtype=np.int64)


def released_features(start: float, end: float, num_video_frames: int) -> Int64[np.ndarray, " T"]:
    """Return the frames from which EgoVLP's NLQ and MQ features of a clip are made, four after four.

    A rest of up to three frames at the end is part of the answer, but makes no feature.

    Source: EgoVLP, data_loader/NaturalLanguageQueries_dataset.py.
    """
    count = int((end - start) * FEATURE_FPS + 1)
    # Here alone the released code rounds the bounds of the intervals, not those of the clip.
    return _middles(_bounds(start * RELEASED_FPS, min(end * RELEASED_FPS, num_video_frames), count))


@dataclass(frozen=True, slots=True)
class ChunkedClip:
    """A clip in EgoVLP's files of 600 s: the number of the file of each end, and the seconds at which they meet."""

    start: float
    end: float
    chunks: tuple[int, int]
    bound: int


def released_chunks(start: float, end: float) -> ChunkedClip:
    """Return in which 600 s files a clip lies; a start before 0 is moved to 0.

    Source: EgoVLP, data_loader/EgoClip_EgoMCQ_dataset.py, `_get_video_path`.
    """
    start, end = max(start, 0.0), max(end, 0.0)
    chunks = (int(start // CHUNK_SECONDS), int(end // CHUNK_SECONDS))
    return ChunkedClip(start, end, chunks, (chunks[0] + 1) * CHUNK_SECONDS)


def state_change_frames(start_frame: int, end_frame: int, num_frames: int = 16) -> Int64[np.ndarray, " T"]:
    """Return the frames of a window [start_frame, end_frame) whose number in the parent video divides by the step.

    So the first frame lies up to a step after the start of the window. The step is the window's length over
    `num_frames`, rounded up, or down if that leaves too few.

    Raises:
        ValueError: the window holds fewer than `num_frames` frames.

    Source: EgoVLP, its data sets for OSCC and PNR, after the official hands-and-objects baseline.
    """
    _check_count(num_frames)
    length = end_frame - start_frame
    if length < num_frames:
        raise ValueError(f"a window of {length} frames cannot give {num_frames}; widen it.")
    numbers = np.arange(start_frame, end_frame, dtype=np.int64)
    for step in (math.ceil(length / num_frames), length // num_frames):
        chosen = numbers[numbers % step == 0]
        if len(chosen) >= num_frames:
            break
    return chosen[:num_frames]


def state_change_slot(frames: Int64[np.ndarray, " T"], key_frame: int) -> int:
    """Return the place of the frame nearest to the point of no return; the first of two as near."""
    return int(np.argmin(np.abs(frames - key_frame)))


def _check_count(num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError(f"num_frames needs to be at least 1, got {num_frames}.")


def _bounds(start_frame: int | float, end_frame: int | float, num_frames: int) -> Int64[np.ndarray, " T1"]:
    # The released code limits the count by the last frame's number where the length is meant; kept for equal numbers.
    count = int(min(num_frames, end_frame))
    _check_count(count)
    return np.linspace(start_frame, end_frame, count + 1).astype(np.int64)


def _middles(bounds: Int64[np.ndarray, " T1"]) -> Int64[np.ndarray, " T"]:
    return (bounds[:-1] + bounds[1:] - 1) // 2
