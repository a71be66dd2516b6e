"""The narrations and videos of EPIC-KITCHENS-100, as the same types as Ego4D's.

Source: Damen et al., 2022; the csv files of epic-kitchens-100-annotations.
"""

import csv
import io
import re
from collections.abc import Iterator

from playhead.data.border import FilePath, brief, read_text
from playhead.data.narrations import VideoEntry
from playhead.errors import AnnotationError
from playhead.types import Narration

CLOCK = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)")
CLASSES = re.compile(r"\[\s*(?:\d+\s*(?:,\s*\d+\s*)*)?\]")


def read_epic_narrations(path: FilePath) -> Iterator[Narration]:
    """Yield the narrations of `EPIC_100_{train,validation}.csv` with the human verb and noun classes as their tags.

    The time is `narration_timestamp`, when the narrator spoke; some rows have none, and there it is the middle of the
    action. All narrations are of one pass.

    Raises:
        AnnotationError: a column is missing, a time or class cannot be read, or a `narration_id` stands twice; names
            the row.
    """
    columns = ("narration_id", "video_id", "narration_timestamp", "start_timestamp", "stop_timestamp", "narration")
    seen: set[str] = set()
    for row, record in _rows(path, columns):
        name = record["narration_id"]
        if name in seen:
            raise AnnotationError(f"narration {name!r} stands in an earlier row too; keep one.", path=path, row=row)
        seen.add(name)
        if record["narration_timestamp"]:
            time = _seconds(record["narration_timestamp"], path, row)
        else:
            time = (_seconds(record["start_timestamp"], path, row) + _seconds(record["stop_timestamp"], path, row)) / 2
        verbs = _classes(f"[{record['verb_class']}]", path, row) if record.get("verb_class") else ()
        nouns = _classes(record["all_noun_classes"], path, row) if record.get("all_noun_classes") else ()
        yield Narration(record["video_id"], time, record["narration"], nouns=nouns, verbs=verbs)


def read_epic_videos(path: FilePath) -> dict[str, VideoEntry]:
    """Read `EPIC_100_video_info.csv` (video_id, duration, fps, resolution) as a manifest.

    Raises:
        AnnotationError: a column is missing, a number cannot be read, or a video stands twice; names the row.
    """
    entries: dict[str, VideoEntry] = {}
    for row, record in _rows(path, ("video_id", "duration", "fps", "resolution")):
        video_id, size = record["video_id"], re.fullmatch(r"(\d+)x(\d+)", record["resolution"])
        if video_id in entries:
            raise AnnotationError(f"video {video_id!r} stands in an earlier row too; keep one.", path=path, row=row)
        numbers = [text for text in (record["duration"], record["fps"]) if re.fullmatch(r"\d+(\.\d+)?", text)]
        if size is None or len(numbers) < 2 or min(map(float, numbers)) <= 0:
            problem = f"duration, fps and WIDTHxHEIGHT above zero needed, found {brief(list(record.values())[1:4])}."
            raise AnnotationError(problem, path=path, row=row)
        duration, fps = map(float, numbers)
        entries[video_id] = VideoEntry(video_id, duration, fps, int(size[1]), int(size[2]), ("cooking",))
    return entries


def _rows(path: FilePath, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, record) of a csv file with at least these columns."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            found = ", ".join(reader.fieldnames or ()) or "nothing"
            raise AnnotationError(f"columns {', '.join(missing)} are missing, found {found}.", path=path, row=1)
        for record in reader:
            if None in record or None in record.values():
                problem = f"{len(reader.fieldnames or ())} fields needed, as in the heading; complete the row."
                raise AnnotationError(problem, path=path, row=reader.line_num)
            yield reader.line_num, record
    except csv.Error as error:
        raise AnnotationError(f"no csv ({error}); repair this row.", path=path, row=reader.line_num) from error


def _seconds(clock: str, path: FilePath, row: int) -> float:
    match = CLOCK.fullmatch(clock)
    if match is None:
        raise AnnotationError(f"a time like 00:01:02.345 needed, found {brief(clock)}; correct it.", path=path, row=row)
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _classes(text: str, path: FilePath, row: int) -> tuple[int, ...]:
    if CLASSES.fullmatch(text) is None:
        raise AnnotationError(
            f"class numbers like [3, 12] needed, found {brief(text)}; correct it.", path=path, row=row
        )
    return tuple(sorted({int(number) for number in re.findall(r"\d+", text)}))
