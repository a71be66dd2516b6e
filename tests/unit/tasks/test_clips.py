import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from playhead.errors import DecodeError
from playhead.tasks.clips import ClipReader
from playhead.types import ClipRef, Span
from playhead.video.transforms import Augment, Preprocess


@pytest.fixture
def videos(tmp_path) -> Path:
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(40):
            grey = np.full((48, 64, 3), 6 * index, dtype=np.uint8)  # brightness tells the time
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return tmp_path


@pytest.fixture
def reader(videos) -> ClipReader:
    return ClipReader(videos, Preprocess(num_frames=4, image_size=32, resize=48))


def times_shown(frames: torch.Tensor) -> list[float]:
    return [round(float(frame.float().mean()) / 60, 1) for frame in frames]


def test_uniform_frames_are_the_mid_points_as_squares(reader):
    frames = reader.read_uniform(ClipRef("clip", Span(0.0, 2.0)))
    assert frames.shape == (4, 3, 48, 48)
    assert times_shown(frames) == pytest.approx([0.2, 0.7, 1.2, 1.7], abs=0.1)


def test_random_frames_lie_in_their_quarters_and_follow_the_seed(reader):
    ref = ClipRef("clip", Span(0.0, 4.0))
    frames, left_to_do = reader.read_random(ref, Augment(), seed=3)
    assert frames.shape == (4, 3, 32, 32) and left_to_do is None
    assert all(i - 0.1 <= time <= i + 1.0 for i, time in enumerate(times_shown(frames)))
    assert torch.equal(frames, reader.read_random(ref, Augment(), seed=3)[0])
    assert not torch.equal(frames, reader.read_random(ref, Augment(), seed=4)[0])


def test_a_window_a_little_past_the_end_shows_the_last_frame(reader):
    frames = reader.read_uniform(ClipRef("clip", Span(3.0, 5.0)))
    assert times_shown(frames)[-2:] == pytest.approx([3.9, 3.9], abs=0.1)


def test_a_window_past_the_end_and_a_missing_video_are_errors(reader):
    with pytest.raises(DecodeError, match=r"clip\.mp4.*at 9\.00 s: a clip begins here, but the video ends at 4\.0"):
        reader.read_uniform(ClipRef("clip", Span(9.0, 10.0)))
    with pytest.raises(DecodeError, match="no video 'other'"):
        reader.read_uniform(ClipRef("other", Span(0.0, 1.0)))


def test_a_file_is_found_by_its_full_name_too(reader, videos):
    assert reader.find("clip.mp4") == reader.find("clip") == videos / "clip.mp4"
    assert reader.whole("clip.mp4").span.duration == pytest.approx(4.0, abs=0.01)


def test_a_folder_of_chunks_is_found_like_a_file(reader, videos):
    (videos / "uid").mkdir()
    (videos / "lavila.mp4").mkdir()
    for name in ("uid/0.mp4", "uid/1.mp4", "lavila.mp4/0.mp4", "lavila.mp4/4.mp4"):  # by number, by first second
        shutil.copy(videos / "clip.mp4", videos / name)
    for video_id, folder in (("uid", "uid"), ("lavila", "lavila.mp4"), ("lavila.mp4", "lavila.mp4")):
        assert reader.find(video_id) == videos / folder
        assert reader.whole(video_id).span.duration == pytest.approx(8.0, abs=0.01)
        frames = reader.read_uniform(ClipRef(video_id, Span(3.0, 5.0)))  # across the border
        assert times_shown(frames) == pytest.approx([3.2, 3.7, 0.2, 0.7], abs=0.1)
    (videos / "photos").mkdir()
    with pytest.raises(DecodeError, match="no video 'photos'"):
        reader.find("photos")
