import pytest
import torch

from playhead.video.tubes import take_tubes, tube_grid


def brute_force(video, tubelet, patch):
    """The tubes of one clip, one by one, in time, then in rows, then in columns."""
    frames, _, height, width = video.shape
    return [
        video[t : t + tubelet, :, y : y + patch, x : x + patch].transpose(0, 1)
        for t in range(0, frames, tubelet)
        for y in range(0, height, patch)
        for x in range(0, width, patch)
    ]


def test_tubes_are_cut_as_by_hand_and_without_a_copy():
    video = torch.arange(2 * 4 * 3 * 6 * 9, dtype=torch.int32).reshape(2, 4, 3, 6, 9)
    grid = tube_grid(video, 2, 3)
    assert grid.shape == (2, 2, 2, 3, 3, 2, 3, 3)
    assert grid.untyped_storage().data_ptr() == video.untyped_storage().data_ptr()
    for clip in range(2):
        expected = brute_force(video[clip], 2, 3)
        found = grid[clip].flatten(0, 2)
        assert len(expected) == len(found)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_tubes_are_taken_by_number_each_as_a_row():
    video = torch.randint(0, 255, (2, 4, 3, 6, 9), dtype=torch.uint8)
    numbers = torch.tensor([[0, 11, 5], [7, 7, 3]])
    rows = take_tubes(tube_grid(video, 2, 3), numbers)
    for clip in range(2):
        every = brute_force(video[clip], 2, 3)
        for row, number in zip(rows[clip], numbers[clip].tolist(), strict=True):
            assert torch.equal(row, every[number].flatten())


@pytest.mark.parametrize("shape", [(1, 3, 3, 6, 6), (1, 4, 3, 7, 6), (1, 4, 3, 6, 7)])
def test_clips_that_do_not_divide_are_refused(shape):
    with pytest.raises(ValueError, match="do not divide into tubes"):
        tube_grid(torch.zeros(shape), 2, 3)
