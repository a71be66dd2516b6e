import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from playhead.video.transforms import (
    Augment,
    Preprocess,
    augment,
    cut_view,
    draw_view,
    fit_for_test,
    normalize,
    show_views,
)

WIDE = Augment(scale=(0.2, 1.0), brightness=0.4, contrast=0.4, saturation=0.4)


def clips(count, height=48, width=70, seed=0):
    return torch.randint(0, 256, (count, 3, 3, height, width), dtype=torch.uint8, generator=torch.manual_seed(seed))


def test_preprocess_gives_what_the_model_wants():
    shown = Preprocess(image_size=28, resize=32)(clips(2))
    assert shown.shape == (2, 3, 3, 28, 28)
    assert shown.dtype == torch.float32


def test_a_video_decoded_at_the_short_side_is_only_cropped():
    preprocess = Preprocess(image_size=32, resize=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    video = clips(1, height=32, width=50)
    torch.testing.assert_close(preprocess(video), video[..., 9:41].float() / 255)


def test_a_square_cut_before_gives_the_same_as_one_cut_inside():
    preprocess = Preprocess(image_size=28, resize=48)
    video = clips(2)
    assert torch.equal(preprocess(preprocess.center_crop(video)), preprocess(video))


def test_center_crop_takes_the_middle_of_any_batch_shape():
    video = clips(2)
    assert torch.equal(Preprocess().center_crop(video), video[..., 11:59])
    assert torch.equal(Preprocess().center_crop(video[0].transpose(-1, -2)), video[0].transpose(-1, -2)[..., 11:59, :])


def test_the_short_side_is_scaled_as_interpolation_does_in_one_step():
    video = clips(1, height=60, width=90).float()
    expected = F.interpolate(video[0], size=(40, 60), mode="bilinear", align_corners=False)[..., 10:50]
    torch.testing.assert_close(fit_for_test(video, 40, 40)[0], expected)


def test_normalize_by_hand():
    video = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 1, 3, 1, 1)
    found = normalize(video, mean=(0.5, 0.5, 0.2), std=(0.5, 0.25, 0.1))
    torch.testing.assert_close(found.flatten(), torch.tensor([-1.0, 2.0, 0.0]))


def test_preprocess_survives_json():
    preprocess = Preprocess(num_frames=8, image_size=96, resize=112, mean=(0.1, 0.2, 0.3), window=2.5)
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


@pytest.mark.parametrize("change", [{"crop": 3}, {"window": None}])
def test_settings_with_other_keys_are_refused(change):
    settings = Preprocess().to_dict()
    for name, value in change.items():
        settings.pop(name, None)
        settings |= {} if value is None else {name: value}
    with pytest.raises(ValueError, match=next(iter(change))):
        Preprocess.from_dict(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_frames": 0},
        {"image_size": 0},
        {"resize": -1},
        {"window": 0.0},
        {"window": float("inf")},
        {"std": (1.0, 0.0, 1.0)},
    ],
)
def test_wrong_preprocess_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=f"preprocess.{next(iter(wrong))}"):
        Preprocess(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"scale": (0.0, 1.0)}, {"scale": (0.9, 0.5)}, {"ratio": (2.0, 1.0)}, {"flip": 1.5}, {"contrast": -0.1}]
)
def test_wrong_augment_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=f"augment.{next(iter(wrong))}"):
        Augment(**wrong)


def test_a_clip_does_not_depend_on_its_batch():
    video, seeds = clips(6), [5, 11, 2, 900, 2**40, 7]
    together = augment(video, seeds, WIDE, 24)
    backwards = augment(video.flip(0), seeds[::-1], WIDE, 24).flip(0)
    alone = torch.cat([augment(video[place : place + 1], [seed], WIDE, 24) for place, seed in enumerate(seeds)])
    assert torch.equal(together, alone)
    assert torch.equal(together, backwards)


def test_different_seeds_give_different_views():
    video = clips(1).expand(8, -1, -1, -1, -1)
    shown = augment(video, list(range(8)), Augment(), 24)
    assert len({frame.numpy().tobytes() for frame in shown}) == 8


