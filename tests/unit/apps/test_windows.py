import weakref
from collections.abc import Iterator

import pytest
import torch

from playhead.apps.windows import WindowSettings, plan_windows, stream_windows
from playhead.types import Clip, Span
from playhead.video.decode import open_video
from playhead.video.source import VideoInfo
from playhead.video.transforms import Preprocess

PREPROCESS = Preprocess(num_frames=4, image_size=16, resize=16, window=1.0)  # four frames a second


class CountingSource:
    """Frames that carry their number; counts how often each is given and how many are alive at once."""

    def __init__(self, num_frames: int, fps: float = 4.0):
        self.num_frames, self.given, self.most_alive = num_frames, [], 0
        self._alive = weakref.WeakSet()
        self._info = VideoInfo("counted.mp4", num_frames / fps, 16, 16, fps, num_frames, "none", 0)

    @property
    def info(self) -> VideoInfo:
        return self._info

    def stream(self, fps=None, start=0.0, end=None, size=None) -> Iterator:
        assert start == pytest.approx(0.5 / fps)  # the middle of each frame's stretch
        for number in range(self.num_frames):
            frame = torch.full((3, 16, 16), number % 256, dtype=torch.uint8)
            self.given.append(number)
            self._alive.add(frame)
            self.most_alive = max(self.most_alive, len(self._alive))
            yield number / fps, frame
            del frame

    def frames_at(self, times, size=None, on_short="error") -> Clip:
        return Clip(torch.zeros(len(times), 3, 16, 16, dtype=torch.uint8), torch.zeros(len(times)))

    def close(self):
        pass

    def __enter__(self) -> "CountingSource":
        return self

    def __exit__(self, *exception: object):
        pass


def cut(num_frames: int, **settings) -> tuple[CountingSource, list[tuple[Span, list[int]]]]:
    source = CountingSource(num_frames)
    windows = stream_windows(source, PREPROCESS, WindowSettings(**settings))
    return source, [(span, frames[:, 0, 0, 0].tolist()) for span, frames in windows]


def test_windows_follow_each_other_without_overlap_by_default():
    _, windows = cut(8)
    assert windows == [(Span(0.0, 1.0), [0, 1, 2, 3]), (Span(1.0, 2.0), [4, 5, 6, 7])]


def test_a_stride_shorter_than_the_window_makes_windows_overlap():
    _, windows = cut(8, stride=2)
    assert [frames for _, frames in windows] == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]
    assert [span.start for span, _ in windows] == [0.0, 0.5, 1.0]


def test_a_stride_longer_than_the_window_leaves_gaps():
    _, windows = cut(10, stride=6)
    assert [frames for _, frames in windows] == [[0, 1, 2, 3], [6, 7, 8, 9]]


def test_the_last_window_is_aligned_to_the_end():
    _, windows = cut(10)
    assert windows[-1] == (Span(1.5, 2.5), [6, 7, 8, 9])
    assert len(windows) == 3


def test_a_video_shorter_than_a_window_gives_one_that_repeats_its_last_frame():
    _, windows = cut(3)
    assert windows == [(Span(0.0, 0.75), [0, 1, 2, 2])]


@pytest.mark.parametrize("num_frames", [1, 3, 4, 5, 17, 64])
@pytest.mark.parametrize("stride", [1, 3, 4])
def test_every_frame_is_decoded_once_and_lies_in_a_window(num_frames, stride):
    source, windows = cut(num_frames, stride=stride)
    assert source.given == list(range(num_frames))
    assert {number for _, frames in windows for number in frames} == set(range(num_frames))


def test_memory_does_not_grow_with_the_length():
    for num_frames in (40, 4000):
        source = CountingSource(num_frames)
        for _window in stream_windows(source, PREPROCESS, WindowSettings(stride=1)):
            pass
        assert source.most_alive <= PREPROCESS.num_frames + 1  # the ring, and the frame that comes in


def test_a_real_file_gives_windows_of_the_right_colour_and_size(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", [("red", 1), ("blue", 1.5)], fps=25, size=(64, 48))
    windows = list(stream_windows(open_video(path), PREPROCESS, WindowSettings()))
    assert [span for span, _ in windows] == [Span(0.0, 1.0), Span(1.0, 2.0), Span(1.5, 2.5)]
    brightest = [frames.float().mean(dim=(0, 2, 3)).argmax().item() for _, frames in windows]
    assert brightest == [0, 2, 2]
    assert windows[0][1].shape[:2] == (4, 3)


def test_a_file_of_one_frame_gives_one_window(tmp_path, make_video):
    path = make_video(tmp_path / "one.mp4", [("red", 1 / 25)], fps=25)
    windows = list(stream_windows(open_video(path), PREPROCESS, WindowSettings()))
    assert len(windows) == 1
    assert windows[0][1].shape[0] == 4


def test_rate_and_stride_come_from_the_bundle_unless_given():
    plan = plan_windows(Preprocess(num_frames=4, image_size=16, resize=16, window=0.5), WindowSettings())
    assert (plan.num_frames, plan.fps, plan.stride, plan.seconds) == (4, 8.0, 4, 0.5)
    assert plan_windows(PREPROCESS, WindowSettings(fps=2.0, stride=1)).seconds == 2.0


@pytest.mark.parametrize("wrong", [{"fps": 0.0}, {"stride": 0}, {"batch_size": 0}, {"decoders": 0}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WindowSettings(**wrong)
