"""Random reading against PyAV's own decoding from start to end, on files written here."""

import math
import os
import random
import time

import numpy as np
import pytest
import torch
from made_videos import KINDS, X264, decode_all, make, picture, write_audio, write_video

from playhead.errors import DecodeError
from playhead.video.decode import Decoder, open_video, probe
from playhead.video.folder import FrameFolder
from playhead.video.forward import ForwardReader


def pixels_of(clip):
    return list(clip.frames.permute(0, 2, 3, 1).numpy())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "plain.mp4", options=X264 | {"bf": "2"})


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_read_at_random_equals_the_one_read_in_order(kind, tmp_path):
    path = make(kind, tmp_path)
    truth = decode_all(path)
    order = random.Random(0).sample(range(len(truth)), len(truth))
    with Decoder(path) as decoder:
        for number in order:
            clip = decoder.frames_at([truth[number][0]])
            assert clip.times.item() == pytest.approx(truth[number][0], abs=1e-6)
            np.testing.assert_array_equal(pixels_of(clip)[0], truth[number][1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_stream_gives_every_frame_once(kind, tmp_path):
    path = make(kind, tmp_path)
    truth = decode_all(path)
    with Decoder(path) as decoder:
        streamed = list(decoder.stream())
        assert decoder.info.duration == pytest.approx(truth[-1][0] + 1 / decoder.info.fps, abs=0.04)
    assert [time for time, _ in streamed] == pytest.approx([time for time, _ in truth], abs=1e-6)
    for (_, found), (_, expected) in zip(streamed, truth, strict=True):
        np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), expected)


def test_the_frame_at_a_time_is_the_last_that_began(tmp_path):
    stamps = np.cumsum(10 + 7 * (np.arange(60) % 11)).tolist()
    path = write_video(tmp_path / "vfr.mkv", stamps=stamps, options=X264)
    begins = (np.array(stamps) - stamps[0]) / 1000
    asked = np.random.default_rng(0).uniform(0, begins[-1], 50)
    expected = [begins[begins <= moment + 0.0005].max() for moment in asked]
    with Decoder(path) as decoder:
        assert decoder.frames_at(asked).times.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "avi"])
def test_frame_k_is_on_screen_at_k_over_fps_though_stamps_are_rounded(ending, tmp_path):
    path = write_video(tmp_path / f"v.{ending}", options=X264 | {"bf": "0"})
    truth = decode_all(path)
    with Decoder(path) as decoder:
        clip = decoder.frames_at([k / 30 for k in range(60)])
    np.testing.assert_array_equal(np.stack(pixels_of(clip)), np.stack([pixels for _, pixels in truth]))


def test_times_may_be_unsorted_and_repeated(plain):
    with Decoder(plain) as decoder:
        clip = decoder.frames_at([1.5, 0.0, 1.5, 0.7])
        each = [decoder.frames_at([moment]) for moment in (1.5, 0.0, 1.5, 0.7)]
    assert torch.equal(clip.frames, torch.cat([one.frames for one in each]))
    assert torch.equal(clip.times, torch.cat([one.times for one in each]))


def test_a_frame_shows_what_was_encoded(plain):
    with Decoder(plain) as decoder:
        shown = pixels_of(decoder.frames_at([40 / 30]))[0].astype(int)
    distances = [np.abs(shown - picture(number, 64, 48)).mean() for number in range(60)]
    assert int(np.argmin(distances)) == 40


def test_time_zero_is_the_first_frame_of_a_file_that_starts_late(tmp_path):
    path = write_video(tmp_path / "late.mkv", stamps=(5000 + 40 * np.arange(60)).tolist(), options=X264)
    with Decoder(path) as decoder:
        assert decoder.frames_at([0.0, 0.04]).times.tolist() == pytest.approx([0.0, 0.04])
        assert decoder.info.duration == pytest.approx(2.4, abs=1e-6)


