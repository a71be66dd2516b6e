"""The published `egoclip.csv`, read once into one Arrow table and written back.

Source: EgoVLP's released file: tab separated, 3,847,723 rows, tags as text like "[192, 115, 12]".
"""

import csv
import json
import math
import re
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from playhead.data.border import FilePath, brief, write_whole
from playhead.data.tag_lists import parse_tag_lists
from playhead.errors import AnnotationError

SCHEMA = pa.schema(
    [
        ("clip_idx", pa.int64()),
        ("video_uid", pa.dictionary(pa.int32(), pa.string())),
        ("video_dur", pa.float64()),
        ("narration_source", pa.dictionary(pa.int32(), pa.string())),
        ("narration_ind", pa.int64()),
        ("narration_time", pa.float64()),
        ("clip_start", pa.float64()),
        ("clip_end", pa.float64()),
        ("clip_text", pa.large_string()),
        ("tag_verb", pa.list_(pa.int32())),
        ("tag_noun", pa.list_(pa.int32())),
    ]
)
COLUMNS = tuple(SCHEMA.names)
TAGS, NAMES = ("tag_verb", "tag_noun"), ("video_uid", "narration_source")
TAG_CELL = re.compile(r"\[ *(?:[0-9]{1,9} *(?:, *[0-9]{1,9} *)*)?\]")
BLOCK_BYTES = 16 << 20


def read_egoclip_csv(path: FilePath, *, skip_malformed: bool = False) -> pa.Table:
    """Return the rows of a file in the published layout, sorted by video and time, in one chunk per column.

    With `skip_malformed`, rows with too few or too many fields are left out and counted in the table's metadata, as
    the released loader left them out silently.

    Raises:
        AnnotationError: not this layout, or the first bad row: its number, what was found, what to do.
    """
    _check_heading(path)
    skipped = 0

    def on_malformed(_row: Any) -> str:
        nonlocal skipped
        skipped += 1
        return "skip" if skip_malformed else "error"

    try:
        batches = [_convert(batch) for batch in _open(path, on_malformed)]
    except (pa.ArrowInvalid, ValueError) as error:  # ArrowInvalid is a ValueError; named for the reader
        raise_first_fault(path, skip_malformed=skip_malformed)
        raise AnnotationError(f"not readable as egoclip.csv ({error}); repair it.", path=path) from error
    table = pa.Table.from_batches(batches, SCHEMA)
    if not _is_sound(table):
        raise_first_fault(path, skip_malformed=skip_malformed)
        raise AnnotationError("a time or a clip_idx is not as the layout says; repair the file.", path=path)
    return sort_table(table, {"malformed_row": skipped} if skipped else {})


def _check_heading(path: FilePath) -> None:
    try:
        with open(path, "rb") as file:
            heading = file.readline().decode("utf-8-sig", "replace").rstrip("\r\n")
    except OSError as error:
        raise AnnotationError(f"the file cannot be read ({error.strerror}); check the path.", path=path) from error
    missing = [column for column in COLUMNS if column not in heading.replace('"', "").split("\t")]
    if missing:
        problem = f"tab-separated columns {', '.join(missing)} are missing, found {brief(heading)}; is it egoclip.csv?"
        raise AnnotationError(problem, path=path, row=1)


def _open(path: FilePath, on_malformed: Any) -> arrow_csv.CSVStreamingReader:
    texts = {name: pa.string() for name in (*NAMES, *TAGS, "clip_text")}
    numbers = {name: SCHEMA.field(name).type for name in COLUMNS if name not in texts}
    return arrow_csv.open_csv(
        path,
        read_options=arrow_csv.ReadOptions(block_size=BLOCK_BYTES),
        parse_options=arrow_csv.ParseOptions(delimiter="\t", newlines_in_values=True, invalid_row_handler=on_malformed),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=list(COLUMNS), column_types=texts | numbers, null_values=[], strings_can_be_null=False
        ),
    )


