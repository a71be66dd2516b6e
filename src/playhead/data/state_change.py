"""State changes of Ego4D (OSCC and PNR): windows of a video in which an object changes its state, or none does.

The moment of the change is the point of no return (PNR), given as the number of a frame. Frames are numbered in the
whole ("parent") video; how many there are per second is read from the annotation itself, and 30 is nowhere assumed.

Source: Ego4D (Grauman et al., 2022), hands and objects; `fho_oscc-pnr_{train,val,test_unannotated}.json`, whose clips
lie under "clips" or are the file themselves. Negative clips have `pnr_frame` in place of `parent_pnr_frame`
(EGO4D/hands-and-objects, issue 8).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64

from playhead.data.border import FilePath, brief, read_json, take, take_time
from playhead.errors import AnnotationError
from playhead.types import Span
from playhead.video.sampling import state_change_frames

RELEASED_CLIPS = 1000
"""The released loaders of EgoVLP read so many clips of each file: `anno_json["clips"][:1000]`, left from debugging."""

CROP_SECONDS = (5.0, 8.0)
"""Shortest and longest training window. Source: hands-and-objects, i3d-resnet50, and EgoVLP after it."""

Keep = Literal["all", "released"]
"""Which clips of a file are read: all, or the first thousand, as in EgoVLP's released code."""

CropRule = Literal["paper", "released"]
"""How a training window is placed in its clip: see `draw_window`."""

FrameRule = Literal["multiples", "even"]
"""Which frames of a window are seen: see `window_frames`."""


@dataclass(frozen=True, slots=True)
class StateChangeClip:
    """One window of a video. Frame numbers count in the whole video; `end_frame` is the first one behind the window.

    `state_change` is None in files without answers; `pnr_frame` is None where nothing changes or no answer is given.
    """

    unique_id: str
    video_id: str
    span: Span
    start_frame: int
    end_frame: int
    state_change: bool | None = None
    pnr_frame: int | None = None

    @property
    def num_frames(self) -> int:
        """Frames of the window."""
        return self.end_frame - self.start_frame

    @property
    def fps(self) -> float:
        """Frames per second, as the annotation has them."""
        return self.num_frames / self.span.duration

    @property
    def official_fps(self) -> float:
        """The rate by which the official metric divides, of one frame too many: 241 / 8 s where 30 is meant."""
        return (self.num_frames + 1) / self.span.duration

    def time_of(self, frame: int | float) -> float:
        """Return when a frame comes on screen, in seconds of the video.

        The frame's number is counted from the window's start: far into a video, the rate of one window is too rough.
        """
        return self.span.start + (frame - self.start_frame) / self.fps

    def frame_at(self, time: float) -> int:
        """Return the number of the frame on screen at a time of the video."""
        return self.start_frame + math.floor((time - self.span.start) * self.fps + 1e-6)


def read_state_changes(path: FilePath, keep: Keep = "all") -> list[StateChangeClip]:
    """Read a `fho_oscc-pnr_*.json`, with the clips under "clips" or bare, in file order.

    Raises:
        AnnotationError: not this layout, a clip without length, a change outside of its window or in a clip that is
            said to have none, or two clips of one `unique_id`; names the clip.
    """
    content = read_json(path)
    entries = content if isinstance(content, list) else take(content, "clips", list, path, "file")
    if keep == "released":
        entries = entries[:RELEASED_CLIPS]
    clips = [_read_clip(entry, number, path) for number, entry in enumerate(entries)]
    seen: set[str] = set()
    for clip in clips:
        if clip.unique_id in seen:
            raise AnnotationError(f"two clips have the unique_id {clip.unique_id!r}; keep one.", path=path)
        seen.add(clip.unique_id)
    return clips


