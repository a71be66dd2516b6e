"""What the pages and the API work with: the collection, its gates, its pictures and its updates."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playhead.apps.collection import Collection
from playhead.apps.search import Answers
from playhead.apps.store import VideoRow
from playhead.apps.web import answers
from playhead.apps.web.answers import Question, RelevanceOut
from playhead.apps.web.media import FileSlice, PictureCache, open_indexed, part_of, parts_of
from playhead.apps.web.safety import Gate, Places
from playhead.apps.web.settings import WebSettings
from playhead.apps.web.updates import Updates, UpdateState
from playhead.errors import DecodeError, PlayheadError, SearchError
from playhead.types import Span


class NotFoundError(Exception):
    """The index does not hold what an address names."""


class NotAllowedError(Exception):
    """The server was set up not to do this."""


class BusyError(Exception):
    """An update is running already."""


@dataclass
class Desk:
    """The work of one application. All that may take long goes through a gate, in threads of its own."""

    collection: Collection
    settings: WebSettings
    updates: Updates = field(init=False)

    def __post_init__(self):
        limits = self.settings.limits
        self.updates = Updates(self.collection)
        self.searches = Gate(limits.searches, limits.waiting, limits.work_seconds, "search")
        self.pictures = Gate(limits.pictures, limits.waiting, limits.work_seconds, "picture")
        # Short reads have a gate of their own, so that a player does not wait for a flood of searches.
        self.reads = Gate(limits.searches, limits.waiting, limits.work_seconds, "read")
        self.streams, self.listeners = Places(limits.streams), Places(limits.listeners)
        self._cache = PictureCache(limits.picture_cache_bytes)

    def close(self) -> None:
        """End what is running; what an update has finished stays."""
        self.updates.stop(seconds=5.0)
        for gate in (self.searches, self.pictures, self.reads):
            gate.close()

    async def search(self, question: Question, only: VideoRow | None = None) -> Answers:
        """Return the answers to a question."""
        return await self.searches.run(answers.search, self.collection, question, only)

    async def relevance(self, question: Question, row: VideoRow, points: int) -> RelevanceOut:
        """Return the curve along a video."""
        return await self.searches.run(answers.relevance, self.collection, question, row, points)

    async def row(self, video: str) -> VideoRow:
        """Return the row of a video by its id.

        Raises:
            NotFoundError: the index holds none.
        """
        return await self.reads.run(self._row, video)

    def _row(self, video: str) -> VideoRow:
        try:
            row = self.collection.by_id(video)
        except SearchError as error:
            raise self.not_found(error) from error
        if os.path.exists(row.path):
            return row
        copies = [one for one in self.collection.videos() if one.video_id == video and one.status == "done"]
        return next((one for one in copies if os.path.exists(one.path)), row)

    async def parts(self, row: VideoRow) -> list[tuple[str, float]]:
        """Return the addresses of a video's files, and when each begins."""
        try:
            parts = await self.reads.run(parts_of, row)
        except (DecodeError, OSError):
            parts = []  # told where the video is asked for
        return [(f"/media/{row.video_id}/{number}", part.start) for number, part in enumerate(parts)]

    async def stream(self, video: str, number: int) -> FileSlice:
        """Return an answer that sends a file of a video.

        Raises:
            NotFoundError: there is none, or it is not what was indexed.
        """
        row = await self.row(video)
        self.streams.take()
        try:
            return await self.reads.run(self._slice, row, number)
        except BaseException:
            self.streams.give()
            raise

    def _slice(self, row: VideoRow, number: int) -> FileSlice:
        try:
            path = part_of(row, number).path
            file = open_indexed(row, path)
        except (SearchError, OSError) as error:
            raise self.not_found(error) from error
        name = os.path.basename(path) if path == row.path else f"{Path(row.path).name}-{os.path.basename(path)}"
        tag = f"{row.video_id}-{number}-{row.mtime_ns:x}"
        return FileSlice(file, name, tag, self.streams, self.settings.limits.stall_seconds)

    async def thumbnail(self, video: str, time: float, height: int) -> bytes:
        """Return the frame at a time, as JPEG."""
        row = await self.row(video)
        time = round(min(time, row.duration), 1)
        return await self._picture(
            (video, time, height), lambda: self.collection.thumbnail(row.path, time, height=height)
        )

    async def strip(self, video: str, start: float, end: float) -> bytes:
        """Return frames of a moment side by side, as JPEG."""
        row = await self.row(video)
        start = round(min(start, row.duration), 1)
        span = Span(start, max(round(end, 1), start + 0.1))
        return await self._picture((video, span), lambda: self.collection.strip(row.path, span))

    async def _picture(self, key: tuple, make: Any) -> bytes:
        try:
            return await self.pictures.run(self._cache.get, key, make)
        except PlayheadError as error:
            raise self.not_found(error) from error

    def checked_folder(self, path: str) -> str:
        """Return the absolute path of a folder, or of a file, that is to be added.

        Raises:
            SearchError: it is no absolute path, or not there.
        """
        if "\0" in path:
            raise SearchError("a path holds no zero bytes.")
        try:
            folder = Path(path).expanduser()
            if not folder.is_absolute():
                raise SearchError("write the whole path, from / or ~ on.", path=path[:200])
            if not folder.exists():
                raise SearchError("there is no such folder on the machine that runs this server.", path=path[:200])
        except (OSError, RuntimeError) as error:
            raise SearchError(f"cannot be looked at ({error}).", path=path[:200]) from error
        return str(folder)

    async def begin(self, start: Any, *arguments: str) -> UpdateState:
        """Begin an update.

        Raises:
            BusyError: one is running.
        """
        try:
            return start(*arguments)
        except SearchError as error:
            raise BusyError(str(error)) from error

    def require_writable(self) -> None:
        """Refuse changes of the index where the server was set up so.

        Raises:
            NotAllowedError: it was.
        """
        if self.settings.read_only:
            raise NotAllowedError("this server was started with --read-only; the index cannot be changed from here.")

    @staticmethod
    def not_found(error: Exception) -> NotFoundError:
        """Return the error for an address that leads nowhere, in one line."""
        return NotFoundError(str(error))
