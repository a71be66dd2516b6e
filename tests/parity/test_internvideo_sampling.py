import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from recognition_cases import case_name, find_cases, read_cases
from safetensors import safe_open
from safetensors.torch import load_file

from playhead.video.transforms import IMAGENET_MEAN, IMAGENET_STD, normalize
from playhead.video.views import crop_squares, dense_views, dense_window, segment_views, uniformerv2_segment_views

INDICES = "*frame_indices.json"


def named(cases):
    return [pytest.param(entry, id=name) for name, entry in cases]


@pytest.mark.parametrize("entry", named(read_cases("sampling*/**/" + INDICES, "videomae_validation")))
def test_the_middle_window_is_that_of_validation(entry):
    found = dense_window(entry["length"], entry["clip_len"], entry["stride"])
    assert found.tolist() == entry["indices"]


@pytest.mark.parametrize("entry", named(read_cases("sampling*/**/" + INDICES, "videomae_test_dense")))
def test_dense_views_are_those_of_testing(entry):
    found = dense_views(entry["length"], entry["clip_len"], entry["stride"], entry["segments"])
    assert [clip.tolist() for clip in found] == entry["views"]


@pytest.mark.parametrize("entry", named(read_cases("sampling*/**/" + INDICES, "videomae_test_sparse")))
def test_segment_views_are_those_of_testing(entry):
    found = segment_views(entry["length"], entry["num_frames"], entry["segments"])
    assert [clip.tolist() for clip in found] == entry["views"]


@pytest.mark.parametrize("entry", named(read_cases("sampling*/**/" + INDICES, "uniformerv2_sparse")))
def test_uniformerv2_views_are_those_of_testing(entry):
    found = uniformerv2_segment_views(entry["length"], entry["num_frames"], entry["num_clips"])
    assert [clip.tolist() for clip in found] == entry["clips"]


def resized(video, short_side):
    height, width = video.shape[-2:]
    long_side = int(short_side * max(height, width) / min(height, width))
    size = (short_side, long_side) if height <= width else (long_side, short_side)
    return F.interpolate(video.float(), size=size, mode="bilinear").round().byte()


@pytest.mark.parametrize("case", find_cases("*videomae_views.safetensors"), ids=case_name)
def test_the_pixels_of_all_views_are_those_of_testing_and_validation(case):
    arrays = load_file(case)
    with safe_open(case, "pt") as file:
        sizes = file.metadata()
    num_frames, stride, side = (int(sizes[name]) for name in ("clip_len", "frame_stride", "short_side"))
    video = resized(arrays["in/video_uint8"].permute(0, 3, 1, 2), side)
    compared = 0
    clips = dense_views(len(video), num_frames, stride, int(sizes["test_segments"]))
    for place, clip in enumerate(clips):
        for crop, square in enumerate(crop_squares(video[clip], int(sizes["test_crops"]))):
            compared += close(square, arrays[f"out/view_t{place}_s{crop}"])
    middle, side = dense_window(len(video), num_frames, stride), int(sizes["validation_crop"])
    top, left = (round((length - side) / 2) for length in video.shape[-2:])
    compared += close(video[middle][..., top : top + side, left : left + side], arrays["out/validation_view"])
    assert compared == len(arrays) - 1


def close(square, recorded):
    found = normalize(square[None], IMAGENET_MEAN, IMAGENET_STD)[0].transpose(0, 1)  # (C, T, S, S)
    # One step of 1/255 over the least deviation: OpenCV and torch round halves of a pixel value to different sides.
    torch.testing.assert_close(found, recorded, atol=0.02, rtol=0)
    return 1
