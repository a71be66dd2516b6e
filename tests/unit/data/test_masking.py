import numpy as np
import pytest
import torch

from playhead.data.masking import draw_mask, random_mask, token_order, tube_mask

GRID = (4, 3, 5)


def test_a_tube_hides_the_same_places_at_every_time():
    mask = tube_mask(GRID, 0.9, np.random.default_rng(0)).reshape(4, 15)
    assert mask.sum(axis=1).tolist() == [13] * 4  # int(0.9 * 15)
    assert (mask == mask[0]).all()


def test_a_random_mask_hides_as_many_tokens_anywhere():
    mask = random_mask(GRID, 0.9, np.random.default_rng(0))
    assert mask.sum() == 54  # int(0.9 * 60)
    assert len(np.unique(mask.reshape(4, 15), axis=0)) > 1


@pytest.mark.parametrize("kind", ["tube", "random"])
def test_masks_come_from_their_generator_alone_and_every_place_is_hidden_as_often(kind):
    first = draw_mask(kind, GRID, 0.6, np.random.default_rng(7))
    assert np.array_equal(first, draw_mask(kind, GRID, 0.6, np.random.default_rng(7)))
    generator = np.random.default_rng(0)
    share = np.mean([draw_mask(kind, GRID, 0.6, generator) for _ in range(2000)], axis=0)
    assert share == pytest.approx(np.full(60, 0.6), abs=0.06)  # five deviations of a mean of 2000


@pytest.mark.parametrize("ratio", [0.0, 0.05, 1.0])
def test_a_mask_hides_something_and_leaves_something(ratio):
    with pytest.raises(ValueError, match="some must be, and not all"):
        tube_mask(GRID, ratio, np.random.default_rng(0))


def test_tokens_are_numbered_visible_first_in_their_order():
    visible, hidden = token_order(torch.tensor([[True, False, True, False], [False, False, True, True]]))
    assert visible.tolist() == [[1, 3], [0, 1]]
    assert hidden.tolist() == [[0, 2], [2, 3]]


def test_clips_that_hide_different_numbers_do_not_make_a_batch():
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        token_order(torch.tensor([[True, False, False], [True, True, False]]))
