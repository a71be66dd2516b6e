import numpy as np
import pytest
import torch
from PIL import Image

from playhead.video.pretraining_views import (
    crop_offsets,
    crop_sizes,
    draw_start,
    multi_scale_crop,
    stride_frames,
)


def test_a_clip_that_fits_is_drawn_from_every_place_where_it_fits():
    generator = np.random.default_rng(0)
    assert {draw_start(20, 4, 4, generator) for _ in range(200)} == set(range(5))
    assert {draw_start(16, 4, 4, generator) for _ in range(5)} == {0}
    assert {draw_start(3, 4, 4, generator) for _ in range(5)} == {0}


def test_short_videos_repeat_a_frame_and_a_single_frame_is_a_clip():
    assert stride_frames(40, 4, 4, 24).tolist() == [24, 28, 32, 36]
    assert stride_frames(10, 4, 4, 0).tolist() == [0, 4, 8, 8]
    assert stride_frames(1, 3, 4, 0).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="no clip"):
        stride_frames(5, 4, 4, 5)


def test_boxes_are_square_or_differ_by_one_scale():
    """By hand: sides of 256 are 256, 224, 192 and 168; 4 squares and 6 neighbours."""
    sizes = crop_sizes(320, 256, 224)
    assert sizes[0] == (256, 256) and len(sizes) == 10
    assert {(256, 224), (224, 256), (192, 168)} <= set(sizes) and (256, 192) not in sizes


def test_boxes_never_leave_the_picture_and_reach_its_corners():
    offsets = crop_offsets(320, 256, 224, 192)
    assert len(set(offsets)) == 13
    assert {(0, 0), (96, 0), (0, 64), (96, 64), (48, 32)} <= set(offsets)
    assert all(0 <= left <= 96 and 0 <= top <= 64 for left, top in offsets)


def test_a_crop_is_a_box_scaled_as_pillow_scales_it():
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 40, 50), dtype=np.uint8))
    crop = multi_scale_crop(frames, np.random.default_rng(3), 24)
    generator = np.random.default_rng(3)
    wide, high = crop_sizes(50, 40, 24)[int(generator.integers(10))]
    left, top = crop_offsets(50, 40, wide, high)[int(generator.integers(13))]
    for ours, frame in zip(crop, frames, strict=True):
        box = Image.fromarray(frame.permute(1, 2, 0).numpy()).crop((left, top, left + wide, top + high))
        theirs = torch.from_numpy(np.asarray(box.resize((24, 24), Image.Resampling.BILINEAR)).copy())
        difference = (ours.permute(1, 2, 0).int() - theirs.int()).abs()
        assert difference.max() <= 1


def test_crops_differ_with_the_generator_and_all_frames_of_a_clip_have_the_same():
    frame = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 40, 50), dtype=np.uint8))
    generator = np.random.default_rng(0)
    crops = [multi_scale_crop(frame.expand(3, -1, -1, -1), generator, 24) for _ in range(8)]
    assert all(torch.equal(crop[0], crop[2]) for crop in crops)
    assert len({crop.numpy().tobytes() for crop in crops}) > 5


def test_a_picture_smaller_than_the_crop_is_enlarged():
    frames = torch.full((1, 3, 22, 30), 7, dtype=torch.uint8)
    for seed in range(20):
        crop = multi_scale_crop(frames, np.random.default_rng(seed), 24)
        assert crop.shape == (1, 3, 24, 24) and (crop == 7).all()
