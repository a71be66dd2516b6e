"""One video rewritten: what must be kept is compared with PyAV's own decoding of the source."""

from fractions import Fraction

import av
import numpy as np
import pytest
from made_videos import KINDS, X264, decode_all, make, write_video

from playhead.apps.transcode_video import Job, TranscodeSettings, hash_file, transcode_video
from playhead.errors import DecodeError
from playhead.video.chunk_files import ChunkIndex
from playhead.video.decode import open_video, probe

SMALL = TranscodeSettings(short_side=48, keyframe_every=8, crf=4)


def rewrite(source, folder, settings=SMALL, name="out.mp4", known=None):
    folder.mkdir(exist_ok=True)
    return transcode_video(Job(str(source), name, str(folder), settings, known), lambda share: None)


def packets_of(path):
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(container.streams.video[0]) if packet.size]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_keeps_its_frames_and_their_times(kind, tmp_path):
    source = make(kind, tmp_path)
    made = rewrite(source, tmp_path / "scratch")
    found = decode_all(made.path)
    height, width = found[0][1].shape[:2]
    assert (height, width) in ((48, 64), (48, 66))
    truth = decode_all(source, width=width, height=height)
    assert [time for time, _ in found] == pytest.approx([time for time, _ in truth], abs=1e-9)
    limit = 16 if kind == "gif" else 8  # of 255; the scene has hard edges, and the dots of a GIF lose their colour
    for (_, pixels), (_, expected) in zip(found, truth, strict=True):
        assert np.abs(pixels.astype(int) - expected).mean() < limit
    with open_video(source) as before, open_video(made.path) as after:
        assert after.info.duration == pytest.approx(before.info.duration, abs=0.06)
    assert made.info.num_frames == len(truth)


def test_keyframes_are_near_and_there_are_no_b_frames(tmp_path):
    source = write_video(tmp_path / "b.mp4", options=X264 | {"bf": "3", "g": "60"})
    packets = packets_of(rewrite(source, tmp_path / "scratch").path)
    assert all(packet.pts == packet.dts for packet in packets)
    keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert max(np.diff([*keys, len(packets)])) <= 8


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [((64, 48), 32, (42, 32)), ((48, 64), 32, (32, 42)), ((66, 32), 32, (66, 32)), ((64, 64), 96, (96, 96))],
)
def test_the_short_side_is_as_asked_and_both_are_even(size, short_side, expected, tmp_path):
    source = write_video(tmp_path / "v.mp4", num_frames=3, size=size, options=X264)
    info = probe(rewrite(source, tmp_path / "scratch", TranscodeSettings(short_side=short_side)).path)
    assert (info.width, info.height) == expected


# Matrices of a quarter turn clockwise, a half turn, three quarters, and of a mirror image (ISO/IEC 14496-12, 6.2.2).
MATRICES = {
    "90": ([0, 1, 0, -1, 0, 0], 3, False),
    "180": ([-1, 0, 0, 0, -1, 0], 2, False),
    "270": ([0, -1, 0, 1, 0, 0], 1, False),
    "mirror": ([-1, 0, 0, 0, 1, 0], 0, True),
}


@pytest.mark.parametrize("name", MATRICES)
def test_pictures_are_written_as_displayed(name, tmp_path):
    values, turns, mirrored = MATRICES[name]
    fixed = [int(value * 65536) for value in values]
    matrix = (fixed[0], fixed[1], 0, fixed[3], fixed[4], 0, 0, 0, 1 << 30)
    source = write_video(tmp_path / "turned.mp4", num_frames=6, options=X264, matrix=matrix)
    with open_video(source) as before:
        expected = before.frames_at([0.1]).frames[0].permute(1, 2, 0).numpy()
    stored = decode_all(source)[3][1]
    np.testing.assert_array_equal(expected, np.rot90(stored[:, ::-1] if mirrored else stored, turns))
    made = rewrite(source, tmp_path / "scratch")
    info = probe(made.path)
    assert (info.rotation, info.mirrored) == (0, False)
    assert (info.height, info.width) == expected.shape[:2]
    assert np.abs(decode_all(made.path)[3][1].astype(int) - expected).mean() < 4


