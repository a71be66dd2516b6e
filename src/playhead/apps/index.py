"""An index over folders of videos: every window's vector, kept in step with the files.

    index = VideoIndex.create("~/videos.index", bundle)
    report = index.update(["~/Videos"], bundle)

An update may be killed at any point and started again: finished videos stay, half-finished ones are encoded anew.
"""

import functools
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import RLock

from playhead.apps import neighbours
from playhead.apps.calibration import Calibration, calibrate
from playhead.apps.changes import Changes, find_changes
from playhead.apps.encoding import EncodedVideo, FailedVideo, Progress, device_of, encode_videos
from playhead.apps.library import Scan, VideoFile, content_id, measure, scan_videos
from playhead.apps.lock import holder, only_writer
from playhead.apps.matrix import Windows, load_windows
from playhead.apps.model import Model
from playhead.apps.place import Place, find_place
from playhead.apps.store import IndexSettings, IndexStore, VideoRow
from playhead.apps.windows import WindowSettings, plan_windows
from playhead.errors import SearchError
from playhead.weights.bundle import Bundle

_DEFAULT = WindowSettings()
_COMPACT_EVERY = 500  # videos between two looks at whether the tables have many small files
_REST = 20.0  # a large index that changes is read again only after so many times the seconds that this takes
_NUMBERED = "If its files are videos of their own and no chunks of one, give them names that are no numbers."
GROWING = "is still being written; it comes into the index at the next update, once it is whole."


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What an update did, by path; `moved` are new places. `failed` says why each file is not in the index."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    moved: tuple[str, ...]
    deleted: tuple[str, ...]
    unchanged: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """How far an update is. `share` (0 to 1) goes by the bytes of the files that are to be encoded.

    `eta_seconds` is None until something can be told; `wait_share` is the part of the time in which the model waited
    for frames; `current` is the file being read.
    """

    videos_done: int
    num_videos: int
    windows: int
    share: float
    seconds: float
    eta_seconds: float | None
    wait_share: float
    current: str


IndexReport = Callable[[IndexProgress], None]


@dataclass(slots=True)
class _Loaded:
    """Windows in memory, of which version of the tables they are, and when and how quickly they were read."""

    windows: Windows
    version: tuple[int, int]
    read_at: float
    took: float
    calibration: Calibration | None = None


