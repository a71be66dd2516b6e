"""Videos and pictures of the index for a browser: ranges of bytes from the disk, and frames made when asked for.

A file is only reached by the id of its content, through the row that the index has of it. It is served if it is still
what was indexed: where the row says, under the folder that was named, not behind a link, of the same size and time.
"""

import errno
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from threading import Lock
from urllib.parse import quote

import anyio
from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from playhead.apps.library import measure
from playhead.apps.store import VideoRow
from playhead.apps.web.safety import Places
from playhead.errors import DecodeError, SearchError
from playhead.video.chunk_files import ChunkIndex, list_chunks
from playhead.video.decode import probe

PIECE = 256 * 1024
"""Bytes read from the disk at once."""

KINDS = {
    **{".mp4": "mp4", ".m4v": "mp4", ".mov": "quicktime", ".qt": "quicktime", ".webm": "webm", ".ogv": "ogg"},
    **{".mkv": "x-matroska", ".avi": "x-msvideo", ".ts": "mp2t", ".mts": "mp2t", ".m2ts": "mp2t", ".mpg": "mpeg"},
    **{".mpeg": "mpeg", ".3gp": "3gpp", ".3g2": "3gpp2", ".wmv": "x-ms-wmv", ".flv": "x-flv"},
}
"""Media types by ending, always of video: whatever the bytes are, no browser takes them for a page."""

_RANGE = re.compile(r"\s*(\d*)\s*-\s*(\d*)\s*")


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a video and the second at which it begins; of most videos the only one."""

    path: str
    start: float


def parts_of(row: VideoRow) -> list[Part]:
    """Return the files that make up a video, in order of time.

    Raises:
        DecodeError: its chunks are not there, or the first cannot be opened.
    """
    if not os.path.isdir(row.path):
        return [Part(row.path, 0.0)]
    index = ChunkIndex.read(row.path)
    if index is not None:
        held = [(number, start) for number, start in enumerate(index.starts) if start is not None]
        return [Part(os.path.join(row.path, f"{number}.mp4"), start) for number, start in held]
    files = [path for _, path in sorted(list_chunks(row.path).items()) if os.path.getsize(path)]
    seconds = round(probe(files[0]).duration) if len(files) > 1 else 0
    return [Part(path, float(place * seconds)) for place, path in enumerate(files)]


def open_indexed(row: VideoRow, path: str) -> FileIO:
    """Open a file of a video of the index for reading.

    Raises:
        SearchError: it is not what was indexed any more.
    """
    changed = SearchError("is no longer what was indexed. Bring the index up to date.", path=path)
    try:
        is_in_place = Path(path).is_relative_to(row.root) and os.path.realpath(path) == path
        if not is_in_place or measure(row.path) != (row.size, row.mtime_ns):
            raise changed
        file = FileIO(path, opener=_open_without_links)
        opened = os.fstat(file.fileno())
        if not stat.S_ISREG(opened.st_mode) or not os.path.samestat(opened, os.stat(path)):
            file.close()
            raise changed
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise changed from error
        raise SearchError(f"cannot be read ({error.strerror or error}).", path=path) from error
    return file


def _open_without_links(path: str, flags: int) -> int:
    # NONBLOCK, so that a pipe put in the file's place is refused and not waited for.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def read_range(text: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last that a Range header asks for; None means the whole file.

    Of several ranges, and of units that are not bytes, the whole is given, as the standard allows.

    Raises:
        ValueError: the range is none, or lies outside the file.

    Source: RFC 9110, section 14.
    """
    unit, is_range, told = (text or "").partition("=")
    if not is_range or unit.strip().lower() != "bytes" or "," in told:
        return None
    found = _RANGE.fullmatch(told)
    if found is None or found.groups() == ("", ""):
        raise ValueError(f"{told!r} is no range of bytes.")
    first, last = found.groups()
    if first == "":
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), size if last == "" else min(size, int(last) + 1)
    if begin >= end:
        raise ValueError(f"{told!r} lies outside a file of {size} bytes.")
    return begin, end


