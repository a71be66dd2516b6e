"""What it costs to decode the clips of a recipe: random ones of videos at hand, or of one made up."""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from av import VideoFrame

from playhead.apps.transcode_video import TranscodeSettings, size_of
from playhead.recipes.base import Recipe
from playhead.tasks.masked_video import MaskedVideo
from playhead.tasks.mixture import Mixture
from playhead.tasks.recognition import Recognition
from playhead.tasks.state_change import StateChange
from playhead.tasks.video_text import VideoText
from playhead.video.decode import open_video
from playhead.video.encode import Colors, FastWriter
from playhead.video.source import VideoSource

CLIPS = 20  # measured, over all videos
MADE_UP_SECONDS, FPS = 20, 30
CLIP_SECONDS = {"egoclip": 1.0, "captions": 10.0, "webvid": 18.0, "howto100m": 4.0}
"""How long a clip of a source is, about: the mean of EgoClip and WebVid, what HowTo100M's are widened to."""
STATE_CHANGE_SECONDS, SHORT_VIDEO_SECONDS = 6.5, 4.0  # the middle of 5 to 8 s; a video of Something-Something


@dataclass(frozen=True, slots=True)
class DecodingCost:
    """Milliseconds of one core for the clip or clips of one sample, and how they are known.

    `mbit` is the rate of the videos measured; `bytes_there` what the recipe's own take on this disk.
    """

    milliseconds: float
    told: str
    mbit: float | None = None
    mbit_told: str = ""
    bytes_there: float | None = None


@dataclass(frozen=True, slots=True)
class _Clip:
    """What one sample reads of a video: `frames` over `seconds`, scaled to `size`, so many `times`."""

    frames: int
    seconds: float
    size: int
    times: int = 1


def measure_decoding(recipe: Recipe, videos: Sequence[Path], decode_ms: float | None) -> DecodingCost | None:
    """Return what decoding costs a sample; None for tasks on features. Pictures are not counted.

    Raises:
        DecodeError: a video given cannot be read.
    """
    clips = _clips_of(recipe)
    if clips is None:
        return None
    there = _bytes_there(recipe)
    if decode_ms is not None and not videos:
        return DecodingCost(decode_ms, f"{decode_ms:.3g} ms of a core per sample as asked", bytes_there=there)
    with tempfile.TemporaryDirectory() as folder:
        size = max((clip.size for clip in clips), default=256)
        paths = list(videos) or [write_made_up_video(Path(folder) / "made_up.mp4", size)]
        opened = [open_video(path) for path in paths]
        try:
            milliseconds = sum(clip.times * _measure(opened, clip) for clip in clips) / max(1, len(clips))
            mbit = sum(map(size_of, paths)) * 8 / 1e6 / sum(source.info.duration for source in opened)
        finally:
            for source in opened:
                source.close()
    whose = "of the given videos" if videos else "of a made-up video as `transcode` writes them"
    if decode_ms is not None:
        return DecodingCost(decode_ms, f"{decode_ms:.3g} ms of a core per sample as asked", mbit, whose, there)
    told = f"{milliseconds:.3g} ms of a core per sample (measured: {CLIPS} clips {whose})"
    return DecodingCost(milliseconds, told, mbit, whose, there)


def write_made_up_video(path: Path, short_side: int, seconds: int = MADE_UP_SECONDS) -> Path:
    """Write a view that wanders over a made-up scene, in the form that `playhead transcode` gives to videos."""
    generator = np.random.default_rng(0)
    height, width = short_side // 2 * 2, short_side * 4 // 3 // 2 * 2
    tiles = generator.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    scene = np.kron(tiles, np.ones((16, 16, 1), dtype=np.uint8))
    noise = generator.integers(0, 8, (height, width, 3), dtype=np.uint8)
    encoding = TranscodeSettings(short_side=height).encoding
    writer = FastWriter(
        path,
        height=height,
        width=width,
        tick=Fraction(1, FPS),
        rate=Fraction(FPS),
        colors=Colors(matrix=6, range=1, primaries=2, transfer=2),  # BT.601, the rest unspecified
        encoding=encoding,
    )
    for number in range(seconds * FPS):
        top = int((scene.shape[0] - height) * (0.5 + 0.5 * np.sin(number / 40)))
        left = int((scene.shape[1] - width) * (0.5 + 0.5 * np.sin(number / 60)))
        view = np.ascontiguousarray(scene[top : top + height, left : left + width] // 2 + noise)
        writer.write(VideoFrame.from_ndarray(view, format="rgb24").reformat(format="yuv420p", threads=1), number)
    writer.finish(seconds * FPS)
    return path


def _measure(opened: Sequence[VideoSource], clip: _Clip) -> float:
    """Return the milliseconds of one random clip of videos that are open, as in a worker."""
    generator = np.random.default_rng(0)
    start = time.process_time()
    for number in range(CLIPS):
        source = opened[number % len(opened)]
        begin = generator.uniform(0, max(0.0, source.info.duration - clip.seconds))
        seconds = min(clip.seconds, source.info.duration)
        times = begin + (np.arange(clip.frames) + 0.5) * seconds / clip.frames
        source.frames_at(times.tolist(), size=clip.size, on_short="repeat_last")
    return 1000 * (time.process_time() - start) / CLIPS


def _clips_of(recipe: Recipe) -> list[_Clip] | None:
    """Return the clips that take turns, one entry per source of videos; None if the task reads features."""
    task = recipe.task
    sources = task.sources if isinstance(task, Mixture) else (task,) if isinstance(task, VideoText) else ()
    if sources:
        return [
            _Clip(
                one.preprocess.num_frames,
                CLIP_SECONDS[one.kind],
                one.preprocess.decode_size,
                times=1 if one.neighbour_within is None else 2,
            )
            for one in sources
            if one.kind in CLIP_SECONDS
        ]
    if isinstance(task, StateChange):
        return [_Clip(task.preprocess.num_frames, STATE_CHANGE_SECONDS, task.preprocess.decode_size)]
    if isinstance(task, MaskedVideo):
        frames = task.preprocess.num_frames
        return [_Clip(frames, frames * task.stride / FPS, task.preprocess.decode_size)]
    if isinstance(task, Recognition):
        frames, is_dense = task.preprocess.num_frames, task.clip.sampling == "dense"
        seconds = frames * task.clip.stride / (task.clip.fps or FPS) if is_dense else SHORT_VIDEO_SECONDS
        return [_Clip(frames, seconds, task.decode_size)]
    return None


def _bytes_there(recipe: Recipe) -> float | None:
    """Return what the videos of a recipe take on this disk; None if a folder of them is not there."""
    task = recipe.task
    if isinstance(task, Mixture):
        folders = [one.videos for one in task.sources if one.kind in CLIP_SECONDS]
    elif isinstance(task, Recognition):
        folders = [task.root, *task.more_roots]
    else:
        assert isinstance(task, VideoText | StateChange | MaskedVideo)  # `_clips_of` saw to it
        folders = [task.videos]
    if not all(folder.is_dir() for folder in folders):
        return None
    files = (os.path.join(place, name) for folder in folders for place, _, names in os.walk(folder) for name in names)
    return float(sum(map(os.path.getsize, files)))