def test_all_frames_of_a_clip_are_treated_alike():
    still = clips(2)[:, :1].expand(-1, 3, -1, -1, -1)
    shown = augment(still, [1, 2], WIDE, 24)
    assert torch.equal(shown[:, 0], shown[:, 1])
    assert torch.equal(shown[:, 0], shown[:, 2])


def test_the_crop_is_the_interpolated_box():
    video, settings = clips(3), Augment()
    for place, seed in enumerate((3, 4, 5)):
        view = draw_view(seed, 48, 70, settings)
        box = video[place, ..., view.top : view.top + view.height, view.left : view.left + view.width].float()
        expected = F.interpolate(box, size=(24, 24), mode="bilinear", align_corners=False)
        expected = expected.flip(-1) if view.flipped else expected
        assert torch.equal(augment(video[place][None], [seed], settings, 24)[0], expected.round().byte())


def test_cutting_first_and_showing_later_is_augmenting():
    video, seeds = clips(4), [5, 6, 7, 8]
    cut = [cut_view(clip, seed, WIDE) for clip, seed in zip(video, seeds, strict=True)]
    padded = torch.full((4, *video.shape[1:]), 255, dtype=torch.uint8)  # what is around a clip must not be seen
    for row, (box, view) in zip(padded, cut, strict=True):
        assert box.shape[-2:] == (view.height, view.width)
        row[..., : view.height, : view.width] = box
    assert torch.equal(show_views(padded, [view for _, view in cut], 24), augment(video, seeds, WIDE, 24))


def test_every_clip_needs_a_view():
    with pytest.raises(ValueError, match="one view per clip, got 1 for 2"):
        show_views(clips(2), [draw_view(0, 48, 70, WIDE)], 24)


def test_no_variation_at_the_same_size_is_the_identity():
    video = clips(2, height=32, width=32)
    still = Augment(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
    assert torch.equal(augment(video, [0, 1], still, 32), video)
    assert torch.equal(
        augment(video, [0, 1], Augment(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=1.0), 32), video.flip(-1)
    )


def test_views_keep_within_the_picture_and_the_settings():
    settings = Augment()
    views = [draw_view(seed, 256, 340, settings) for seed in range(2000)]
    for view in views:
        assert 0 <= view.top <= 256 - view.height
        assert 0 <= view.left <= 340 - view.width
    areas = np.array([view.height * view.width / (256 * 340) for view in views])
    ratios = np.array([view.width / view.height for view in views])
    assert areas.min() > 0.49
    assert areas.max() <= 1
    assert ratios.min() > 0.74
    assert ratios.max() < 1.35
    assert 0.45 < np.mean([view.flipped for view in views]) < 0.55  # standard error 0.011


def test_a_picture_too_long_for_the_ratios_gives_its_middle():
    view = draw_view(0, 10, 1000, Augment(scale=(0.99, 1.0)))
    assert (view.top, view.height, view.width) == (0, 10, 13)
    assert view.left == (1000 - 13) // 2


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_a_color_factor_moves_pixels_from_what_it_is_about(name):
    video = torch.tensor([[100, 200], [50, 50], [0, 100]], dtype=torch.uint8).view(1, 1, 3, 1, 2)
    settings = Augment(scale=(1.0, 1.0), ratio=(2.0, 2.0), flip=0.0, **{name: 0.5})
    (factor,) = (value for value in draw_view(3, 1, 2, settings).colors if value != 1)
    luma = (video * torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)).sum(dim=2, keepdim=True)
    around = {"brightness": torch.zeros(1), "contrast": luma.mean(), "saturation": luma}[name]
    expected = (around + (video - around) * factor).clamp(0, 255).round().byte()
    shown = augment(video, [3], settings, 2)
    assert torch.equal(shown, expected.expand(-1, -1, -1, 2, -1))


def test_one_seed_per_clip_is_needed():
    with pytest.raises(ValueError, match="3 for 2"):
        augment(clips(2), [1, 2, 3], Augment(), 24)