def _convert(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in NAMES:
            columns.append(column.dictionary_encode())
        elif name in TAGS:
            columns.append(parse_tag_lists(column))
        else:
            columns.append(column.cast(SCHEMA.field(name).type))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _is_sound(table: pa.Table) -> bool:
    """Whether all numbers are as the layout says; which row is not is told by `raise_first_fault`."""
    duration, time, start, end = (
        table[name].to_numpy() for name in ("video_dur", "narration_time", "clip_start", "clip_end")
    )
    finite = all(np.isfinite(values).all() for values in (duration, time, start, end))
    in_order = finite and (duration > 0).all() and (time >= 0).all() and (end >= start).all()
    return bool(in_order) and len(np.unique(table["clip_idx"].to_numpy())) == len(table)


def sort_table(table: pa.Table, dropped: dict[str, int], **metadata: Any) -> pa.Table:
    """Return the rows sorted by video id, then time, then as given, one chunk per column, with their counts.

    The metadata says what was dropped and how many nouns and verbs there are: the highest id plus one, where
    `num_nouns` and `num_verbs` are not given.
    """
    table = table.unify_dictionaries()
    columns = [_one_chunk(column) for column in table.columns]
    videos = columns[COLUMNS.index("video_uid")]
    rank = np.argsort(np.argsort(np.array(videos.dictionary.to_pylist(), dtype=object)))
    codes = rank[videos.indices.to_numpy()] if len(table) else np.zeros(0, int)
    del table
    order = np.lexsort((columns[COLUMNS.index("narration_time")].to_numpy(), codes))
    if not np.array_equal(order, np.arange(len(order))):
        for place in range(len(columns)):  # one by one, so that no two whole copies are held
            columns[place] = columns[place].take(pa.array(order))
    names = pa.array(sorted(videos.dictionary.to_pylist()), pa.string())
    columns[COLUMNS.index("video_uid")] = pa.DictionaryArray.from_arrays(pa.array(codes[order].astype(np.int32)), names)
    counts = {f"num_{kind}s": _num_tags(columns[COLUMNS.index(f"tag_{kind}")]) for kind in ("noun", "verb")}
    described = {"layout": 1, "dropped": dropped, **counts, **metadata}
    return pa.Table.from_arrays(columns, schema=SCHEMA.with_metadata({"playhead.egoclip": json.dumps(described)}))


def _one_chunk(column: pa.ChunkedArray) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _num_tags(tags: pa.ListArray) -> int:
    return int(tags.flatten().to_numpy().max(initial=-1)) + 1


def raise_first_fault(path: FilePath, *, skip_malformed: bool) -> None:
    """Read the file row by row, slowly, and raise for the first bad row; return if there is none.

    Raises:
        AnnotationError: always names the row.
    """
    seen: set[int] = set()
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, delimiter="\t")
        heading, row = next(reader), reader.line_num + 1
        try:
            for cells in reader:
                if len(cells) == len(heading):
                    _check_row(dict(zip(heading, cells, strict=True)), seen, path, row)
                elif cells and not skip_malformed:
                    problem = f"{len(heading)} tab-separated fields needed, found {len(cells)}; repair or remove it."
                    raise AnnotationError(problem, path=path, row=row)
                row = reader.line_num + 1
        except csv.Error as error:
            raise AnnotationError(f"no tab-separated row ({error}); repair it.", path=path, row=row) from error


def _check_row(cells: dict[str, str], seen: set[int], path: FilePath, row: int) -> None:
    def refuse(name: str, needed: str) -> None:
        raise AnnotationError(f"{name} must be {needed}, found {brief(cells[name])}; correct it.", path=path, row=row)

    for name in COLUMNS:
        if any("\ud800" <= letter <= "\udfff" for letter in cells[name]):
            refuse(name, "UTF-8")
    for name in ("clip_idx", "narration_ind"):
        if not re.fullmatch(r"-?[0-9]{1,18}", cells[name]):
            refuse(name, "a whole number")
    for name in ("video_dur", "narration_time", "clip_start", "clip_end"):
        if not math.isfinite(_float(cells[name])):
            refuse(name, "a number of seconds")
    for name in TAGS:
        if not TAG_CELL.fullmatch(cells[name]):
            refuse(name, "a list like [192, 115]")
    if float(cells["video_dur"]) <= 0:
        refuse("video_dur", "above 0 s")
    if float(cells["narration_time"]) < 0:
        refuse("narration_time", "0 s or more")
    if float(cells["clip_end"]) < float(cells["clip_start"]):
        refuse("clip_end", f"at or after clip_start ({cells['clip_start']})")
    if int(cells["clip_idx"]) in seen:
        refuse("clip_idx", "in one row only")
    seen.add(int(cells["clip_idx"]))


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def write_egoclip_csv(table: pa.Table, path: FilePath) -> None:
    """Write the published columns; the file is complete or absent.

    Raises:
        AnnotationError: the folder does not exist or cannot be written.
    """
    with write_whole(path) as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        for batch in table.to_batches(max_chunksize=1 << 16):
            writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))
