"""Videos in chunks against reading their files one after another."""

import json
import random

import av
import numpy as np
import pytest
from made_videos import X264, decode_all, write_audio, write_video

from playhead.errors import DecodeError
from playhead.video.chunk_files import INDEX_NAME, ChunkIndex, is_chunked
from playhead.video.chunks import ChunkedVideo
from playhead.video.decode import DecoderCache, open_video
from playhead.video.decoder import Decoder

FPS = 15
WITH_B = X264 | {"bf": "3", "g": "12"}


def write_chunks(folder, frames=(30, 30, 17), seconds=2, names=None):
    """Write one scene in chunks of so many frames each; return the (seconds, pixels) of every frame of all."""
    folder.mkdir(exist_ok=True)
    first, truth = 0, []
    for number, count in enumerate(frames):
        name = f"{number}.mp4" if names is None else names[number]
        path = write_video(folder / name, num_frames=count, first=first, fps=FPS, options=WITH_B)
        truth += [(number * seconds + time, pixels) for time, pixels in decode_all(path)]
        first += count
    return truth


def write_empty(path):
    """Write a file as ffmpeg leaves it when a cut begins at the end of the video: a header without a track."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos") / "uid"
    return folder, write_chunks(folder)


def require_frames(clip, expected):
    assert clip.times.tolist() == pytest.approx([time for time, _ in expected], abs=1e-6)
    for frame, (_, pixels) in zip(clip.frames, expected, strict=True):
        np.testing.assert_array_equal(frame.permute(1, 2, 0).numpy(), pixels)


def on_screen(truth, time):
    return [one for one in truth if one[0] <= time + 0.0005][-1]


def test_every_frame_read_at_random_equals_the_one_read_in_order(made):
    folder, truth = made
    with ChunkedVideo(folder) as video:
        for number in random.Random(0).sample(range(len(truth)), len(truth)):
            require_frames(video.frames_at([truth[number][0]]), [truth[number]])


def test_the_stream_is_all_files_one_after_another(made):
    folder, truth = made
    with ChunkedVideo(folder) as video:
        streamed = list(video.stream())
    assert [time for time, _ in streamed] == pytest.approx([time for time, _ in truth], abs=1e-6)
    for (_, frame), (_, pixels) in zip(streamed, truth, strict=True):
        np.testing.assert_array_equal(frame.permute(1, 2, 0).numpy(), pixels)


def test_a_clip_crosses_borders_and_times_may_be_unsorted_and_repeated(made):
    folder, truth = made
    times = [4.02, 1.95, 2.0, 4.02, 1.9999, 3.97, 2.0001, 0.5, 5.0]
    with ChunkedVideo(folder) as video:
        require_frames(video.frames_at(times), [on_screen(truth, time) for time in times])
        clip = video.frames_at([1.9, 2.1], size=24)
    assert clip.frames.shape == (2, 3, 24, 32)


@pytest.mark.parametrize("fps", [7.48, 15.0, 40.0])
@pytest.mark.parametrize(("start", "end"), [(0.0, None), (1.87, 4.2), (2.0, 4.0), (3.99, 9.0)])
def test_a_stream_of_a_rate_gives_the_frame_on_screen_at_each_time(made, fps, start, end):
    folder, truth = made
    duration = 4 + 17 / FPS
    last = duration if end is None else min(end, duration)
    times = [start + step / fps for step in range(1000) if start + step / fps < last - 0.0005]
    with ChunkedVideo(folder) as video:
        streamed = list(video.stream(fps=fps, start=start, end=end))
    expected = [on_screen(truth, time) for time in times]
    assert [time for time, _ in streamed] == pytest.approx([time for time, _ in expected], abs=1e-6)
    for (_, frame), (_, pixels) in zip(streamed, expected, strict=True):
        np.testing.assert_array_equal(frame.permute(1, 2, 0).numpy(), pixels)


def test_a_stream_of_every_frame_begins_with_the_one_on_screen(made):
    folder, truth = made
    with ChunkedVideo(folder) as video:
        times = [time for time, _ in video.stream(start=1.99, end=4.05)]
    begin = on_screen(truth, 1.99)[0]
    assert times == pytest.approx([time for time, _ in truth if begin <= time < 4.05], abs=1e-6)


def test_frames_may_be_asked_for_while_a_stream_goes_on(made):
    folder, truth = made
    with ChunkedVideo(folder) as video:
        stream = video.stream()
        before = [next(stream)[0] for _ in range(20)]
        require_frames(video.frames_at([4.5]), [on_screen(truth, 4.5)])
        after = [time for time, _ in stream]
    assert before + after == pytest.approx([time for time, _ in truth], abs=1e-6)


def test_what_is_known_of_the_whole(made):
    folder, truth = made
    with ChunkedVideo(folder) as video:
        info = video.info
    assert info.duration == pytest.approx(len(truth) / FPS)
    assert (info.path, info.width, info.height, info.num_frames) == (str(folder), 64, 48, len(truth))
    assert info.fps == pytest.approx(FPS)


def test_chunks_may_be_named_by_their_first_second(tmp_path):
    truth = write_chunks(tmp_path / "uid.mp4", names=("0.mp4", "2.mp4", "4.mp4"))
    for chunk_seconds in (None, 2):
        with ChunkedVideo(tmp_path / "uid.mp4", chunk_seconds) as video:
            require_frames(video.frames_at([4.5, 1.0]), [on_screen(truth, 4.5), on_screen(truth, 1.0)])


@pytest.mark.parametrize("empty", [write_empty, lambda path: path.touch(), write_audio])
def test_an_empty_last_chunk_counts_as_none(empty, tmp_path):
    truth = write_chunks(tmp_path / "uid", frames=(30, 30))
    empty(tmp_path / "uid" / "2.mp4")
    with ChunkedVideo(tmp_path / "uid") as video:
        assert video.info.duration == pytest.approx(4.0)
        require_frames(video.frames_at([3.99]), [truth[-1]])
        require_frames(video.frames_at([4.3], on_short="repeat_last"), [truth[-1]])
        assert len(list(video.stream())) == 60
        assert len(list(video.stream(fps=5.0))) == 20
        with pytest.raises(DecodeError, match=r"1\.mp4, at 2\.30 s.*the video ends at 2\.00 s"):
            video.frames_at([4.3])


def test_an_empty_chunk_in_the_middle_is_an_error_where_it_is_needed(tmp_path):
    truth = write_chunks(tmp_path / "uid")
    write_empty(tmp_path / "uid" / "1.mp4")
    with ChunkedVideo(tmp_path / "uid") as video:
        require_frames(video.frames_at([4.5]), [on_screen(truth, 4.5)])
        with pytest.raises(DecodeError, match=r"1\.mp4: has no video stream"):
            video.frames_at([1.0, 2.5])


def test_chunks_cut_between_frames_begin_where_they_are_said_to(tmp_path):
    # Frames 150 ms apart in chunks of 1 s: 0 ... 0.9 s | 1.05 ... 1.95 s; a chunk's own time begins with its first.
    for number, first in enumerate((0, 7)):
        stamps = [150 * frame for frame in range(7)]
        write_video(tmp_path / f"{number}.mp4", num_frames=7, first=first, stamps=stamps, options=X264)
    parts = [decode_all(tmp_path / f"{number}.mp4") for number in range(2)]
    truth = parts[0] + [(1 + time, pixels) for time, pixels in parts[1]]
    with ChunkedVideo(tmp_path, 1) as video:
        times = [0.95, 1.0, 1.2, 1.9]
        require_frames(video.frames_at(times), [on_screen(truth, time) for time in times])
        assert [time for time, _ in video.stream()] == pytest.approx([time for time, _ in truth])
        assert len(list(video.stream(fps=10.0, end=1.8))) == 18


def test_a_few_frames_lost_at_a_border_are_bridged_and_more_are_an_error(tmp_path):
    truth = write_chunks(tmp_path / "uid", frames=(28, 30))  # 2 of 30 frames are missing: 0.13 s
    with ChunkedVideo(tmp_path / "uid", 2) as video:
        require_frames(video.frames_at([1.95, 2.0]), [truth[27], truth[28]])
        times = [time for time, _ in video.stream(start=1.95)]
        assert times[:2] == pytest.approx([27 / FPS, 2.0])
        grid = [time for time, _ in video.stream(fps=20.0, start=1.7, end=2.1)]
        assert grid == pytest.approx([on_screen(truth, 1.7 + step / 20)[0] for step in range(8)])
    truth = write_chunks(tmp_path / "cut", frames=(20, 30))  # 0.67 s are missing
    with ChunkedVideo(tmp_path / "cut", 2) as video:
        require_frames(video.frames_at([1.3, 2.5]), [on_screen(truth, 1.3), on_screen(truth, 2.5)])
        with pytest.raises(DecodeError, match=r"0\.mp4, at 1\.50 s: .*the video ends at 1\.33 s"):
            video.frames_at([1.5])
        with pytest.raises(
            DecodeError, match=r"0\.mp4, at 1\.33 s: its frames end here, but the next chunk begins 2 s"
        ):
            list(video.stream())
        with pytest.raises(DecodeError, match=r"the video ends at 1\.33 s"):
            list(video.stream(fps=5.0))


def test_missing_doubled_and_strange_chunks_are_errors(tmp_path):
    write_chunks(tmp_path / "gap")
    (tmp_path / "gap" / "1.mp4").unlink()
    with pytest.raises(DecodeError, match=r"gap: holds chunks of 30 s numbered 0 to 2, but 1 is missing"):
        ChunkedVideo(tmp_path / "gap", 30)
    write_chunks(tmp_path / "headless")
    (tmp_path / "headless" / "0.mp4").unlink()
    with pytest.raises(DecodeError, match=r"the first chunk, 0\.mp4, is missing among 2"):
        ChunkedVideo(tmp_path / "headless")
    write_chunks(tmp_path / "twice")
    write_video(tmp_path / "twice" / "1.mkv", num_frames=2)
    with pytest.raises(DecodeError, match=r"'1\.mkv' and '1\.mp4' have the same number"):
        ChunkedVideo(tmp_path / "twice")
    write_chunks(tmp_path / "sizes", frames=(30,))
    write_video(tmp_path / "sizes" / "1.mp4", size=(32, 48), num_frames=5)
    with ChunkedVideo(tmp_path / "sizes") as video, pytest.raises(DecodeError, match=r"1\.mp4: is 32x48, .* are 64x48"):
        video.frames_at([2.1])
    with pytest.raises(DecodeError, match="holds no chunks of a video"):
        ChunkedVideo(tmp_path)


def test_a_length_that_the_files_contradict_is_an_error(tmp_path):
    write_chunks(tmp_path / "keyframes", frames=(26, 40, 12))
    with pytest.raises(DecodeError, match=r"the first chunk lasts 1\.73 s, no whole number of seconds; say chunk_sec"):
        ChunkedVideo(tmp_path / "keyframes")
    too_long = r"1\.mp4: lasts 2\.67 s, but the next chunk begins after 2 s; were they cut at keyframes"
    with ChunkedVideo(tmp_path / "keyframes", 2) as video, pytest.raises(DecodeError, match=too_long):
        video.frames_at([2.5])
    with pytest.raises(ValueError, match="at least 1"):
        ChunkedVideo(tmp_path / "keyframes", 0)


def test_times_before_the_start_or_not_finite_are_errors(made):
    with ChunkedVideo(made[0]) as video:
        for time in (-0.1, float("nan"), float("inf")):
            with pytest.raises(DecodeError, match="times count from the first"):
                video.frames_at([time])
        with pytest.raises(ValueError, match="times is empty"):
            video.frames_at([])
        with pytest.raises(ValueError, match="above zero"):
            list(video.stream(fps=0.0))


def test_an_index_says_when_each_chunk_begins_and_which_have_no_frames(tmp_path):
    # One frame each at 0 s, 0.4 s and 5.4 s, in chunks of 2 s: chunk 1 has none.
    write_video(tmp_path / "0.mp4", num_frames=2, stamps=[0, 400], options=X264)
    write_video(tmp_path / "2.mp4", num_frames=1, first=2, stamps=[0], options=X264)
    index = ChunkIndex(
        chunk_seconds=2, duration=5.5, width=64, height=48, fps=0.6, num_frames=3, codec="h264", starts=(0.0, None, 5.4)
    )
    index.write(tmp_path)
    assert ChunkIndex.read(tmp_path) == index
    with ChunkedVideo(tmp_path) as video:
        assert video.frames_at([5.4, 0.4]).times.tolist() == pytest.approx([5.4, 0.4])
        assert (video.info.duration, video.info.num_frames, video.info.fps) == (5.5, 3, 0.6)
    with pytest.raises(DecodeError, match="chunks of 15 s asked for, but these are of 2 s"):
        ChunkedVideo(tmp_path, 15)


@pytest.mark.parametrize(
    "change", [{"format_version": 9}, {"starts": [0.0, 0.0]}, {"starts": []}, {"starts": 3}, {"codec": None, "x": 1}]
)
def test_a_broken_index_is_an_error(change, tmp_path):
    index = ChunkIndex(
        chunk_seconds=2, duration=5.5, width=64, height=48, fps=0.6, num_frames=3, codec="h264", starts=(0.0,)
    )
    index.write(tmp_path)
    stored = json.loads((tmp_path / INDEX_NAME).read_text())
    (tmp_path / INDEX_NAME).write_text(json.dumps(stored | change))
    with pytest.raises(DecodeError, match=rf"{INDEX_NAME}: is no index of chunks"):
        ChunkedVideo(tmp_path)
    (tmp_path / INDEX_NAME).write_text("[1, 2")
    with pytest.raises(DecodeError, match="is no index of chunks"):
        open_video(tmp_path)


def test_open_video_and_the_cache_tell_chunks_from_images(made, tmp_path):
    assert is_chunked(made[0])
    assert not is_chunked(tmp_path)
    with open_video(made[0]) as source:
        assert isinstance(source, ChunkedVideo)
    with open_video(made[0] / "1.mp4") as source:
        assert isinstance(source, Decoder)
    cache = DecoderCache(1, chunk_seconds=2)
    assert isinstance(cache.get(made[0]), ChunkedVideo)
    with pytest.raises(DecodeError, match="to read it as numbered images, say their fps"):
        cache.get(tmp_path)
    cache.close()


def test_few_files_stay_open(made):
    with ChunkedVideo(made[0]) as video:
        for time in (0.1, 2.1, 4.1, 0.1):
            video.frames_at([time])
            assert len(video._decoders) <= 2
