"""Precomputed features of clips and videos, of any extractor: which row saw which seconds, and the rows of a clip.

A feature file says nothing of time, so a `TimeBase` does: row i saw `frames` frames from frame `i * stride` on, in a
stream of `fps` frames a second.

    frames   0 1 2 3 4 5 6 7 8 ...          fps = 30, frames = 4, stride = 3
    row 0   [0 1 2 3]                       start_of(0) = 0,   center_of(0) = 2 / 30
    row 1         [3 4 5 6]                 start_of(1) = 0.1, center_of(1) = 5 / 30

Files are named by clip (`{clip_uid}.pt`, row 0 at the clip's start) or by video (`{video_uid}.pt`, a clip is a slice).
Several extractors are laid side by side: SlowFast's 2304 columns and then EgoVLP's 256.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32

from playhead.data.border import FilePath, read_json, take
from playhead.data.feature_arrays import SUFFIXES, FeatureArray, open_features
from playhead.errors import AnnotationError

OFFICIAL_RATE = 1.875
"""Features per second of Ego4D's own features: 30 frames a second, one every 16. Source: Ego4D, NLQ baseline."""

_TOO_MUCH = 0.1  # of a clip's length, by which the rows of its file may go on past its end


@dataclass(frozen=True, slots=True)
class TimeBase:
    """When the rows of features are: row i sees frames [i * stride, i * stride + frames) of a stream.

    The stream has `fps` frames per second and begins `offset` seconds into the clip or video. Rows may be fractions,
    arrays or tensors.

    Raises:
        ValueError: a number is not finite, or one that must be above zero is not.
    """

    fps: float | int
    """Frames per second of the stream."""
    frames: float | int
    """Frames that one row sees."""
    stride: float | int
    """Frames from one row to the next."""
    offset: float | int = 0.0
    """Seconds from the start of the clip or video to the stream's first frame."""

    def __post_init__(self):
        for name in ("fps", "frames", "stride"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"time base: {name} must be above zero and finite, got {getattr(self, name)}.")
        if not math.isfinite(self.offset):
            raise ValueError(f"time base: offset must be finite, got {self.offset}.")

    @property
    def step(self) -> float:
        """Seconds from one row to the next."""
        return self.stride / self.fps

    @property
    def window(self) -> float:
        """Seconds that one row sees."""
        return self.frames / self.fps

    def start_of(self, row: Any) -> Any:
        """Return the second at which what `row` sees begins."""
        return self.offset + row * self.step

    def end_of(self, row: Any) -> Any:
        """Return the second at which what `row` sees ends."""
        return self.offset + row * self.step + self.window

    def center_of(self, row: Any) -> Any:
        """Return the second in the middle of what `row` sees."""
        return self.offset + row * self.step + 0.5 * self.window

    def grid(self, seconds: Any) -> Any:
        """Return the row, with its fraction, whose middle is at `seconds`: the inverse of `center_of`."""
        return (seconds - self.offset - 0.5 * self.window) / self.step

    def reach_of(self, num_rows: int) -> float:
        """Return the second up to which `num_rows` rows speak: the next row would begin, or the last window ends."""
        return self.start_of(num_rows - 1) + max(self.step, self.window)


def official_rows(start: float, end: float, rate: float = OFFICIAL_RATE) -> slice:
    """Return which rows of a whole video's features are those of a clip [start, end) in seconds, by the official rule.

    `[int(start * rate), int(end * rate) + 1)`: one row more than the clip's seconds hold, and the first may begin
    before the clip.

    Source: Ego4D, NLQ baseline (VSLNet), preparation of the clip features.
    """
    return slice(int(start * rate), int(end * rate) + 1)


@dataclass(frozen=True, slots=True)
class ClipFeatures:
    """The features of one clip, and their time relative to the clip's start.

    `features` may be a view of the mapped file: do not write into it. `zero_tail` is how many all-zero rows were cut
    from the end of the file, `uneven` by how many rows the longest set was cut to the shortest, and `missing` how many
    seconds at the clip's end no row speaks for.
    """

    features: Float32[np.ndarray, "S D"]
    time: TimeBase
    zero_tail: int = 0
    uneven: int = 0
    missing: float = 0.0


