"""The windows of an index, as search wants them: scored all at once in memory, or near the best of a large database.

Either way windows are numbered in order of path and time, and those of one video lie side by side. A `Stretch` is some
neighbouring windows of one video with their cosine to every query.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from lancedb.table import Table
from numpy import ndarray

from playhead.apps.neighbours import nearest, one_of
from playhead.apps.store import IndexStore, VideoRow

MARGIN = 32
"""Windows on both sides of a good one that are scored with it."""

_MOST_NAMES = 4000  # videos that a condition names; of a longer list the complement is named, or nothing


@dataclass(frozen=True, slots=True)
class Stretch:
    """Windows `first` to `first + n - 1`, all of video number `video`, and their cosine to each of Q queries."""

    video: int
    first: int
    scores: Float[ndarray, "n Q"]

    @property
    def stop(self) -> int:
        """The number after the last window."""
        return self.first + len(self.scores)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Which windows there are: those numbered `offsets[v]` to `offsets[v + 1] - 1` are of the video `paths[v]`.

    Of files with equal content only the first path is here; `rows` has all files that can be searched.
    """

    paths: tuple[str, ...]
    video_ids: tuple[str, ...]
    offsets: Int[ndarray, " V_plus_1"]
    spans: Float[ndarray, "S 2"]
    rows: tuple[VideoRow, ...]

    def __len__(self) -> int:
        return len(self.spans)

    def video_of(self, windows: Int[ndarray, " n"]) -> Int[ndarray, " n"]:
        """Return the number of the video of each window."""
        return np.searchsorted(self.offsets, windows, side="right") - 1


@dataclass(frozen=True, slots=True)
class WindowMatrix:
    """All windows of an index in memory; scoring is one matrix product, and exact."""

    times: Timeline
    vectors: Float[ndarray, "S E"]
    is_exact: bool = field(default=True, init=False)

    @property
    def paths(self) -> tuple[str, ...]:
        """The videos, by number."""
        return self.times.paths

    @property
    def offsets(self) -> Int[ndarray, " V_plus_1"]:
        """Where the windows of each video begin."""
        return self.times.offsets

    @property
    def spans(self) -> Float[ndarray, "S 2"]:
        """Start and end of each window, in seconds."""
        return self.times.spans

    def read(self, windows: Int[ndarray, " n"]) -> Float[ndarray, "n E"]:
        """Return the vectors of these windows."""
        return self.vectors[windows]

    def stretches(
        self, queries: Float[ndarray, "Q E"], num_wanted: int, allowed: Bool[ndarray, " V"] | None, count: int
    ) -> Sequence[Stretch]:
        """Return every allowed video as a whole, in order."""
        del num_wanted, count
        scores = self.vectors @ queries.T  # (S, Q)
        bounds = self.times.offsets.tolist()
        return [
            Stretch(video, bounds[video], scores[bounds[video] : bounds[video + 1]])
            for video in range(len(self.times.paths))
            if allowed is None or allowed[video]
        ]

    def best(self, queries: Float[ndarray, "Q E"]) -> Float[ndarray, " Q"]:
        """Return the cosine of the best window to each query."""
        most = np.full(len(queries), -1.0, dtype=np.float32)
        for first in range(0, len(self.vectors), 16384):  # never all products at once
            np.maximum(most, (self.vectors[first : first + 16384] @ queries.T).max(axis=0), out=most)
        return most


@dataclass(frozen=True, slots=True)
class LargeWindows:
    """The windows of a database too large for memory: their times here, their vectors there.

    The approximate index names good windows; around each of them the neighbours in time are read and scored exactly.
    """

    times: Timeline
    row_ids: Int[ndarray, " S"]
    _table: Table
    _by_row_id: Int[ndarray, " S"]
    is_exact: bool = field(default=False, init=False)

    def read(self, windows: Int[ndarray, " n"]) -> Float[ndarray, "n E"]:
        """Return vectors by their rows; those that a running update has just moved away are zero."""
        asked = self.row_ids[windows]
        taken = self._table.take_row_ids(asked.tolist()).select(["vector"])
        found = taken.with_row_id().to_arrow()
        width = found["vector"].type.list_size
        vectors = np.zeros((len(windows), width), dtype=np.float32)
        order = np.argsort(asked)
        places, is_there = _find(asked[order], found["_rowid"].to_numpy().astype(np.int64))
        rows = found["vector"].combine_chunks().flatten().to_numpy().reshape(-1, width)
        vectors[order[places]] = rows[is_there]
        return vectors

    def stretches(
        self, queries: Float[ndarray, "Q E"], num_wanted: int, allowed: Bool[ndarray, " V"] | None, count: int
    ) -> Sequence[Stretch]:
        """Return stretches that hold the `count` best windows for each of the first `num_wanted` queries, and more.

        Only videos that are `allowed` are looked at. Videos come in their order.
        """
        hits = [
            self._numbers(row_ids)
            for row_ids, _ in nearest(self._table, queries[:num_wanted], count, self._only(allowed))
        ]
        windows = np.unique(np.concatenate(hits))
        if allowed is not None:
            windows = windows[allowed[self.times.video_of(windows)]]
        bounds = self._around(windows)
        if not bounds:
            return []
        vectors = self.read(np.concatenate([np.arange(first, stop) for _, first, stop in bounds]))
        scores = vectors @ queries.T
        ends = np.cumsum([stop - first for _, first, stop in bounds])
        return [
            Stretch(video, first, scores[end - (stop - first) : end])
            for (video, first, stop), end in zip(bounds, ends.tolist(), strict=True)
        ]

    def best(self, queries: Float[ndarray, "Q E"]) -> Float[ndarray, " Q"]:
        """Return the cosine of the best window to each query."""
        return np.array([scores[0] if len(scores) else -1.0 for _, scores in nearest(self._table, queries, 1)])

    def _numbers(self, row_ids: ndarray) -> ndarray:
        """Return the windows of these rows; rows that came after the times were read have none."""
        places, _ = _find(self.row_ids[self._by_row_id], row_ids)
        return self._by_row_id[places]

    def _around(self, windows: ndarray) -> list[tuple[int, int, int]]:
        """Return video, first and stop of stretches of `MARGIN` windows around each; those that meet are one."""
        bounds: list[tuple[int, int, int]] = []
        for window, video in zip(windows.tolist(), self.times.video_of(windows).tolist(), strict=True):
            first = max(int(self.times.offsets[video]), window - MARGIN)
            stop = min(int(self.times.offsets[video + 1]), window + MARGIN + 1)
            if bounds and bounds[-1][0] == video and first <= bounds[-1][2]:
                bounds[-1] = (video, bounds[-1][1], stop)
            else:
                bounds.append((video, first, stop))
        return bounds

    def _only(self, allowed: ndarray | None) -> str | None:
        """Return the condition that keeps to allowed videos, naming as few as can be; None where they are too many."""
        if allowed is None or allowed.all():
            return None
        names = np.array(self.times.video_ids)
        negated = 2 * int(allowed.sum()) > len(names)
        chosen = names[~allowed] if negated else names[allowed]
        return one_of("video_id", chosen.tolist(), negated=negated) if len(chosen) <= _MOST_NAMES else None


