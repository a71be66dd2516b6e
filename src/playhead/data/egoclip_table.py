"""EgoClip's 3.85 million rows as one memory-mapped table: a random row and a neighbour in time in microseconds.

All workers of a machine share the pages of one Arrow file; a table is sent to them as its path.
"""

import bisect
import json
import math
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from playhead.data.border import FilePath, temporary_beside
from playhead.data.egoclip_csv import SCHEMA, read_egoclip_csv, write_egoclip_csv
from playhead.data.tag_lists import string_bytes
from playhead.errors import AnnotationError
from playhead.types import ClipRef, Span

SHORTEST_CLIP = 0.01  # seconds; windows of no length, or outside the video, become this long
METADATA = b"playhead.egoclip"


@dataclass(frozen=True, slots=True)
class EgoClipRow:
    """One pair: the narration `text` at `time`, and the window [start, end) around it, as the file has it.

    `start` may be negative and `end` beyond the video, as in the published file; `ref` is what can be decoded.
    `verbs` and `nouns` are ids of the taxonomy that the file was tagged with.
    """

    clip_index: int
    video_id: str
    video_duration: float
    source: str
    narration_index: int
    time: float
    start: float
    end: float
    text: str
    verbs: tuple[int, ...]
    nouns: tuple[int, ...]

    @property
    def ref(self) -> ClipRef:
        """The part of the window that lies in the video, at least a hundredth of a second of it."""
        start = min(max(self.start, 0.0), max(self.video_duration - SHORTEST_CLIP, 0.0))
        return ClipRef(self.video_id, Span(start, max(min(self.end, self.video_duration), start + SHORTEST_CLIP)))


