"""Queries as prepared, and recall as evaluated, by the reference: every case of every `expected.json` with the queries.

A case names its files beside it, its thresholds and its ks.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from grounding_cases import case_name, find_files

from playhead.data.queries import read_query_clips, released_record, released_rows
from playhead.data.query_answers import pair_answers, read_answers
from playhead.data.query_rules import RELEASED
from playhead.data.query_windows import training_truth
from playhead.metrics.recall import query_recall, window_ious

EXACT = 1e-9
EXPECTED = [path for path in find_files("**/expected.json") if list(path.parent.glob("nlq_*.json"))]
PREPARED = find_files("**/expected_prepared.json")
EVERY_QUERY = replace(RELEASED, no_text="keep")
CASES = [
    pytest.param(path.parent, case, id=f"{case_name(path.parent)}-{name}")
    for path in EXPECTED
    for name, case in json.loads(path.read_text()).items()
    if "runs" in case
]
PAIRS = [pytest.param(json.loads(path.read_text())["pairs"], id=case_name(path)) for path in EXPECTED]
SPLITS = [
    pytest.param(path.parent, json.loads(path.read_text()), split, id=f"{case_name(path.parent)}-{split}")
    for path in PREPARED
    for split in json.loads(path.read_text())["reformatted"]
]


def read_split(folder, split, rules=RELEASED):
    (path,) = folder.glob(f"nlq_{split}*.json")
    return read_query_clips(path, rules)


@pytest.mark.parametrize(("folder", "case"), CASES)
def test_official_recall_and_mean_iou_are_the_recorded_ones(folder, case):
    every_query = read_query_clips(folder / case["ground_truth"], EVERY_QUERY)
    answers = read_answers(folder / case["predictions"])
    paired = pair_answers(answers, every_query, as_submitted=True)
    assert len(answers) == case["evaluated"]
    assert every_query.num_queries == case.get("num_gt_queries", every_query.num_queries)
    for run in case["runs"]:
        found = query_recall(
            paired.windows,
            paired.truths,
            paired.submitted,
            ks=run["topK"],
            thresholds=run["thresholds"],
            convention="official",
            num_queries=paired.num_queries,
        )
        np.testing.assert_allclose(found.recall, run["recall"], atol=EXACT, rtol=0)
        assert np.isnan(found.mean_iou) == run["mIoU_is_nan"]
        if not run["mIoU_is_nan"]:
            assert found.mean_iou == pytest.approx(run["mIoU"], abs=EXACT)
        assert (found.submitted, found.queries) == (case["evaluated"], paired.num_queries)


@pytest.mark.parametrize(("folder", "case"), CASES)
def test_missing_queries_are_misses_in_the_sound_convention(folder, case):
    clips = read_query_clips(folder / case["ground_truth"], RELEASED)
    paired = pair_answers(read_answers(folder / case["predictions"]), clips)
    for run in case["runs"]:
        found = query_recall(
            paired.windows, paired.truths, paired.submitted, ks=run["topK"], thresholds=run["thresholds"]
        )
        share = case["evaluated"] / clips.num_queries
        assert found.coverage == pytest.approx(share)
        np.testing.assert_allclose(found.recall, np.array(run["recall"]) * share, atol=EXACT, rtol=0)
        if not run["mIoU_is_nan"]:
            assert found.mean_iou == pytest.approx(run["mIoU"] * share, abs=EXACT)
        assert np.isfinite(found.mean_iou)


@pytest.mark.parametrize("pairs", PAIRS)
def test_ious_are_the_recorded_ones(pairs):
    predicted, truths = (np.array([pair[side] for pair in pairs], dtype=float) for side in ("pred", "gt"))
    recorded = np.array([pair["iou"] for pair in pairs], dtype=float)
    np.testing.assert_allclose(window_ious(predicted, truths), recorded, atol=EXACT, rtol=0)


@pytest.mark.parametrize(("folder", "prepared", "split"), SPLITS)
def test_released_records_are_the_recorded_ones(folder, prepared, split):
    rate = prepared["features_per_sec"]
    ours = {clip.clip_id: released_record(clip, rate) for clip in read_split(folder, split)}
    assert ours == prepared["reformatted"][split]


@pytest.mark.parametrize(("folder", "prepared", "split"), SPLITS)
def test_released_feature_rows_are_the_recorded_ones(folder, prepared, split):
    recorded = [row for row in prepared["feature_slices"] if row["split"] == split]
    clips = read_split(folder, split)
    ours = {clip.clip_id: (clip.video_id, *released_rows(clip, prepared["features_per_sec"])) for clip in clips}
    assert ours == {row["clip_uid"]: (row["video_uid"], row["first"], row["last_inclusive"]) for row in recorded}


@pytest.mark.parametrize(("folder", "prepared", "split"), SPLITS)
def test_released_training_truths_are_the_recorded_rows(folder, prepared, split):
    rate, records = prepared["features_per_sec"], prepared["reformatted"][split]
    for clip in read_split(folder, split):
        for query, rows in zip(clip.queries, records[clip.clip_id]["timestamps"], strict=True):
            truth = training_truth(query, "released", rate, clip.duration)
            expected = None if query.raw_start is None else tuple(row / rate for row in rows)
            assert truth == expected
