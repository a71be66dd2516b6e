"""Reading a video file's frames in the order in which they are shown, with jumps that lose no pixel.

A jump goes to the keyframe before the wanted frame and decodes forward from there. Two things can go wrong. In an open
group of pictures the frames that are shown before the keyframe, but stored after it, refer to frames never read; and an
index may call a frame a keyframe that is none, or may be missing. So a landing counts only if the first frame kept is
the keyframe itself, whole, and not later than the frame wanted. Otherwise an earlier keyframe is tried, and in the end
the file is read from its start.

On the way to a frame, H.264 pictures that no other refers to are left out where it is sure that they are not wanted:
one read before begins later, yet not after the wanted time. (No other codec says of a picture that none refers to it.)
A damaged file makes the decoder borrow from any picture, so at the first error the reading begins anew, with all.

Frames are named here by stamps: integers in units of the stream's time base, as the file counts them.

Source: checked against sequential decoding, pixel by pixel, in tests/unit/video/test_decoder_zoo.py.
"""

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from av import VideoFrame
from av.error import FFmpegError
from av.packet import Packet

from playhead.errors import DecodeError
from playhead.video.container import find_video_stream, open_container
from playhead.video.source import TOLERANCE

MAX_BARREN_PACKETS = 512
"""So many packets in a row without a frame end a reading; a decoder holds back 16 frames, and some per thread."""

BARE_STREAMS = ("h264", "hevc", "m4v", "mpegvideo", "obu")
"""Files of a codec's bytes alone, without times."""

BACKTRACK = (0.0, 2.0, 10.0)
"""Seconds before the wanted frame at which a keyframe is sought, in turn, before the file is read from its start."""

WORTH_A_JUMP = 4
"""A keyframe fewer frames ahead than this is reached faster by decoding on."""

FAR = 10.0
"""So many seconds ahead, in a file without an index, a jump is tried."""

RECENT = 16
"""So many packets back one is sought that begins later: H.264 moves a picture by at most so many."""

LONGEST_GUESS = 0.1
"""A last frame without a length of its own is taken to last as long as the one before, but no longer than this."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A decoded frame and the stamp from which it is on screen."""

    stamp: int
    frame: VideoFrame


class _DamagedError(Exception):
    """A picture does not decode, or not alone, and some before it may have been left out."""


