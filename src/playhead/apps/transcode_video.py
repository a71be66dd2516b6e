"""One video rewritten for fast random reading: what is asked, and the work of one process."""

import hashlib
import os
import shutil
import tempfile
from array import array
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import av
from av.error import FFmpegError

from playhead.errors import DecodeError
from playhead.video.chunk_files import ChunkIndex
from playhead.video.container import open_container
from playhead.video.decoder import CUT_OFF, check_end
from playhead.video.describe import describe
from playhead.video.encode import DisplayScaler, Encoding, FastWriter, Preset, check_written
from playhead.video.forward import ForwardReader, Shown
from playhead.video.source import VideoInfo

FORMAT_VERSION = 1
"""Goes up when the same settings give other files."""

Beat = Callable[[float], None]
"""Takes the share of a video that is done, from 0 to 1; called after every frame, and while the file is hashed."""

STORING_DURATION = ("matroska,webm", "flv")
"""Containers that store the duration of all together, but none for each stream."""

_BLOCK = 1 << 22  # bytes that are hashed between two beats


@dataclass(frozen=True, kw_only=True)
class TranscodeSettings:
    """How videos are rewritten, and by how many processes."""

    short_side: int = 256
    """Short side of the pictures in pixels, an even number; 256 and 288 are in use. Smaller videos are enlarged."""
    keyframe_every: int = 15
    """Frames from one keyframe to the next at most; fewer make random reading faster and files larger."""
    preset: Preset = "veryfast"
    """How long x264 searches for a smaller file."""
    crf: int = 23
    """x264's constant rate factor: 0 loses nothing, 51 is the worst."""
    chunk_seconds: int | None = None
    """Write files of this many seconds each, `uid/0.mp4, uid/1.mp4, ...`; 15 and 600 are in use. None: one file."""
    workers: int | None = None
    """Videos rewritten at once, each in a process of its own; None takes one for each core."""
    stall_seconds: float = 300.0
    """A video in which nothing goes on for so long is given up."""

    def __post_init__(self):
        if self.short_side < 16 or self.short_side % 2:
            raise ValueError(f"short_side needs an even number of at least 16 pixels, got {self.short_side}.")
        if self.keyframe_every < 1:
            raise ValueError(f"keyframe_every needs at least 1 frame, got {self.keyframe_every}.")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf needs a number from 0 to 51, got {self.crf}.")
        if self.chunk_seconds is not None and self.chunk_seconds < 1:
            raise ValueError(f"chunk_seconds needs at least 1, got {self.chunk_seconds}.")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers needs at least 1, got {self.workers}.")
        if not self.stall_seconds > 0:
            raise ValueError(f"stall_seconds needs to be above 0, got {self.stall_seconds}.")

    @property
    def encoding(self) -> Encoding:
        """How pictures are compressed."""
        return Encoding(keyframe_every=self.keyframe_every, preset=self.preset, crf=self.crf)

    @property
    def num_workers(self) -> int:
        """How many processes that makes on this machine."""
        return self.workers or os.cpu_count() or 1

    def describe(self) -> dict[str, int | str | None]:
        """Return all that decides what the files hold."""
        return {
            "format": FORMAT_VERSION,
            "short_side": self.short_side,
            **asdict(self.encoding),
            "chunk_seconds": self.chunk_seconds,
        }


@dataclass(frozen=True, slots=True)
class Job:
    """One video to rewrite: its source, the name of its file or folder of chunks, and where to write meanwhile.

    `known` is the checksum of the source from which `target` was made; if the source has it still, nothing is done.
    """

    source: str
    target: str
    scratch: str
    settings: TranscodeSettings
    known: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a job; `path` is the new file or folder in the scratch folder, None where the source is as known.

    `size` (bytes) and `mtime_ns` are the source's, `bytes` are those written.
    """

    path: str | None
    size: int
    mtime_ns: int
    sha256: str
    bytes: int = 0
    info: VideoInfo | None = None


def transcode_video(job: Job, beat: Beat) -> Made:
    """Rewrite one video into a new folder within the scratch folder.

    Raises:
        DecodeError: the source is no video, is broken in part or was cut off, or was changed while it was read.
        OSError: it cannot be read, or the new file cannot be written.
    """
    before = os.stat(job.source)
    digest = hash_file(job.source, lambda: beat(0.0))
    made = Made(None, before.st_size, before.st_mtime_ns, digest)
    if digest == job.known:
        return made
    folder = Path(tempfile.mkdtemp(dir=job.scratch))
    path = folder / Path(job.target).name
    try:
        info = _rewrite(job.source, path, job.settings, beat)
        after = os.stat(job.source)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise DecodeError("was changed while it was read; run again.", path=job.source)
        return replace(made, path=str(path), bytes=size_of(path), info=info)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def size_of(path: str | os.PathLike[str]) -> int:
    """Return the bytes of a file, or of the files of a folder of chunks; 0 where there is none."""
    try:
        return sum(entry.stat().st_size for entry in os.scandir(path)) if os.path.isdir(path) else os.path.getsize(path)
    except OSError:
        return 0


def hash_file(path: str | os.PathLike[str], after_block: Callable[[], None] = lambda: None) -> str:
    """Return the SHA-256 checksum of a file's content, in hex digits.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            after_block()
    return digest.hexdigest()