def test_a_clip_costs_one_seek_and_a_following_one_none(plain, monkeypatch):
    with Decoder(plain) as decoder:
        landings = []
        land = decoder._reader._land
        monkeypatch.setattr(decoder._reader, "_land", lambda target: landings.append(target) or land(target))
        decoder.frames_at([1.40, 1.45, 1.50, 1.55])
        assert len(landings) == 1
        decoder.frames_at([1.6, 1.7])
        assert len(landings) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_going_forward_never_begins_anew_twice(kind, tmp_path, monkeypatch):
    reader = ForwardReader(make(kind, tmp_path))
    restarts = []
    restart = reader._restart
    monkeypatch.setattr(reader, "_restart", lambda: restarts.append(1) or restart())
    for number in range(0, 40, 2):
        reader.on_screen(reader.stamp_at(number / 30))
    reader.close()
    assert len(restarts) <= 1


def test_the_stream_keeps_to_its_grid_and_to_its_end(plain):
    with Decoder(plain) as decoder:
        times = [moment for moment, _ in decoder.stream(fps=7.48, start=0.5 / 7.48, end=1.0)]
    asked = [(k + 0.5) / 7.48 for k in range(7)]
    assert times == pytest.approx([math.floor(moment * 30 + 0.02) / 30 for moment in asked], abs=1e-6)


