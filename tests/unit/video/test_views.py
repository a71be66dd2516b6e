import numpy as np
import pytest
import torch

from playhead.video.views import (
    clip_frames,
    crop_squares,
    dense_views,
    dense_window,
    segment_frames,
    segment_views,
    uniformerv2_segment_views,
)


def test_a_drawn_window_lies_in_the_video_and_reaches_both_of_its_ends():
    drawn = [dense_window(70, 4, 16, np.random.default_rng(seed)) for seed in range(200)]
    assert min(frames[0] for frames in drawn) == 0
    assert max(frames[-1] for frames in drawn) == 69
    assert all(frames[-1] - frames[0] == 63 for frames in drawn)


def test_a_drawn_window_is_the_same_for_the_same_seed():
    first, again = (dense_window(500, 16, 4, np.random.default_rng(3)) for _ in range(2))
    assert first.tolist() == again.tolist()


@pytest.mark.parametrize("length", [1, 2, 15])
@pytest.mark.parametrize("sampling", ["dense", "segments"])
def test_a_video_shorter_than_a_clip_repeats_frames_in_order(sampling, length):
    for generator in (None, np.random.default_rng(0)):
        frames = clip_frames(sampling, length, 16, 4, generator)
        assert len(frames) == 16 and frames.min() >= 0 and frames.max() < length
        assert (np.diff(frames) >= 0).all()


def test_a_single_frame_is_every_frame_of_every_view():
    for views in (dense_views(1, 8, 4, 3), segment_views(1, 8, 3), uniformerv2_segment_views(1, 8, 3)):
        assert [view.tolist() for view in views] == [[0] * 8] * 3


def test_segments_give_one_frame_of_each_equal_part():
    for seed in range(20):
        frames = segment_frames(160, 16, np.random.default_rng(seed))
        assert (frames // 10).tolist() == list(range(16))
    assert segment_frames(160, 16).tolist() == [5 + 10 * part for part in range(16)]


def test_one_view_is_the_middle_one():
    assert dense_views(100, 5, 4, 1)[0].tolist() == [
        40,
        44,
        48,
        52,
        56,
    ]  # 25 frames of the stride; 10 before, 10 behind
    assert segment_views(50, 5, 1)[0].tolist() == [5, 15, 25, 35, 45]


@pytest.mark.parametrize(("shape", "expected"), [((2, 3, 4, 9), [0, 2, 5]), ((2, 3, 9, 4), [0, 2, 5])])
def test_three_squares_lie_at_both_ends_and_in_the_middle(shape, expected):
    video = torch.arange(9).expand(2, 3, 4, 9) if shape[-1] == 9 else torch.arange(9)[:, None].expand(2, 3, 9, 4)
    squares = crop_squares(video, 3)
    assert [square.shape for square in squares] == [(2, 3, 4, 4)] * 3
    assert [int(square[0, 0, 0, 0]) for square in squares] == expected
    assert int(crop_squares(video, 1)[0][0, 0, 0, 0]) == 2


def test_counts_below_one_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        dense_window(0, 16, 4)
    with pytest.raises(ValueError, match="num_crops"):
        crop_squares(torch.zeros(1, 3, 4, 4), 0)
