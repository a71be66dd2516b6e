"""Millions of captions as one memory-mapped table: written once, part by part, and read a row at a time.

A table is a folder: `part_00000.arrow` and so on, `first_rows.npy`, and last of all `table.json`, without which it is
unfinished. Each part is complete or absent and says which place of the source follows it, so that a conversion that was
killed goes on there. Two processes that write one table write the same bytes, so neither disturbs the other.
"""

import bisect
import json
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from playhead.data.border import FilePath, temporary_beside, write_whole
from playhead.data.captions import CaptionPair
from playhead.errors import AnnotationError
from playhead.types import Span

LAYOUT = 1
PART_ROWS = 1 << 20
METADATA = b"playhead.captions"
TWICE, ENTITY = "file_named_twice", "text_with_html_entity"
INDEX, FIRST_ROWS = "table.json", "first_rows.npy"
DAMAGES = (OSError, ValueError, KeyError, TypeError)  # what a damaged file raises; pa.ArrowInvalid is a ValueError
SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("text", pa.string()),
        ("start", pa.float64()),  # NaN for a whole file
        ("end", pa.float64()),
        ("is_first", pa.bool_()),  # of its file; the rows of a file follow each other
    ]
)

Progress = Callable[[int, int, int], None]
"""Told what is read, of how much (bytes, or files of a folder), and the rows so far."""


class Read(NamedTuple):
    """The captions of one media file, as a reader of an official layout found them.

    `starts` and `ends` are in seconds, None for a whole file. `dropped` counts by reason what was left out on the way
    to here. `offset` and `row` are the place of the source behind all this, from which reading can go on.
    """

    file: str
    texts: list[str]
    starts: list[float] | None
    ends: list[float] | None
    dropped: Mapping[str, int]
    offset: int
    row: int