def test_a_grid_finer_than_the_video_repeats_frames(plain):
    with Decoder(plain) as decoder:
        times = [moment for moment, _ in decoder.stream(fps=60.0)]
    assert times == pytest.approx([k // 2 / 30 for k in range(120)], abs=1e-6)


def test_frames_may_be_asked_for_while_streaming(plain):
    with Decoder(plain) as decoder:
        alone = [frame for _, frame in decoder.stream()]
        beside = []
        for number, (_, frame) in enumerate(decoder.stream()):
            decoder.frames_at([(59 - number) / 30])
            beside.append(frame)
    assert torch.equal(torch.stack(alone), torch.stack(beside))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_pixels(plain, threads):
    with Decoder(plain, threads=threads) as decoder:
        frames = [frame.permute(1, 2, 0).numpy() for _, frame in decoder.stream()]
    np.testing.assert_array_equal(np.stack(frames), np.stack([pixels for _, pixels in decode_all(plain)]))


def test_scaling_is_that_of_swscale(plain):
    truth = decode_all(plain, width=36, height=24)
    with Decoder(plain) as decoder:
        clip = decoder.frames_at([0.5], size=(24, 36))
    np.testing.assert_array_equal(pixels_of(clip)[0], truth[15][1])


@pytest.mark.parametrize("moment", [-0.1, float("nan"), float("inf")])
def test_a_time_outside_all_videos_is_refused(plain, moment):
    with Decoder(plain) as decoder, pytest.raises(DecodeError, match="times count from the first frame"):
        decoder.frames_at([moment])


def test_a_time_past_the_end_names_file_time_and_end(plain):
    with Decoder(plain) as decoder, pytest.raises(DecodeError) as error:
        decoder.frames_at([2.5])
    assert str(plain) in str(error.value)
    assert "2.50 s" in str(error.value)
    assert "ends at 2.00 s" in str(error.value)
    assert error.value.time == 2.5


def test_a_time_past_the_end_may_repeat_the_last_frame(plain):
    with Decoder(plain) as decoder:
        clip = decoder.frames_at([0.5, 2.5, 9.0], on_short="repeat_last")
    assert clip.times.tolist() == pytest.approx([0.5, 59 / 30, 59 / 30])
    np.testing.assert_array_equal(pixels_of(clip)[2], decode_all(plain)[-1][1])


def test_no_times_are_an_error(plain):
    with Decoder(plain) as decoder, pytest.raises(ValueError, match="empty"):
        decoder.frames_at([])


def test_the_end_itself_shows_the_last_frame(plain):
    with Decoder(plain) as decoder:
        assert decoder.frames_at([decoder.info.duration]).times.item() == pytest.approx(59 / 30)


def test_probe_tells_what_was_written(plain):
    info = probe(plain)
    assert (info.width, info.height, info.num_frames, info.codec) == (64, 48, 60, "h264")
    assert (info.duration, info.fps, info.rotation, info.mirrored) == (2.0, 30.0, 0, False)


# What a phone writes when held upright, upside down ..., and a selfie: the matrix (a, b, c, d) sends a stored pixel
# (x, y) to (a x + c y, b x + d y).
MATRICES = {
    "turned by 90": ((0, 1, -1, 0), 90, False, lambda stored: np.rot90(stored, -1)),
    "turned by 180": ((-1, 0, 0, -1), 180, False, lambda stored: np.rot90(stored, 2)),
    "turned by 270": ((0, -1, 1, 0), 270, False, lambda stored: np.rot90(stored, 1)),
    "mirrored": ((-1, 0, 0, 1), 0, True, lambda stored: stored[:, ::-1]),
    "mirrored upside down": ((1, 0, 0, -1), 180, True, lambda stored: stored[::-1]),
    "turned by 90 and mirrored": ((0, 1, 1, 0), 90, True, lambda stored: np.rot90(stored, -1)[:, ::-1]),
}


@pytest.mark.parametrize("name", MATRICES)
def test_frames_are_turned_and_mirrored_as_displayed(name, tmp_path):
    (a, b, c, d), rotation, mirrored, turn = MATRICES[name]
    one = 1 << 16
    matrix = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]
    path = write_video(tmp_path / "turned.mp4", num_frames=4, options=X264, matrix=matrix)
    stored = decode_all(path)
    with Decoder(path) as decoder:
        clip, info = decoder.frames_at([0.0, 0.1]), decoder.info
        scaled = decoder.frames_at([0.0], size=24)
    assert (info.rotation, info.mirrored) == (rotation, mirrored)
    assert (info.height, info.width) == turn(stored[0][1]).shape[:2]
    np.testing.assert_array_equal(pixels_of(clip)[1], turn(stored[3][1]))
    assert min(scaled.frames.shape[-2:]) == 24
    assert (scaled.frames.shape[-1] > 24) == (info.width > info.height)


def write_bytes(path, content):
    path.write_bytes(content)
    return path


def cut(path, share):
    content = path.read_bytes()
    return content[: int(len(content) * share)]


BROKEN = {
    "empty": (lambda folder: write_bytes(folder / "empty.mp4", b""), "is empty"),
    "text": (lambda folder: write_bytes(folder / "text.mp4", b"not a video at all\n" * 50), "no readable video"),
    "text by its name": (lambda folder: write_bytes(folder / "notes.txt", b"hello\n" * 50), "no readable video"),
    "noise": (lambda folder: write_bytes(folder / "noise.mp4", random.Random(0).randbytes(9000)), "video"),
    "audio only": (lambda folder: write_audio(folder / "audio.mp4"), "no video stream, only audio"),
    "index cut off": (
        lambda folder: write_bytes(folder / "cut.mp4", cut(write_video(folder / "whole.mp4", options=X264), 0.5)),
        "no readable video",
    ),
    "missing": (lambda folder: folder / "missing.mp4", "No such file"),
    "folder": (lambda folder: folder, "is a folder"),
    "still": (
        lambda folder: write_video(folder / "still.png", num_frames=1, codec="png", pixel_format="rgb24"),
        "is no video but",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_video_is_refused_by_name_and_reason(kind, tmp_path):
    make_file, reason = BROKEN[kind]
    path = make_file(tmp_path)
    with pytest.raises(DecodeError, match=reason) as error:
        Decoder(path)
    assert str(path) in str(error.value)


def test_a_pipe_without_a_writer_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(DecodeError, match="not a regular file"):
        Decoder(tmp_path / "pipe.mp4")


def test_a_play_list_may_not_reach_other_files(tmp_path, plain):
    path = write_bytes(tmp_path / "list.m3u8", f"#EXTM3U\n#EXTINF:2,\n{plain}\n#EXT-X-ENDLIST\n".encode())
    with pytest.raises(DecodeError):
        Decoder(path)


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    """A file whose header tells of 10 s, and that holds about half of them."""
    folder = tmp_path_factory.mktemp("cut")
    whole = write_video(
        folder / "whole.mp4", num_frames=300, options=X264 | {"bf": "0"}, container_options={"movflags": "faststart"}
    )
    return write_bytes(folder / "cut.mp4", cut(whole, 0.5)), whole


def test_a_file_cut_off_gives_what_it_holds_and_no_more(cut_off):
    path, whole = cut_off
    truth = decode_all(whole)
    with Decoder(path) as decoder:
        np.testing.assert_array_equal(pixels_of(decoder.frames_at([1.0]))[0], truth[30][1])
        with pytest.raises(DecodeError, match=r"at 9\.00 s: .*ends at [345]\.\d\d s"):
            decoder.frames_at([9.0])


def test_the_stream_of_a_file_cut_off_ends_with_an_error(cut_off):
    path, whole = cut_off
    truth, found = decode_all(whole), []
    with Decoder(path) as decoder, pytest.raises(DecodeError, match=r"should last 10\.00 s"):
        for _, frame in decoder.stream():
            found.append(frame.permute(1, 2, 0).numpy())
    assert 100 < len(found) < 200
    np.testing.assert_array_equal(np.stack(found), np.stack([pixels for _, pixels in truth[: len(found)]]))


def test_a_stream_that_ends_before_the_cut_is_no_error(cut_off):
    with Decoder(cut_off[0]) as decoder:
        assert len(list(decoder.stream(end=2.0))) == 60


def test_a_broken_frame_is_an_error_and_the_others_are_given(tmp_path):
    path = write_video(tmp_path / "jpegs.avi", codec="mjpeg", pixel_format="yuvj420p", num_frames=30)
    truth = decode_all(path)
    content = bytearray(path.read_bytes())
    begins = [place for place in range(len(content)) if content[place : place + 3] == b"\xff\xd8\xff"]
    content[begins[10] : begins[10] + 300] = bytes(300)
    path.write_bytes(content)
    with Decoder(path) as decoder:
        for number in (11, 9, 29, 0):
            np.testing.assert_array_equal(pixels_of(decoder.frames_at([number / 30]))[0], truth[number][1])
        with pytest.raises(DecodeError, match=r"at 0\.33 s: the frame that begins here is broken"):
            decoder.frames_at([0.34])
        with pytest.raises(DecodeError, match=r"at 0\.33 s: the frame that begins here is broken"):
            list(decoder.stream())


def test_packets_without_frames_do_not_read_on_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr("playhead.video.forward.MAX_BARREN_PACKETS", 20)
    path = write_video(tmp_path / "jpegs.avi", codec="mjpeg", pixel_format="yuvj420p", num_frames=60)
    content = bytearray(path.read_bytes())
    for place in range(len(content)):
        if content[place : place + 3] == b"\xff\xd8\xff":
            content[place : place + 300] = bytes(300)
    path.write_bytes(content)
    with pytest.raises(DecodeError, match="20 packets in a row gave no frame"):
        Decoder(path)


def test_open_video_picks_by_what_lies_there(plain, tmp_path):
    write_video(tmp_path / "0.png", num_frames=1, codec="png", pixel_format="rgb24")
    with open_video(plain) as source:
        assert isinstance(source, Decoder)
    with open_video(tmp_path, fps=5.0) as source:
        assert isinstance(source, FrameFolder)
    with pytest.raises(DecodeError, match="say their fps"):
        open_video(tmp_path)


def test_closing_after_an_early_stop_is_quick(plain):
    began = time.monotonic()
    for _ in range(20):
        with Decoder(plain, threads=2) as decoder:
            next(decoder.stream())
            decoder.frames_at([1.0])
    assert time.monotonic() - began < 60  # a deadlock, not slowness, is what this would catch
