"""Captioned media: a file, a text, and the span of the file that the text tells, in csv or jsonl."""

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playhead.data.border import FilePath, brief, read_text
from playhead.errors import AnnotationError
from playhead.types import Span

NEEDED, OPTIONAL = ("file", "text"), ("start", "end")
OTHER_NAMES = {"video": "file", "image": "file", "caption": "text"}  # as other caption files call them


@dataclass(frozen=True, slots=True)
class CaptionPair:
    """One file and its text; `span` in seconds, None for the whole file."""

    file: str
    text: str
    span: Span | None = None


def read_captions(path: FilePath) -> list[CaptionPair]:
    """Read pairs from a .csv file (comma separated) or a .jsonl file (one object per line), in file order.

    Both have `file` (or `video`, or `image`) and `text` (or `caption`), and may have `start` and `end` in seconds, both
    or neither in a row; nothing else, so that a misspelt column is told and not ignored.

    Raises:
        AnnotationError: another suffix or column, an empty file name or text, or a span that is none; names the row.
    """
    readers = {".csv": _csv_records, ".jsonl": _jsonl_records}
    suffix = Path(path).suffix
    if suffix not in readers:
        raise AnnotationError(f"caption files end in .csv or .jsonl, not in {suffix!r}; rename it.", path=path)
    pairs = [_pair(record, path, row) for row, record in readers[suffix](path)]
    if not pairs:
        raise AnnotationError("no pairs stand here; give at least one.", path=path)
    return pairs


def _csv_records(path: FilePath) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        reader.fieldnames = _named(list(reader.fieldnames or ()), path, 1)
        for record in reader:
            if None in record or None in record.values():
                problem = f"{len(reader.fieldnames or ())} fields needed, as in the heading; quote texts with commas."
                raise AnnotationError(problem, path=path, row=reader.line_num)
            yield reader.line_num, {name: value for name, value in record.items() if value or name in NEEDED}
    except csv.Error as error:
        raise AnnotationError(f"no csv ({error}); repair this row.", path=path, row=reader.line_num) from error


def _jsonl_records(path: FilePath) -> Iterator[tuple[int, dict[str, Any]]]:
    for row, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise AnnotationError(f"no JSON object ({error}); repair this row.", path=path, row=row) from error
        if not isinstance(record, dict):
            raise AnnotationError(f"an object needed, found {brief(record)}.", path=path, row=row)
        record = dict(zip(_named(list(record), path, row), record.values(), strict=True))
        yield row, {name: value for name, value in record.items() if value is not None}


def _named(found: list[str], path: FilePath, row: int) -> list[str]:
    """Return the column names as this module calls them."""
    names = [OTHER_NAMES.get(name, name) for name in found]
    missing = [name for name in NEEDED if name not in names]
    unknown = [name for name in names if name not in (*NEEDED, *OPTIONAL)]
    if missing or unknown or len(set(names)) < len(names):
        problem = f"'file', 'text' and maybe 'start', 'end' needed, found {brief(found)}; rename or remove the others."
        raise AnnotationError(problem, path=path, row=row)
    return names


def _pair(record: dict[str, Any], path: FilePath, row: int) -> CaptionPair:
    for name in NEEDED:
        if not isinstance(record.get(name), str) or not record[name].strip():
            raise AnnotationError(f"{name!r} needs a text, found {brief(record.get(name))}.", path=path, row=row)
    given = [name for name in OPTIONAL if name in record]
    if len(given) == 1:
        raise AnnotationError(f"'start' and 'end' belong together, found only {given[0]!r}.", path=path, row=row)
    span = None
    if given:
        start, end = (_seconds(record[name], path, row) for name in OPTIONAL)
        if not 0 <= start < end:
            raise AnnotationError(f"0 <= start < end needed, found {start} and {end}.", path=path, row=row)
        span = Span(start, end)
    return CaptionPair(record["file"].strip(), record["text"].strip(), span)


def _seconds(value: Any, path: FilePath, row: int) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise AnnotationError(f"a time must be a number of seconds, found {brief(value)}.", path=path, row=row)
    return seconds