@runtime_checkable
class Reader(Protocol):
    """A file in an official layout. `stamp` changes with what would be read; `total` is the last offset."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    def stamp(self) -> dict[str, Any]:
        """What the rows follow from: the size and date of the files, and the settings."""
        ...

    def total(self) -> int:
        """Offset of the end."""
        ...

    def read(self, offset: int, row: int) -> Iterator[Read]:
        """Yield what follows a place; the very last one may have no texts, for what was dropped at the end."""
        ...


class CaptionTable:
    """A sequence of `CaptionPair`, in the order of the source, whose state `stamp` tells.

    `dropped` counts by reason the rows that were left out, `noted` the rows that were kept in spite of something.
    """

    def __init__(self, folder: Path, about: dict[str, Any]):
        self.folder, self.stamp = folder, about["stamp"]
        self.dropped: dict[str, int] = about["dropped"]
        self.noted: dict[str, int] = about["noted"]
        parts = [_map_part(folder / _part_name(number)) for number in range(about["parts"])]
        if any(_about(part)["stamp"] != self.stamp for part in parts):
            raise ValueError("its parts were made of another state of the source")
        self._parts = [[part[name].chunk(0) for name in ("file", "text", "start", "end")] for part in parts]
        self._ends = np.cumsum([len(part) for part in parts]).tolist()
        self.first_rows: np.ndarray = np.load(folder / FIRST_ROWS, mmap_mode="r")

    @staticmethod
    def open(folder: FilePath, stamp: dict[str, Any] | None = None) -> "CaptionTable":
        """Open a finished table; with `stamp` only the one that was made of that state of its source.

        Raises:
            AnnotationError: there is none, or it is damaged.
        """
        about = _read_index(Path(folder))
        if about is None:
            raise AnnotationError("no finished table of captions lies here; convert its source anew.", path=folder)
        if stamp not in (None, about["stamp"]):
            raise AnnotationError("this table was replaced in the meantime; start the run again.", path=folder)
        try:
            return CaptionTable(Path(folder), about)
        except DAMAGES as error:
            raise AnnotationError(f"this table is damaged ({error}); delete it.", path=folder) from error

    @staticmethod
    def convert(reader: Reader, folder: FilePath, progress: Progress | None = None) -> "CaptionTable":
        """Open the table of a source, after writing what is missing of it; a table of another stamp is replaced.

        Raises:
            AnnotationError: the source is not as its layout says, or the folder cannot be written.
        """
        folder, stamp = Path(folder), reader.stamp()
        about = _read_index(folder)
        if about is not None and about["stamp"] == stamp:
            with suppress(*DAMAGES):
                return CaptionTable(folder, about)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = f"cannot be made ({error.strerror}); give another folder for tables."
            raise AnnotationError(problem, path=folder) from error
        _write(reader, stamp, folder, progress or _tell_nobody)
        return CaptionTable.open(folder, stamp)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> CaptionPair:
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} asked for, but there are {len(self)}.")
        index %= len(self)
        number = bisect.bisect_right(self._ends, index)
        place = index - (self._ends[number - 1] if number else 0)
        file, text, start, end = (column[place].as_py() for column in self._parts[number])
        return CaptionPair(file, text, Span(start, end) if start == start else None)

    @property
    def num_files(self) -> int:
        """How many media files have captions."""
        return len(self.first_rows)

    def rows_of(self, number: int) -> range:
        """Return the rows of media file `number`, counted from 0 in the order of the source."""
        last = number + 1 == len(self.first_rows)
        return range(int(self.first_rows[number]), len(self) if last else int(self.first_rows[number + 1]))

    def files(self) -> Iterator[str]:
        """Yield the name of each media file once, in the order of the source."""
        begin = 0
        for (names, *_), end in zip(self._parts, self._ends, strict=True):
            rows = self.first_rows[np.searchsorted(self.first_rows, begin) : np.searchsorted(self.first_rows, end)]
            yield from names.take(pa.array(rows - begin)).to_pylist()
            begin = end

    def __reduce__(self):
        return CaptionTable.open, (self.folder, self.stamp)


@dataclass
class _Rows:
    """The rows of a part that is being filled."""

    files: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    are_first: list[bool] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)

    def add(self, read: Read) -> None:
        count = len(read.texts)
        whole = [float("nan")] * count
        self.files += [read.file] * count
        self.texts += read.texts
        self.starts += whole if read.starts is None else read.starts
        self.ends += whole if read.ends is None else read.ends
        self.are_first += [True] + [False] * (count - 1) if count else []
        self.dropped.update(read.dropped)
        if entities := sum("&" in text and ";" in text for text in read.texts):
            self.noted[ENTITY] += entities

    def as_table(self) -> pa.Table:
        columns = (self.files, self.texts, self.starts, self.ends, self.are_first)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
        return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _write(reader: Reader, stamp: dict[str, Any], folder: Path, progress: Progress) -> None:
    """Write the parts that are missing, and then the index that says the table is finished."""
    done, total = _finished_parts(folder, stamp), reader.total()
    offset, row = (done[-1]["offset"], done[-1]["row"]) if done else (0, 0)
    total_rows = sum(part["rows"] for part in done)
    seen = {hash(name) for number in range(len(done)) for name in _files_of(folder / _part_name(number))}
    rows = _Rows()

    def finish_part() -> None:
        nonlocal rows, total_rows
        total_rows += len(rows.texts)
        counts = {"rows": len(rows.texts), "dropped": dict(rows.dropped), "noted": dict(rows.noted)}
        about = {"stamp": stamp, "offset": offset, "row": row, **counts}
        _write_part(rows.as_table(), folder / _part_name(len(done)), about)
        done.append(about)
        progress(offset, total, total_rows)
        rows = _Rows()

    for read in reader.read(offset, row):
        offset, row = read.offset, read.row
        key = hash(read.file)  # of 64 bits: that two names of millions only seem equal has a chance of one in a million
        if read.texts and key in seen:
            read = read._replace(texts=[], starts=None, ends=None, dropped={**read.dropped, TWICE: 1})
        elif read.texts:
            seen.add(key)
        rows.add(read)
        if len(rows.texts) >= PART_ROWS:
            finish_part()
    if rows.texts or rows.dropped or not done:
        finish_part()
    if total_rows == 0:
        raise AnnotationError("no usable caption stands in this source.", path=reader.path)
    _write_index(folder, stamp, done)


def _write_part(table: pa.Table, path: Path, about: dict[str, Any]) -> None:
    table = table.replace_schema_metadata({METADATA: json.dumps(about)})
    with (
        temporary_beside(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)


def _write_index(folder: Path, stamp: dict[str, Any], parts: list[dict[str, Any]]) -> None:
    first_rows, begin = [], 0
    for number, part in enumerate(parts):
        are_first = _map_part(folder / _part_name(number))["is_first"].to_numpy()
        first_rows.append(np.flatnonzero(are_first) + begin)
        begin += part["rows"]
    with temporary_beside(folder / FIRST_ROWS) as temporary, open(temporary, "wb") as file:
        np.save(file, np.concatenate(first_rows).astype(np.int64))
    counts = {name: dict(sum((Counter(part[name]) for part in parts), Counter())) for name in ("dropped", "noted")}
    with write_whole(folder / INDEX) as file:
        json.dump({"layout": LAYOUT, "stamp": stamp, "parts": len(parts), **counts}, file)
    number = len(parts)
    while (left_over := folder / _part_name(number)).exists():  # of a longer source
        left_over.unlink(missing_ok=True)
        number += 1


def _finished_parts(folder: Path, stamp: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the parts say of themselves, up to the first that is missing, damaged or of another stamp."""
    found: list[dict[str, Any]] = []
    while True:
        try:
            about = _about(_map_part(folder / _part_name(len(found))))
        except DAMAGES:
            return found
        if about["stamp"] != stamp:
            return found
        found.append(about)


def _files_of(path: Path) -> list[str]:
    part = _map_part(path)
    return part["file"].filter(part["is_first"]).to_pylist()


def _about(part: pa.Table) -> dict[str, Any]:
    return json.loads(part.schema.metadata[METADATA])


def _map_part(path: Path) -> pa.Table:
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    if not table.schema.equals(SCHEMA):
        raise ValueError(f"{path.name} has other columns")
    return (
        table
        if table.num_rows
        else SCHEMA.empty_table().combine_chunks().replace_schema_metadata(table.schema.metadata)
    )


def _read_index(folder: Path) -> dict[str, Any] | None:
    """Return the index of a finished table; None where there is none that this program wrote."""
    try:
        about = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) and about.get("layout") == LAYOUT else None


def _part_name(number: int) -> str:
    return f"part_{number:05d}.arrow"


def _tell_nobody(done: int, total: int, rows: int) -> None:
    pass
