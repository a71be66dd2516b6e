import numpy as np
import pytest
import torch

from playhead.video.erasing import Erase, draw_box, erase
from playhead.video.mixing import Mix, Mixing, draw_mix, mix_clips, mix_targets


def test_an_erased_box_is_the_same_in_all_frames_and_its_noise_is_not():
    video = torch.zeros(1, 4, 3, 32, 48)
    changed = erase(video, [0], Erase(chance=1.0)) != 0
    where = changed.any(dim=2)[0]
    assert torch.equal(where[0], where[1]) and torch.equal(where[0], where[3])
    rows, columns = where[0].any(dim=1).sum(), where[0].any(dim=0).sum()
    assert where[0].sum() == rows * columns > 0  # a rectangle
    noise = erase(video, [0], Erase(chance=1.0))
    assert not torch.equal(noise[0, 0], noise[0, 1])


def test_erasing_takes_a_share_of_clips_and_of_the_picture_as_set():
    settings = Erase(chance=0.25)
    boxes = [draw_box(np.random.default_rng(seed), 64, 96, settings) for seed in range(4000)]
    found = [box for box in boxes if box is not None]
    assert len(found) / 4000 == pytest.approx(0.25, abs=0.03)
    shares = np.array([(box.bottom - box.top) * (box.right - box.left) / (64 * 96) for box in found])
    assert shares.min() > 0.015 and shares.max() < 0.36
    assert all(0 <= box.top < box.bottom <= 64 and 0 <= box.left < box.right <= 96 for box in found)


def test_a_clip_is_erased_alike_whatever_batch_it_is_in():
    video = torch.randn(3, 2, 3, 16, 16)
    together = erase(video, [4, 5, 6], Erase(chance=1.0))
    assert torch.equal(together[1:2], erase(video[1:2], [5], Erase(chance=1.0)))
    assert torch.equal(erase(video, [4, 5, 6], Erase(chance=0.0)), video)


def test_mixup_blends_each_clip_with_its_partner():
    video, targets = torch.randn(4, 2, 3, 8, 8), torch.eye(4)
    mixed, soft = mix_clips(video, Mix(0.75)), mix_targets(targets, Mix(0.75))
    torch.testing.assert_close(mixed[0], 0.75 * video[0] + 0.25 * video[3])
    torch.testing.assert_close(soft[1], torch.tensor([0.0, 0.75, 0.25, 0.0]))


def test_cutmix_keeps_the_share_that_its_box_leaves():
    mixes = [draw_mix(seed, 20, 30, Mixing(mixup=0.0)) for seed in range(50)]
    video = torch.stack([torch.zeros(1, 3, 20, 30), torch.ones(1, 3, 20, 30)])
    for mix in mixes:
        mixed = mix_clips(video, mix)
        assert float(mixed[0].mean()) == pytest.approx(1 - mix.kept, abs=1e-6)
        assert float(mixed[1].mean()) == pytest.approx(mix.kept, abs=1e-6)


def test_what_is_drawn_follows_the_chances():
    drawn = [draw_mix(seed, 64, 64, Mixing(chance=0.8, switch=0.25)) for seed in range(3000)]
    mixed = [mix for mix in drawn if mix is not None]
    assert len(mixed) / 3000 == pytest.approx(0.8, abs=0.04)
    assert sum(mix.box is not None for mix in mixed) / len(mixed) == pytest.approx(0.25, abs=0.04)
    assert np.mean([mix.kept for mix in mixed if mix.box is None]) == pytest.approx(0.5, abs=0.03)
    assert draw_mix(7, 64, 64, Mixing()) == draw_mix(7, 64, 64, Mixing())


def test_settings_that_mix_nothing_or_are_out_of_range_are_refused():
    for wrong in ({"mixup": 0.0, "cutmix": 0.0}, {"chance": 2.0}, {"switch": -0.1}):
        with pytest.raises(ValueError, match="mixing"):
            Mixing(**wrong)
    for wrong in ({"chance": 2.0}, {"area": (0.5, 0.1)}, {"ratio": (0.0, 1.0)}):
        with pytest.raises(ValueError, match=f"erase.{next(iter(wrong))}"):
            Erase(**wrong)