Windows = WindowMatrix | LargeWindows
"""What search asks: which windows there are (`times`), their vectors (`read`), those worth scoring (`stretches`)."""


def load_windows(store: IndexStore, exact_up_to: int) -> Windows:
    """Read the windows of an index: all of them where they are few or have no approximate index, else their times."""
    if store.count_windows() > exact_up_to and store.coverage().exists:
        rows = _done(store)
        return _load_large(store, rows)
    return load_matrix(store)


def load_matrix(store: IndexStore) -> WindowMatrix:
    """Read all windows of an index; a tenth of a second for 100,000 of 256 numbers."""
    # Rows before windows: an update commits them the other way round, so every done row finds its windows.
    rows = _done(store)
    table = store.read_windows()
    times, order = _lay_out(rows, table)
    return WindowMatrix(times, _read_vectors(table["vector"], order))


def _load_large(store: IndexStore, rows: list[VideoRow]) -> LargeWindows:
    table = store.read_times()
    times, order = _lay_out(rows, table)
    row_ids = table["_rowid"].to_numpy().astype(np.int64)[order]
    return LargeWindows(times, row_ids, store.windows, np.argsort(row_ids))


def _done(store: IndexStore) -> list[VideoRow]:
    return [row for row in store.videos() if row.status == "done"]


def _lay_out(rows: list[VideoRow], table: pa.Table) -> tuple[Timeline, ndarray]:
    """Return the time line of all windows, and which row of the table each is."""
    first_paths: dict[str, str] = {}
    for row in rows:
        first_paths.setdefault(row.video_id, row.path)
    # A video whose windows a running update has just removed is left out with its row.
    present = set(table["video_id"].unique().to_pylist())
    first_paths = {video_id: path for video_id, path in first_paths.items() if video_id in present}
    rank = {video_id: place for place, video_id in enumerate(first_paths)}
    ids = table["video_id"].combine_chunks().dictionary_encode()
    ranks = np.array([rank.get(name, -1) for name in ids.dictionary.to_pylist()], dtype=np.int64)
    videos = ranks[ids.indices.to_numpy()] if len(table) else np.empty(0, dtype=np.int64)
    spans = np.stack([table[name].to_numpy() for name in ("start", "end")], axis=1)
    order = np.lexsort((spans[:, 0], videos))
    order = order[videos[order] >= 0]  # leftovers of an interrupted update have no row
    offsets = np.searchsorted(videos[order], np.arange(len(rank) + 1))
    known = tuple(row for row in rows if row.video_id in rank)
    return Timeline(tuple(first_paths.values()), tuple(first_paths), offsets, spans[order], known), order


def _read_vectors(column: pa.ChunkedArray, order: Int[ndarray, " S"]) -> Float[ndarray, "S E"]:
    """Return the vectors in `order`; chunk by chunk, so that no second copy of all is needed."""
    vectors = np.empty((len(order), column.type.list_size), dtype=np.float32)
    places = np.full(len(column), -1)
    places[order] = np.arange(len(order))
    first = 0
    for chunk in column.chunks:
        rows = chunk.flatten().to_numpy().reshape(len(chunk), -1)
        into = places[first : first + len(chunk)]
        vectors[into[into >= 0]] = rows[into >= 0]
        first += len(chunk)
    return vectors


def _find(ascending: ndarray, wanted: ndarray) -> tuple[ndarray, ndarray]:
    """Return where those of `wanted` that are in `ascending` stand there, and which of `wanted` they are."""
    if len(ascending) == 0:
        return np.empty(0, dtype=np.int64), np.zeros(len(wanted), dtype=bool)
    places = np.searchsorted(ascending, wanted).clip(max=len(ascending) - 1)
    is_there = ascending[places] == wanted
    return places[is_there], is_there