class FileSlice(Response):
    """Sends a file, or the range of it that is asked for, piece by piece; ends when the reader is gone or stalls."""

    def __init__(self, file: FileIO, name: str, tag: str, places: Places, stall_seconds: float):
        self._file, self._places, self._stall_seconds = file, places, stall_seconds
        self._size = os.fstat(file.fileno()).st_size
        self.background, self.status_code = None, 200
        kind = KINDS.get(os.path.splitext(name)[1].lower(), "mp4")
        self._plain = {
            "Content-Type": f"video/{kind}",
            "Accept-Ranges": "bytes",
            "ETag": f'"{tag}"',
            "Cache-Control": "private, no-cache",
            "Content-Disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the file is closed whatever happens."""
        try:
            status, begin, end, extra = self._choose(Headers(scope=scope))
            named = self._plain | extra | ({} if status == 304 else {"Content-Length": str(end - begin)})
            headers = [(key.lower().encode(), value.encode("latin-1")) for key, value in named.items()]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            if scope["method"] == "HEAD" or begin == end:
                return await send({"type": "http.response.body", "body": b""})
            async with anyio.create_task_group() as group:
                group.start_soon(_cancel_when_gone, receive, group.cancel_scope)
                await self._send(begin, end, send)
                group.cancel_scope.cancel()
        finally:
            self._file.close()
            self._places.give()

    def _choose(self, asked: Headers) -> tuple[int, int, int, dict[str, str]]:
        """Return the status, the bytes to send, and the headers that go with them."""
        tag = self._plain["ETag"]
        if tag in [one.strip().removeprefix("W/") for one in asked.get("if-none-match", "").split(",")]:
            return 304, 0, 0, {}
        wanted = asked.get("range")
        if asked.get("if-range", tag) != tag:
            wanted = None  # of another version: the whole of this one
        try:
            chosen = read_range(wanted, self._size)
        except ValueError:
            return 416, 0, 0, {"Content-Range": f"bytes */{self._size}"}
        if chosen is None:
            return 200, 0, self._size, {}
        return 206, *chosen, {"Content-Range": f"bytes {chosen[0]}-{chosen[1] - 1}/{self._size}"}

    async def _send(self, begin: int, end: int, send: Send) -> None:
        while begin < end:
            piece = await run_sync(_read_at, self._file, min(PIECE, end - begin), begin)
            if not piece:
                raise OSError("the file became shorter while it was sent")
            begin += len(piece)
            with anyio.fail_after(self._stall_seconds):
                await send({"type": "http.response.body", "body": piece, "more_body": begin < end})


async def _cancel_when_gone(receive: Receive, sending: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    sending.cancel()


def _read_at(file: FileIO, number: int, place: int) -> bytes:
    file.seek(place)
    return file.read(number) or b""


class PictureCache:
    """Pictures by what they show, the longest unused dropped first above `most` bytes; for many threads."""

    def __init__(self, most: int):
        self._most, self._size, self._lock = most, 0, Lock()
        self._pictures: OrderedDict[tuple, bytes] = OrderedDict()

    def get(self, key: tuple, make: Callable[[], bytes]) -> bytes:
        """Return the picture of `key`, made if it is not there."""
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        picture = make()
        with self._lock:
            if key not in self._pictures and len(picture) <= self._most:
                self._pictures[key] = picture
                self._size += len(picture)
            while self._size > self._most:
                self._size -= len(self._pictures.popitem(last=False)[1])
        return picture


def part_of(row: VideoRow, number: int) -> Part:
    """Return one file of a video.

    Raises:
        SearchError: it has no such part.
    """
    try:
        parts = parts_of(row)
    except DecodeError as error:
        raise SearchError(error.problem, path=error.path) from error
    if not 0 <= number < len(parts):
        raise SearchError(f"has no part {number}.", path=row.path)
    return parts[number]
