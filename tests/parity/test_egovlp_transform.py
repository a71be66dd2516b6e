"""The test-time transform against one recorded clip, at sizes read from the case."""

import pytest
import torch
from egovlp_cases import case_name, find_cases
from safetensors.torch import load_file

from playhead.video.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocess, fit_for_test

CASES = find_cases("**/i_test_transform*.safetensors")


def test_there_is_a_case():
    assert CASES


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_resize_crop_and_normalisation_are_the_recorded_ones(case):
    arrays = load_file(case)
    resize, image_size = int(arrays["meta/center_crop"]), int(arrays["meta/input_res"])
    fitted = fit_for_test(arrays["in/video"][None], resize, image_size)[0]
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    torch.testing.assert_close((fitted - mean) / std, arrays["out/video"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_the_stored_settings_do_the_same_to_bytes(case):
    arrays = load_file(case)
    preprocess = Preprocess(resize=int(arrays["meta/center_crop"]), image_size=int(arrays["meta/input_res"]))
    shown = preprocess((arrays["in/video"] * 255).round().byte()[None])[0]
    # Bytes are at most 0.5 / 255 away; bilinear weights do not add to that; the smallest std is 0.224.
    torch.testing.assert_close(shown, arrays["out/video"], atol=0.5 / 255 / 0.224 + 1e-5, rtol=0)
