"""Opening a video file with PyAV, or saying in a bounded time why it is none."""

import os
import stat

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from playhead.errors import DecodeError

NOT_VIDEOS = ("tty", "image2", "bin", "hls", "concat", "dash")
"""Formats that FFmpeg would draw as video, or that only point to other files: text as ANSI art, stills, play lists."""


def _check_file(path: str) -> None:
    try:
        status = os.stat(path)
    except OSError as error:
        raise DecodeError(f"cannot be opened ({error.strerror}); check the path.", path=path) from error
    if stat.S_ISDIR(status.st_mode):
        raise DecodeError("is a folder; to read it as numbered images, say their fps.", path=path)
    if not stat.S_ISREG(status.st_mode):
        # Opening a pipe waits for a writer, perhaps for ever.
        raise DecodeError("is not a regular file.", path=path)
    if status.st_size == 0:
        raise DecodeError("is empty (0 bytes); fetch it again.", path=path)


def open_container(path: str | os.PathLike[str]) -> InputContainer:
    """Open a media file of this machine.

    Raises:
        DecodeError: no such file, not a regular file, empty, or of no format that FFmpeg knows as video.
    """
    path = os.fspath(path)
    _check_file(path)
    try:
        # An absolute path cannot be taken for a protocol ("a:b.mp4"), and nothing but files may be reached from a file.
        container = av.open(os.path.abspath(path), options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except FFmpegError as error:
        raise DecodeError(
            f"is no readable video ({error.strerror}); it may be cut off or of another kind.", path=path
        ) from error
    names = container.format.name.split(",")
    if any(name in NOT_VIDEOS or name.endswith("_pipe") for name in names):
        container.close()
        raise DecodeError(f"is no video but of the format {names[0]!r}.", path=path)
    return container


def find_video_stream(container: InputContainer, path: str) -> VideoStream:
    """Return the stream that a player would show.

    Raises:
        DecodeError: there is none, or FFmpeg has no decoder for it.
    """
    pictures = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not pictures:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no"
        raise DecodeError(f"has no video stream, only {kinds} streams.", path=path)
    best = container.streams.best("video")
    stream = next((one for one in pictures if best is not None and one.index == best.index), pictures[0])
    if stream.codec_context is None:
        raise DecodeError("has a video stream of a codec that the bundled FFmpeg cannot decode.", path=path)
    return stream
