"""What is known of a video file: its header where that can be trusted, else the time stamps at its two ends."""

import math
from contextlib import closing

from av.error import FFmpegError

from playhead.video.container import find_video_stream, open_container
from playhead.video.forward import ForwardReader
from playhead.video.pixels import read_orientation
from playhead.video.source import VideoInfo

PACKETS_FOR_RATE = 64
"""So many packets tell the frame rate of a file that does not store one."""

TAIL = 2.0
"""The last so many seconds are read to find the end of a file that does not store its duration."""

AGREEMENT = 0.1
"""A stored frame rate this near to the measured one is believed: VP9 also stores packets that show no frame."""


def describe(reader: ForwardReader) -> VideoInfo:
    """Return what is known of the file that `reader` has open; its position does not change."""
    stream, first = reader.stream, reader.first.frame
    orientation = read_orientation(first)
    stored = stream.duration is not None and stream.frames > 0
    if stored and stream.duration and stream.average_rate:
        duration, fps = float(stream.duration * reader.time_base), float(stream.average_rate)
    else:
        duration, fps = _measure(reader)
    height, width = (first.width, first.height) if orientation.transposed else (first.height, first.width)
    return VideoInfo(
        path=reader.path,
        duration=duration,
        width=width,
        height=height,
        fps=fps,
        num_frames=stream.frames or max(1, round(duration * fps)),
        codec=stream.codec_context.codec.canonical_name,
        rotation=orientation.rotation,
        mirrored=orientation.mirrored,
    )


def _measure(reader: ForwardReader) -> tuple[float, float]:
    """Return duration and frame rate from the time stamps at the two ends of a file that stores neither."""
    far = reader.first.stamp + math.ceil((reader.container.duration or 0) / 1e6 / reader.time_base)
    head = _packet_times(reader, limit=PACKETS_FOR_RATE)
    fps = _mean_rate(sorted({stamp for stamp, _ in head}), reader)
    tail = _packet_times(reader, seek_to=far - round(TAIL / reader.time_base)) if reader.jumps else []
    tail = tail or _packet_times(reader) or head
    step = 1 / fps
    ends = [reader.time_of(stamp) + max(step, float(length * reader.time_base)) for stamp, length in tail]
    return max([step, *ends]), fps


def _mean_rate(stamps: list[int], reader: ForwardReader) -> float:
    """Return frames per second by the stamps; by the header where that agrees, or where there is but one stamp."""
    claimed = float(reader.stream.average_rate or reader.stream.guessed_rate or 1)
    # The packets read last may belong before others not read yet, so a gap would count as a frame.
    stamps = stamps[:-16] if len(stamps) == PACKETS_FOR_RATE else stamps
    if len(stamps) < 2:
        return claimed
    measured = (len(stamps) - 1) / float((stamps[-1] - stamps[0]) * reader.time_base)
    return claimed if abs(measured - claimed) < AGREEMENT * claimed else measured


def _packet_times(reader: ForwardReader, seek_to: int | None = None, limit: int | None = None) -> list[tuple[int, int]]:
    """Return (stamp, length) of the packets of a file from a place on; what cannot be read ends the list."""
    times: list[tuple[int, int]] = []
    with closing(open_container(reader.path)) as container:
        stream = find_video_stream(container, reader.path)
        try:
            if seek_to is not None:
                container.seek(seek_to, stream=stream)
            for packet in container.demux(stream):
                if packet.size:
                    counted = reader.first.stamp + len(times) * reader.frame_step
                    times.append((counted if packet.pts is None else packet.pts, packet.duration or 0))
                if limit is not None and len(times) >= limit:
                    break
        except FFmpegError:
            return times  # a broken tail: the packets before it still tell
    return times
