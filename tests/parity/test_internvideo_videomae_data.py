"""Masks, frames of a clip, multi-scale crops and the names of all weights, against what was recorded of them."""

import json
import re

import numpy as np
import pytest
import torch
from videomae_cases import GOLDEN, case_name, find_cases, read_case

from playhead.data.masking import tube_mask
from playhead.models.videomae import VideoMAE, VideoMAEClassifier, videomae, videomae_classifier
from playhead.video.pretraining_views import SCALES, crop_offsets, crop_sizes, stride_frames
from playhead.weights.videomae_weights import to_official

MASKS = [path for path in find_cases() if "np.random.seed" in (read_case(path)[1] or {}).get("note", "")]
FRAMES = sorted(path for path in GOLDEN.rglob("*frame_indices*.json") if "multi_scale_crop" in path.read_text())
SHAPES = sorted(GOLDEN.rglob("**/videomae_*_*.json"))


@pytest.mark.parametrize("case", MASKS, ids=case_name)
def test_tube_masks_are_those_that_the_recorded_seed_gives(case):
    arrays, metadata = read_case(case)
    seed = int(re.search(r"seed\((\d+)\)", metadata["note"]).group(1))
    generator = np.random.RandomState(seed)
    drawn = re.findall(r"(\w+)=\((\d+),(\d+),(\d+)\)@([\d.]+) x(\d+)", metadata["note"])
    assert drawn
    for name, time, rows, columns, ratio, count in drawn:
        grid = (int(time), int(rows), int(columns))
        masks = np.stack([tube_mask(grid, float(ratio), generator) for _ in range(int(count))])
        assert np.array_equal(masks, arrays[f"out/tube_{name}"].numpy().astype(bool))


@pytest.mark.parametrize("case", FRAMES, ids=case_name)
def test_frames_of_a_pretraining_clip_are_the_recorded_ones(case):
    lists = json.loads(case.read_text())["pretrain_frame_lists"]
    assert lists
    for told in lists:
        start, num_frames = told["one_based_offset"] - 1, len(told["indices"])
        assert stride_frames(told["length"], num_frames, told["stride"], start).tolist() == told["indices"], told


@pytest.mark.parametrize("case", FRAMES, ids=case_name)
def test_multi_scale_crops_have_the_recorded_sizes_and_places(case):
    for told in json.loads(case.read_text())["multi_scale_crop"]:
        width, height, sizes = told["image_w"], told["image_h"], told["crop_sizes_w_h"]
        image_size = told.get("input_size", 224)
        assert sorted(crop_sizes(width, height, image_size, SCALES)) == sorted(map(tuple, sizes))
        box = max(map(tuple, sizes))
        assert crop_offsets(width, height, *box) == [tuple(offset) for offset in told["offsets_for_largest_pair"]]


@pytest.mark.parametrize("case", SHAPES, ids=case_name)
def test_every_published_size_has_the_recorded_names_shapes_and_number_of_parameters(case):
    told = json.loads(case.read_text())
    _, kind, size, *classes = case.stem.split("_")
    with torch.device("meta"):
        if kind == "pretrain":
            model = VideoMAE(videomae(size))
        else:
            model = VideoMAEClassifier(videomae_classifier(size, num_classes=int(classes[0])))
    shapes = {name: list(value.shape) for name, value in to_official(model).items()}
    assert shapes == told["state_dict"]
    assert sum(parameter.numel() for parameter in model.parameters()) == told["parameters"]
