"""The files of a video in chunks: which they are, and the index that `playhead transcode` writes beside them."""

import json
import os
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from typing import Any

from av.error import FFmpegError

from playhead.errors import DecodeError
from playhead.video.container import open_container

INDEX_NAME = "chunks.json"
CHUNK_ENDINGS = (".mp4", ".mkv", ".webm", ".mov", ".avi")
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ChunkIndex:
    """What `chunks.json` says of the whole video; see `VideoInfo`. `starts` holds None where a chunk has no frame."""

    chunk_seconds: int
    duration: float
    width: int
    height: int
    fps: float
    num_frames: int
    codec: str
    starts: tuple[float | None, ...]

    def write(self, folder: str | os.PathLike[str]):
        """Write the index of the chunks that lie in `folder`."""
        with open(os.path.join(folder, INDEX_NAME), "w", encoding="utf-8") as file:
            json.dump({"format_version": FORMAT_VERSION, **asdict(self)}, file)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "ChunkIndex | None":
        """Return the index of a folder, None where there is none.

        Raises:
            DecodeError: it is broken, or of another format.
        """
        path = os.path.join(folder, INDEX_NAME)
        try:
            with open(path, encoding="utf-8") as file:
                stored: dict[str, Any] = json.load(file)
            if stored.pop("format_version") != FORMAT_VERSION or set(stored) != {field.name for field in fields(cls)}:
                raise ValueError("its fields are not those of this version")
            starts = tuple(None if start is None else float(start) for start in stored["starts"])
            known = [start for start in starts if start is not None]
            if not known or known != sorted(set(known)):
                raise ValueError("the starts of its chunks do not ascend")
            return cls(**{**stored, "starts": starts})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            problem = f"is no index of chunks ({error}); transcode the video again."
            raise DecodeError(problem, path=path) from error


def is_chunked(folder: str | os.PathLike[str]) -> bool:
    """Return whether `folder` holds a video in chunks: an index, or a file numbered 0."""
    names = (INDEX_NAME, *(f"0{ending}" for ending in CHUNK_ENDINGS))
    return any(os.path.isfile(os.path.join(folder, name)) for name in names)


def list_chunks(folder: str) -> dict[int, str]:
    """Return the paths of the chunks in `folder` by their numbers.

    Raises:
        DecodeError: there are none, the first is missing, or two have one number.
    """
    numbered: dict[int, str] = {}
    for name in sorted(os.listdir(folder) if os.path.isdir(folder) else ()):
        stem, ending = os.path.splitext(name)
        if stem.isascii() and stem.isdigit() and ending.lower() in CHUNK_ENDINGS:
            if int(stem) in numbered:
                other = os.path.basename(numbered[int(stem)])
                raise DecodeError(f"{other!r} and {name!r} have the same number; remove one.", path=folder)
            numbered[int(stem)] = os.path.join(folder, name)
    if not numbered:
        raise DecodeError("holds no chunks of a video (0.mp4, 1.mp4, ...).", path=folder)
    if 0 not in numbered:
        raise DecodeError(f"the first chunk, 0.mp4, is missing among {len(numbered)}; restore it.", path=folder)
    return numbered


def require_all(numbers: list[int], seconds: int, folder: str):
    """Refuse gaps between chunks that are numbered 0, 1, 2, ... or by their first second.

    Raises:
        DecodeError: a number is missing.
    """
    for step in (1, seconds):
        if numbers == list(range(0, step * len(numbers), step)):
            return
    step = seconds if all(number % seconds == 0 for number in numbers) else 1
    missing = next(number for number in range(0, numbers[-1], step) if number not in numbers)
    problem = f"holds chunks of {seconds} s numbered 0 to {numbers[-1]}, but {missing} is missing; restore it."
    raise DecodeError(problem, path=folder)


def is_empty(path: str) -> bool:
    """Return whether a video file was begun, but no frame put into it.

    Raises:
        DecodeError: it is no video file at all.
    """
    if os.path.getsize(path) == 0:
        return True
    with closing(open_container(path)) as container:
        pictures = container.streams.video
        try:
            return not pictures or not any(packet.size for packet in container.demux(pictures[0]))
        except FFmpegError:
            return False  # broken, which its decoder will tell
