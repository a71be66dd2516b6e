"""Real files of every kind: read at random they give the frames of sequential decoding, or say what is wrong.

The files are not part of the project; PLAYHEAD_DATA names the folder that holds them.
"""

import os
import random
from pathlib import Path

import av
import numpy as np
import pytest
from made_videos import decode_all

from playhead.errors import DecodeError
from playhead.video.decode import Decoder

DATA = Path(os.environ.get("PLAYHEAD_DATA") or Path(__file__).parents[3].parent / "shared" / "data")
FILES = sorted(path for path in (DATA / "video").rglob("*") if path.is_file())
HERE = pytest.mark.skipif(not FILES, reason=f"no video files under {DATA / 'video'}; set PLAYHEAD_DATA to run this")

UNREADABLE = {
    "cues_before_clusters.webm": "no frame of its vp8 video can be decoded",
    "invalid_vp9_bitstream-bug_1416.webm": "no frame of its vp9 video can be decoded",
    "sample_audio_only.mp4": "no video stream, only audio",
    "sample_init.encv.mp4": "no frame of its h264 video can be decoded",
    "sample_malformed_free_box.mp4": "is no readable video",
    "sample_opus.mp4": "no video stream, only audio",
    "sample_qt.mp4": "no frame of its h264 video can be decoded",
}

BROKEN_IN_PART = {"corrupted.mp4": 3.0, "sample_with_invalid_nalu.mp4": 26 / 30 * 1.001}
"""The seconds at which the first broken frame begins."""

LONG = 150
"""Frames of a file that are compared at most; the largest files are read in part, to stay within seconds."""

TURNS = {"video_90.mov": -1, "video_180.mov": 2, "video_270.mov": 1, "fire2.mp4": 2}
"""Quarter turns, counter-clockwise, from stored to displayed pixels."""


def turned_truth(path, limit):
    turns = TURNS.get(path.name, 0)
    height, width = (64, 48) if turns % 2 else (48, 64)
    return [
        (time, np.rot90(pixels, turns)) for time, pixels in decode_all(path, limit=limit, width=width, height=height)
    ]


@HERE
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_frames_read_at_random_are_those_of_sequential_decoding(path):
    if path.name in UNREADABLE:
        with pytest.raises(DecodeError, match=UNREADABLE[path.name]) as error:
            Decoder(path)
        assert str(path) in str(error.value)
        return
    truth = turned_truth(path, LONG)
    whole = truth[: max(1, len(truth) - 16)] if len(truth) >= LONG else truth  # the last may come before others
    numbers = random.Random(path.name).sample(range(len(whole)), min(8, len(whole)))
    with Decoder(path) as decoder:
        for number in [*numbers, len(whole) - 1]:
            clip = decoder.frames_at([whole[number][0]], size=(48, 64))
            assert clip.times.item() == pytest.approx(whole[number][0], abs=1e-6)
            np.testing.assert_array_equal(clip.frames[0].permute(1, 2, 0).numpy(), whole[number][1])


@HERE
@pytest.mark.parametrize("name", BROKEN_IN_PART)
def test_a_broken_frame_is_named_and_not_replaced(name):
    path = next(path for path in FILES if path.name == name)
    with Decoder(path) as decoder, pytest.raises(DecodeError, match="broken in the file") as error:
        decoder.frames_at([BROKEN_IN_PART[name]])
    assert error.value.time == pytest.approx(BROKEN_IN_PART[name], abs=1e-3)


@HERE
@pytest.mark.parametrize("name", ["hdr10-av1.mp4", "sample_with_srt.mkv", "nasa_13013.mp4", "sample_fragmented.mp4"])
def test_native_pixels_are_those_of_sequential_decoding(name):
    path = next(path for path in FILES if path.name == name)
    truth = decode_all(path, limit=40)
    with Decoder(path) as decoder:
        for number in (7, 3, 0):
            clip = decoder.frames_at([truth[number][0]])
            np.testing.assert_array_equal(clip.frames[0].permute(1, 2, 0).numpy(), truth[number][1])


@HERE
@pytest.mark.parametrize("path", [path for path in FILES if path.name not in UNREADABLE], ids=lambda path: path.name)
def test_the_duration_is_the_end_of_the_last_frame(path):
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.best("video")) if packet.size]
        stamps = sorted(packet.pts for packet in packets if not packet.is_discard)
        time_base = float(packets[0].stream.time_base)
    with Decoder(path) as decoder:
        info = decoder.info
    # Containers round, and count a dropped first or last frame in or out: at most two frames.
    assert info.duration == pytest.approx((stamps[-1] - stamps[0]) * time_base, abs=2.01 / info.fps + 0.01)
    assert abs(info.num_frames - len({*stamps})) <= 0.1 * len(stamps) + 2
