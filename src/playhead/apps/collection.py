"""Videos that can be asked: an index and the model it is of, in one hand.

    index = playhead.index("~/Videos", model)
    for moment in index.search("put the lid on the pot", top=5):
        print(moment.file, moment.span, moment.score)

Search may run in many threads while one thread, or another process, brings the index up to date.
"""

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from playhead.apps.index import IndexReport, UpdateReport, VideoIndex
from playhead.apps.library import scan_videos
from playhead.apps.model import Model
from playhead.apps.pictures import strip_of, thumbnail_of
from playhead.apps.place import default_place
from playhead.apps.request import Request, Wanted, Where
from playhead.apps.search import Answers, Relevance, ask, relevance_along
from playhead.apps.store import VideoRow
from playhead.apps.watch import watch
from playhead.apps.windows import WindowSettings
from playhead.data.narrations import read_narrations
from playhead.errors import PlayheadError, SearchError
from playhead.types import Narration, Span

FilePath = str | os.PathLike[str]
Folders = FilePath | Iterable[FilePath]

_ANYWHERE, _WINDOWS = Where(), WindowSettings()


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """How an index stands. `writer` is the id of the process that updates it now; `failed` says why, by path."""

    place: str
    model: str
    folders: tuple[str, ...]
    num_videos: int
    num_windows: int
    hours: float
    failed: tuple[tuple[str, str], ...]
    writer: str | None
    is_exact: bool
    """Whether every window is scored; otherwise the approximate index chooses."""
    unindexed: int
    """Windows that the approximate index does not cover yet, and that are scanned."""


@dataclass(frozen=True)
class Collection:
    """An index and its model. `narrations_file` is one in Ego4D's layout, or None."""

    store: VideoIndex
    model: Model
    windows: WindowSettings = _WINDOWS
    narrations_file: Path | None = None

    @classmethod
    def open(cls, at: FilePath, model: Model, *, narrations: FilePath | None = None) -> "Collection":
        """Open an index that is there.

        Raises:
            SearchError: there is none, or it is of another format or another model.
        """
        return cls(VideoIndex.open(at, model.bundle), model, narrations_file=_path(narrations))

    @classmethod
    def open_or_create(
        cls,
        at: FilePath,
        model: Model,
        windows: WindowSettings = _WINDOWS,
        *,
        narrations: FilePath | None = None,
    ) -> "Collection":
        """Open an index, or make an empty one with these windows.

        Raises:
            SearchError: the index there is of another format or another model, or the place cannot be written.
        """
        store = VideoIndex.open_or_create(at, model.bundle, windows, made_with=model.made_from)
        return cls(store, model, windows, _path(narrations))

    def search(
        self,
        asked: Wanted | Sequence[Wanted],
        *,
        top: int = 5,
        without: Wanted | Sequence[Wanted] = (),
        where: Where = _ANYWHERE,
        verbatim: bool = False,
        ground: bool = False,
    ) -> Answers:
        """Return up to `top` moments that fit all that is asked and nothing of `without`, best first.

        A str is words, a Path the file of a picture or a video. Questions are put as the model wants them, unless
        `verbatim`. With `ground`, the model's network for language queries (`playhead.load(..., grounding=...)`) gives
        the moments sharper ends and has a say in their order; it wants a single question in words.

        Raises:
            SearchError: nothing is asked, or `ground` without such a network or such a question.
            DecodeError: a picture or clip that is asked with cannot be decoded.
        """
        request = Request.of(asked, without)
        if not ground:
            return ask(self.store, self.model, request, top, where=where, verbatim=verbatim)
        question = request.wanted[0]
        if self.model.head is None:
            raise SearchError("no network for language queries is at hand. Load the model with one (grounding=...).")
        if len(request.wanted) > 1 or not isinstance(question, str):
            raise SearchError("only a single question in words can be grounded. Ask so, or without grounding.")
        from playhead.apps.sharpen import sharpen  # it imports the recipes, which a plain search does not need

        # Some more than asked for, since the network may bring others up, and make two of them one.
        answers = ask(self.store, self.model, request, top + 5, where=where, verbatim=verbatim)
        moments = sharpen(self.model.head, self.model.bundle, question, answers.moments)
        return replace(answers, moments=tuple(moments[:top]))

    def relevance(
        self,
        asked: Wanted | Sequence[Wanted],
        video: FilePath,
        *,
        without: Wanted | Sequence[Wanted] = (),
        verbatim: bool = False,
    ) -> Relevance:
        """Return what each window of a video scores, along its time line.

        Raises:
            SearchError: nothing is asked, or the index does not hold `video`.
        """
        return relevance_along(self.store, self.model, Request.of(asked, without), video, verbatim=verbatim)

    def update(
        self, folders: Folders | None = None, *, progress: IndexReport | None = None, retry_failed: bool = False
    ) -> UpdateReport:
        """Bring the index in step with folders, by default with all that it follows; see `VideoIndex.update`."""
        roots = self.folders() if folders is None else _listed(folders)
        if not roots:
            raise SearchError("the index follows no folder yet. Name one.", path=self.store.path)
        return self.store.update(roots, self.model.bundle, self.windows, progress=progress, retry_failed=retry_failed)

    def add_folder(self, path: FilePath, *, progress: IndexReport | None = None) -> UpdateReport:
        """Follow another folder (or file), and index it.

        Raises:
            SearchError: it is not there, or holds no video.
        """
        require_videos([path])
        return self.update([path], progress=progress)

    def forget_folder(self, path: FilePath) -> UpdateReport:
        """Take a folder out of the index; its files stay where they are.

        Raises:
            SearchError: the index does not follow it.
        """
        return self.store.forget(os.fspath(path))

    def watch(
        self,
        folders: Folders | None = None,
        *,
        every: float = 10.0,
        stop: Event,
        told: Callable[[UpdateReport | PlayheadError], None],
        progress: IndexReport | None = None,
    ) -> None:
        """Keep the index in step with folders, looking `every` so many seconds, until `stop` is set."""
        roots = None if folders is None else _listed(folders)
        watch(self.store, roots, self.model.bundle, self.windows, every=every, stop=stop, told=told, progress=progress)

    def folders(self) -> tuple[str, ...]:
        """Return the folders that the index follows."""
        return self.store.folders()

    def videos(self) -> list[VideoRow]:
        """Return what is known of every file, the failed ones included, in order of path."""
        return self.store.videos()

    def video(self, path: FilePath) -> VideoRow:
        """Return what is known of a file that can be searched.

        Raises:
            SearchError: the index does not hold it.
        """
        named = Path(path).expanduser()
        wanted = (str(named.absolute()), str(named.resolve()))
        for row in self.store.windows().times.rows:
            if row.path in wanted:
                return row
        raise SearchError("the index does not hold this video.", path=path)

    def by_id(self, content_id: str) -> VideoRow:
        """Return the first file of this content.

        Raises:
            SearchError: the index holds none.
        """
        for row in self.store.windows().times.rows:
            if row.video_id == content_id:
                return row
        raise SearchError(f"the index holds no video of the id {content_id[:40]!r}.")

    def status(self) -> IndexStatus:
        """Return how the index stands."""
        rows, times = self.videos(), self.store.windows()
        done = [row for row in rows if row.status == "done"]
        covered = self.store.store().coverage()
        return IndexStatus(
            place=str(self.store.path),
            model=self.model.identity,
            folders=self.folders(),
            num_videos=len(done),
            num_windows=len(times.times),
            hours=sum(row.duration for row in {row.video_id: row for row in done}.values()) / 3600,
            failed=tuple((row.path, row.error) for row in rows if row.status == "failed"),
            writer=self.store.writer(),
            is_exact=times.is_exact,
            unindexed=covered.unindexed if covered.exists else 0,
        )

    def thumbnail(self, video: FilePath, time: float, *, height: int = 180) -> bytes:
        """Return the frame at a time of a video, as a JPEG file.

        Raises:
            SearchError: the index does not hold the video, or its path now leads elsewhere.
            DecodeError: it cannot be decoded any more.
        """
        return thumbnail_of(self._readable(video), time, height)

    def strip(self, video: FilePath, span: Span, *, num_frames: int = 5, height: int = 96) -> bytes:
        """Return frames of a moment side by side, as a JPEG file; raises as `thumbnail`."""
        return strip_of(self._readable(video), span, num_frames, height)

    def narrations(self, video: FilePath) -> list[Narration]:
        """Return what is told of a video, in order of time; the narrations file knows it by its name without ending.

        Raises:
            AnnotationError: the file is of no known layout.
        """
        if self.narrations_file is None:
            return []
        return list(_by_video(self.narrations_file).get(Path(video).stem, ()))

    def _readable(self, video: FilePath) -> str:
        """Return the path of a video of the index; a link put in its place since is not followed."""
        path = self.video(video).path
        if os.path.realpath(path) != path:
            raise SearchError("its path now leads elsewhere. Bring the index up to date.", path=path)
        return path


