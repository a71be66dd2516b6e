"""The published captions of HowTo100M: one JSON file of gigabytes, or a csv file per video; never held as a whole.

Source: antoine77340/howto100m (`caption.json`, `raw_caption.json`: {video_id: {"start", "end", "text"}}, lists of equal
length; `HowTo100M_v1.csv`: video_id, category_1, category_2, rank, task_id) and MIL-NCE_HowTo100M (a folder of
`{video_id}.csv`: start, end, text). Times are in seconds; captions overlap, as YouTube's do.
"""

import csv
import io
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from playhead.data.border import brief, read_text
from playhead.data.caption_layouts import EMPTY, Faults, file_size, file_stamp, is_utf8
from playhead.data.caption_table import Read
from playhead.data.json_stream import JsonText
from playhead.errors import AnnotationError

CAPTION_COLUMNS = ("start", "end", "text")
VIDEO_ID = re.compile(r"[A-Za-z0-9_-]+")
NOT_LISTED, NO_CAPTIONS = "video_not_in_video_list", "video_without_captions"


class _Video(NamedTuple):
    """What stands in the source for one video, unchecked, and the place behind it; `rows` are those of its captions."""

    video_id: str
    captions: Any
    path: Path
    rows: list[int] | None
    offset: int
    row: int


@dataclass(frozen=True)
class HowTo100M:
    """Captions as `caption.json`, or as a folder of csv files; with `video_list` only those of its videos."""

    path: Path
    video_list: Path | None = None
    skip_malformed: bool = False

    def stamp(self) -> dict[str, Any]:
        """See `Reader`; of a folder the number of files and its date, which a changed file does not change."""
        listed = {} if self.video_list is None else {"list": file_stamp(self.video_list)}
        own = {"files": self.total(), "changed": self.path.stat().st_mtime_ns} if self.path.is_dir() else {}
        own = own or file_stamp(self.path)
        return {"layout": "howto100m", **own, "skip_malformed": self.skip_malformed, **listed}

    def total(self) -> int:
        """See `Reader`."""
        return len(_csv_files(self.path)) if self.path.is_dir() else file_size(self.path)

    def read(self, offset: int, row: int) -> Iterator[Read]:
        """Yield the captions of each video.

        Raises:
            AnnotationError: a caption is malformed, or the JSON is; names the video, and in csv files the row.
        """
        faults = Faults(self.path, self.skip_malformed)
        listed = None if self.video_list is None else read_video_list(self.video_list)
        is_folder = self.path.is_dir()
        videos = _csv_videos(self.path, offset, faults) if is_folder else _json_videos(self.path, offset, row)
        for video in videos:
            offset, row = video.offset, video.row
            if listed is not None and video.video_id not in listed:
                faults.dropped[NOT_LISTED] += 1
            elif not VIDEO_ID.fullmatch(video.video_id):
                faults.malformed(f"{brief(video.video_id)} is no video id", None)
            else:
                texts, starts, ends = _sound(video, faults)
                if texts:
                    yield Read(video.video_id, texts, starts, ends, faults.take(), offset, row)
                else:
                    faults.dropped[NO_CAPTIONS] += 1
        yield Read("", [], None, None, faults.take(), offset, row)


