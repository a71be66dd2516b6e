"""Opening whatever holds a video: one file, a folder of chunks, a folder of numbered images; and keeping some open."""

import os
from collections import OrderedDict

from playhead.errors import DecodeError
from playhead.video.chunk_files import is_chunked
from playhead.video.chunks import ChunkedVideo
from playhead.video.decoder import Decoder
from playhead.video.folder import FrameFolder
from playhead.video.now_reading import now_reading
from playhead.video.source import VideoInfo, VideoSource


def open_video(
    path: str | os.PathLike[str], fps: float | None = None, threads: int = 1, chunk_seconds: int | None = None
) -> VideoSource:
    """Return the source that fits `path`: a video file, a folder of its chunks, or one of numbered images.

    Images are shown at `fps`. `chunk_seconds` is the length of the chunks; what they tell themselves is the default.

    Raises:
        DecodeError: it is none of these, or a folder of images without `fps`.
    """
    now_reading(os.fspath(path))
    if not os.path.isdir(path):
        return Decoder(path, threads)
    if is_chunked(path):
        return ChunkedVideo(path, chunk_seconds, threads)
    if fps is None:
        raise DecodeError("is a folder; to read it as numbered images, say their fps.", path=path)
    return FrameFolder(path, fps)


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Return what is known of a video file, or of a folder of chunks; a frame is decoded, to know that it can be.

    Raises:
        DecodeError: it is no video, or not one frame of it can be decoded.
    """
    with open_video(path) as source:
        return source.info


class DecoderCache:
    """The `capacity` sources used last, open; the one unused for longest is closed when another is needed.

    It belongs to one process. A fork and a copy sent to another process start empty: a decoder shared between
    processes moves the file position under the other's feet, and may wait for threads that the fork does not have.
    `fps` is for folders of frames, `threads` for each decoder, `chunk_seconds` for videos in chunks.

    Raises:
        ValueError: `capacity` is below 1.
    """

    def __init__(self, capacity: int = 8, fps: float | None = None, threads: int = 1, chunk_seconds: int | None = None):
        if capacity < 1:
            raise ValueError(f"capacity needs at least 1, got {capacity}.")
        self.capacity, self._fps, self._threads, self._chunk_seconds = capacity, fps, threads, chunk_seconds
        self._sources: OrderedDict[str, VideoSource] = OrderedDict()
        self._inherited: list[OrderedDict[str, VideoSource]] = []
        self._process = os.getpid()

    def __reduce__(self):
        return DecoderCache, (self.capacity, self._fps, self._threads, self._chunk_seconds)

    def __len__(self) -> int:
        self._leave_parent()
        return len(self._sources)

    def get(self, path: str | os.PathLike[str]) -> VideoSource:
        """Return the source of `path`; it stays open until `capacity` others have been asked for.

        Raises:
            DecodeError: the path cannot be read as video.
        """
        self._leave_parent()
        name = os.fspath(path)
        now_reading(name)
        if name not in self._sources:
            source = open_video(name, self._fps, self._threads, self._chunk_seconds)
            if len(self._sources) >= self.capacity:
                self._sources.popitem(last=False)[1].close()
            self._sources[name] = source
        self._sources.move_to_end(name)
        return self._sources[name]

    def close(self) -> None:
        """Close all that is open."""
        self._leave_parent()
        while self._sources:
            self._sources.popitem()[1].close()

    def _leave_parent(self) -> None:
        if self._process != os.getpid():
            # Kept, not closed: closing would wait for decoder threads that only the parent has.
            self._inherited.append(self._sources)
            self._sources, self._process = OrderedDict(), os.getpid()
