"""From raw proposals to the official detection and retrieval lists of moment queries."""

import json

import numpy as np
import pytest
from grounding_cases import case_name, find_files

from playhead.decoding.anchor_spans import retrieve, round_for_submission, suppress_all
from playhead.decoding.nms import Detections

FILES = find_files("postprocess*.json")
CLIPS = [
    pytest.param(path, clip, id=f"{case_name(path)}-{clip}")
    for path in FILES
    for clip in json.loads(path.read_text())["proposals"]
]


def read(path, clip):
    """Return what was recorded, the clip's proposals, its annotation, and the numbers of the classes."""
    recorded = json.loads(path.read_text())
    columns = {name: number for number, name in enumerate(recorded["columns"])}
    table = np.array(recorded["proposals"][clip], dtype=np.float64).reshape(-1, len(columns))
    proposals = Detections(
        table[:, [columns["xmin"], columns["xmax"]]],
        table[:, columns["score"]],
        table[:, columns["label"]].astype(np.int64),
    )
    annotation = json.loads((path.parent / "clip_annotations.json").read_text())[clip]
    numbers = json.loads((path.parent / "moment_classes_idx.json").read_text())
    return recorded, proposals, annotation, numbers


def assert_list(ours, expected, annotation, numbers):
    rounded = round_for_submission(ours, annotation["parent_end_sec"] - annotation["parent_start_sec"])
    names = {number: name for name, number in numbers.items()}
    assert [names[label] for label in rounded.labels.tolist()] == [each["label"] for each in expected]
    np.testing.assert_allclose(rounded.scores, [each["score"] for each in expected], rtol=0, atol=1e-9)
    np.testing.assert_allclose(rounded.spans.ravel(), [t for each in expected for t in each["segment"]], atol=1e-9)


@pytest.mark.parametrize(("path", "clip"), CLIPS)
def test_detections_are_the_recorded_ones(path, clip):
    recorded, proposals, annotation, numbers = read(path, clip)
    ours = suppress_all(proposals, top=recorded["num_prop"], sigma=recorded["nms_alpha_detect"], drop_last=True)
    assert_list(ours, recorded["expected_detections"][clip], annotation, numbers)


@pytest.mark.parametrize(("path", "clip"), CLIPS)
def test_retrieval_lists_are_the_recorded_ones(path, clip):
    recorded, proposals, annotation, numbers = read(path, clip)
    present = {numbers[each["label"]] for each in annotation["annotations"]}
    ours = retrieve(proposals, present, top=recorded["num_prop"])
    assert_list(ours, recorded["expected_retrieval"][clip], annotation, numbers)