class EgoClip:
    """A sequence of `EgoClipRow`, sorted by video and time.

    `num_nouns` and `num_verbs` are the sizes of the taxonomy where they were given, else the highest id plus one; in
    the published file the verbs number 118 and the nouns 582, in the numbering of its own making. `dropped` counts by
    reason the narrations that were left out; `alpha` (seconds) scaled the windows. Both are unknown to a csv file.
    """

    def __init__(self, table: pa.Table, *, path: Path | None = None):
        self._table, self.path = table, path
        about = json.loads(table.schema.metadata[METADATA])
        self.num_nouns: int = about["num_nouns"]
        self.num_verbs: int = about["num_verbs"]
        self.dropped: dict[str, int] = about["dropped"]
        self.alpha: float | None = about.get("alpha")
        column = {name: table[name].chunk(0) if table[name].num_chunks else _empty(name) for name in SCHEMA.names}
        self._clip_indices, self._durations, self._narration_indices, self._times, self._starts, self._ends = (
            column[name].to_numpy()
            for name in ("clip_idx", "video_dur", "narration_ind", "narration_time", "clip_start", "clip_end")
        )
        self.video_ids: tuple[str, ...] = tuple(column["video_uid"].dictionary.to_pylist())
        self._sources: list[str] = column["narration_source"].dictionary.to_pylist()
        self._video_codes = column["video_uid"].indices.to_numpy()
        self._source_codes = column["narration_source"].indices.to_numpy()
        self._video_bounds = np.searchsorted(self._video_codes, np.arange(len(self.video_ids) + 1))
        self._text_bounds, self._text = string_bytes(column["clip_text"])
        self._verb_bounds, self._verbs = column["tag_verb"].offsets.to_numpy(), column["tag_verb"].values.to_numpy()
        self._noun_bounds, self._nouns = column["tag_noun"].offsets.to_numpy(), column["tag_noun"].values.to_numpy()

    @staticmethod
    def open(path: FilePath, *, arrow_path: FilePath | None = None, skip_malformed: bool = False) -> "EgoClip":
        """Open a csv file in the published layout, or an `.arrow` file of `write_arrow`.

        A csv file is converted once; the Arrow file lies beside it as `<name>.csv.arrow` (or at `arrow_path`, where
        that folder is read-only) and is made anew when size or date of the csv file change. With `skip_malformed`,
        rows with too few or too many fields are left out and counted.

        Raises:
            AnnotationError: not these layouts, a bad row (its number is told), or no Arrow file can be written.
        """
        source = Path(path)
        if source.suffix == ".arrow":
            return EgoClip(_map_arrow(source), path=source)
        try:
            stat = source.stat()
        except OSError as error:
            raise AnnotationError(f"the file cannot be read ({error.strerror}); check the path.", path=path) from error
        stamp = {"size": stat.st_size, "changed": stat.st_mtime_ns, "skip_malformed": skip_malformed}
        target = Path(arrow_path) if arrow_path is not None else source.with_name(f"{source.name}.arrow")
        _check_suffix(target)
        if not _is_current(target, stamp):
            table = read_egoclip_csv(source, skip_malformed=skip_malformed)
            _write_arrow(_describe(table, csv=stamp), target)
        return EgoClip(_map_arrow(target), path=target)

    def __len__(self) -> int:
        return len(self._times)

    def __getitem__(self, index: int) -> EgoClipRow:
        index = self._place(index)
        # `item` gives Python's own numbers, in half the time of numpy's scalars; a step asks for a thousand rows.
        after = index + 1
        return EgoClipRow(
            self._clip_indices.item(index),
            self.video_ids[self._video_codes.item(index)],
            self._durations.item(index),
            self._sources[self._source_codes.item(index)],
            self._narration_indices.item(index),
            self._times.item(index),
            self._starts.item(index),
            self._ends.item(index),
            self._text[self._text_bounds.item(index) : self._text_bounds.item(after)].tobytes().decode(),
            tuple(self._verbs[self._verb_bounds.item(index) : self._verb_bounds.item(after)].tolist()),
            tuple(self._nouns[self._noun_bounds.item(index) : self._noun_bounds.item(after)].tolist()),
        )

    def _place(self, index: int) -> int:
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} asked for, but there are {len(self)}.")
        return index % len(self)

    def rows_of(self, video_id: str) -> range:
        """Return the row numbers of a video, in time order; none for a video that is not here."""
        place = bisect.bisect_left(self.video_ids, video_id)
        if place == len(self.video_ids) or self.video_ids[place] != video_id:
            return range(0)
        return range(int(self._video_bounds[place]), int(self._video_bounds[place + 1]))

    def neighbours(
        self, index: int, within: float = 60.0, rule: Literal["within", "released_bins"] = "within"
    ) -> Int[np.ndarray, " N"]:
        """Return the rows that `draw_neighbour` draws from, in time order.

        Raises:
            ValueError: `within` is not above zero, or `rule` is unknown.
        """
        if not 0 < within < math.inf:
            raise ValueError(f"`within` must be above 0 s, got {within}.")
        index = self._place(index)
        video = self._video_codes.item(index)
        first, end = self._video_bounds.item(video), self._video_bounds.item(video + 1)
        times, time = self._times[first:end], self._times.item(index)
        if rule == "within":
            low, high = times.searchsorted(time - within, "right"), times.searchsorted(time + within, "left")
            rows = slice(first + low, first + high)
            others = (self._starts[rows] != self._starts.item(index)) | (self._ends[rows] != self._ends.item(index))
            return others.nonzero()[0] + (first + low)  # numpy.flatnonzero's checks take longer than this
        if rule == "released_bins":
            segment = time // within
            low, high = times.searchsorted([(segment - 1) * within, (segment + 2) * within])
            return (times[low:high] // within == segment).nonzero()[0] + (first + low)
        raise ValueError(f"`rule` must be 'within' or 'released_bins', got {rule!r}.")

    def draw_neighbour(
        self,
        index: int,
        generator: np.random.Generator,
        within: float = 60.0,
        rule: Literal["within", "released_bins"] = "within",
    ) -> int:
        """Draw a row of the same video that is near in time, uniformly: a hard negative, for it shows the same scene.

        "within": less than `within` seconds away, and another clip. A row with the very window of `index` is the same
        clip, whoever narrated it; a row of the other annotator with another window is another clip, even at the same
        time. Where there is none, `index` itself is returned.
        "released_bins": the released code's choice, any row of the same fixed bin of `within` seconds, `index`
        included; clips across the edge of two bins never meet.

        Raises:
            ValueError: `within` is not above zero, or `rule` is unknown.

        Source: EgoVLP, section 2.1 (negatives of the same video within a minute); `neg_param` of the released code.
        """
        rows = self.neighbours(index, within, rule)
        return int(rows[generator.integers(len(rows))]) if len(rows) else self._place(index)

    def write_csv(self, path: FilePath) -> None:
        """Write the published columns, tab separated; what was dropped and the sizes of the taxonomy are not kept.

        Raises:
            AnnotationError: the folder does not exist or cannot be written.
        """
        write_egoclip_csv(self._table, path)

    def write_arrow(self, path: FilePath) -> None:
        """Write the table as one Arrow file, which `open` maps without reading it.

        Raises:
            AnnotationError: the name does not end in .arrow, or the folder cannot be written.
        """
        _check_suffix(Path(path))
        _write_arrow(self._table, Path(path))

    def __reduce__(self):
        if self.path is None:
            return EgoClip, (self._table,)
        return EgoClip.open, (self.path,)


def multi_hot(ids: tuple[int, ...], size: int) -> Bool[np.ndarray, " K"]:
    """Return a row of `size` that is true at `ids`.

    Raises:
        ValueError: an id is negative, or `size` or more.
    """
    row = np.zeros(size, dtype=bool)
    for place in ids:
        if not 0 <= place < size:
            raise ValueError(f"tag {place} does not fit a taxonomy of {size}; was the file tagged with another one?")
        row[place] = True
    return row


def _check_suffix(path: Path) -> None:
    if path.suffix != ".arrow":
        raise AnnotationError("the name of an Arrow file must end in .arrow; choose another.", path=path)


def _empty(name: str) -> pa.Array:
    return SCHEMA.empty_table()[name].combine_chunks()


def _describe(table: pa.Table, **more) -> pa.Table:
    about = json.loads(table.schema.metadata[METADATA]) | more
    return table.replace_schema_metadata({METADATA: json.dumps(about)})


def _write_arrow(table: pa.Table, path: Path) -> None:
    with (
        temporary_beside(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)


def _map_arrow(path: Path) -> pa.Table:
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise AnnotationError(f"no Arrow file can be read here ({error}); write it anew.", path=path) from error
    if not table.schema.equals(SCHEMA) or METADATA not in (table.schema.metadata or {}):
        problem = "this Arrow file is no EgoClip table; give egoclip.csv, or a file that write_arrow wrote."
        raise AnnotationError(problem, path=path)
    return table


def _is_current(path: Path, stamp: dict[str, int]) -> bool:
    """Whether the Arrow file at `path` was made of the csv file as it is now; a damaged or foreign one was not."""
    if not path.exists():
        return False
    try:
        return json.loads(_map_arrow(path).schema.metadata[METADATA]).get("csv") == stamp
    except AnnotationError:
        return False
