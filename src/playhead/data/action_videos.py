"""Videos with a class each: what every list of action recognition comes down to, and where the files lie.

A reader of a layout (`action_lists`, `kinetics`, `something`, `hmdb_ucf`, `activitynet`, `moments_in_time`) gives
`ListedVideo`s: what the list says, row by row. `locate` finds their files, counts and names those that are missing, and
`label` turns class names into numbers; what is left are `ActionVideo`s.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playhead.data.border import brief
from playhead.errors import AnnotationError
from playhead.types import Span

SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi")
"""What a video may end in; of two files that differ in it alone the earlier of these is taken."""

UNKNOWN = -1
"""The label of a video whose list does not tell its class."""

MOST_NAMES = 5  # of missing files and the like that a message names
Missing = Literal["error", "leave_out"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a video may lie: a name relative to the root, with or without suffix, and the stretch of it that counts."""

    name: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """One row of a list.

    `label` is a class's name or number, None where the list keeps it secret. `places` are tried in their order.
    `num_frames` is what the list says of a folder of frames.
    """

    places: tuple[Place, ...]
    label: str | int | None
    row: int
    num_frames: int | None = None


@dataclass(frozen=True, slots=True)
class ActionVideo:
    """A video file or folder of frames, the stretch of it that shows the action (None: all of it), and its class."""

    name: str
    path: Path
    label: int
    span: Span | None = None
    num_frames: int | None = None

    @property
    def key(self) -> str:
        """What tells it from the others of its list: its name, and its stretch if it has one."""
        return self.name if self.span is None else f"{self.name} {self.span.start:g}-{self.span.end:g} s"


@dataclass(frozen=True)
class Folders:
    """Finds videos below some root folders; each folder is listed once, when it is first asked about."""

    roots: tuple[Path, ...]
    _listed: dict[Path, dict[str, str]] = field(default_factory=dict, compare=False, repr=False)

    def find(self, name: str) -> Path | None:
        """Return the file, or folder of frames, of this name below the first root that has it; its suffix may lack."""
        folder, _, last = name.rstrip("/").rpartition("/")
        for root in self.roots:
            if (entry := self._entries(root / folder).get(last)) is not None:
                return root / folder / entry
        return None

    def _entries(self, folder: Path) -> dict[str, str]:
        if folder not in self._listed:
            try:
                names = sorted(os.listdir(folder))
            except (FileNotFoundError, NotADirectoryError):  # its videos are then missing, and counted as such
                names = []
            entries = {name: name for name in names}
            for suffix in SUFFIXES:
                for name in names:
                    if name.lower().endswith(suffix):
                        entries.setdefault(name[: -len(suffix)], name)
            self._listed[folder] = entries
        return self._listed[folder]


def locate(
    listed: Sequence[ListedVideo], roots: Sequence[Path], source: Path, missing: Missing
) -> tuple[list[tuple[ListedVideo, Place, Path]], int]:
    """Return each row with the place where its video lies, and how many rows have none.

    Raises:
        AnnotationError: videos are missing, and `missing` is "error"; or all of them are. Tells how many, and some.
    """
    folders, found, lost = Folders(tuple(roots)), [], []
    for video in listed:
        paths = ((place, folders.find(place.name)) for place in video.places)
        place, path = next(((place, path) for place, path in paths if path is not None), (None, None))
        if place is None or path is None:
            lost.append(video)
        else:
            found.append((video, place, path))
    if lost and (missing == "error" or not found):
        where = ", ".join(map(str, roots))
        advice = "fetch them, or go on without them by missing='leave_out'"
        if not found:
            tried = ", ".join(repr(place.name) for place in lost[0].places)
            advice = f"is this the folder of the videos? Of the first row, {tried} was looked for"
        names = some(f"{video.places[0].name!r} (row {video.row})" for video in lost)
        raise AnnotationError(
            f"{len(lost):,} of {len(listed):,} videos are not in {where}: {names}; {advice}.", path=source
        )
    return found, len(lost)


def label_of(video: ListedVideo, numbers: Mapping[str, int], num_classes: int, source: Path) -> int:
    """Return the number of a row's class, `UNKNOWN` where the list keeps it secret.

    Raises:
        AnnotationError: the class is none of those that there are.
    """
    if video.label is None:
        return UNKNOWN
    if isinstance(video.label, int):
        if not 0 <= video.label < num_classes:
            raise AnnotationError(
                f"label {video.label} of {video.places[0].name!r} is not in 0..{num_classes - 1}, the {num_classes} "
                "classes; give the right file of class names, or subtract 1 from labels that count from 1.",
                path=source,
                row=video.row,
            )
        return video.label
    if video.label not in numbers:
        raise AnnotationError(
            f"class {video.label!r} of {video.places[0].name!r} is none of the {num_classes} classes, which begin with "
            f"{some(map(repr, numbers))}; correct it, or give the right file of class names.",
            path=source,
            row=video.row,
        )
    return numbers[video.label]


def class_numbers(names: Sequence[str], source: Path | str) -> dict[str, int]:
    """Return the number of each class name.

    Raises:
        AnnotationError: two classes have one name, or there are none.
    """
    if not names:
        raise AnnotationError("holds no classes.", path=source)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise AnnotationError(f"class {twice[0]!r} stands here twice; keep one.", path=source)
    return {name: number for number, name in enumerate(names)}


def require_unique(listed: Sequence[ListedVideo], source: Path, *, allow_repeats: bool = False) -> None:
    """Refuse a list that gives one video two classes, and unless `allow_repeats` one that repeats a row.

    Raises:
        AnnotationError: a video stands there twice.
    """
    first: dict[Place, ListedVideo] = {}
    for video in listed:
        other = first.setdefault(video.places[0], video)
        if other is video or (allow_repeats and other.label == video.label):
            continue
        problem = f"{video.places[0].name!r} stands in row {other.row} already"
        if other.label != video.label:
            problem += f", as {brief(other.label)} and not {brief(video.label)}"
        raise AnnotationError(f"{problem}; keep one.", path=source, row=video.row)


def some(names) -> str:
    """Return the first few of some names, as text, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