class ForwardReader:
    """Gives the frame on screen at a stamp; going forward costs no jump.

    `first` is the first displayed frame: time zero. `jumps` says whether the file's times survive a seek, `frame_step`
    is the usual distance of stamps. `threads` bounds the decoder's threads.

    Raises:
        DecodeError: the file is no video, or not one frame of it can be decoded.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 1):
        self.path, self._threads = os.fspath(path), threads
        self._counts_frames = False
        self._skips_ahead = True
        self._wanted: list[int] = []  # the stamps asked for now and next, ascending; none if every frame counts
        # With threads for slices the decoder hides errors.
        self._may_leave_out = threads == 1
        self._open()
        self.first = self._first_frame()
        kind = self.container.format.name
        # AVI stores no times of display, so with B-frames they are guessed, and out of order: count frames instead.
        shuffled = kind == "avi" and bool(self.stream.codec_context.has_b_frames)
        if shuffled or kind in BARE_STREAMS or self.first.frame.pts is None:
            self._counts_frames = True
            self._restart()
            self.first = self._first_frame()
        self.jumps = not self._counts_frames and kind != "mpeg"  # a program stream's times are guessed after a seek
        entries = self.stream.index_entries
        # An index may count by decoding time, which runs ahead of the time of display.
        self._index_shift = max(0, self.first.stamp - entries[0].timestamp) if len(entries) else 0

    def time_of(self, stamp: int) -> float:
        """Return the seconds from the first displayed frame to `stamp`."""
        return (stamp - self.first.stamp) * self._tick

    def stamp_at(self, time: float) -> int:
        """Return the last stamp at which a frame on screen at `time` may begin."""
        return self.first.stamp + math.floor((time + TOLERANCE) / self._tick)

    @property
    def at_end(self) -> bool:
        """Whether nothing more can be read."""
        return self._ahead is None

    @property
    def last(self) -> Shown:
        """The frame reached last; at the end of the file, its last whole frame."""
        return self._shown or self.first

    @property
    def end(self) -> int:
        """The stamp at which the frame reached last leaves the screen, if no other follows."""
        guess = min(self._gap, round(LONGEST_GUESS / self._tick))
        return self.last.stamp + max(self._step_of(self.last.frame), guess)

    @property
    def failure(self) -> str:
        """Why reading stopped early, if it did; else empty."""
        return self._failure or ("the frames after it cannot be decoded" if self._broken_by(None) else "")

    def on_screen(self, stamp: int, then: Sequence[int] = ()) -> Shown | None:
        """Return the frame on screen at `stamp`, or None where the file's frames have ended before.

        `then` are the stamps that will be asked for next, ascending; pictures between them may be left out, so
        `advance` must not follow.

        Raises:
            DecodeError: the frame that belongs there is broken, and whole ones follow.
        """
        self._wanted = [stamp, *then]
        try:
            return self._seek(stamp)
        except _DamagedError:
            self._leave_out_nothing()
            return self._seek(stamp)

    def _seek(self, stamp: int) -> Shown | None:
        if not self._continues_to(stamp):
            self._jump(stamp)
        while self._ahead is not None and self._ahead.stamp <= stamp:
            self._step_on()
        broken = self._broken_by(stamp)
        if self._ahead is None and (broken or stamp > self.end + math.ceil(2 * TOLERANCE / self._tick)):
            return None
        if broken:
            raise self._broken_error()
        return self.last

    def advance(self) -> Shown | None:
        """Go on to the next frame and return it, or None at the end.

        Raises:
            DecodeError: the next frame is broken, and whole ones follow.
        """
        self._wanted = []
        if self._ahead is None:
            return None
        if self._broken_by(self._ahead.stamp):
            raise self._broken_error()
        try:
            self._step_on()
        except _DamagedError:
            here = self.last.stamp
            self._leave_out_nothing()
            self._seek(here)
            return self.advance()
        return self._shown

    def close(self) -> None:
        """Let go of the file and of the frames held."""
        self._shown = self._ahead = None
        self._queue.clear()
        self.container.close()

    def _leave_out_nothing(self) -> None:
        self._may_leave_out = False
        self._restart()

    def _step_on(self) -> None:
        if self._shown is not None and self._ahead is not None:
            before = [stamp for stamp, _ in self._passed if stamp < self._ahead.stamp]
            self._gap = self._ahead.stamp - max([self._shown.stamp, *before])
            self._passed = [pair for pair in self._passed if pair[1] > self._ahead.stamp]
        self._shown, self._ahead = self._ahead, self._read()

    def _broken_error(self) -> DecodeError:
        begin = min(one for one in self._broken if one > self.last.stamp)
        problem = "the frame that begins here is broken in the file and cannot be decoded; choose other times."
        return DecodeError(problem, path=self.path, time=self.time_of(begin))

    def _broken_by(self, stamp: int | None) -> bool:
        return any(self.last.stamp < one and (stamp is None or one <= stamp) for one in self._broken)

    def _continues_to(self, stamp: int) -> bool:
        """Whether reading on is the way to `stamp`: it is not behind, and no keyframe far ahead shortens the way."""
        behind = self._shown or self._ahead
        if behind is None or stamp < behind.stamp or any(one <= stamp < later for one, later in self._passed):
            return False
        if self._ahead is None or stamp < self._ahead.stamp or not (self.jumps and self._skips_ahead):
            return True
        entries = self.stream.index_entries
        place = entries.search_timestamp(stamp - self._index_shift) if len(entries) else -1
        if place >= 0 and entries[place].timestamp - self._ahead.stamp > WORTH_A_JUMP * self.frame_step:
            return False
        index_ends_before = not len(entries) or entries[-1].timestamp < stamp
        return not (index_ends_before and (stamp - self._ahead.stamp) * self._tick > FAR)

    def _jump(self, stamp: int) -> None:
        left = None if self._shown is None or stamp < self._shown.stamp else self._shown.stamp
        for seconds in BACKTRACK if self.jumps else ():
            landed = self._land(stamp - round(seconds / self._tick))
            if landed is not None and landed <= stamp:
                # A jump ahead that lands behind means that the index names keyframes that are none.
                self._skips_ahead = self._skips_ahead and (left is None or landed > left)
                return
        self._skips_ahead = self._skips_ahead and left is None
        self._restart()

    def _land(self, target: int) -> int | None:
        """Seek to the keyframe before `target`; return its stamp, or None if it is not to be trusted."""
        try:
            self.container.seek(target, stream=self.stream)
        except FFmpegError:
            return None
        self._begin()
        for _ in range(MAX_BARREN_PACKETS):
            packet = self._next_packet()
            if packet is None or (packet.is_keyframe and packet.pts is None):
                return None
            if packet.is_keyframe:
                self._floor = packet.pts
                self._decode(packet)
                self._ahead = self._read()
                break
        whole = self._ahead is not None and self._ahead.stamp == self._floor and self._ahead.frame.key_frame
        return self._floor if whole else None

    def _open(self) -> None:
        self.container = open_container(self.path)
        self.stream = find_video_stream(self.container, self.path)
        # Frame threads ("AUTO") can deadlock PyAV 18.1 on close once anyone has called av.logging.set_level.
        self.stream.thread_type = "SLICE" if self._threads > 1 else "NONE"
        self.stream.codec_context.thread_count = self._threads
        self.time_base = self.stream.time_base or Fraction(1, 1_000_000)
        self._tick = float(self.time_base)  # seconds
        # Flash and Matroska files without a rate have the inverse of their time base, 1000, in its place.
        rate = min((r for r in (self.stream.average_rate, self.stream.guessed_rate) if r), default=Fraction(30))
        self.frame_step = max(1, round(1 / (rate * self.time_base)))
        self._may_leave_out = (
            self._may_leave_out and self.stream.codec_context.name == "h264" and not self._counts_frames
        )
        if self._may_leave_out:
            self.stream.codec_context.options = {"err_detect": "explode"}  # else it mends some errors without a word
        self._begin()
        try:
            self._ahead = self._read()
        except _DamagedError:
            self._leave_out_nothing()

    def _restart(self) -> None:
        self.container.close()
        self._open()

    def _first_frame(self) -> Shown:
        if self._ahead is not None:
            return self._ahead
        codec = self.stream.codec_context.name
        reason = self._failure or ("its packets do not decode" if self._broken else "it holds no picture")
        self.close()
        raise DecodeError(f"no frame of its {codec} video can be decoded: {reason}.", path=self.path)

    def _begin(self) -> None:
        """Forget what was read; the next packet is the one at which the container stands."""
        self._packets: Iterator[Packet] = self.container.demux(self.stream)
        self._queue: deque[Shown] = deque()
        self._broken: list[int] = []  # stamps of frames that the file holds but that cannot be decoded
        self._doubtful: set[int] = set()  # stamps of packets that the container read only in part
        self._failure = ""  # why reading stopped before the end of the file, if it did
        self._last_stamp: int | None = None
        self._floor: int | None = None  # frames shown before the keyframe landed on may refer to frames never read
        self._shown: Shown | None = None
        self._ahead: Shown | None = None
        self._gap = 0  # from the frame before the one reached last
        self._recent: deque[int] = deque(maxlen=RECENT)  # stamps of the packets read last
        self._passed: list[tuple[int, int]] = []  # stamps of pictures that may be left out, and of one after each

    def _next_packet(self) -> Packet | None:
        try:
            return next(self._packets, None)
        except FFmpegError as error:
            self._failure = f"reading stopped: {error.strerror}"
            return None

    def _read(self) -> Shown | None:
        """Return the next frame to be shown, or None at the end."""
        for _ in range(MAX_BARREN_PACKETS):
            if self._queue:
                return self._queue.popleft()
            packet = self._next_packet()
            if packet is None:
                return None
            self._decode(packet)
        if self._queue:
            return self._queue.popleft()
        self._failure = f"{MAX_BARREN_PACKETS} packets in a row gave no frame"
        self._packets = iter(())
        return None

    def _decode(self, packet: Packet) -> None:
        if packet.is_corrupt and packet.pts is not None:
            self._doubtful.add(packet.pts)
        self.stream.codec_context.skip_frame = "NONREF" if self._passes(packet) else "DEFAULT"
        try:
            frames = packet.decode()
        except FFmpegError as error:
            if self._may_leave_out:
                raise _DamagedError from error
            guess = (self._last_stamp or 0) + 1
            self._mark_broken(guess if packet.pts is None or self._counts_frames else packet.pts)
            return
        for frame in frames:
            if isinstance(frame, VideoFrame):
                # Of two fields in one packet, another picture may refer to one only.
                if self._may_leave_out and (frame.is_corrupt or frame.interlaced_frame):
                    raise _DamagedError
                self._take(frame)

    def _passes(self, packet: Packet) -> bool:
        """Whether a picture can be left out, if no other refers to it: at the wanted times later ones are on screen."""
        stamp = packet.pts
        if not self._may_leave_out or stamp is None or packet.is_discard:
            return False
        self._recent.append(stamp)
        time = next((wanted for wanted in self._wanted if wanted >= stamp), None)
        later = None if time is None else max((one for one in self._recent if stamp < one <= time), default=None)
        if later is None:
            return False
        self._passed.append((stamp, later))
        return True

    def _take(self, frame: VideoFrame) -> None:
        stamp = self._stamp_of(frame)
        if self._floor is not None and stamp < self._floor:
            return
        if frame.is_corrupt or frame.pts in self._doubtful:
            self._mark_broken(stamp)
        elif self._last_stamp is None or stamp > self._last_stamp:
            self._last_stamp = stamp
            self._queue.append(Shown(stamp, frame))

    def _mark_broken(self, stamp: int) -> None:
        if self._floor is None or stamp >= self._floor:
            self._broken.append(stamp)

    def _stamp_of(self, frame: VideoFrame) -> int:
        if frame.pts is not None and not self._counts_frames:
            return frame.pts
        if frame.dts is not None and (self._last_stamp is None or frame.dts > self._last_stamp):
            return frame.dts
        return 0 if self._last_stamp is None else self._last_stamp + self._step_of(frame)

    def _step_of(self, frame: VideoFrame) -> int:
        return frame.duration or self.frame_step