@dataclass(slots=True)
class VideoIndex:
    """An index, opened. Reading needs no lock, may happen in many threads, and sees each commit of a running update."""

    place: Place
    _store: IndexStore
    _loaded: _Loaded | None = field(default=None, repr=False)
    _turn: RLock = field(default_factory=RLock, repr=False)

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], bundle: Bundle, settings: WindowSettings = _DEFAULT, *, made_with: str = ""
    ) -> "VideoIndex":
        """Make an empty index for the vectors of `bundle`; of `settings`, `fps` and `stride` are its for good.

        `path` is a folder or an address (`place.find_place`); `made_with` is remembered as where the bundle lies.

        Raises:
            SearchError: there is an index already, it cannot be written, or another process is making one.
        """
        place = find_place(path)
        place.make()
        plan = plan_windows(bundle.preprocess, settings)
        described = IndexSettings(
            model=bundle.identity,
            width=bundle.model.config.shared_dim,
            num_frames=plan.num_frames,
            fps=plan.fps,
            stride=plan.stride,
            made_with=made_with,
        )
        with only_writer(place.lock):
            return cls(place, IndexStore.create(place, described))

    @classmethod
    def open(cls, path: str | os.PathLike[str], bundle: Bundle | None = None) -> "VideoIndex":
        """Open an index; with `bundle`, also check that its vectors are of that model.

        Raises:
            SearchError: there is no index, it has another format, or it is of another model.
        """
        place = find_place(path)
        index = cls(place, IndexStore.open(place))
        if bundle is not None:
            index.require(bundle)
        return index

    @classmethod
    def open_or_create(
        cls, path: str | os.PathLike[str], bundle: Bundle, settings: WindowSettings = _DEFAULT, *, made_with: str = ""
    ) -> "VideoIndex":
        """Open the index, or make an empty one where there is none.

        Raises:
            SearchError: the index there has another format, or is of another model.
        """
        if IndexStore.exists(find_place(path)):
            return cls.open(path, bundle)
        return cls.create(path, bundle, settings, made_with=made_with)

    @property
    def path(self) -> Path | str:
        """Its folder, or its address where it has none here."""
        return self.place.path

    @property
    def settings(self) -> IndexSettings:
        """What all vectors have in common."""
        return self._store.settings

    def videos(self) -> list[VideoRow]:
        """Return what is known of every file, in order of path, the failed ones included."""
        return self._store.videos()

    def durations(self) -> dict[str, float]:
        """Return the length in seconds of every video that can be searched, by path."""
        return {row.path: row.duration for row in self.videos() if row.status == "done"}

    def require(self, bundle: Bundle):
        """Check that `bundle` is the model of this index.

        Raises:
            SearchError: it is another, whose vectors mean something else.
        """
        if bundle.identity != self.settings.model:
            raise SearchError(
                f"the index holds vectors of model {self.settings.model}, but the bundle given is {bundle.identity}. "
                "Use the bundle it was made with, or make another index for this one.",
                path=self.path,
            )

    def folders(self) -> tuple[str, ...]:
        """Return the folders that updates have covered, and that an update without any takes."""
        return self._store.folders()

    def forget(self, folder: str | os.PathLike[str]) -> UpdateReport:
        """Take a folder out of the index, with what lies under it and under no other folder; the files stay.

        Raises:
            SearchError: the index does not follow this folder, or another process updates the index.
        """
        folder = str(Path(folder).expanduser().resolve())
        with only_writer(self.place.lock):
            if folder not in self.folders():
                raise SearchError("the index does not follow this folder.", path=folder)
            others = [Path(other) for other in self.folders() if other != folder]
            gone = [
                row.path
                for row in self.videos()
                if Path(row.path).is_relative_to(folder) and not any(Path(row.path).is_relative_to(o) for o in others)
            ]
            self._store.delete_folders([folder])
            self._store.delete_videos(gone)
            self._store.repair()
        self._loaded = None
        return _report(Changes(deleted=gone))

    def update(
        self,
        roots: Iterable[str | os.PathLike[str]],
        bundle: Bundle,
        settings: WindowSettings = _DEFAULT,
        *,
        progress: IndexReport | None = None,
        retry_failed: bool = False,
        all_files: bool = False,
        settle: float = 0.0,
    ) -> UpdateReport:
        """Bring the index in step with the files under `roots`; rows of other roots stay as they are.

        New and changed videos are encoded; moved ones keep their windows; those of deleted files go. A video that
        cannot be decoded is recorded with the reason and not tried again until it changes, or with `retry_failed`. A
        file that changes while it is read, or that did within the last `settle` seconds, is left for the next update.

        Raises:
            SearchError: another model or other windows than the index has, a root that does not exist, another
                process that updates the index, or a disk that cannot be written.
        """
        self.require(bundle)
        settings = self._own_windows(bundle, settings)
        with only_writer(self.place.lock):
            self._store.repair()
            scan = scan_videos(roots, all_files=all_files)
            _leave_growing(scan, settle)
            self._store.put_folders(scan.roots)
            changes = find_changes(scan, self._store.videos(), content_id, retry_failed=retry_failed)
            self._store.put_videos(changes.put)
            self._store.delete_videos(changes.remove)
            self._encode(changes, bundle, settings, progress)
            self._store.repair()
            self._store.compact()
            self._store.keep_neighbours()
        self._loaded = None
        return _report(changes)

    def windows(self) -> Windows:
        """Return the windows for searching; read anew after a commit, a large index not more often than it can be."""
        return self._current().windows

    def searchable(self, model: Model) -> tuple[Windows, Calibration]:
        """Return the windows, and their background for queries of the index's model, measured when first asked for."""
        loaded = self._current()
        with self._turn:
            if loaded.calibration is None:
                loaded.calibration = calibrate(loaded.windows, functools.partial(_encode_worded, model))
            return loaded.windows, loaded.calibration

    def writer(self) -> str | None:
        """Return the process id of whoever updates the index now."""
        return holder(self.place.lock)

    def store(self) -> IndexStore:
        """Return the tables, for who looks after them."""
        return self._store

    def _current(self) -> _Loaded:
        with self._turn:
            version, loaded = self._store.version, self._loaded
            if loaded is not None:
                is_resting = time.monotonic() - loaded.read_at < _REST * loaded.took and not loaded.windows.is_exact
                if version == loaded.version or is_resting:
                    return loaded
            began = time.monotonic()
            windows = load_windows(self._store, neighbours.EXACT_UP_TO)
            fresh = _Loaded(windows, version, time.monotonic(), time.monotonic() - began)
            if loaded is not None and _is_alike(loaded.windows, windows):
                fresh.calibration = loaded.calibration
            self._loaded = fresh
            return fresh

    def _own_windows(self, bundle: Bundle, settings: WindowSettings) -> WindowSettings:
        """Return `settings` with the windows of this index; refuse others, and rows outside the shared space."""
        own = self.settings
        asked = replace(settings, fps=settings.fps or own.fps, stride=settings.stride or own.stride)
        plan = plan_windows(bundle.preprocess, asked)
        if (plan.fps, plan.stride) != (own.fps, own.stride) or not settings.projected:
            raise SearchError(
                f"the index has windows of {own.num_frames} frames at {own.fps:g} per second, one every {own.stride} "
                f"frames, projected; {plan.fps:g} per second, every {plan.stride}, "
                f"{'projected' if settings.projected else 'not projected'} was asked. Leave these settings out.",
                path=self.path,
            )
        return asked

    def _encode(self, changes: Changes, bundle: Bundle, settings: WindowSettings, progress: IndexReport | None):
        """Encode and commit video by video: first all its windows, then its row."""
        contents = {files[0].path: video_id for video_id, files in changes.encode.items()}
        tell = None if progress is None else _Teller({f[0].path: f[0].size for f in changes.encode.values()}, progress)
        results = encode_videos(
            list(contents), bundle.model.encode_video, bundle.preprocess, settings, device_of(bundle.model), tell
        )
        for count, result in enumerate(results, start=1):
            video_id = contents[result.path]
            files = changes.encode[video_id]
            if tell is not None:
                tell.done.add(result.path)
            if _has_changed(files[0]):
                # No row: whatever the file is next time, it is looked at anew.
                changes.failed += [(file.path, GROWING) for file in files]
                continue
            if isinstance(result, FailedVideo) and os.path.isdir(result.path):
                result = FailedVideo(result.path, f"{result.reason} {_NUMBERED}")
            if isinstance(result, EncodedVideo):
                self._store.add_windows(video_id, result.spans, result.rows)
                for file in files:
                    changes.count(file.path)
            else:
                changes.failed += [(file.path, result.reason) for file in files]
            are_new = not any(file.path in changes.known_paths for file in files)
            self._store.put_videos([_row(file, video_id, result) for file in files], are_new=are_new)
            if count % _COMPACT_EVERY == 0:
                self._store.compact()


