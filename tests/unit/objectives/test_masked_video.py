import numpy as np
import torch
from torch.testing import assert_close

from playhead.objectives.masked_video import masked_video_losses, pixel_targets, tube_statistics

TUBES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 8 * 3), dtype=np.uint8))


def test_normalised_targets_are_those_of_a_loop_over_tubes_and_channels():
    targets = pixel_targets(TUBES)
    for clip in range(2):
        for tube in range(3):
            pixels = TUBES[clip, tube].numpy().reshape(8, 3) / 255.0
            expected = (pixels - pixels.mean(axis=0)) / (pixels.std(axis=0, ddof=1) + 1e-6)
            assert_close(targets[clip, tube], torch.from_numpy(expected.flatten()).float(), atol=1e-5, rtol=1e-5)


def test_an_even_tube_is_nothing_and_not_a_number_that_is_none():
    targets = pixel_targets(torch.full((1, 1, 24), 200, dtype=torch.uint8))
    assert torch.equal(targets, torch.zeros(1, 1, 24))


def test_plain_targets_are_the_pixels_on_the_scale_of_one():
    assert_close(pixel_targets(TUBES, normalized=False), TUBES / 255.0)


def test_statistics_put_the_pixels_back():
    mean, deviation = tube_statistics(TUBES)
    back = (pixel_targets(TUBES).unflatten(-1, (-1, 3)) * deviation + mean).flatten(2)
    assert_close(back, TUBES.float(), atol=1e-3, rtol=0)


def test_targets_do_not_change_the_tubes_they_are_made_of():
    floats = TUBES.float()
    pixel_targets(floats)
    assert torch.equal(floats, TUBES.float())


def test_the_mean_over_clips_is_the_mean_over_all_numbers_in_float32():
    predicted, targets = torch.randn(2, 3, 24).bfloat16(), torch.randn(2, 3, 24)
    losses = masked_video_losses(predicted, targets)
    assert losses.dtype == torch.float32
    assert_close(losses.mean(), ((predicted.float() - targets) ** 2).mean())
