"""The evaluators of ActionFormer, InternVideo and ActivityNet, and fusion with class scores, as recorded."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from grounding_cases import case_name, find_files

from playhead.data.class_scores import read_class_scores
from playhead.data.moment_answers import read_moment_answers
from playhead.data.segments import read_segments
from playhead.decoding.nms import Detections
from playhead.decoding.point_spans import fuse_video_scores
from playhead.metrics.average_precision import CONVENTIONS, FoundSegments, TrueSegments, counted_truths, score_segments
from playhead.tasks.moment_scores import moment_tables, score_moments

ACTIONFORMER = [pytest.param(path, id=case_name(path)) for path in find_files("**/anet_eval.json")]
TRUTHS = {
    "internvideo": "distinct",
    "actionformer": "distinct_and_long",
    "activitynet_official": "all",
    "clean": "distinct",
}
DETECTION = [path for path in find_files("**/tad_*.json") if "predictions" in json.loads(path.read_text())]
VARIANTS = [
    pytest.param(path, thresholds, variant, id=f"{case_name(path)}-{thresholds}-{variant}")
    for path in DETECTION
    for thresholds, expected in json.loads(path.read_text())["expected"].items()
    for variant in TRUTHS
    if variant in expected
]


@pytest.mark.parametrize("path", ACTIONFORMER)
def test_actionformers_evaluator_gives_the_recorded_numbers(path):
    expected = json.loads(path.read_text())
    database = json.loads((path.parent / "anet_ground_truth.json").read_text())["database"]
    columns = expected["predictions"]
    clips = {video: number for number, video in enumerate(dict.fromkeys([*database, *columns["video-id"]]))}
    truths = true_segments(
        [
            (clips[video], record["label_id"], *record["segment"])  # its labels are all the same
            for video, content in database.items()
            if content["subset"] == "validation"
            for record in content["annotations"]
        ]
    )
    found = FoundSegments(
        np.array([clips[video] for video in columns["video-id"]]),
        np.array(columns["label"]),
        np.stack([columns["t-start"], columns["t-end"]], axis=1),
        np.array(columns["score"]),
    )
    convention = replace(
        CONVENTIONS["actionformer"],
        thresholds=tuple(expected["tiou_thresholds"]),
        recall_thresholds=tuple(expected["tiou_thresholds"]),
        recall_ks=tuple(expected["top_k"]),
    )
    scores = score_segments(truths, found, convention)
    np.testing.assert_allclose(scores.average_precision.mean(axis=1), expected["mAP"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(scores.recall, expected["recall_class_mean"], rtol=0, atol=1e-9)
    assert scores.by_name["mAP"] == pytest.approx(expected["average_mAP"], abs=1e-9)
    assert len(counted_truths(truths, convention.truths)) == expected["num_gt"]


def true_segments(rows):
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return TrueSegments(table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:])


def read_case(path, tmp_path):
    """Return clips and answers as our readers read them from files in ActivityNet's layouts."""
    content = json.loads(path.read_text())
    (tmp_path / "truth.json").write_text(json.dumps(content["ground_truth"]))
    labels = {r["label_id"]: r["label"] for v in content["ground_truth"]["database"].values() for r in v["annotations"]}
    results = {
        video: [{**record, "label": labels.get(record["label_id"], "no true segment has it")} for record in records]
        for video, records in content["predictions"].items()
    }
    (tmp_path / "found.json").write_text(json.dumps({"version": "VERSION 1.3", "results": results}))
    numbers = {label: number for number, label in labels.items()}
    clips = read_segments(tmp_path / "truth.json", "activitynet", subset="validation")
    return content, clips, read_moment_answers(tmp_path / "found.json"), numbers


@pytest.mark.parametrize(("path", "thresholds", "variant"), VARIANTS)
def test_temporal_detection_gives_the_recorded_numbers(path, thresholds, variant, tmp_path):
    content, clips, answers, numbers = read_case(path, tmp_path)
    expected = content["expected"][thresholds]
    tious = tuple(expected["tious"])
    convention = replace(
        CONVENTIONS["thumos"], thresholds=tious, recall_thresholds=tious, truths=TRUTHS[variant], undefined_iou="match"
    )
    tables = moment_tables(answers, clips)
    found = score_segments(tables.truths, tables.detected, convention)
    assert sorted(numbers[name] for name in tables.names) == sorted(expected["class_ids"])
    columns = [expected["class_ids"].index(numbers[tables.names[k]]) for k in found.classes]
    average = score_moments(answers, clips, convention, name="tad", on_missing="count")["tad/mAP"] / 100

    file_order = expected.get("file_order_ties_average_map_internvideo")
    if file_order is not None:  # scores tie, and the recorded numbers are those of one order out of many
        low, high = expected["tie_range_average_map_internvideo"]
        assert low - 0.02 <= average <= high + 0.02
        if variant == "internvideo":
            assert average == pytest.approx(file_order, abs=1e-6)
        return
    recorded = expected[variant]
    np.testing.assert_allclose(found.average_precision, np.array(recorded["ap"])[:, columns], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.average_precision.mean(axis=1), recorded["map_per_tiou"], rtol=0, atol=1e-9)
    assert average == pytest.approx(recorded["average_map"], abs=1e-9)
    if "mean_recall_at_1x_5x" in recorded:
        np.testing.assert_allclose(found.recall, recorded["mean_recall_at_1x_5x"], rtol=0, atol=1e-9)


FUSIONS = [
    pytest.param(path, name, id=f"{case_name(path)}-{name}")
    for path in find_files("**/tad_*.json")
    if "class_scores" in (content := json.loads(path.read_text()))
    for name in content["expected"]
]


@pytest.mark.parametrize(("path", "name"), FUSIONS)
def test_segments_take_the_classes_of_their_video_as_recorded(path, name, tmp_path):
    content = json.loads(path.read_text())
    top_classes, top_spans = map(int, re.fullmatch(r"topk(\d+)_n(\d+)", name).groups())
    (tmp_path / "scores.json").write_text(json.dumps({"results": content["class_scores"]}))
    num_classes = np.size(next(iter(content["class_scores"].values())))
    class_scores = read_class_scores(tmp_path / "scores.json", num_classes, "released")
    columns = content["proposals"]
    videos, scores = np.array(columns["video-id"]), np.array(columns["score"])
    spans = np.stack([columns["t-start"], columns["t-end"]], axis=1)
    fused: list[tuple[str, Detections]] = []
    for video in sorted(set(columns["video-id"])):
        own = np.flatnonzero(videos == video)
        own = own[np.argsort(-scores[own], kind="stable")]
        found = Detections(spans[own], scores[own], np.zeros(len(own), dtype=np.int64))
        fused.append(
            (video, fuse_video_scores(found, class_scores[video], top_classes=top_classes, top_spans=top_spans))
        )

    expected = content["expected"][name]
    assert [video for video, found in fused for _ in range(len(found))] == expected["video-id"]
    assert np.concatenate([found.labels for _, found in fused]).tolist() == expected["label"]
    np.testing.assert_allclose(
        np.concatenate([found.scores for _, found in fused]), expected["score"], rtol=0, atol=1e-9
    )
    ends = np.concatenate([found.spans for _, found in fused]).T
    np.testing.assert_allclose(ends, [expected["t-start"], expected["t-end"]], rtol=0, atol=1e-9)
