"""Lists of videos and classes as text: "path label" of VideoMAE, SlowFast and mmaction, and people's own csv files.

    archery/a b.mp4 17                path, class number              (blank, tab or comma between them)
    frames/0001 37 17                 folder, number of frames, class number

A path may hold blanks, since the numbers are taken from the end of the line. What a line means must be the same in the
whole file: one that mixes separators or numbers of columns is refused and not guessed at. With a header that names
`path` (or `video`, `file`) and `label` (or `class`), it is csv, whose classes may be names, and which may have `start`
and `end` in seconds.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from playhead.data.action_videos import ListedVideo, Place, require_unique
from playhead.data.border import brief, read_text
from playhead.errors import AnnotationError
from playhead.types import Span

SEPARATORS = {" ": "blanks", "\t": "tabs", ",": "commas"}
PATH_COLUMNS, LABEL_COLUMNS = ("path", "video", "file", "filename"), ("label", "class", "action")
TAIL = re.compile(r"^(?P<path>.*?\S)(?P<numbers>(?:(?: +|\t|\s*,\s*)-?\d+){1,3})$")
ENDINGS = re.compile(r"\.\w{2,4}$")


def read_list(path: Path) -> list[ListedVideo]:
    """Return the rows of a list, or of a csv file with a header.

    Raises:
        AnnotationError: the file cannot be read, is empty, a line does not end in a class, the lines are not all of one
            kind, or a video stands there twice.
    """
    lines = [(row, line.strip()) for row, line in enumerate(read_text(path).splitlines(), start=1)]
    lines = [(row, line) for row, line in lines if line]
    if not lines:
        raise AnnotationError("holds no videos.", path=path)
    header = _header(lines[0][1])
    listed = _read_lines(lines, path) if header is None else read_csv(path)
    require_unique(listed, path)
    return listed


def read_csv(path: Path) -> list[ListedVideo]:
    """Return the rows of a csv file whose header names path and label.

    Raises:
        AnnotationError: a column is missing, or a row lacks a value or has a wrong one.
    """
    reader = csv.reader(io.StringIO(read_text(path)))
    header = [name.strip().lower() for name in next(reader, [])]
    path_at, label_at = _column(header, PATH_COLUMNS, path), _column(header, LABEL_COLUMNS, path)
    listed = []
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        row = reader.line_num
        if len(values) != len(header):
            raise AnnotationError(
                f"{len(values)} values for {len(header)} columns; a path with a comma needs quotes.", path=path, row=row
            )
        name, label = values[path_at].strip(), values[label_at].strip()
        if not name or not label:
            raise AnnotationError(f"lacks its {header[label_at if name else path_at]}.", path=path, row=row)
        span = _span(header, values, path, row)
        listed.append(ListedVideo((Place(name, span),), int(label) if label.isdigit() else label, row))
    return listed


def _header(line: str) -> list[str] | None:
    names = [name.strip().lower() for name in line.split(",")]
    is_header = any(name in names for name in PATH_COLUMNS) and any(name in names for name in LABEL_COLUMNS)
    return names if is_header else None


def _column(header: Sequence[str], names: Sequence[str], path: Path) -> int:
    found = [header.index(name) for name in names if name in header]
    if len(found) != 1:
        raise AnnotationError(
            f"needs one column of {', '.join(names)} in its header, found {', '.join(header) or 'no header'}.",
            path=path,
            row=1,
        )
    return found[0]


def _span(header: Sequence[str], values: Sequence[str], path: Path, row: int) -> Span | None:
    if "start" not in header and "end" not in header:
        return None
    try:
        return Span(float(values[header.index("start")]), float(values[header.index("end")]))
    except ValueError as error:
        raise AnnotationError(f"`start` and `end` must be seconds: {error}", path=path, row=row) from error


def _read_lines(lines: Sequence[tuple[int, str]], path: Path) -> list[ListedVideo]:
    read, kinds = [], {}
    for row, line in lines:
        match = TAIL.match(line)
        if match is None:
            raise AnnotationError(
                f"{brief(line)} does not end in a class number; a line is 'path label' or 'path frames label', a csv "
                "file with class names needs a header 'path,label'.",
                path=path,
                row=row,
            )
        separator = _separator(match["numbers"], path, row)
        numbers = [int(number) for number in re.findall(r"-?\d+", match["numbers"])]
        kinds.setdefault((separator, len(numbers)), row)
        read.append((row, match["path"], numbers))
    if len({separator for separator, _ in kinds}) > 1:
        told = " and ".join(f"{SEPARATORS[separator]} in row {row}" for (separator, _), row in kinds.items())
        raise AnnotationError(f"mixes separators: {told}; write all lines with one.", path=path)
    counts = {count: row for (_, count), row in kinds.items()}
    if len(counts) > 1:
        told = " and ".join(f"{count} in row {row}" for count, row in counts.items())
        raise AnnotationError(
            f"lines end in different numbers of numbers ({told}), so that a path that ends in a number cannot be told "
            "from a count of frames; write the list as csv with a header 'path,label'.",
            path=path,
        )
    return [_listed(row, name, numbers, path) for row, name, numbers in read]


def _separator(numbers: str, path: Path, row: int) -> str:
    """Return the sign between the columns of a line, which must all be the same."""
    found = {"," if "," in gap else "\t" if "\t" in gap else " " for gap in re.findall(r"\s*,\s*|\s+", numbers)}
    if len(found) > 1:
        told = " and ".join(sorted(SEPARATORS[sign] for sign in found))
        raise AnnotationError(f"mixes {told} as separators; write all lines with one.", path=path, row=row)
    return found.pop()


def _listed(row: int, name: str, numbers: list[int], path: Path) -> ListedVideo:
    *counts, label = numbers
    if not counts:
        return ListedVideo((Place(name),), label, row)
    if ENDINGS.search(name):
        raise AnnotationError(
            f"{name!r} is a file with {len(numbers)} numbers; a list of several classes per video cannot be learnt "
            "from here, and of one class each line has one number.",
            path=path,
            row=row,
        )
    if len(counts) == 2 and counts[0] != 0:
        raise AnnotationError(
            f"{name!r} starts at frame {counts[0]}; give the stretch a folder of its own.",
            path=path,
            row=row,
        )
    if counts[-1] < 1:
        raise AnnotationError(f"{name!r} is said to have {counts[-1]} frames.", path=path, row=row)
    return ListedVideo((Place(name),), label, row, num_frames=counts[-1])
