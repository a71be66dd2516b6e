"""Pictures that no other refers to are left out on the way to a frame, and no pixel changes by it."""

import random

import av
import numpy as np
import pytest
from made_videos import X264, decode_all, write_video

from playhead.errors import DecodeError
from playhead.video.decoder import Decoder
from playhead.video.forward import ForwardReader

PYRAMID = {"preset": "fast", "g": "100", "bf": "5", "b-pyramid": "normal", "b_strategy": "0"}


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory):
    path = write_video(tmp_path_factory.mktemp("video") / "pyramid.mp4", num_frames=120, options=PYRAMID)
    return path, decode_all(path)


def require_equal(clip, expected):
    assert clip.times.tolist() == pytest.approx([time for time, _ in expected], abs=1e-6)
    for frame, (_, pixels) in zip(clip.frames, expected, strict=True):
        np.testing.assert_array_equal(frame.permute(1, 2, 0).numpy(), pixels)


@pytest.fixture
def left_out(monkeypatch):
    """Stamps of the pictures for which the decoder was told that it may leave them out."""
    found = []
    passes = ForwardReader._passes

    def note(self, packet):
        answer = passes(self, packet)
        found.extend([packet.pts] if answer else [])
        return answer

    monkeypatch.setattr(ForwardReader, "_passes", note)
    return found


def test_clips_in_any_order_and_times_between_them_give_the_frames_of_sequential_decoding(pyramid, left_out):
    path, truth = pyramid
    draw = random.Random(0)
    with Decoder(path) as decoder:
        for _ in range(60):
            numbers = [draw.randrange(len(truth)) for _ in range(draw.randint(1, 6))]
            require_equal(decoder.frames_at([truth[number][0] for number in numbers]), [truth[n] for n in numbers])
            number = draw.randrange(min(numbers), max(numbers) + 1)  # a time that was passed over before
            require_equal(decoder.frames_at([truth[number][0]]), [truth[number]])
    assert len(left_out) > 100


@pytest.mark.parametrize("fps", [3.0, 7.48, 11.0, 29.0])
def test_a_stream_of_a_rate_gives_the_frames_of_sequential_decoding(pyramid, fps, left_out):
    path, truth = pyramid
    with Decoder(path) as decoder:
        streamed = list(decoder.stream(fps=fps))
    expected = [truth[min(len(truth) - 1, int(30 * step / fps + 0.016))] for step in range(len(streamed))]
    assert len(streamed) == int(np.ceil(4.0 * fps))
    for (time, frame), (begin, pixels) in zip(streamed, expected, strict=True):
        assert time == pytest.approx(begin, abs=1e-6)
        np.testing.assert_array_equal(frame.permute(1, 2, 0).numpy(), pixels)
    assert left_out or fps > 15


def test_nothing_is_left_out_where_every_frame_is_asked_for(pyramid, left_out):
    path, truth = pyramid
    with Decoder(path) as decoder:
        assert len(list(decoder.stream())) == len(truth)
    assert not left_out


def test_the_last_frame_lasts_as_long_though_the_one_before_was_left_out(pyramid):
    path, truth = pyramid
    with Decoder(path) as decoder:
        require_equal(decoder.frames_at([4.0 - 1e-3]), [truth[-1]])
        with pytest.raises(DecodeError, match=r"the video ends at 4\.00 s"):
            decoder.frames_at([4.01])
        require_equal(decoder.frames_at([9.0], on_short="repeat_last"), [truth[-1]])


def test_interlaced_pictures_are_all_decoded(tmp_path):
    path = write_video(tmp_path / "fields.mp4", options=PYRAMID | {"x264-params": "tff=1:interlaced=1"})
    truth = decode_all(path)
    with Decoder(path) as decoder:
        for number in random.Random(1).sample(range(len(truth)), 20):
            require_equal(decoder.frames_at([truth[number][0]]), [truth[number]])
        assert not decoder._reader._may_leave_out


def test_after_damage_frames_are_given_as_in_sequential_decoding(tmp_path):
    path = write_video(tmp_path / "damaged.mp4", num_frames=90, options=X264 | {"bf": "3", "g": "30"})
    with av.open(str(path)) as container:
        hit = [packet for packet in container.demux(video=0) if packet.size][40]
        place, stamp = hit.pos, float(hit.pts * hit.time_base)
    content = bytearray(path.read_bytes())
    content[place + 6 : place + 40] = bytes(34)
    path.write_bytes(content)
    truth = decode_all(path)
    assert len(truth) < 90
    with Decoder(path) as decoder:
        for number in random.Random(2).sample(range(len(truth)), len(truth)):
            require_equal(decoder.frames_at([truth[number][0]]), [truth[number]])
        with pytest.raises(DecodeError, match="broken in the file"):
            decoder.frames_at([stamp])
