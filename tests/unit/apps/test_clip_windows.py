"""Which frames make the rows of a clip. The twins below lay every clip's grid by itself, frame by frame."""

import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch

from playhead.apps.clip_windows import cut_clips, plan_clip
from playhead.apps.encoding import FailedPiece, PieceEnd, PieceWindow
from playhead.apps.windows import WindowSettings
from playhead.data.challenge_clips import ChallengeClip
from playhead.errors import DecodeError
from playhead.types import Clip
from playhead.video.decode import open_video
from playhead.video.source import VideoInfo
from playhead.video.transforms import Preprocess

PREPROCESS = Preprocess(num_frames=4, image_size=16, resize=16, window=1.0)
NONE = WindowSettings()


def piece(name, start, end):
    return ChallengeClip("v", name, float(start), float(end))


class NumberedSource:
    """A video whose frame k shows k; counts what is decoded anew and how many frames are alive at once.

    As the real decoder, it goes forward for free and remembers the frame on screen. `broken` are seconds that raise.
    """

    def __init__(self, seconds: float, fps: float = 30.0, broken: tuple[float, float] = (np.inf, np.inf)):
        self.fps, self.broken, self.decoded, self.on_screen = fps, broken, [], -1
        self.info = VideoInfo("numbered.mp4", float(seconds), 16, 16, fps, round(seconds * fps), "none", 0)
        self.most_alive, self._alive = 0, weakref.WeakSet()

    def frames_at(self, times, size=None, on_short="error") -> Clip:
        numbers = []
        for time in times:
            if self.broken[0] <= time < self.broken[1]:
                raise DecodeError("is broken here.", path="numbered.mp4", time=float(time))
            number = int(time * self.fps + 1e-9)
            if number >= self.info.num_frames:
                assert on_short == "repeat_last"
                number = self.info.num_frames - 1
            if number != self.on_screen:
                self.decoded.append(number)
            self.on_screen = number
            numbers.append(number)
        frames = torch.tensor(numbers, dtype=torch.int32).to(torch.uint8)[:, None, None, None].expand(-1, 3, 16, 16)
        frames = frames.clone()
        self._alive.add(frames)
        self.most_alive = max(self.most_alive, sum(len(part) for part in self._alive))
        return Clip(frames, torch.tensor(numbers, dtype=torch.float64) / self.fps)

    def stream(self, fps=None, start=0.0, end=None, size=None):
        raise NotImplementedError

    def close(self):
        pass

    def __enter__(self) -> "NumberedSource":
        return self

    def __exit__(self, *exception: object):
        pass


def cut(source, clips, grid="paper", preprocess=PREPROCESS, windows=NONE):
    """Return, by clip, the frame numbers (modulo 256) of each window, and the reasons of those that failed."""
    found, ended, failed = {}, [], {}
    for cut_off in cut_clips(source, clips, grid, preprocess, windows):
        match cut_off:
            case PieceWindow():
                found.setdefault(cut_off.piece, []).append([int(frame[0, 0, 0]) for frame in cut_off.frames])
            case PieceEnd():
                ended.append(cut_off.piece)
            case FailedPiece():
                failed[cut_off.piece] = cut_off.reason
    assert sorted(ended) == sorted(set(found) - set(failed))
    return found, failed


def paper_times(start, end, num_frames=4):
    """Twin: `int(dur * 1.87 * 4 + 1)` mid-points of equal intervals, truncated to a multiple of four."""
    count = int((end - start) * 1.87 * num_frames + 1)
    times = [start + (k + 0.5) * (end - start) / count for k in range(count)]
    return [times[first : first + num_frames] for first in range(0, count - num_frames + 1, num_frames)]


def shown(times, fps=30.0):
    return [[int(time * fps + 1e-9) % 256 for time in window] for window in times]


def test_an_official_clip_of_480_seconds_makes_897_rows_of_the_papers_frames():
    clip = piece("c", 322.4, 802.4)
    found, _ = cut(NumberedSource(900), [clip])
    assert len(found["c"]) == 897  # egovlp.md, section 8: 3591 frames, four a row
    assert found["c"] == shown(paper_times(322.4, 802.4))


def test_the_time_of_the_papers_rows_is_that_of_their_frames():
    plan = plan_clip(piece("c", 322.4, 802.4), 900.0, "paper", PREPROCESS, NONE)
    middles = [np.mean(window) - 322.4 for window in paper_times(322.4, 802.4)]
    np.testing.assert_allclose(plan.time.center_of(np.arange(plan.num_rows)), middles, atol=1e-6)


def test_the_official_grid_has_a_row_for_every_16_frames_of_30_a_second():
    plan = plan_clip(piece("c", 10.0, 490.0366), 900.0, "official", PREPROCESS, NONE)
    assert plan.num_rows == int(480.0366 * 1.875)
    assert plan.time.step == pytest.approx(16 / 30)
    np.testing.assert_allclose(plan.times[:4] - 10.0, (np.arange(4) + 0.5) * 4 / 30)


