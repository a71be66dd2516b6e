"""All windows of an index in memory, in the order in which they are scored."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from numpy import ndarray

from playhead.apps.store import IndexStore


@dataclass(frozen=True, slots=True)
class WindowMatrix:
    """All windows of an index, in order of path and time, ready to be scored.

    Windows `offsets[v]` to `offsets[v + 1] - 1` are those of `paths[v]`. Of files with equal content only the first
    path is here.
    """

    paths: tuple[str, ...]
    offsets: Int[ndarray, " V_plus_1"]
    spans: Float[ndarray, "S 2"]
    vectors: Float[ndarray, "S E"]


def load_matrix(store: IndexStore) -> WindowMatrix:
    """Read all windows of an index; a tenth of a second for 100,000 of 256 numbers."""
    # Rows before windows: an update commits them the other way round, so every done row finds its windows.
    first_paths: dict[str, str] = {}
    for row in store.videos():
        if row.status == "done":
            first_paths.setdefault(row.video_id, row.path)
    table = store.read_windows()
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
    return WindowMatrix(tuple(first_paths.values()), offsets, spans[order], _read_vectors(table["vector"], order))


def _read_vectors(column: pa.ChunkedArray, order: Int[ndarray, " S"]) -> Float[ndarray, "S E"]:
    """Return the vectors in `order`, in single precision; chunk by chunk, so that no second copy of all is needed."""
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
