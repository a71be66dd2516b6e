"""Moments (MQ): the official conversion of the annotation, and the official evaluation, against recorded numbers."""

import json
from dataclasses import replace

import numpy as np
import pytest
from grounding_cases import case_name, find_files

from playhead.data.moment_answers import read_moment_answers
from playhead.data.moment_conversion import convert_moments, read_durations, write_converted
from playhead.data.segments import class_names, read_class_names, read_segments
from playhead.metrics.average_precision import CONVENTIONS, score_segments
from playhead.tasks.moment_scores import moment_tables, score_moments

FOLDERS = [path.parent for path in find_files("**/clip_annotations.json")]
RUNS = [
    pytest.param(folder, run, thresholds, id=f"{case_name(folder)}-{run}-{thresholds}")
    for folder in FOLDERS
    for run, content in json.loads((folder / "expected.json").read_text()).items()
    for thresholds, numbers in content.items()
    if isinstance(numbers, dict)
]
folders = pytest.mark.parametrize("folder", [pytest.param(folder, id=case_name(folder)) for folder in FOLDERS])


def read_json(path):
    return json.loads(path.read_text())


def canonical_files(folder):
    found = {path.stem.removeprefix("moments_"): path for path in folder.glob("moments_*.json")}
    return [found[split] for split in ("train", "val", "test_unannotated") if split in found]


def convert(folder):
    rows = read_json(folder / "features.json")["num_features"]
    return convert_moments(canonical_files(folder), read_durations(folder / "ego4d.json"), rows)


@folders
def test_conversion_gives_the_recorded_file(folder, tmp_path):
    clips, skipped = convert(folder)
    recorded = read_json(folder / "clip_annotations.json")
    assert clips == recorded
    assert list(clips) == list(recorded)  # and in its order
    told = read_json(folder / "features.json")["stdout"]
    missing = set(read_json(folder / "features.json")["missing_features"])
    without = [c for path in canonical_files(folder) for c in videos_of(path) if c[0] in missing]
    assert skipped.get("no_features", 0) == len(without)
    assert skipped.get("no_segments", 0) == sum(line.startswith("NO annotations") for line in told)
    write_converted(tmp_path / "converted.json", clips)
    assert read_json(tmp_path / "converted.json") == recorded


def videos_of(path):
    return [(video["video_uid"], clip["clip_uid"]) for video in read_json(path)["videos"] for clip in video["clips"]]


@folders
def test_canonical_and_converted_files_hold_the_same_clips(folder):
    converted = {clip.clip_id: clip for clip in read_segments(folder / "clip_annotations.json", "converted")}
    missing = set(read_json(folder / "features.json")["missing_features"])
    canonical = [clip for path in canonical_files(folder) for clip in read_segments(path)]
    assert [clip for clip in canonical if clip.video_id not in missing] == list(converted.values())


@folders
def test_classes_of_the_training_split_are_numbered_as_recorded(folder):
    train = read_segments(folder / "clip_annotations.json", "converted", subset="train")
    assert class_names(train) == read_class_names(folder / "moment_classes_idx.json")


@pytest.mark.parametrize(("folder", "run", "thresholds"), RUNS)
def test_evaluation_gives_the_recorded_numbers(folder, run, thresholds):
    content = read_json(folder / "expected.json")[run]
    expected = content[thresholds]
    clips = read_segments(folder / "clip_annotations.json", "converted", subset="val")
    answers = read_moment_answers(folder / content["predictions"])
    convention = replace(
        CONVENTIONS["official"],
        thresholds=tuple(expected["tiou_thresholds"]),
        recall_thresholds=tuple(expected["recall_tious"]),
        recall_ks=tuple(expected["recall_kx"]),
    )
    tables = moment_tables(answers, clips)
    found = score_segments(tables.truths, tables.detected, convention)
    by_class = {tables.names[k]: found.average_precision[:, i] for i, k in enumerate(found.classes)}

    assert set(by_class) == set(expected["ap_per_class"])
    for name, values in expected["ap_per_class"].items():
        np.testing.assert_allclose(by_class[name], values, rtol=0, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(found.average_precision.mean(axis=1), expected["mAP"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.recall, expected["recall"], rtol=0, atol=1e-9)
    assert len(tables.truths) == expected["num_gt"]
    assert (tables.detected.classes >= 0).sum() == expected["num_pred_with_known_label"]

    scores = score_moments(answers, clips, convention)
    assert scores["mq/mAP"] == pytest.approx(100 * expected["average_mAP"], abs=1e-9)
    assert scores["mq/clips"] == len(clips)
    for threshold, row in zip(expected["recall_tious"], expected["recall"], strict=True):
        for k, value in zip(expected["recall_kx"], row, strict=True):
            assert scores[f"mq/R{k}x@{threshold:g}"] == pytest.approx(100 * value, abs=1e-9)