def _rewrite(source: str, path: Path, settings: TranscodeSettings, beat: Beat) -> VideoInfo:
    """Write a video as one file, or as a folder of chunks with their index; return what is then known of it."""
    with closing(ForwardReader(source)) as reader:
        header = describe(reader)
        with closing(_Output(path, reader, settings)) as output:
            shown = reader.on_screen(reader.first.stamp)
            while shown is not None:
                output.take(shown)
                beat(min(1.0, reader.time_of(shown.stamp) / header.duration))
                shown = reader.advance()
            check_end(reader, header)
            _check_container(reader)
            return output.finish(reader.end)


def _check_container(reader: ForwardReader):
    """Refuse a file that was cut off, where only its container says how long it should be, sound included."""
    promised = (reader.container.duration or 0) / av.time_base
    if reader.container.format.name not in STORING_DURATION or not promised:
        return
    end = 0.0
    # An error while reading is a broken end, which is one that comes too early.
    with closing(open_container(reader.path)) as container, suppress(FFmpegError):
        for packet in container.demux():
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    if end < promised - CUT_OFF:
        problem = f"its content ends here, but it should last {promised:.2f} s: the file was cut off; fetch it again."
        raise DecodeError(problem, path=reader.path, time=end)


class _Output:
    """Takes the pictures of one video and writes them as one file, or as chunks with their index."""

    def __init__(self, path: Path, reader: ForwardReader, settings: TranscodeSettings):
        self._path, self._settings = path, settings
        self._tick, self._first = reader.time_base, reader.first.stamp
        self._rate = 1 / (reader.frame_step * reader.time_base)
        self._scaler = DisplayScaler(settings.short_side, reader.first.frame)
        self._writer: FastWriter | None = None
        self._stamps = array("q")  # of the file being written, from its first picture on
        self._begin = 0  # stamp of that picture
        self._starts: list[float | None] = []
        self._num_frames = 0
        if settings.chunk_seconds is not None:
            path.mkdir()

    def take(self, shown: Shown):
        """Write one picture."""
        stamp = shown.stamp - self._first
        seconds = self._settings.chunk_seconds
        number = 0 if seconds is None else int(stamp * self._tick // seconds)
        if self._writer is None or number >= len(self._starts):
            self._finish_file(stamp)
            self._writer, self._begin = self._open(number), stamp
            self._starts += [None] * (number - len(self._starts)) + [float(stamp * self._tick)]
        self._stamps.append(stamp - self._begin)
        self._writer.write(self._scaler.picture(shown.frame), stamp - self._begin)
        self._num_frames += 1

    def finish(self, end: int) -> VideoInfo:
        """Complete the files; the last picture leaves the screen at stamp `end` of the source."""
        self._finish_file(end - self._first)
        duration = float((end - self._first) * self._tick)
        height, width = self._scaler.height, self._scaler.width
        info = VideoInfo(
            str(self._path), duration, width, height, self._num_frames / duration, self._num_frames, "h264", rotation=0
        )
        if self._settings.chunk_seconds is not None:
            ChunkIndex(
                chunk_seconds=self._settings.chunk_seconds,
                duration=duration,
                width=width,
                height=height,
                fps=info.fps,
                num_frames=info.num_frames,
                codec=info.codec,
                starts=tuple(self._starts),
            ).write(self._path)
        return info

    def close(self):
        """Let go of the file being written, if any."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, number: int) -> FastWriter:
        return FastWriter(
            self._path if self._settings.chunk_seconds is None else self._path / f"{number}.mp4",
            height=self._scaler.height,
            width=self._scaler.width,
            tick=self._tick,
            rate=self._rate,
            colors=self._scaler.colors,
            encoding=self._settings.encoding,
        )

    def _finish_file(self, end: int):
        """Complete the file being written, if any, and make sure that it holds what was put into it."""
        if self._writer is None:
            return
        self._writer.finish(end - self._begin)
        check_written(self._writer.path, self._tick, self._stamps)
        with open(self._writer.path, "rb") as file:
            os.fsync(file.fileno())  # a name must not reach the disk before its content
        self._writer, self._stamps = None, array("q")