@dataclass(frozen=True, slots=True)
class FeatureSurvey:
    """What `FeatureSet.survey` found, by clip: clips without usable features with the reason; the others' oddities."""

    num_clips: int
    unusable: dict[str, str]
    zero_tails: dict[str, int]
    uneven: dict[str, int]
    short: dict[str, float]

    def lines(self) -> list[str]:
        """Return what a user should know, one line per kind of oddity; nothing where all is well."""
        told = []
        for found, what in (
            (self.unusable, "have no usable features"),
            (self.zero_tails, "had a tail of zero rows cut off"),
            (self.uneven, "had sets of different lengths cut to the shortest"),
            (self.short, "end later than their features"),
        ):
            if found:
                clip, detail = next(iter(found.items()))
                told.append(f"{len(found)} of {self.num_clips} clips {what} (first: {clip}: {detail})")
        return told


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """Where precomputed features lie and what they mean; `rows_of` gives those of a clip.

    Our own files say their time base themselves; `time` must then agree with it.
    """

    folders: tuple[Path, ...]
    """One folder per extractor; their columns are laid side by side, so all must share the time base."""
    time: TimeBase
    """Which row saw which seconds, from the start of what a file holds: a clip, or a video."""
    per: Literal["clip", "video"] = "clip"
    """What a file holds; it is named by that one's id."""
    widths: tuple[int, ...] = ()
    """Columns of each folder's files; empty: whatever they have, and then (D, S) files are not recognised."""
    file_name: str = "{id}"
    """Name of a file without its ending; `{id}` is the clip's or the video's."""
    array: str | None = None
    """Name of the array in files that hold several; by default "features", or the only one."""
    slicing: Literal["official", "centers"] = "official"
    """Which rows of a video are a clip's: the official rule (`official_rows`), or those whose middle lies in it."""
    zero_tail: Literal["cut", "keep"] = "cut"
    """What to do with all-zero rows at the end of a file: the released EgoVLP extractor leaves up to three."""
    spread: bool = False
    """Take the rows of a clip's file to lie evenly over the clip, as MQ's baseline does, whatever `time.fps` says."""
    uneven: int = 2
    """Rows by which the sets of a clip may differ; they are cut to the shortest."""
    short_by: float = 3.0
    """Seconds that may be missing at a clip's end before it is an error; a cut zero tail alone makes 2."""

    def __post_init__(self):
        if not self.folders:
            raise ValueError("a feature set needs at least one folder.")
        if self.widths and len(self.widths) != len(self.folders):
            raise ValueError(f"{len(self.folders)} folders given, but {len(self.widths)} widths.")
        if "{id}" not in self.file_name:
            raise ValueError(f"`file_name` must contain {{id}}, got {self.file_name!r}.")
        if self.spread and self.per == "video":
            raise ValueError("`spread` needs files per clip: the length of a video is not known here.")
        if self.uneven < 0 or self.short_by < 0:
            raise ValueError("`uneven` and `short_by` cannot be negative.")

    @property
    def width(self) -> int:
        """Columns of all sets together.

        Raises:
            ValueError: the widths are not given.
        """
        if not self.widths:
            raise ValueError("the widths of this feature set are not given; set `widths`.")
        return sum(self.widths)

    def has(self, video_id: str, clip_id: str) -> bool:
        """Say whether every folder has a file for this clip."""
        return all(self._files(folder, video_id, clip_id) for folder in self.folders)

    def rows_of(
        self,
        video_id: str,
        clip_id: str,
        start: float,
        end: float,
        fps: float | None = None,
        *,
        may_go_on: bool = False,
    ) -> ClipFeatures:
        """Return the features of the clip [start, end), in seconds of its video; `fps` replaces `time.fps`.

        `may_go_on` says that `end` is only known to be reached, as where an annotation does not say how long a video
        is; the rows of a clip's file then may go on past it.

        One set in float32 is a view of the mapped file; several are copied side by side.

        Raises:
            AnnotationError: a file is missing or bad (see `open_features`), holds another time base than asked, the
                sets differ in length by more than `uneven` rows, more than `short_by` seconds are missing, or the rows
                of a clip's file go on well past its end.
        """
        if not end > start:
            raise AnnotationError(f"clip {clip_id!r} of video {video_id!r} lasts from {start} to {end} s; correct it.")
        opened = [self._open(place, video_id, clip_id) for place in range(len(self.folders))]
        path, first = opened[0]
        tails = [array.zero_tail if self.zero_tail == "cut" else 0 for _, array in opened]
        lengths = [_rows_on_grid(array) - tail for (_, array), tail in zip(opened, tails, strict=True)]
        num_rows, uneven = min(lengths), max(lengths) - min(lengths)
        if uneven > self.uneven:
            told = ", ".join(f"{place} {length}" for place, length in zip(self.folders, lengths, strict=True))
            raise AnnotationError(f"the sets differ in rows ({told}); extract them with one time base.", path=path)
        time = self._time_of(first, path, end - start, fps)
        rows = slice(0, num_rows)
        if self.per == "video":
            rows = self._slice(time, start, end, num_rows)
            time = replace(time, offset=time.start_of(rows.start) - start)
        missing = self._missing(rows, time, end - start, clip_id, path, may_go_on)
        pieces = [array.rows[rows].to(torch.float32).numpy() for _, array in opened]
        features = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)
        return ClipFeatures(features, time, max(tails), uneven, missing)

    def survey(self, clips: Iterable[tuple[str, str, float, float]]) -> FeatureSurvey:
        """Look at the features of all clips (video_id, clip_id, start, end) and count what is odd; raises for none."""
        survey, number = FeatureSurvey(0, {}, {}, {}, {}), 0
        for video_id, clip_id, start, end in clips:
            number += 1
            try:
                found = self.rows_of(video_id, clip_id, start, end)
            except AnnotationError as error:
                survey.unusable[clip_id] = str(error)
                continue
            if found.zero_tail:
                survey.zero_tails[clip_id] = found.zero_tail
            if found.uneven:
                survey.uneven[clip_id] = found.uneven
            if found.missing > found.time.step:  # a rest of less than a step is how every grid ends
                survey.short[clip_id] = found.missing
        return replace(survey, num_clips=number)

    def _open(self, place: int, video_id: str, clip_id: str) -> tuple[str, FeatureArray]:
        folder = self.folders[place]
        files = self._files(folder, video_id, clip_id)
        if len(files) != 1:
            asked = f"features of {self.per} {self._id(video_id, clip_id)!r} asked for"
            found = f"found {' and '.join(map(os.path.basename, files))}; keep one" if files else "there are none"
            raise AnnotationError(f"{asked}, {found}.", path=folder)
        width = self.widths[place] if self.widths else None
        return files[0], open_features(files[0], width=width, name=self.array)

    def _files(self, folder: Path, video_id: str, clip_id: str) -> list[str]:
        stem = os.path.join(folder, self.file_name.replace("{id}", self._id(video_id, clip_id)))
        return [stem + suffix for suffix in SUFFIXES if os.path.exists(stem + suffix)]

    def _id(self, video_id: str, clip_id: str) -> str:
        return clip_id if self.per == "clip" else video_id

    def _time_of(self, array: FeatureArray, path: str, seconds: float, fps: float | None) -> TimeBase:
        if "time" in array.made:
            made, asked, num_rows = TimeBase(**array.made["time"]), self.time, len(array.rows)
            # The paper's grid is stretched by part of a frame to fill the clip: apart are they that differ by a row.
            if num_rows * abs(made.step - asked.step) > max(asked.step, 0.01 * num_rows * made.step):
                raise AnnotationError(
                    f"its rows are {made.step:.4f} s apart, as it says itself; asked for {asked.step:.4f} s. "
                    "Take the time base of its folder (`made_features`).",
                    path=path,
                )
            return made
        if self.spread:
            return replace(self.time, fps=len(array.rows) * self.time.stride / seconds)
        return self.time if fps is None else replace(self.time, fps=fps)

    def _slice(self, time: TimeBase, start: float, end: float, num_rows: int) -> slice:
        if self.slicing == "official":
            rows = official_rows(start - time.offset, end - time.offset, time.fps / time.stride)
        else:
            rows = slice(math.ceil(time.grid(start)), math.ceil(time.grid(end)))
        return slice(max(0, rows.start), min(rows.stop, num_rows))

    def _missing(self, rows: slice, time: TimeBase, seconds: float, clip_id: str, path: str, may_go_on: bool) -> float:
        """Return how many seconds at the clip's end no row speaks for, where that may be."""
        if rows.stop <= rows.start:
            raise AnnotationError(
                f"no row of it is in clip {clip_id!r}, which begins after {rows.start} rows; is the time base right?",
                path=path,
            )
        reach = time.reach_of(rows.stop - rows.start)
        if seconds - reach > self.short_by:
            raise AnnotationError(
                f"its rows end {seconds - reach:.2f} s before clip {clip_id!r}, which lasts {seconds:.2f} s, does; up "
                f"to {self.short_by} s may be missing (`short_by`). Is the time base right, is the file whole?",
                path=path,
            )
        if self.per == "clip" and not may_go_on and reach - seconds > max(self.short_by, _TOO_MUCH * seconds):
            raise AnnotationError(
                f"its rows go on to {reach:.2f} s, but clip {clip_id!r} lasts {seconds:.2f} s. Is the time base right?",
                path=path,
            )
        return max(0.0, seconds - reach)


