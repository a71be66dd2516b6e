"""Folders of videos: which files there are, and how one is known again after it was moved."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from playhead.errors import SearchError
from playhead.video.chunk_files import CHUNK_ENDINGS, INDEX_NAME, is_chunked

VIDEO_EXTENSIONS = frozenset(
    [
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc", ".ivf"),
        *(".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut"),
        *(".obu", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    ]
)

_EDGE = 1 << 20  # bytes of each end of a file that go into its id


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A file as the scan found it: absolute path, the root it lies under, size in bytes, time of last change in ns.

    A folder of chunks counts as one file: its size is theirs together, its time that of the chunk changed last.
    """

    path: str
    root: str
    size: int
    mtime_ns: int


@dataclass(slots=True)
class Scan:
    """What lies under the roots: video files in order of path, and what could not be looked into, with the reason."""

    roots: tuple[str, ...] = ()
    files: list[VideoFile] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def covers(self, path: str) -> bool:
        """Say whether the scan would have found `path` if it existed: under a root, and under nothing unreadable."""
        under = any(Path(path).is_relative_to(root) for root in self.roots)
        return under and not any(Path(path).is_relative_to(hidden) for hidden, _ in self.unreadable)


def scan_videos(roots: Iterable[str | os.PathLike[str]], *, all_files: bool = False, join_chunks: bool = True) -> Scan:
    """Find the video files under `roots` (folders, or single files), each once, in order of path.

    A file counts as video by its extension, or always with `all_files` and where it is itself named as a root. A folder
    of chunks (`video.chunk_files.is_chunked`) is one video, named by the folder, unless `join_chunks` is false, or
    videos of other names lie among the chunks and no index of theirs.
    Symbolic links below a root are not followed: inside the root their target is found anyway, and outside it was
    not asked for. A folder that cannot be read is reported, not raised.

    Raises:
        SearchError: a root does not exist. (An unplugged disk must not look like a thousand deleted files.)
    """
    found: dict[str, VideoFile] = {}
    scan = Scan(roots=tuple(dict.fromkeys(str(Path(root).expanduser().resolve()) for root in roots)))
    for root in scan.roots:
        if not os.path.exists(root):
            raise SearchError(
                "there is no such file or folder. Check the path, or that its disk is mounted.", path=root
            )
        paths = [root] if os.path.isfile(root) else _walk(root, all_files, join_chunks, scan.unreadable)
        for path in paths:
            try:
                size, mtime_ns = measure(path)
            except OSError as error:
                scan.unreadable.append((path, error.strerror or str(error)))
                continue
            found.setdefault(path, VideoFile(path, root, size, mtime_ns))
    scan.files = [found[path] for path in sorted(found)]
    return scan


def measure(path: str) -> tuple[int, int]:
    """Return the size in bytes and the time of last change in ns; of a folder of chunks, of all of them.

    Raises:
        OSError: it is not there, or may not be looked at.
    """
    if not os.path.isdir(path):
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    each = [os.stat(file) for file in chunk_files(path)]
    return sum(status.st_size for status in each), max((status.st_mtime_ns for status in each), default=0)


def chunk_files(folder: str) -> list[str]:
    """Return the files that make up a video in chunks: its chunks and their index, in order of name."""
    names = sorted(name for name in os.listdir(folder) if name == INDEX_NAME or _is_chunk(name))
    return [os.path.join(folder, name) for name in names]


def _is_one_video(folder: str, names: list[str]) -> bool:
    """Say whether a folder holds the chunks of one video; numbered files among other videos are videos of their own."""
    if not is_chunked(folder):
        return False
    others = (name for name in names if not name.startswith("._") and not _is_chunk(name))
    return INDEX_NAME in names or not any(os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS for name in others)


def _is_chunk(name: str) -> bool:
    stem, ending = os.path.splitext(name)
    return stem.isascii() and stem.isdigit() and ending.lower() in CHUNK_ENDINGS


def _walk(root: str, all_files: bool, join_chunks: bool, unreadable: list[tuple[str, str]]) -> list[str]:
    def note(error: OSError):
        unreadable.append((str(error.filename), error.strerror or str(error)))

    paths = []
    for folder, _, names in os.walk(root, onerror=note, followlinks=False):
        if join_chunks and _is_one_video(folder, names):
            paths.append(folder)
            names = [name for name in names if not _is_chunk(name)]
        for name in names:
            path = os.path.join(folder, name)
            is_video = all_files or os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS
            is_shadow = name.startswith("._")  # macOS keeps attributes of a.mp4 in ._a.mp4 on foreign disks
            if is_video and not is_shadow and not os.path.islink(path) and os.path.isfile(path):
                paths.append(path)
    return paths


def content_id(path: str) -> str:
    """Return 32 hex digits that a file keeps when it is moved, renamed or touched.

    The BLAKE2b hash of its size and its first and last MiB: the headers and index of every common container lie there,
    so two different videos do not share it, and a file of any size costs two short reads. The price: an edit in place
    that keeps the size and spares both ends keeps the id too. A folder of chunks has the hash of its files' names and
    ids.

    Raises:
        OSError: the file cannot be read.
    """
    if os.path.isdir(path):
        names = [f"{os.path.basename(file)} {content_id(file)}" for file in chunk_files(path)]
        return hashlib.blake2b("\n".join(names).encode(), digest_size=16).hexdigest()
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.blake2b(str(size).encode(), digest_size=16)
        digest.update(file.read(_EDGE))
        if size > _EDGE:
            file.seek(max(_EDGE, size - _EDGE))
            digest.update(file.read(_EDGE))
    return digest.hexdigest()
