"""An index over folders of videos: every window's vector, kept in step with the files.

    index = VideoIndex.create("~/videos.index", bundle)
    report = index.update(["~/Videos"], bundle)

An update may be killed at any point and started again: finished videos stay, half-finished ones are encoded anew.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from numpy import ndarray

from playhead.apps.changes import Changes, find_changes
from playhead.apps.encoding import EncodedVideo, FailedVideo, Report, device_of, encode_videos
from playhead.apps.library import VideoFile, content_id, scan_videos
from playhead.apps.lock import only_writer
from playhead.apps.matrix import WindowMatrix, load_matrix
from playhead.apps.store import IndexSettings, IndexStore, VideoRow
from playhead.apps.windows import WindowPlan, WindowSettings, plan_windows
from playhead.errors import SearchError
from playhead.weights.bundle import Bundle

_DEFAULT = WindowSettings()
_COMPACT_EVERY = 500  # videos between two looks at whether the tables have many small files


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What an update did, by path; `moved` are new places. `failed` says why each file is not in the index."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    moved: tuple[str, ...]
    deleted: tuple[str, ...]
    unchanged: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class VideoIndex:
    """An index folder, opened. Reading needs no lock and sees each commit of a running update."""

    path: Path
    _store: IndexStore
    _matrix: WindowMatrix | None = field(default=None, repr=False)
    _matrix_version: tuple[int, int] = (-1, -1)

    @classmethod
    def create(cls, path: str | os.PathLike[str], bundle: Bundle, settings: WindowSettings = _DEFAULT) -> "VideoIndex":
        """Make an empty index for the vectors of `bundle`; of `settings`, `fps` and `stride` are its for good.

        Raises:
            SearchError: there is an index already, or another process is making one.
        """
        folder = Path(path).expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True)
        plan = plan_windows(bundle.preprocess, settings)
        width = encode_texts(bundle, ["width"]).shape[1]
        with only_writer(folder / "lock"):
            return cls(folder, IndexStore.create(folder, _index_settings(bundle, plan, width)))

    @classmethod
    def open(cls, path: str | os.PathLike[str], bundle: Bundle | None = None) -> "VideoIndex":
        """Open an index; with `bundle`, also check that its vectors are of that model.

        Raises:
            SearchError: there is no index, it has another format, or it is of another model.
        """
        folder = Path(path).expanduser().resolve()
        index = cls(folder, IndexStore.open(folder))
        if bundle is not None:
            index.require(bundle)
        return index

    @classmethod
    def open_or_create(
        cls, path: str | os.PathLike[str], bundle: Bundle, settings: WindowSettings = _DEFAULT
    ) -> "VideoIndex":
        """Open the index, or make an empty one where there is none.

        Raises:
            SearchError: the index there has another format, or is of another model.
        """
        if IndexStore.exists(Path(path).expanduser().resolve()):
            return cls.open(path, bundle)
        return cls.create(path, bundle, settings)

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

    def update(
        self,
        roots: Iterable[str | os.PathLike[str]],
        bundle: Bundle,
        settings: WindowSettings = _DEFAULT,
        *,
        progress: Report | None = None,
        retry_failed: bool = False,
        all_files: bool = False,
    ) -> UpdateReport:
        """Bring the index in step with the files under `roots`; rows of other roots stay as they are.

        New and changed videos are encoded; moved ones keep their windows; those of deleted files go. A video that
        cannot be decoded is recorded with the reason and not tried again until it changes, or with `retry_failed`.

        Raises:
            SearchError: another model or other windows than the index has, a root that does not exist, or another
                process that updates the index.
        """
        self.require(bundle)
        settings = self._own_windows(bundle, settings)
        with only_writer(self.path / "lock"):
            self._store.repair()
            scan = scan_videos(roots, all_files=all_files)
            changes = find_changes(scan, self._store.videos(), content_id, retry_failed=retry_failed)
            self._store.put_videos(changes.put)
            self._store.delete_videos(changes.remove)
            self._encode(changes, bundle, settings, progress)
            self._store.repair()
            self._store.compact()
        return _report(changes)

    def windows(self) -> WindowMatrix:
        """Return all windows in memory; read anew only after a commit."""
        version = self._store.version
        if self._matrix is None or version != self._matrix_version:
            self._matrix, self._matrix_version = load_matrix(self._store), version
        return self._matrix

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

    def _encode(self, changes: Changes, bundle: Bundle, settings: WindowSettings, progress: Report | None):
        """Encode and commit video by video: first all its windows, then its row."""
        contents = {files[0].path: video_id for video_id, files in changes.encode.items()}
        results = encode_videos(
            list(contents), bundle.model.encode_video, bundle.preprocess, settings, device_of(bundle.model), progress
        )
        for count, result in enumerate(results, start=1):
            video_id = contents[result.path]
            files = changes.encode[video_id]
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


@torch.inference_mode()
def encode_texts(bundle: Bundle, texts: list[str]) -> Float[ndarray, "B E"]:
    """Return one unit row per text; a text longer than the model can read is cut at its end."""
    longest = bundle.model.config.text.max_positions
    tokens = bundle.tokenizer(texts, max_length=longest)
    return bundle.model.encode_text(tokens.to(device_of(bundle.model))).float().cpu().numpy()


def _index_settings(bundle: Bundle, plan: WindowPlan, width: int) -> IndexSettings:
    return IndexSettings(
        model=bundle.identity, width=width, num_frames=plan.num_frames, fps=plan.fps, stride=plan.stride
    )


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