def index(
    folders: Folders,
    model: Model,
    *,
    at: FilePath | None = None,
    windows: WindowSettings = _WINDOWS,
    progress: IndexReport | None = None,
    narrations: FilePath | None = None,
) -> Collection:
    """Index folders of videos, or bring their index up to date, and return it ready to be asked.

    The index lies `at` a folder or an address such as s3://bucket/index; by default in this program's own folder
    (`PLAYHEAD_HOME`), one for each choice of folders and model.

    Raises:
        SearchError: a folder is not there or holds no video, or the index is of another format or another model.
    """
    roots = _listed(folders)
    require_videos(roots)
    names = [str(Path(root).expanduser().resolve()) for root in roots]
    where = default_place(names, model.identity) if at is None else at
    collection = Collection.open_or_create(where, model, windows, narrations=narrations)
    collection.update(roots, progress=progress)
    return collection


def open_index(at: FilePath, model: Model, *, narrations: FilePath | None = None) -> Collection:
    """Open an index that is there, as it is; see `Collection.open`."""
    return Collection.open(at, model, narrations=narrations)


def require_videos(roots: Iterable[FilePath]) -> None:
    """Refuse folders in which there is no video at all.

    Raises:
        SearchError: there is none, or a folder is not there.
    """
    roots = list(roots)
    scan = scan_videos(roots)
    if scan.files:
        return
    named = ", ".join(scan.roots) or "no folder"
    if scan.unreadable:
        path, reason = scan.unreadable[0]
        raise SearchError(f"no video can be read below {named} ({path}: {reason}). Give it rights, or name another.")
    raise SearchError(f"no video lies below {named}. Name a folder with videos, or the files themselves.")


@functools.lru_cache(maxsize=4)
def _by_video(file: Path) -> dict[str, tuple[Narration, ...]]:
    told: dict[str, list[Narration]] = {}
    for narration in read_narrations(file):
        told.setdefault(narration.video_id, []).append(narration)
    return {name: tuple(sorted(every, key=lambda one: one.time)) for name, every in told.items()}


def _listed(folders: Folders) -> list[FilePath]:
    roots = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    return roots


def _path(file: FilePath | None) -> Path | None:
    return None if file is None else Path(file).expanduser()