@dataclass(slots=True)
class _Teller:
    """Turns what the encoding tells into what an update tells: `sizes` in bytes of all files, `done` those finished."""

    sizes: Mapping[str, int]
    tell: IndexReport
    done: set[str] = field(default_factory=set)

    def __call__(self, now: Progress):
        whole = sum(self.sizes.values())
        bytes_done = sum(self.sizes[path] for path in self.done)
        bytes_done += sum(share * self.sizes[path] for path, share in now.shares.items() if path not in self.done)
        share = min(1.0, bytes_done / whole) if whole else 1.0
        left = now.seconds * (1 - share) / share if share > 0 and now.windows else None
        current = next((path for path in now.shares if path not in self.done), "")
        waited = now.wait_seconds / now.seconds if now.seconds > 0 else 0.0
        self.tell(
            IndexProgress(now.videos_done, now.num_videos, now.windows, share, now.seconds, left, waited, current)
        )


def _encode_worded(model: Model, texts: list[str]):
    return model.encode_text([model.wording(text) for text in texts])


def _is_alike(old: Windows, new: Windows) -> bool:
    """Say whether a large index has changed so little that its background need not be measured anew."""
    if old.is_exact or new.is_exact:
        return False
    return abs(len(new.times) - len(old.times)) <= 0.05 * len(old.times)


def _leave_growing(scan: Scan, settle: float):
    """Count files that changed within the last `settle` seconds among those that cannot be read, so their rows stay."""
    now = time.time()
    growing = {file.path for file in scan.files if abs(now - file.mtime_ns / 1e9) < settle}
    scan.files = [file for file in scan.files if file.path not in growing]
    scan.unreadable += [(path, GROWING) for path in sorted(growing)]


def _has_changed(file: VideoFile) -> bool:
    """Say whether a file is another than when it was found, or gone."""
    try:
        return measure(file.path) != (file.size, file.mtime_ns)
    except OSError:
        return True


def _report(changes: Changes) -> UpdateReport:
    counted = (changes.added, changes.changed, changes.moved, changes.deleted, changes.unchanged)
    return UpdateReport(*(tuple(sorted(paths)) for paths in counted), failed=tuple(sorted(changes.failed)))


def _row(file: VideoFile, video_id: str, result: EncodedVideo | FailedVideo) -> VideoRow:
    if isinstance(result, FailedVideo):
        return VideoRow(file.path, video_id, file.root, file.size, file.mtime_ns, "failed", error=result.reason)
    info = result.info
    return VideoRow(
        file.path,
        video_id,
        file.root,
        file.size,
        file.mtime_ns,
        "done",
        duration=float(info.duration),
        width=info.width,
        height=info.height,
        num_windows=len(result.rows),
    )
