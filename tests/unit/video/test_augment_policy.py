from collections import Counter

import numpy as np
import pytest
import torch

from playhead.video.augment_policy import OPERATIONS, Operation, RandAugment, apply, draw_operations, rand_augment


def clip(frames=2, height=24, width=40, seed=0):
    coarse = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (frames, 3, 6, 10))).float()
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return smooth.clamp(0, 255).byte()


def test_a_seed_decides_everything():
    settings, frames = RandAugment(), clip()
    assert torch.equal(rand_augment(frames, 5, settings), rand_augment(frames, 5, settings))
    assert draw_operations(5, settings) != draw_operations(6, settings)


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_all_frames_of_a_clip_are_treated_alike(name):
    still = clip(frames=1).expand(3, -1, -1, -1).contiguous()
    done = apply(still, Operation(name, 0.7, True))
    assert done.dtype == torch.uint8 and done.shape == still.shape
    assert torch.equal(done[0], done[1]) and torch.equal(done[0], done[2])
    assert torch.equal(apply(still[:1], Operation(name, 0.7, True))[0], done[0])


def test_each_operation_is_drawn_alike_and_done_half_of_the_time():
    settings = RandAugment(operations=4, magnitude=7.0, spread=0.5)
    drawn = [operation for seed in range(3000) for operation in draw_operations(seed, settings)]
    assert len(drawn) / (4 * 3000) == pytest.approx(0.5, abs=0.02)  # 5 standard deviations
    counts = Counter(operation.name for operation in drawn)
    assert len(counts) == 15 and max(counts.values()) / min(counts.values()) < 1.5
    strengths = np.array([operation.strength for operation in drawn])
    assert strengths.mean() == pytest.approx(0.7, abs=0.01) and strengths.std() == pytest.approx(0.05, abs=0.005)


def by_pixel(frames, function):
    return torch.tensor([function(int(value)) for value in frames.flatten()]).byte().view(frames.shape)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("invert", lambda value: 255 - value),
        ("posterize", lambda value: value // 64 * 64),  # 4 - int(2.8) = 2 bits are left
        ("solarize", lambda value: value if value < 256 - 179 else 255 - value),
        ("solarize_add", lambda value: min(255, value + 77) if value < 128 else value),
        ("brightness", lambda value: min(255, int(value * 1.63 + 1e-3))),
    ],
)
def test_an_operation_on_pixels_is_what_its_table_says(name, expected):
    frames = clip()
    found = apply(frames, Operation(name, 0.7, False)).int()
    assert (found - by_pixel(frames, expected).int()).abs().max() <= (1 if name == "brightness" else 0)


def test_a_shift_by_whole_pixels_moves_the_picture_and_fills_with_grey():
    frames = clip(width=40)
    right = apply(frames, Operation("translate_x", 0.5, True))  # 0.45 * 0.5 * 40 = 9 pixels
    assert torch.equal(right[..., 9:], frames[..., :-9]) and (right[..., :9] == 128).all()
    up = apply(frames, Operation("translate_y", 5 / (0.45 * 24), False))
    assert torch.equal(up[:, :, :-5], frames[:, :, 5:]) and (up[:, :, -5:] == 128).all()


def test_a_turn_one_way_and_back_returns_the_middle():
    frames = clip(height=64, width=64)
    back = apply(apply(frames, Operation("rotate", 0.5, False)), Operation("rotate", 0.5, True))
    middle = (..., slice(20, 44), slice(20, 44))
    assert (back[middle].float() - frames[middle].float()).abs().mean() < 2
    assert (apply(frames, Operation("rotate", 0.5, False))[middle].float() - frames[middle].float()).abs().mean() > 5


def test_every_operation_is_what_pillow_makes_of_a_frame():
    pillow = pytest.importorskip("PIL.Image")
    from PIL import ImageEnhance, ImageOps

    frames, factor = clip(frames=1, height=60, width=80), 1 + 0.9 * 0.7
    twins = {
        "auto_contrast": ImageOps.autocontrast,
        "equalize": ImageOps.equalize,
        "color": lambda image: ImageEnhance.Color(image).enhance(factor),
        "contrast": lambda image: ImageEnhance.Contrast(image).enhance(factor),
        "brightness": lambda image: ImageEnhance.Brightness(image).enhance(factor),
        "sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(factor),
    }
    image = pillow.fromarray(frames[0].permute(1, 2, 0).numpy())
    for name, twin in twins.items():
        expected = torch.from_numpy(np.array(twin(image))).permute(2, 0, 1)
        assert torch.equal(apply(frames, Operation(name, 0.7, False))[0], expected), name
    geometry = {
        "rotate": lambda image: image.rotate(21, resample=pillow.Resampling.BILINEAR, fillcolor=(128,) * 3),
        "shear_x": lambda image: affine(image, (1, 0.21, 0, 0, 1, 0)),
        "shear_y": lambda image: affine(image, (1, 0, 0, 0.21, 1, 0)),
    }

    def affine(image, matrix):
        return image.transform(
            image.size, pillow.Transform.AFFINE, matrix, resample=pillow.Resampling.BILINEAR, fillcolor=(128,) * 3
        )

    for name, twin in geometry.items():
        expected = torch.from_numpy(np.array(twin(image))).permute(2, 0, 1).float()
        found = apply(frames, Operation(name, 0.7, False), bicubic=False)[0].float()
        assert ((found - expected).abs() > 4).float().mean() < 0.05, name  # the border is blended otherwise


def test_settings_out_of_range_are_refused():
    for wrong in ({"operations": 0}, {"magnitude": 11.0}, {"chance": 1.5}, {"spread": -1.0}):
        with pytest.raises(ValueError, match=f"policy.{next(iter(wrong))}"):
            RandAugment(**wrong)
