"""Labelled segments of videos: Ego4D's moments (MQ), THUMOS14, ActivityNet 1.3, HACS Segments and FineAction.

A class is its name, never a number: the released systems number the same 110 moments in three different orders.

Source: Ego4D (Grauman et al., 2022), episodic memory, `moments_{train,val,test_unannotated}.json`; ActivityNet (Caba
Heilbron et al., 2015), whose layout HACS Segments and FineAction share; THUMOS14 (Jiang et al., 2014).
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

from playhead.data.border import FilePath, brief, read_json, read_text, take, take_time
from playhead.errors import AnnotationError
from playhead.types import Span

Layout = Literal["moments", "converted", "activitynet", "thumos14", "hacs", "fineaction"]
THUMOS_AMBIGUOUS = "Ambiguous"  # THUMOS14's 21st class: parts that are not to be judged
THUMOS_FILES = {"val": "validation", "test": "test"}  # ending of `<Class>_val.txt` -> subset


@dataclass(frozen=True, slots=True)
class Segment:
    """One labelled stretch, in seconds of its clip; some files hold segments of no length, `start == end`."""

    start: float
    end: float
    label: str

    @property
    def span(self) -> Span | None:
        """The stretch as a span; None where it has no length, so that nothing can be learnt from it."""
        return Span(self.start, self.end) if self.end > self.start else None


@dataclass(frozen=True, slots=True)
class SegmentClip:
    """A piece [start, end) of a video, in seconds of the video, and its segments in file order.

    `end` is None where the file does not say how long a video is. In ActivityNet and its like a clip is a whole video.
    """

    clip_id: str
    video_id: str
    start: float
    end: float | None
    segments: tuple[Segment, ...]
    subset: str

    @property
    def duration(self) -> float | None:
        """Length in seconds, if the file says it."""
        return None if self.end is None else self.end - self.start


@dataclass(frozen=True, slots=True)
class SegmentClips(Sequence[SegmentClip]):
    """Clips in file order, and what was odd about the file, counted by reason.

    `skipped` was left out: "not_primary", "reversed" and "ambiguous" segments, clips with "no_segments". `odd` was
    kept: segments of "no_length", those that reach "outside_clip", and "repeated" ones (same clip, times and label).
    """

    items: tuple[SegmentClip, ...]
    skipped: Mapping[str, int]
    odd: Mapping[str, int]

    @overload
    def __getitem__(self, index: int) -> SegmentClip: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[SegmentClip, ...]: ...
    def __getitem__(self, index):
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)


def read_segments(
    path: FilePath,
    layout: Layout = "moments",
    *,
    subset: str | None = None,
    labels: Collection[str] | None = None,
    on_reversed: Literal["error", "skip"] = "error",
) -> SegmentClips:
    """Read the clips of one annotation file.

    * "moments": Ego4D's own file. The `primary` labels of all annotators are taken together; clips of the train and
      val split that have none are left out, as in the official conversion.
    * "converted": what the official conversion writes (`data.moment_conversion`), the evaluator's ground truth.
    * "activitynet", "hacs", "fineaction": `{"database": {video: {duration, subset, annotations}}}`, or without wrapper.
    * "thumos14": the same with times as texts and no duration; or a folder of `<Class>_{val,test}.txt`. Segments
      called "Ambiguous" are left out.

    Args:
        path: the file, or THUMOS14's folder.
        layout: as above.
        subset: keep only clips of this subset, by its name in the file ("val", "validation"); all by default.
        labels: the known class names; another one is an error. All are taken by default.
        on_reversed: whether a segment that ends before it starts is an error or skipped and counted.

    Raises:
        AnnotationError: not this layout, a time is not finite, a segment is reversed, a label is unknown, a clip stands
            twice, or no clip is of `subset`; names clip and segment.
    """
    readers: dict[str, Callable[[FilePath, _Reading], Iterable[SegmentClip]]] = {
        "moments": _read_moments,
        "converted": _read_converted,
        "activitynet": _read_database,
        "hacs": _read_database,
        "fineaction": _read_database,
        "thumos14": _read_thumos,
    }
    reading = _Reading(None if labels is None else frozenset(labels), on_reversed)
    clips = {}
    for clip in readers[layout](path, reading):
        if clip.clip_id in clips:
            raise AnnotationError(f"clip {clip.clip_id!r} stands here twice; keep one.", path=path)
        clips[clip.clip_id] = clip
    kept = tuple(clip for clip in clips.values() if subset is None or clip.subset == subset)
    if not kept:
        found = ", ".join(sorted({repr(clip.subset) for clip in clips.values()})) or "no clips at all"
        asked = "any clip" if subset is None else f"clips of subset {subset!r}"
        raise AnnotationError(f"{asked} wanted, found {found}; name another subset or file.", path=path)
    return SegmentClips(kept, dict(+reading.skipped), dict(+reading.odd))


def class_names(clips: Iterable[SegmentClip], order: Literal["sorted", "file"] = "sorted") -> tuple[str, ...]:
    """Return the distinct labels of all segments, sorted as the official code does, or in order of first sight."""
    names = dict.fromkeys(segment.label for clip in clips for segment in clip.segments)
    return tuple(sorted(names) if order == "sorted" else names)


def read_class_names(path: FilePath) -> tuple[str, ...]:
    """Read in which order a released system numbers the classes, to put a checkpoint's outputs to their names.

    A .json file maps names to numbers (`moment_classes_idx.json`; "Background" at 0 is no class), any other has one
    name per line (`label_map.txt`).

    Raises:
        AnnotationError: neither layout, or a name or number stands twice.
    """
    if Path(path).suffix == ".json":
        numbers = read_json(path)
        if not isinstance(numbers, dict):
            raise AnnotationError(f"names with their numbers needed, found {brief(numbers)}.", path=path)
        by_number = {take(numbers, name, int, path, "classes"): name for name in numbers}
        if len(by_number) < len(numbers):
            raise AnnotationError("two names have the same number; give each its own.", path=path)
        names = [by_number[number] for number in sorted(by_number)]
        names = names[1:] if by_number.get(0) == "Background" else names
    else:
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not names or len(set(names)) < len(names):
        raise AnnotationError("class names needed, each once; found none, or one twice.", path=path)
    return tuple(names)


@dataclass(frozen=True)
class _Reading:
    """The rules of one reading and what it counted."""

    labels: frozenset[str] | None
    on_reversed: Literal["error", "skip"]
    skipped: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)

    def segments(
        self, found: Iterable[tuple[float, float, str]], duration: float | None, path: FilePath, where: str
    ) -> tuple[Segment, ...]:
        """Check the segments of one clip."""
        kept: list[Segment] = []
        for number, (start, end, label) in enumerate(found, start=1):
            place = f"{where}, segment {number}"
            if self.labels is not None and label not in self.labels:
                raise AnnotationError(f"{place}: label {label!r} is none of the {len(self.labels)} known.", path=path)
            if end < start:
                if self.on_reversed == "error":
                    problem = f"{place}: ends at {end} s before it starts at {start} s; correct or skip it."
                    raise AnnotationError(problem, path=path)
                self.skipped["reversed"] += 1
                continue
            segment = Segment(start, end, label)
            self.odd["no_length"] += end == start
            self.odd["outside_clip"] += start < 0 or (duration is not None and end > duration)
            self.odd["repeated"] += segment in kept
            kept.append(segment)
        return tuple(kept)


def moment_clips(content: Any, path: FilePath) -> Iterator[tuple[str, str, dict[str, Any], list[dict[str, Any]]]]:
    """Yield (video id, split, clip, its labels of all annotators) of a canonical moments file, as they stand there.

    Raises:
        AnnotationError: not this layout; names video and clip.
    """
    for number, video in enumerate(take(content, "videos", list, path, "file"), start=1):
        video_id = take(video, "video_uid", str, path, f"video number {number}")
        split = take(video, "split", str, path, f"video {video_id!r}")
        for clip in take(video, "clips", list, path, f"video {video_id!r}"):
            clip_id = take(clip, "clip_uid", str, path, f"a clip of video {video_id!r}")
            where = f"video {video_id!r}, clip {clip_id!r}"
            annotators = take(clip, "annotations", list, path, where) if "annotations" in clip else []
            found = [label for by in annotators for label in take(by, "labels", list, path, where)]
            yield video_id, split, clip, found


def is_primary(label: Any, path: FilePath, where: str) -> bool:
    """Return whether an annotator's label is one of those that count.

    Raises:
        AnnotationError: it does not say.
    """
    primary = label.get("primary") if isinstance(label, dict) else None
    if not isinstance(primary, bool):
        raise AnnotationError(f"{where}: 'primary' must be true or false, found {brief(primary)}.", path=path)
    return primary


def _read_moments(path: FilePath, reading: _Reading) -> Iterator[SegmentClip]:
    for video_id, split, clip, found in moment_clips(read_json(path), path):
        where = f"clip {clip['clip_uid']!r}"
        start, end = _ends(clip, "video_start_sec", "video_end_sec", path, where)
        primary = [label for label in found if is_primary(label, path, where)]
        reading.skipped["not_primary"] += len(found) - len(primary)
        times = (_times(label, path, where) for label in primary)
        segments = reading.segments(times, end - start, path, where)
        if not segments and split in ("train", "val"):
            reading.skipped["no_segments"] += 1
            continue
        yield SegmentClip(clip["clip_uid"], video_id, start, end, segments, split)


def _read_converted(path: FilePath, reading: _Reading) -> Iterator[SegmentClip]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise AnnotationError(f"clips by their ids needed, found {brief(content)}.", path=path)
    for clip_id, clip in content.items():
        where = f"clip {clip_id!r}"
        start, end = _ends(clip, "parent_start_sec", "parent_end_sec", path, where)
        times = (_times(label, path, where) for label in take(clip, "annotations", list, path, where))
        segments = reading.segments(times, end - start, path, where)
        video_id, subset = (take(clip, key, str, path, where) for key in ("video_id", "subset"))
        yield SegmentClip(clip_id, video_id, start, end, segments, subset)


def _ends(clip: Any, start_key: str, end_key: str, path: FilePath, where: str) -> tuple[float, float]:
    start, end = take_time(clip, start_key, path, where), take(clip, end_key, float, path, where)
    if end <= start:
        raise AnnotationError(f"{where}: it ends at {end} s, but starts at {start} s; correct the file.", path=path)
    return start, end


def _times(label: Any, path: FilePath, where: str) -> tuple[float, float, str]:
    start, end = (take(label, key, float, path, where) for key in ("start_time", "end_time"))
    return start, end, take(label, "label", str, path, where)


def _read_database(path: FilePath, reading: _Reading) -> Iterator[SegmentClip]:
    content = read_json(path)
    database = content.get("database", content) if isinstance(content, dict) else content
    if not isinstance(database, dict):
        raise AnnotationError(f"videos by their ids needed, found {brief(database)}.", path=path)
    for video_id, video in database.items():
        where = f"video {video_id!r}"
        duration = take(video, "duration", float, path, where)
        if duration <= 0:
            raise AnnotationError(f"{where}: lasts {duration} s; correct or remove it.", path=path)
        times = (_database_times(record, path, where) for record in take(video, "annotations", list, path, where))
        segments = reading.segments(times, duration, path, where)
        yield SegmentClip(video_id, video_id, 0.0, duration, segments, take(video, "subset", str, path, where))


def _database_times(record: Any, path: FilePath, where: str) -> tuple[float, float, str]:
    ends, label = take(record, "segment", list, path, where), take(record, "label", str, path, where)
    if len(ends) != 2:
        raise AnnotationError(f"{where}: a segment has a start and an end, found {brief(ends)}.", path=path)
    return _seconds(ends[0], path, where), _seconds(ends[1], path, where), label


def _seconds(value: Any, path: FilePath, where: str, row: int | None = None) -> float:
    """Return seconds that may be written as text, as THUMOS14 does."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise AnnotationError(f"{where}: finite seconds needed, found {brief(value)}; correct it.", path=path, row=row)
    return number