def test_the_released_grid_shows_the_frame_numbers_of_the_released_code():
    # numbers of linspace(start * 30, end * 30, n + 1) rounded down, (a + b - 1) // 2
    source = NumberedSource(20)
    found, _ = cut(source, [piece("c", 2.5, 12.5)], "released")
    bounds = np.linspace(75, 375, int(10 * 1.87 * 4 + 1) + 1).astype(int)
    frames = [(a + b - 1) // 2 for a, b in pairwise(bounds)]
    assert found["c"] == [[f % 256 for f in frames[i : i + 4]] for i in range(0, len(frames) - 3, 4)]


def test_an_own_grid_takes_rate_and_stride_of_the_settings():
    windows = WindowSettings(fps=8.0, stride=2)
    found, _ = cut(NumberedSource(10, fps=8.0), [piece("c", 1.0, 2.5)], "own", windows=windows)
    assert found["c"] == [[8, 9, 10, 11], [10, 11, 12, 13], [12, 13, 14, 15], [14, 15, 16, 17], [16, 17, 18, 19]]


def test_a_stride_longer_than_a_window_decodes_only_what_is_shown():
    source = NumberedSource(10, fps=8.0)
    windows = WindowSettings(fps=8.0, stride=6)
    found, _ = cut(source, [piece("c", 0.0, 2.5)], "own", windows=windows)
    assert found["c"] == [[0, 1, 2, 3], [6, 7, 8, 9], [12, 13, 14, 15]]
    assert source.decoded == [0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15]


def test_a_clip_shorter_than_a_window_gives_one_row_that_repeats_its_last_frame():
    windows = WindowSettings(fps=8.0)
    found, _ = cut(NumberedSource(10, fps=8.0), [piece("c", 1.0, 1.3)], "own", windows=windows)
    assert found["c"] == [[8, 9, 9, 9]]
    found, _ = cut(NumberedSource(10, fps=8.0), [piece("c", 1.0, 1.05)], "own", windows=windows)
    assert found["c"] == [[8, 8, 8, 8]]


@pytest.mark.parametrize("grid", ["paper", "official", "own"])
@pytest.mark.parametrize("seed", range(5))
def test_clips_cut_together_are_what_each_is_alone(grid, seed):
    generator = np.random.default_rng(seed)
    starts, lengths = generator.uniform(0, 50, 6), generator.uniform(0.2, 20, 6)
    clips = [piece(str(k), a, a + b) for k, (a, b) in enumerate(zip(starts, lengths, strict=True))]
    windows = WindowSettings(fps=5.0, stride=int(generator.integers(1, 7))) if grid == "own" else NONE
    together, _ = cut(NumberedSource(80), clips, grid, windows=windows)
    for clip in clips:
        alone, _ = cut(NumberedSource(80), [clip], grid, windows=windows)
        assert together[clip.clip_id] == alone[clip.clip_id]


def test_every_frame_is_decoded_once_even_where_clips_overlap():
    source = NumberedSource(60)
    clips = [
        piece("a", 0.0, 30.0),
        piece("b", 10.0, 50.0),
        piece("c", 55.0, 60.0),
    ]
    cut(source, clips)
    assert len(source.decoded) == len(set(source.decoded))
    assert source.decoded == sorted(source.decoded)


def test_memory_does_not_grow_with_the_length():
    most = []
    for seconds in (20.0, 2000.0):
        source = NumberedSource(seconds)
        for _ in cut_clips(source, [piece("c", 0.0, seconds)], "paper", PREPROCESS, NONE):
            pass
        most.append(source.most_alive)
    assert most[0] == most[1] <= 3 * 16


def test_a_clip_that_breaks_fails_alone():
    source = NumberedSource(60, broken=(20.0, 21.0))
    clips = [piece("a", 0, 15.0), piece("b", 18.0, 30.0), piece("c", 40.0, 50.0)]
    found, failed = cut(source, clips)
    assert "is broken here" in failed["b"]
    assert found["a"] == shown(paper_times(0, 15.0))
    assert found["c"] == shown(paper_times(40.0, 50.0))


def test_a_clip_outside_its_video_fails_and_one_a_little_too_long_is_shortened():
    clips = [
        piece("late", 10.5, 20.0),
        piece("long", 0.0, 12.0),
        piece("ok", 2, 10.3),
    ]
    found, failed = cut(NumberedSource(10.0), clips)
    assert failed.keys() == {"late", "long"}
    assert "lies at 10.50 to 20.00 s, but the video lasts 10.00 s" in failed["late"]
    # min(end, length of the video), as in the released code, but the count is of the annotated length
    count = int(8.3 * 1.87 * 4 + 1)
    times = 2 + (np.arange(count) + 0.5) * 8 / count
    assert found["ok"] == shown(times[: count // 4 * 4].reshape(-1, 4))


def test_other_frame_counts_than_four_are_taken_from_the_bundle():
    plan = plan_clip(piece("c", 0.0, 100.0), 100.0, "paper", Preprocess(num_frames=16), NONE)
    assert plan.num_rows == int(100 * 1.87 * 16 + 1) // 16
    assert plan.time.step == pytest.approx(1 / 1.87, rel=1e-3)


def test_a_real_file_gives_its_colours_in_time(tmp_path, make_video):
    path = make_video(tmp_path / "v.mp4", [("red", 4), ("blue", 4)], fps=30)
    clips = [piece("all", 0.0, 8.0), piece("blue", 4.0, 8.0)]
    brightest = {"all": [], "blue": []}
    with open_video(path) as source:
        for found in cut_clips(source, clips, "paper", PREPROCESS, NONE):
            if isinstance(found, PieceWindow):
                brightest[found.piece].append(torch.stack(found.frames).float().mean(dim=(0, 2, 3)).argmax().item())
    assert brightest["all"] == [0] * 7 + [2] * 8 or brightest["all"] == [0] * 8 + [2] * 7
    assert brightest["blue"] == [2] * 7


@pytest.mark.parametrize(("start", "end", "is_whole"), [(0, 5, True), (29.2, 30, False), (0, 30, False)])
def test_a_file_whose_end_is_missing_fails_the_clips_that_need_it(tmp_path, make_cut_video, start, end, is_whole):
    with open_video(make_cut_video(tmp_path / "cut.mp4")) as source:
        found, failed = cut(source, [piece("c", start, end)])
    assert ("c" in failed) != is_whole
    assert len(found.get("c", [])) == 9 if is_whole else "last" not in found
