"""The tables of an index, in LanceDB: which videos it knows, the vector of every window, and the folders it follows.

A video's windows are added in one commit, and its row after them; a row that says "done" therefore always has its
windows, and windows without such a row are leftovers of an interrupted run (`IndexStore.repair`).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from typing import Any, Literal, cast

import lancedb
import numpy as np
import pyarrow as pa
from jaxtyping import Float
from lancedb.table import Table
from numpy import ndarray

from playhead.apps.neighbours import Coverage, coverage, keep_up, one_of
from playhead.apps.place import Place
from playhead.errors import SearchError

FORMAT_VERSION = 2
_SETTINGS_KEY = b"playhead"
_MANY_FRAGMENTS = 64  # small files of one table above which `compact` makes one of them
_OLD = timedelta(minutes=10)  # a reader holds a version for seconds; older ones may go
_TABLES = frozenset(["windows", "folders", "videos"])


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexSettings:
    """What all vectors of an index have in common; rows of another model or other windows never mix with them."""

    model: str
    """Identity of the bundle."""
    width: int
    """Numbers per vector."""
    num_frames: int
    """Frames per window."""
    fps: float
    """Sampled frames per second."""
    stride: int
    """Sampled frames from one window to the next."""
    made_with: str = ""
    """Where the bundle lay; a hint for whoever opens the index without naming one."""
    format_version: int = FORMAT_VERSION
    """Layout of the tables."""


@dataclass(frozen=True, slots=True)
class VideoRow:
    """One file of the index. Files of equal content share `video_id`, and with it their windows."""

    path: str
    video_id: str
    root: str
    size: int
    mtime_ns: int
    status: Literal["done", "failed"]
    error: str = ""
    duration: float = 0.0
    width: int = 0
    height: int = 0
    num_windows: int = 0


_FOLDERS = pa.schema([("path", pa.string())])
_VIDEOS = pa.schema(
    [
        ("path", pa.string()),
        ("video_id", pa.string()),
        ("root", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("duration", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("num_windows", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class IndexStore:
    """The tables of an index."""

    settings: IndexSettings
    place: Place
    _videos: Table
    _windows: Table
    _folders: Table

    @staticmethod
    def exists(place: Place) -> bool:
        """Say whether all tables are there."""
        return place.exists() and set(_connect(place).list_tables().tables) >= {"windows", "videos"}

    @classmethod
    def create(cls, place: Place, settings: IndexSettings) -> "IndexStore":
        """Make empty tables, or finish a creation that was interrupted.

        Raises:
            SearchError: `place` already holds an index, or the tables of another program, or cannot be written.
        """
        if cls.exists(place):
            raise SearchError("there is an index already. Open it, or choose another folder.", path=place.path)
        vector = pa.list_(pa.float32(), settings.width)
        schema = pa.schema(
            [("video_id", pa.string()), ("start", pa.float64()), ("end", pa.float64()), ("vector", vector)]
        )
        schema = schema.with_metadata({_SETTINGS_KEY: json.dumps(asdict(settings)).encode()})
        with _writing(place):
            database = _connect(place)
            found = set(database.list_tables().tables)
            # A creation that was interrupted has made the first tables, and nothing lies in them yet.
            if found - _TABLES or (found and not _is_ours(database.open_table("windows"))):
                problem = "the folder holds a database of something else. Choose another folder."
                raise SearchError(problem, path=place.path)
            for name in sorted(found):
                database.drop_table(name)
            windows = database.create_table("windows", schema=schema)
            folders = database.create_table("folders", schema=_FOLDERS)
            # Last, since an index exists once there is this table.
            videos = database.create_table("videos", schema=_VIDEOS)
        return cls(settings, place, videos, windows, folders)

    @classmethod
    def open(cls, place: Place) -> "IndexStore":
        """Open the tables of `place`.

        Raises:
            SearchError: there is no index, or one of another format, or it is broken.
        """
        if not cls.exists(place):
            problem = "there is no index here. Make one first: playhead index <bundle> <folder of videos>."
            raise SearchError(problem, path=place.path)
        database = _connect(place)
        try:
            windows = database.open_table("windows")
            settings = _read_settings(windows, place)
            return cls(settings, place, database.open_table("videos"), windows, database.open_table("folders"))
        except (RuntimeError, OSError, ValueError) as error:
            problem = f"the index cannot be opened ({_first_line(error)}). Delete it and index again."
            raise SearchError(problem, path=place.path) from error

    @property
    def version(self) -> tuple[int, int]:
        """Changes with every commit, of this process or another."""
        return self._videos.version, self._windows.version

    def videos(self) -> list[VideoRow]:
        """Return every row, in order of path."""
        rows = [VideoRow(**row) for row in self._videos.to_arrow().to_pylist()]
        return sorted(rows, key=lambda row: row.path)

    def put_videos(self, rows: Sequence[VideoRow], *, are_new: bool = False):
        """Add rows, each in the place of the row with its path where there is one, in one commit.

        Who knows that there is none says `are_new`, which spares reading the table.
        """
        if not rows:
            return
        table = pa.Table.from_pylist([asdict(row) for row in rows], schema=_VIDEOS)
        with _writing(self.place):
            if are_new:
                self._videos.add(table)
                return
            upsert = self._videos.merge_insert("path").when_matched_update_all().when_not_matched_insert_all()
            upsert.execute(table)

    def delete_videos(self, paths: Iterable[str]):
        """Remove rows; their windows stay until `repair`."""
        with _writing(self.place):
            _delete(self._videos, "path", paths)

    def folders(self) -> tuple[str, ...]:
        """Return the folders that the index follows, in order of path."""
        return tuple(sorted(set(self._folders.to_arrow()["path"].to_pylist())))

    def put_folders(self, paths: Iterable[str]):
        """Remember folders; those known already are not written again."""
        if new := sorted(set(paths) - set(self.folders())):
            with _writing(self.place):
                self._folders.add(pa.table({"path": new}, schema=_FOLDERS))

    def delete_folders(self, paths: Iterable[str]):
        """Forget folders; rows of their videos stay."""
        with _writing(self.place):
            _delete(self._folders, "path", paths)

    def add_windows(self, video_id: str, spans: Float[ndarray, "S 2"], rows: Float[ndarray, "S E"]):
        """Add all windows of one video in one commit.

        Raises:
            SearchError: the rows are of another width than the index.
        """
        if rows.shape[1] != self.settings.width:
            raise SearchError(f"vectors of {rows.shape[1]} numbers do not fit an index of {self.settings.width}.")
        flat = pa.array(np.ascontiguousarray(rows, dtype=np.float32).reshape(-1))
        columns = {
            "video_id": [video_id] * len(rows),
            "start": spans[:, 0],
            "end": spans[:, 1],
            "vector": pa.FixedSizeListArray.from_arrays(flat, self.settings.width),
        }
        with _writing(self.place):
            self._windows.add(pa.table(columns, schema=self._windows.schema.remove_metadata()))

    def read_windows(self) -> pa.Table:
        """Return the whole table of windows."""
        return self._windows.to_arrow()

    def read_times(self) -> pa.Table:
        """Return the table of windows without the vectors, but with the id of each row."""
        return self._windows.search().select(["video_id", "start", "end"]).with_row_id(True).to_arrow()

    @property
    def windows(self) -> Table:
        """The table of windows itself, for the approximate index."""
        return self._windows

    def coverage(self) -> Coverage:
        """Return what the approximate index covers."""
        return coverage(self._windows)

    def count_windows(self) -> int:
        """Return how many windows are stored."""
        return self._windows.count_rows()

    def repair(self):
        """Remove windows that no done row counts on, and done rows whose windows are not all there.

        After an orderly end there is nothing to do, and two counts say so; otherwise the ids of all windows are read.
        """
        rows = self.videos()
        expected = {row.video_id: row.num_windows for row in rows if row.status == "done"}
        if self.count_windows() == sum(expected.values()):
            return
        stored = Counter(self._windows.search().select(["video_id"]).to_arrow()["video_id"].to_pylist())
        broken = {
            video_id for video_id in stored.keys() | expected.keys() if stored[video_id] != expected.get(video_id)
        }
        # Rows first: a reader, or the next run, must never meet a done row without its windows.
        self.delete_videos(row.path for row in rows if row.status == "done" and row.video_id in broken)
        with _writing(self.place):
            _delete(self._windows, "video_id", broken & stored.keys())

    def compact(self):
        """Join the small files that many commits leave behind, once there are many."""
        for table in (self._videos, self._windows):
            stats = cast(dict[str, Any], table.stats())  # lancedb annotates a class, and returns a dict
            if stats["fragment_stats"]["num_small_fragments"] > _MANY_FRAGMENTS:
                with _writing(self.place):
                    table.optimize(cleanup_older_than=_OLD)

    def keep_neighbours(self) -> bool:
        """Build or extend the approximate index where that is due; return whether it was."""
        with _writing(self.place):
            return keep_up(self._windows)


def _connect(place: Place) -> lancedb.DBConnection:
    # Interval 0: every read sees the latest commit of whichever process.
    return lancedb.connect(place.address, read_consistency_interval=timedelta(0))


@contextmanager
def _writing(place: Place) -> Iterator[None]:
    """Turn what the database says of a failed write into one line; what was committed before stays.

    Raises:
        SearchError: the write failed, as on a full disk.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        told = _first_line(error)
        is_full = any(sign in str(error).lower() for sign in ("os error 28", "no space left", "quota", "os error 122"))
        advice = "The disk is full: make room" if is_full else "See that its disk is there and can be written"
        problem = f"the index cannot be written ({told}). {advice}, then run this again: what is finished is kept."
        raise SearchError(problem, path=place.path) from error


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 200 else line[:200] + "..."


def _delete(table: Table, column: str, values: Iterable[str]):
    ordered = sorted(values)
    for first in range(0, len(ordered), 500):
        table.delete(one_of(column, ordered[first : first + 500]))


def _is_ours(windows: Table) -> bool:
    return _SETTINGS_KEY in (windows.schema.metadata or {})


def _read_settings(windows: Table, place: Place) -> IndexSettings:
    if not _is_ours(windows):
        raise SearchError("the tables here are not a Playhead index. Choose another folder.", path=place.path)
    values = json.loads(windows.schema.metadata[_SETTINGS_KEY])
    found = values.get("format_version")
    if found != FORMAT_VERSION or values.keys() != {field.name for field in fields(IndexSettings)}:
        raise SearchError(
            f"the index has format {found}, this version reads {FORMAT_VERSION}. Delete the folder and index again.",
            path=place.path,
        )
    return IndexSettings(**values)