def made_features(*folders: FilePath) -> FeatureSet:
    """Return the feature set of folders that our own extraction wrote, by their manifests.

    Raises:
        AnnotationError: a manifest is missing, none of ours or empty, or the folders do not fit together.
    """
    if not folders:
        raise ValueError("at least one folder is needed.")
    sets = [_made_features(Path(folder)) for folder in folders]
    first = sets[0]
    for other in sets[1:]:
        if other.per != first.per or abs(other.time.step - first.time.step) > 0.01 * first.time.step:
            raise AnnotationError(
                f"has a row every {other.time.step:.4f} s per {other.per}, {first.folders[0]} every "
                f"{first.time.step:.4f} s per {first.per}; extract them alike.",
                path=other.folders[0],
            )
    together = [(made.folders[0], made.widths[0]) for made in sets]
    return replace(first, folders=tuple(folder for folder, _ in together), widths=tuple(width for _, width in together))


def _made_features(folder: Path) -> FeatureSet:
    path = folder / "manifest.json"
    manifest = read_json(path)
    settings = take(manifest, "settings", dict, path, "file")
    fps, frames, stride = (take(settings, key, float, path, "settings") for key in ("fps", "num_frames", "stride"))
    per = settings.get("per", "video")  # folders of whole videos do not say it
    if per not in ("clip", "video") or min(fps, frames, stride) <= 0:
        raise AnnotationError("its settings name no time base; extract the features again.", path=path)
    pieces = take(manifest, "videos" if "videos" in manifest else "clips", list, path, "file")
    if not pieces:
        raise AnnotationError("lists no features; extract them again.", path=path)
    first = open_features(folder / take(pieces[0], "file", str, path, "the first piece"))
    return FeatureSet(folders=(folder,), time=TimeBase(fps, frames, stride), per=per, widths=(first.rows.shape[1],))


def _rows_on_grid(array: FeatureArray) -> int:
    """Return how many rows lie where the time base says; our windows over whole videos end with one that does not."""
    return min(len(array.rows), int(array.made.get("rows_on_grid", len(array.rows))))