def read_video_list(path: Path) -> frozenset[str]:
    """Return the column `video_id` of `HowTo100M_v1.csv`, or of any csv file that has it.

    Raises:
        AnnotationError: there is no such column, or it is empty.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if "video_id" not in (reader.fieldnames or ()):
        problem = f"a column 'video_id' is needed, found {brief(list(reader.fieldnames or ()))}."
        raise AnnotationError(problem, path=path, row=1)
    found = frozenset(cells["video_id"] for cells in reader if cells["video_id"])
    if not found:
        raise AnnotationError("lists no videos.", path=path)
    return found


def _sound(video: _Video, faults: Faults) -> tuple[list[str], list[float], list[float]]:
    """Return the texts and times that can be used."""
    own = Faults(video.path, faults.skip_malformed, faults.dropped)
    texts: list[str] = []
    starts: list[float] = []
    ends: list[float] = []
    columns = [video.captions.get(name) for name in CAPTION_COLUMNS] if isinstance(video.captions, dict) else []
    lists = [column for column in columns if isinstance(column, list)]
    if len(lists) != len(CAPTION_COLUMNS) or len({len(column) for column in lists}) != 1:
        found = brief(video.captions)
        own.malformed(f"video {video.video_id!r}: lists start, end and text of one length needed, found {found}", None)
        return texts, starts, ends
    for number, (start, end, text) in enumerate(zip(*lists, strict=True)):
        row = None if video.rows is None else video.rows[number]
        where = f"video {video.video_id!r}, caption {number}"
        if text is None or text != text or (isinstance(text, str) and not text.strip()):  # NaN differs from itself
            own.dropped[EMPTY] += 1
        elif not isinstance(text, str) or not is_utf8(text):
            own.malformed(f"{where}: a text in UTF-8 needed, found {brief(text)}", row)
        elif not (_is_time(start) and _is_time(end) and 0 <= start < end):
            own.malformed(f"{where}: 0 <= start < end needed, found {brief(start)} and {brief(end)}", row)
        else:
            texts.append(text.strip())
            starts.append(float(start))
            ends.append(float(end))
    return texts, starts, ends


def _is_time(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def _csv_files(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name.endswith(".csv"))


def _csv_videos(folder: Path, offset: int, faults: Faults) -> Iterator[_Video]:
    for number, name in enumerate(_csv_files(folder)[offset:], start=offset + 1):
        path = folder / name
        captions, rows = _csv_captions(path, Faults(path, faults.skip_malformed, faults.dropped))
        yield _Video(name.removesuffix(".csv"), captions, path, rows, number, 0)


def _csv_captions(path: Path, faults: Faults) -> tuple[dict[str, list[Any]], list[int]]:
    """Return the columns of a csv file and the row of each caption; what is no number stays a text."""
    columns: dict[str, list[Any]] = {name: [] for name in CAPTION_COLUMNS}
    found_at: list[int] = []
    try:
        rows = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig", "surrogateescape"), newline=""))
        heading = next(rows, [])
        if missing := [name for name in CAPTION_COLUMNS if name not in heading]:
            faults.malformed(f"columns {', '.join(missing)} are missing, found {brief(heading)}", 1)
            return columns, found_at
        places = [heading.index(name) for name in CAPTION_COLUMNS]
        for cells in rows:
            if cells and len(cells) != len(heading):
                faults.malformed(f"{len(heading)} fields needed, found {len(cells)}", rows.line_num)
            elif cells:
                found_at.append(rows.line_num)
                for name, place in zip(CAPTION_COLUMNS, places, strict=True):
                    columns[name].append(cells[place] if name == "text" else _number(cells[place]))
    except OSError as error:
        raise AnnotationError(f"the file cannot be read ({error.strerror}).", path=path) from error
    except csv.Error as error:
        faults.malformed(f"no csv ({error})", (found_at or [1])[-1] + 1)
    return columns, found_at


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _json_videos(path: Path, offset: int, row: int) -> Iterator[_Video]:
    """Yield each member of the file's one object, from the place behind another on."""
    with open(path, "rb") as file:
        text = JsonText(file, path, offset, row)
        is_first = offset == 0
        if is_first:
            text.expect("{")
        while not text.takes("}"):
            if not is_first:
                text.expect(",")
            is_first = False
            video_id = text.value()
            if not isinstance(video_id, str):
                raise text.fault("a video id in double quotes needed")
            text.expect(":")
            captions = text.value()
            text.settle()
            yield _Video(video_id, captions, path, None, text.offset, text.row)
        text.end()