def draw_window(clip: StateChangeClip, generator: np.random.Generator, rule: CropRule = "paper") -> tuple[int, int]:
    """Return first and end frame of a random training window of 5 to 8 seconds, as far as the clip is that long.

    "paper": the window lies anywhere in the clip. "released": it begins between 1 s and the last possible moment, since
    `np.random.uniform(8 - length)` is read by numpy as U(8 - length, 1); what then reaches over the end is cut off. In
    both, a change that would fall outside moves that end of the window to the end of the clip.

    Source: hands-and-objects, StateChangeDetectionAndKeyframeLocalisation.py; EgoVLP's data sets for OSCC and PNR.
    """
    duration = clip.span.duration
    shortest, longest = (min(seconds, duration) for seconds in CROP_SECONDS)
    length = shortest + (longest - shortest) * generator.random()
    first_possible, last_possible = (1.0 if rule == "released" else 0.0), duration - length
    start = clip.span.start + last_possible + (first_possible - last_possible) * generator.random()
    first, end = clip.frame_at(start), min(clip.frame_at(start + length), clip.end_frame)
    if clip.pnr_frame is not None and clip.pnr_frame > end:
        end = clip.end_frame
    if clip.pnr_frame is not None and clip.pnr_frame < first:
        first = clip.start_frame
    return first, end


def window_frames(
    start_frame: int, end_frame: int, num_frames: int = 16, rule: FrameRule = "multiples"
) -> Int64[np.ndarray, " T"]:
    """Return the numbers of the frames that are seen of a window [start_frame, end_frame).

    "multiples" is the official rule: the numbers that divide by the step, so that the first frame lies up to a step
    behind the start, and up to a step is not seen at the end (`video.sampling.state_change_frames`). "even" takes the
    middle frame of each of `num_frames` equal parts; in windows of fewer frames some come twice.

    Raises:
        ValueError: the window is empty, or holds fewer than `num_frames` frames with "multiples".
    """
    if rule == "multiples":
        return state_change_frames(start_frame, end_frame, num_frames)
    if end_frame <= start_frame or num_frames < 1:
        raise ValueError(f"{num_frames} frames of the window [{start_frame}, {end_frame}) cannot be had.")
    middles = (np.arange(num_frames) + 0.5) * ((end_frame - start_frame) / num_frames)
    return start_frame + np.floor(middles).astype(np.int64)


def _read_clip(entry: Any, number: int, path: FilePath) -> StateChangeClip:
    unique_id = take(entry, "unique_id", str, path, f"clip number {number}")
    where = f"clip {unique_id!r}"
    start, end = (take_time(entry, f"parent_{side}_sec", path, where) for side in ("start", "end"))
    first, behind = (_frame(entry, f"parent_{side}_frame", path, where) for side in ("start", "end"))
    if end <= start or behind <= first:
        problem = f"{where}: [{start}, {end}) s, frames [{first}, {behind}): a clip needs a length; correct the file."
        raise AnnotationError(problem, path=path)
    state_change = entry.get("state_change")
    if not isinstance(state_change, bool | None):
        problem = f"{where}: 'state_change' must be true or false, found {brief(state_change)}; correct the file."
        raise AnnotationError(problem, path=path)
    pnr_frame = _pnr_frame(entry, first, path, where)
    if pnr_frame is not None and state_change is False:
        raise AnnotationError(f"{where}: no state change, but frame {pnr_frame} is named as its moment.", path=path)
    if pnr_frame is not None and not first <= pnr_frame <= behind:
        problem = f"{where}: the change is at frame {pnr_frame}, outside of the window [{first}, {behind}]."
        raise AnnotationError(problem, path=path)
    video_id = take(entry, "video_uid", str, path, where)
    return StateChangeClip(unique_id, video_id, Span(start, end), first, behind, state_change, pnr_frame)


def _pnr_frame(entry: dict[str, Any], start_frame: int, path: FilePath, where: str) -> int | None:
    """Return the frame of the change in the whole video, from whichever of the three keys holds it."""
    if entry.get("parent_pnr_frame") is not None:
        return _frame(entry, "parent_pnr_frame", path, where)
    if entry.get("clip_pnr_frame") is not None:
        in_clip = _frame(entry, "clip_pnr_frame", path, where) - _frame(entry, "clip_start_frame", path, where)
        return start_frame + in_clip
    return None if entry.get("pnr_frame") is None else _frame(entry, "pnr_frame", path, where)


def _frame(entry: Any, key: str, path: FilePath, where: str) -> int:
    # Some files have whole numbers as 2838.0; the official reader takes int() of them.
    number = take(entry, key, float, path, where)
    if number < 0 or not number.is_integer():
        raise AnnotationError(
            f"{where}: {key!r} must be a frame's number, found {number}; correct the file.", path=path
        )
    return int(number)