@pytest.mark.parametrize(("matrix", "full"), [(1, False), (5, False), (1, True), (2, False)])
def test_colours_stay_whatever_their_matrix_and_range(matrix, full, tmp_path):
    colours = np.array([[220, 30, 30], [30, 200, 40], [20, 40, 210], [250, 250, 250], [5, 5, 5]], dtype=np.uint8)
    picture = np.repeat(np.repeat(colours[None], 48, axis=0), 16, axis=1)
    source = tmp_path / "colours.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        codec = stream.codec_context
        codec.colorspace, codec.color_range = matrix, 2 if full else 1
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(
                format="yuv420p", dst_colorspace=1 if matrix == 1 else 5, dst_color_range=2 if full else 1
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = decode_all(rewrite(source, tmp_path / "scratch").path)[1][1]
    np.testing.assert_allclose(found[24, 8::16], colours.astype(int), atol=6)


def test_sound_is_dropped(tmp_path):
    source = tmp_path / "sound.mp4"
    with av.open(str(source), "w") as container:
        video = container.add_stream("libx264", rate=10, options=X264)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("aac", rate=16000)
        audio.codec_context.layout = "mono"
        for number in range(20):
            grey = np.full((48, 64, 3), 10 * number, dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1600), dtype=np.float32), format="fltp", layout="mono")
            silence.sample_rate = 16000
            container.mux(audio.encode(silence))
        container.mux(video.encode())
        container.mux(audio.encode())
    with av.open(rewrite(source, tmp_path / "scratch").path) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_chunks_hold_the_frames_of_their_seconds_and_their_index_the_rest(tmp_path):
    # Frames at odd places, none between 1.5 s and 6.2 s: chunks 1 and 2 of 2 s have none.
    stamps = [0, 40, 700, 1490, 6200, 6230, 7999, 8000, 8033]
    source = write_video(tmp_path / "vfr.mkv", num_frames=len(stamps), stamps=stamps, options=X264)
    settings = TranscodeSettings(short_side=48, crf=4, chunk_seconds=2)
    whole = rewrite(source, tmp_path / "scratch")
    made = rewrite(source, tmp_path / "scratch", settings, name="uid")
    index = ChunkIndex.read(made.path)
    assert index.starts == pytest.approx((0.0, None, None, 6.2, 8.0))
    assert index.num_frames == made.info.num_frames == len(stamps)
    times = [*np.array(stamps) / 1000, 1.9, 3.0, 6.199, 6.0, 8.02]
    with open_video(made.path) as chunked, open_video(whole.path) as one:
        clip = chunked.frames_at(times)
        assert clip.times.tolist() == pytest.approx(one.frames_at(times).times.tolist(), abs=1e-9)
        assert [time for time, _ in chunked.stream()] == pytest.approx(np.array(stamps) / 1000, abs=1e-9)
        assert chunked.info.duration == pytest.approx(one.info.duration)
        files = [one for number in (0, 3, 4) for one in decode_all(f"{made.path}/{number}.mp4")]
        for (_, frame), (_, pixels) in zip(chunked.stream(), files, strict=True):
            np.testing.assert_array_equal(frame.permute(1, 2, 0).numpy(), pixels)
        grid = [time for time, _ in chunked.stream(fps=3.0)]
        assert grid == pytest.approx([time for time, _ in one.stream(fps=3.0)], abs=1e-9)


def test_times_of_a_rate_that_is_no_decimal_stay_exact(tmp_path):
    source = tmp_path / "ntsc.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30000, 1001), options=X264)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(70):
            grey = np.full((48, 64, 3), 3 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    exact = [Fraction(1001 * number, 30000) for number in range(70)]
    packets = packets_of(rewrite(source, tmp_path / "scratch").path)
    assert [packet.pts * packet.time_base for packet in packets] == exact
    made = rewrite(source, tmp_path / "scratch", TranscodeSettings(short_side=48, chunk_seconds=1), name="uid")
    with open_video(made.path) as video:
        found = [time for time, _ in video.stream()]
        assert video.frames_at([1.0]).times.item() == pytest.approx(float(exact[29]))  # frame 30 begins at 1.001 s
    assert found == pytest.approx([float(time) for time in exact], abs=1e-9)
    assert ChunkIndex.read(made.path).starts == pytest.approx([0.0, float(exact[30]), float(exact[60])])


def test_the_same_source_gives_the_same_bytes(tmp_path):
    source = write_video(tmp_path / "v.mp4", options=X264)
    first, second = (rewrite(source, tmp_path / "scratch") for _ in range(2))
    assert first.path != second.path
    assert hash_file(first.path) == hash_file(second.path)


def test_a_source_of_a_known_checksum_is_not_rewritten(tmp_path):
    source = write_video(tmp_path / "v.mp4", options=X264)
    made = rewrite(source, tmp_path / "scratch", known=hash_file(source))
    assert (made.path, made.sha256, made.size) == (None, hash_file(source), source.stat().st_size)
    assert not list((tmp_path / "scratch").iterdir())


def test_a_broken_source_leaves_nothing_behind(tmp_path):
    source = write_video(tmp_path / "v.mp4", options=X264 | {"bf": "0"})
    packets = packets_of(source)
    content = bytearray(source.read_bytes())
    content[packets[30].pos + 6 : packets[30].pos + 60] = bytes(54)
    source.write_bytes(content)
    with pytest.raises(DecodeError, match=r"at 1\.00 s: the frame that begins here is broken"):
        rewrite(source, tmp_path / "scratch")
    cut = write_video(tmp_path / "cut.mkv", options=X264)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 3])
    with pytest.raises(DecodeError, match=r"its content ends here, but it should last 2\.00 s: the file was cut off"):
        rewrite(cut, tmp_path / "scratch", TranscodeSettings(short_side=48, chunk_seconds=1), name="cut")
    assert not list((tmp_path / "scratch").iterdir())


def test_a_source_that_changes_meanwhile_is_not_taken(tmp_path):
    source = write_video(tmp_path / "v.mp4", options=X264)

    def grow(share):
        if share > 0.5:
            with open(source, "ab") as file:
                file.write(b"\0")

    (tmp_path / "scratch").mkdir()
    with pytest.raises(DecodeError, match="was changed while it was read"):
        transcode_video(Job(str(source), "out.mp4", str(tmp_path / "scratch"), SMALL), grow)


@pytest.mark.parametrize(
    "wrong",
    [
        {"short_side": 255},
        {"short_side": 8},
        {"keyframe_every": 0},
        {"crf": 52},
        {"chunk_seconds": 0},
        {"workers": 0},
        {"stall_seconds": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TranscodeSettings(**wrong)
