"""Soft-NMS, greedy NMS and voting against the compiled reference."""

import json

import numpy as np
import pytest
import torch
from grounding_cases import case_name, find_files
from safetensors.numpy import load_file

from playhead.decoding.nms import Detections, Suppression, greedy_nms, soft_nms, suppress

SETS = [
    (path, json.loads(path.read_text()))
    for path in find_files("*cases*.json")
    if path.with_suffix(".safetensors").exists()
]
CANDIDATES = [
    pytest.param(path.with_suffix(".safetensors"), str(number), settings, id=f"{case_name(path)}-{number}")
    for path, settings in SETS
    for number in range(settings["cases"])
]


def read_candidates(path, case):
    arrays = load_file(path)
    return arrays, Detections(*(arrays[f"{case}.{name}"] for name in ("segments", "scores", "labels")))


@pytest.mark.parametrize(("path", "case", "settings"), CANDIDATES)
def test_soft_nms_gives_the_recorded_indices_and_scores(path, case, settings):
    arrays, given = read_candidates(path, case)
    for number, asked in enumerate(settings["softnms"]):
        kept, lowered = soft_nms(
            given.spans,
            given.scores,
            decay=settings["methods"][str(asked["method"])],
            sigma=float(asked["sigma"]),
            iou_threshold=float(asked["iou_threshold"]),
            min_score=float(asked["min_score"]),
        )
        np.testing.assert_array_equal(kept, arrays[f"{case}.softnms{number}.indices"])
        recorded = arrays[f"{case}.softnms{number}.dets"]
        np.testing.assert_allclose(np.c_[given.spans[kept], lowered], recorded, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("path", "case", "settings"), CANDIDATES)
def test_greedy_nms_gives_the_recorded_indices(path, case, settings):
    arrays, given = read_candidates(path, case)
    for number, threshold in enumerate(settings["nms_iou"]):
        kept = greedy_nms(given.spans, given.scores, iou_threshold=float(threshold))
        np.testing.assert_array_equal(kept, arrays[f"{case}.nms{number}.indices"])


@pytest.mark.parametrize(("path", "case", "settings"), CANDIDATES)
def test_suppression_of_all_classes_gives_the_recorded_detections(path, case, settings):
    arrays, given = read_candidates(path, case)
    for number, asked in enumerate(settings["batched"]):
        # The reference does not vote per class, whatever its threshold says.
        voting = None if asked["multiclass"] else asked.get("voting_thresh", 0.75)
        answers = suppress(
            given,
            Suppression(
                method="gaussian" if asked["use_soft_nms"] else "greedy",
                per_class=asked["multiclass"],
                sigma=float(asked.get("sigma", 0.5)),
                iou_threshold=float(asked["iou_threshold"]),
                min_score=float(asked["min_score"]),
                voting_threshold=float(voting) if voting else None,
                top=asked["max_seg_num"],
            ),
        )
        recorded = f"{case}.batched{number}"
        np.testing.assert_array_equal(answers.labels, arrays[f"{recorded}.labels"])
        for ours, name in ((answers.scores, "scores"), (answers.spans, "segments")):
            torch.testing.assert_close(
                torch.from_numpy(ours), torch.from_numpy(arrays[f"{recorded}.{name}"]), atol=1e-5, rtol=1e-4
            )


def test_there_are_cases():
    assert CANDIDATES
