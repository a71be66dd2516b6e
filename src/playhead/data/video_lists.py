"""Videos to learn from without labels: a folder, a list, a csv file, or the official files of Kinetics.

    a b.mp4                       a path; it may hold blanks
    a b.mp4 17                    path, class                               (the class is not read)
    folder 300 17                 folder of images, how many, class
    folder 0 300 17               the same, with the number of the first    (VideoMAE's lists for pretraining)
    a b.mp4 0 -1 17               a video file in such a list

All lines of a list end in equally many numbers. With a header that names `path` (or `video`, `file`) it is csv, which
may have `start` and `end` in seconds; with one that names `youtube_id` it is an official file of Kinetics.
"""

import csv
import io
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playhead.data.action_videos import SUFFIXES, ListedVideo, Missing, Place, locate
from playhead.data.border import read_text
from playhead.data.kinetics import as_listed, read_kinetics
from playhead.errors import AnnotationError
from playhead.types import Span

logger = logging.getLogger(__name__)

PATH_COLUMNS = ("path", "video", "file", "filename")
NUMBERS = re.compile(r"^(?P<path>.*?\S)(?P<numbers>(?:[ \t]+-?\d+){0,3})$")


@dataclass(frozen=True, slots=True)
class UnlabelledVideo:
    """A video file or a folder of images, and the stretch of it that counts (None: all of it)."""

    name: str
    path: Path
    span: Span | None = None


def find_videos(root: Path, listing: Path | None, missing: Missing = "error") -> tuple[UnlabelledVideo, ...]:
    """Return the videos of a list below `root`, in its order, or without a list all files below it, by name.

    Raises:
        AnnotationError: the list cannot be read, videos of it are missing (with "leave_out" only if all are), or there
            are none.
    """
    if listing is None:
        return _walk(root)
    found, num_lost = locate(read_video_list(listing), (root,), listing, missing)
    if num_lost:
        logger.info(f"{listing}: {num_lost:,} of {num_lost + len(found):,} videos are missing and left out.")
    return tuple(UnlabelledVideo(place.name, path, place.span) for _, place, path in found)


def read_video_list(path: Path) -> list[ListedVideo]:
    """Return the rows of a list of any of the kinds above, without classes.

    Raises:
        AnnotationError: the file cannot be read, is empty, or mixes lines that end in different numbers of numbers.
    """
    lines = [(row, line.strip()) for row, line in enumerate(read_text(path).splitlines(), start=1)]
    lines = [(row, line) for row, line in lines if line]
    if not lines:
        raise AnnotationError("holds no videos.", path=path)
    header = [name.strip().lower() for name in lines[0][1].split(",")]
    if "youtube_id" in header:
        return as_listed(read_kinetics(path), path)
    if any(name in header for name in PATH_COLUMNS):
        return _read_csv(path)
    return _read_lines(lines, path)


def _walk(root: Path) -> tuple[UnlabelledVideo, ...]:
    if not root.is_dir():
        raise AnnotationError("there is no such folder of videos; check its path.", path=root)
    paths = [Path(folder) / name for folder, _, names in os.walk(root, followlinks=True) for name in names]
    videos = sorted(path for path in paths if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    if not videos:
        raise AnnotationError(f"no file below this folder ends in {', '.join(SUFFIXES)}.", path=root)
    return tuple(UnlabelledVideo(path.relative_to(root).as_posix(), path) for path in videos)


def _read_csv(path: Path) -> list[ListedVideo]:
    reader = csv.reader(io.StringIO(read_text(path)))
    header = [name.strip().lower() for name in next(reader)]
    column = next(header.index(name) for name in PATH_COLUMNS if name in header)
    listed = []
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        row = reader.line_num
        if len(values) != len(header):
            problem = f"{len(values)} values for {len(header)} columns; a path with a comma needs quotes."
            raise AnnotationError(problem, path=path, row=row)
        if not (name := values[column].strip()):
            raise AnnotationError(f"lacks its {header[column]}.", path=path, row=row)
        listed.append(ListedVideo((Place(name, _span(header, values, path, row)),), None, row))
    if not listed:
        raise AnnotationError("holds no videos.", path=path)
    return listed


def _span(header: Sequence[str], values: Sequence[str], path: Path, row: int) -> Span | None:
    given = [values[header.index(name)].strip() if name in header else "" for name in ("start", "end")]
    if given == ["", ""]:
        return None
    try:
        return Span(float(given[0]), float(given[1]))
    except ValueError as error:
        raise AnnotationError(f"`start` and `end` must be seconds: {error}", path=path, row=row) from error


def _read_lines(lines: Sequence[tuple[int, str]], path: Path) -> list[ListedVideo]:
    listed: list[ListedVideo] = []
    counts: dict[int, int] = {}
    for row, line in lines:
        match = NUMBERS.match(line)
        assert match is not None  # every line that is not empty has a path and 0 to 3 numbers
        numbers = [int(number) for number in match["numbers"].split()]
        counts.setdefault(len(numbers), row)
        if len(numbers) == 3 and numbers[0] != 0:
            problem = f"{match['path']!r} starts at frame {numbers[0]}; only whole videos and folders are read."
            raise AnnotationError(problem, path=path, row=row)
        listed.append(ListedVideo((Place(match["path"]),), None, row))
    if len(counts) > 1:
        told = " and ".join(f"{count} in row {row}" for count, row in counts.items())
        raise AnnotationError(
            f"lines end in different numbers of numbers ({told}), so that a path that ends in one cannot be told from "
            "a class; write the list as csv with a header 'path'.",
            path=path,
        )
    return listed
