"""Small videos written for the decoder tests, and the truth about them: PyAV's own decoding from start to end."""

from fractions import Fraction

import av
import numpy as np
import pytest


def picture(number, width, height):
    """A scene that moves from frame to frame, so that no two frames are alike and prediction has work to do."""
    y, x = np.mgrid[:height, :width]
    red = 127 + 120 * np.sin((x + 3 * number) / 7)
    green = 127 + 120 * np.cos((y - 2 * number) / 9)
    blue = (x * 3 + y * 5 + number * 11) % 256
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def write_video(
    path,
    *,
    num_frames=60,
    first=0,
    size=(64, 48),
    codec="libx264",
    pixel_format="yuv420p",
    fps=30,
    stamps=None,
    options=None,
    container_options=None,
    matrix=None,
):
    """Write `num_frames` frames from number `first` of the scene on.

    `stamps` (in milliseconds) makes the rate variable, `matrix` is a display matrix.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.thread_count = 1
        if matrix is not None:
            stream.set_display_matrix(matrix)
        if stamps is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(first + number, *size), format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            else:
                frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_audio(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.codec_context.layout = "mono"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    return path


def decode_all(path, *, stream_index=None, limit=None, **scaling):
    """Return the (seconds, pixels) of every frame as it comes from start to end, (H, W, C), time zero being the first.

    AVI and bare H.264 have no times of display, so there frames are counted.
    """
    found = []
    with av.open(str(path)) as container:
        best = container.streams.best("video")
        stream = best if stream_index is None else container.streams.video[stream_index]
        stream.thread_type = "NONE"
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            found += [
                (frame.pts, frame.reformat(format="rgb24", threads=1, **scaling).to_ndarray())
                for frame in frames
                if not frame.is_corrupt
            ]
            if limit is not None and len(found) >= limit:
                break
        if container.format.name == "h264" or (container.format.name == "avi" and stream.codec_context.has_b_frames):
            return [(float(number / stream.average_rate), pixels) for number, (_, pixels) in enumerate(found)]
        return [(float((stamp - found[0][0]) * stream.time_base), pixels) for stamp, pixels in found]


X264 = {"preset": "ultrafast", "g": "20", "keyint_min": "20", "sc_threshold": "0"}

KINDS = {
    "h264 with B-frames": ("b.mp4", {"options": X264 | {"bf": "3", "b-pyramid": "normal"}}),
    "h264 open GOP": ("open.mp4", {"options": X264 | {"bf": "3", "x264-params": "open-gop=1:keyint=20:scenecut=0"}}),
    "h264 open GOP in Matroska": (
        "open.mkv",
        {"options": X264 | {"bf": "3", "x264-params": "open-gop=1:keyint=20:scenecut=0"}},
    ),
    "h264 open GOP in a transport stream": (
        "open.ts",
        {"options": X264 | {"bf": "3", "x264-params": "open-gop=1:keyint=20:scenecut=0"}},
    ),
    "h264 that refreshes without keyframes": ("refresh.mp4", {"options": X264 | {"intra-refresh": "1", "bf": "0"}}),
    "h264 with B-frames in AVI": ("b.avi", {"options": X264 | {"bf": "2"}}),
    "h264 in Flash": ("b.flv", {"options": X264 | {"bf": "2"}}),
    "h264 in fragments": (
        "fragments.mp4",
        {"options": X264 | {"bf": "2"}, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    ),
    "h264 of variable frame rate": (
        "vfr.mp4",
        {"options": X264 | {"bf": "2"}, "stamps": np.cumsum(10 + 7 * (np.arange(60) % 11)).tolist()},
    ),
    "h264 that starts late": (
        "late.mkv",
        {"options": X264 | {"bf": "2"}, "stamps": (5000 + 40 * np.arange(60)).tolist()},
    ),
    "h264 without container": ("bare.h264", {"options": X264 | {"bf": "2"}, "fps": 25}),
    "h264 of odd sides": ("odd.mp4", {"options": X264, "size": (65, 47), "pixel_format": "yuv444p"}),
    "h264 of 10 bits": ("ten.mp4", {"options": X264 | {"bf": "2"}, "pixel_format": "yuv420p10le"}),
    "hevc with leading frames": (
        "cra.mp4",
        {
            "codec": "libx265",
            "options": {"preset": "ultrafast", "x265-params": "keyint=15:open-gop=1:bframes=3:log-level=none"},
        },
    ),
    "mpeg2 open GOP": ("open.mpg", {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}}),
    "mpeg4": ("part2.mp4", {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}}),
    "mpeg4 in AVI": ("part2.avi", {"codec": "mpeg4", "options": {"g": "12"}}),
    "motion jpeg": ("stills.mov", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
    "vp9 with hidden frames": (
        "hidden.webm",
        {
            "codec": "libvpx-vp9",
            "options": {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "10", "cpu-used": "8", "deadline": "realtime"},
        },
    ),
    "gif": ("moving.gif", {"codec": "gif", "pixel_format": "rgb8", "fps": 20}),
}


def make(kind, folder):
    name, settings = KINDS[kind]
    try:
        return write_video(folder / name, **settings)
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this build of PyAV cannot write {kind}")