def _read_thumos(path: FilePath, reading: _Reading) -> Iterator[SegmentClip]:
    videos: dict[str, list[tuple[float, float, str]]] = {}
    subsets: dict[str, str] = {}
    durations: dict[str, float] = {}
    for video_id, subset, duration, times in _thumos_folder(path) if Path(path).is_dir() else _thumos_file(path):
        subsets[video_id] = subset
        if duration is not None:
            durations[video_id] = duration
        judged = [each for each in times if each[2] != THUMOS_AMBIGUOUS]
        reading.skipped["ambiguous"] += len(times) - len(judged)
        videos.setdefault(video_id, []).extend(judged)
    for video_id, times in videos.items():
        duration = durations.get(video_id)
        segments = reading.segments(times, duration, path, f"video {video_id!r}")
        yield SegmentClip(video_id, video_id, 0.0, duration, segments, subsets[video_id])


def _thumos_file(path: FilePath) -> Iterator[tuple[str, str, float | None, list[tuple[float, float, str]]]]:
    for video_id, video in take(read_json(path), "database", dict, path, "file").items():
        where = f"video {video_id!r}"
        subset, records = take(video, "subset", str, path, where), take(video, "annotations", list, path, where)
        duration = take(video, "duration", float, path, where) if "duration" in video else None
        yield video_id, subset, duration, [_database_times(record, path, where) for record in records]


def _thumos_folder(path: FilePath) -> Iterator[tuple[str, str, None, list[tuple[float, float, str]]]]:
    for file in sorted(Path(path).glob("*_*.txt")):
        label, _, ending = file.stem.rpartition("_")
        if ending not in THUMOS_FILES:
            raise AnnotationError("THUMOS14's files end in _val.txt or _test.txt; take this one out.", path=file)
        for row, line in enumerate(read_text(file).splitlines(), start=1):
            if not (parts := line.split()):
                continue
            if len(parts) != 3:
                raise AnnotationError(f"video, start and end needed, found {brief(line)}.", path=file, row=row)
            start, end = (_seconds(part, file, f"video {parts[0]!r}", row) for part in parts[1:])
            yield parts[0], THUMOS_FILES[ending], None, [(start, end, label)]
