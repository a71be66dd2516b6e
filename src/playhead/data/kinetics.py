"""The official csv files of Kinetics-400, -600 and -700: `label,youtube_id,time_start,time_end,split[,is_cc]`.

Downloaders cut the videos to ten seconds and name them `{id}_{start:06d}_{end:06d}.mp4`, in one folder, in one per
split or in one per class (with blanks or underscores). Where that is not found, `{id}.mp4` is taken for the whole
video, and the stretch of the row for the clip.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playhead.data.action_videos import ListedVideo, Place, require_unique
from playhead.data.border import read_text, write_whole
from playhead.errors import AnnotationError
from playhead.types import Span

COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")


@dataclass(frozen=True, slots=True)
class KineticsRow:
    """One row of an official file; `label` is None in files of test videos whose classes are secret."""

    label: str | None
    youtube_id: str
    start: int
    end: int
    split: str
    row: int = 0

    @property
    def stem(self) -> str:
        """The name of the cut file, without suffix."""
        return f"{self.youtube_id}_{self.start:06d}_{self.end:06d}"


def read_kinetics(path: Path) -> list[KineticsRow]:
    """Return the rows of an official file.

    Raises:
        AnnotationError: it cannot be read, has another header, or a row does not fit it.
    """
    reader = csv.reader(io.StringIO(read_text(path)))
    header = [name.strip() for name in next(reader, [])]
    if needed := [name for name in COLUMNS[1:] if name not in header]:
        raise AnnotationError(
            f"lacks the column {needed[0]!r}; the official header is {','.join(COLUMNS)}. A list of paths and class "
            "numbers is of the layout 'list'.",
            path=path,
            row=1,
        )
    rows = [
        _row(dict(zip(header, values, strict=False)), len(header), len(values), path, reader.line_num)
        for values in reader
        if any(values)
    ]
    if not rows:
        raise AnnotationError("holds no videos.", path=path)
    return rows


def _row(record: dict[str, str], wanted: int, found: int, path: Path, row: int) -> KineticsRow:
    if found != wanted:
        raise AnnotationError(f"{found} values for {wanted} columns.", path=path, row=row)
    try:
        start, end = int(record["time_start"]), int(record["time_end"])
    except ValueError as error:
        raise AnnotationError(
            f"`time_start` and `time_end` must be whole seconds: {error}.", path=path, row=row
        ) from error
    if not 0 <= start < end:
        raise AnnotationError(f"the clip lasts from {start} to {end} s; correct the row.", path=path, row=row)
    label = record.get("label", "").strip() or None
    return KineticsRow(label, record["youtube_id"].strip(), start, end, record["split"].strip(), row)


def as_listed(rows: Sequence[KineticsRow], path: Path) -> list[ListedVideo]:
    """Return the rows with the places where downloaders put their videos.

    Raises:
        AnnotationError: a clip stands there with two classes.
    """
    listed = [ListedVideo(_places(row), row.label, row.row) for row in rows]
    require_unique(listed, path, allow_repeats=True)  # who made the official files did not look
    return listed


def _places(row: KineticsRow) -> tuple[Place, ...]:
    folders = ["", f"{row.split}/"]
    if row.label is not None:
        names = dict.fromkeys((row.label, row.label.replace(" ", "_")))
        folders += [f"{folder}{name}/" for name in names for folder in ("", f"{row.split}/")]
    cut = [Place(f"{folder}{row.stem}") for folder in folders]
    whole = [Place(f"{folder}{row.youtube_id}", Span(float(row.start), float(row.end))) for folder in folders]
    return (*cut, *whole)


def write_kinetics(path: Path, rows: Sequence[KineticsRow]) -> None:
    """Write rows in the official layout; complete or absent.

    Raises:
        AnnotationError: the file cannot be written.
    """
    with write_whole(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((row.label or "", row.youtube_id, row.start, row.end, row.split) for row in rows)
