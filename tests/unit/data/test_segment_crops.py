import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from playhead.data.feature_files import ClipFeatures, TimeBase
from playhead.data.segment_crops import Crop, first_second, resize_features

SEEN = TimeBase(fps=30, frames=32, stride=16, offset=-0.25)  # rows overlap, and begin before the clip


def test_resized_rows_are_torchs_linear_interpolation():
    rows = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
    for length in (4, 11, 30):
        ours = resize_features(ClipFeatures(rows, SEEN), length).features
        theirs = F.interpolate(torch.from_numpy(rows.T)[None], length, mode="linear", align_corners=False)[0].T
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)


def test_resized_rows_say_the_middle_of_what_they_saw():
    # Each row holds the second of its middle, so a resized row must hold that of its own.
    seconds = SEEN.center_of(np.arange(20))[:, None].astype(np.float32)
    for length in (7, 55):
        found = resize_features(ClipFeatures(seconds, SEEN), length)
        middles = found.time.center_of(np.arange(length))
        inside = (middles >= seconds[0]) & (middles <= seconds[-1])
        np.testing.assert_allclose(found.features[inside, 0], middles[inside], atol=1e-5)
        assert inside.mean() > 0.8
        assert first_second(found.time) == pytest.approx(first_second(SEEN))
        assert length * found.time.step == pytest.approx(20 * SEEN.step)


@pytest.mark.parametrize("seed", range(5))
def test_drawn_parts_are_those_that_hold_a_segment(seed):
    draws = np.random.default_rng(seed)
    starts = draws.uniform(0, 40, size=3)
    spans = np.stack([starts, starts + draws.uniform(0.5, 15, size=3)], axis=1)
    crop = Crop(max_rows=12, keep=0.6)
    holding = {
        first
        for first in range(50 - 12 + 1)
        if any(max(0, min(e, first + 12) - max(s, first)) / (e - s) >= 0.6 for s, e in spans)
    }
    drawn = {crop.draw(50, spans, np.random.default_rng(number)) for number in range(400)}
    assert {first for first, _ in drawn} == holding if holding else len(drawn) > 30
    assert {last - first for first, last in drawn} == {12}


def test_short_clips_lose_a_random_share_or_nothing():
    spans = np.array([[2.0, 6.0]])
    lengths = {
        last - first for number in range(200) for first, last in [Crop().draw(40, spans, np.random.default_rng(number))]
    }
    assert lengths == {36, 37, 38, 39, 40}
    assert Crop(shares=None).draw(40, spans, np.random.default_rng(0)) == (0, 40)
    assert Crop(max_rows=40, shares=(0.5, 0.5)).draw(1, spans, np.random.default_rng(0)) == (0, 1)


def test_segments_are_cut_to_the_part_or_left_out():
    spans = np.array([[0.0, 4.0], [3.0, 9.0], [8.5, 20.0], [5.0, 6.0]])
    kept, stays = Crop(keep=0.5).cut(spans, 2, 10)
    assert stays.tolist() == [True, True, False, True]
    assert kept.tolist() == [[0.0, 2.0], [1.0, 7.0], [3.0, 4.0]]
    none, _ = Crop().cut(np.zeros((0, 2)), 2, 10)
    assert none.shape == (0, 2)


def test_settings_out_of_range_are_refused():
    for wrong in ({"keep": 0.0}, {"max_rows": 0}, {"shares": (0.9, 0.5)}, {"shares": (0.0, 1.0)}):
        with pytest.raises(ValueError, match="Crop:"):
            Crop(**wrong)
    with pytest.raises(ValueError, match="at least 1"):
        resize_features(ClipFeatures(np.zeros((3, 1), dtype=np.float32), SEEN), 0)
