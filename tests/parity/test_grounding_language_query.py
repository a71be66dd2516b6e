"""The heads of `LanguageQuery` against recorded VSLNet and 2D-TAN: from raw features and times to loss and answers.

The networks themselves are compared in `test_grounding_vslnet` and `test_grounding_tan2d`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from grounding_cases import as_parameters, assert_output, beside, find_cases, read_arrays, read_settings

from playhead.data.feature_files import FeatureSet, TimeBase
from playhead.data.queries import ClipQuery, QueryClip
from playhead.data.query_windows import Window
from playhead.decoding.nms import Suppression
from playhead.tasks.language_query import LanguageQuery
from playhead.tasks.query_heads import Tan2dHead, VSLNetHead
from playhead.tasks.query_samples import Asked, QuerySample
from playhead.weights.vslnet_weights import load_tan2d, load_vslnet

VSLNETS = as_parameters([case for case in find_cases("vslnet") if "query_features" in read_arrays(case, "inputs")])
TAN2DS = as_parameters(find_cases("tan2d"))


def make_task(head, **settings):
    features = FeatureSet(folders=(Path("none"),), time=TimeBase(fps=30, frames=16, stride=16))
    return LanguageQuery(features=features, text=Path("none"), head=head, short_spans="released", **settings)


def make_batch(task, raw, durations, truths, words):
    """Lay recorded raw features on the head's grid; every clip is one window that begins at 0."""
    samples = []
    for number, (rows, duration, truth, tokens) in enumerate(zip(raw, durations, truths, words, strict=True)):
        clip = QueryClip("v", f"c{number}", 0.0, duration, duration, ())
        asked = Asked(clip, ClipQuery(f"c{number}/u/0", "u", 0, "?", None, None, None), tuple(truth))
        samples.append(QuerySample(asked, (Window(task.head.lay(rows), 0.0, duration),), (tuple(truth),), tokens))
    return task.collate(samples)


def vslnet_run(case):
    settings, inputs = read_settings(case), read_arrays(case, "inputs")
    task = make_task(
        VSLNetHead(
            max_rows=settings["config"]["maxpos"],
            highlight_extend=settings["highlight_extend"],
            highlight_weight=settings["highlight_lambda"],
            last_row="released",
            candidates=len(settings["predicted_times"][0]),
        )
    )
    with np.load(beside(case, ".raw_features.npz")) as arrays:
        raw = [arrays[f"raw{sample}"] for sample in range(len(settings["raw_lengths"]))]
    lengths = inputs["query_mask"].sum(dim=1).int().tolist()
    words = [row[:length].numpy() for row, length in zip(inputs["query_features"], lengths, strict=True)]
    model = load_vslnet(beside(case, ".weights.safetensors"), heads=settings["config"]["heads"])
    return task, model, make_batch(task, raw, settings["durations"], settings["gt_times"], words)


@pytest.mark.parametrize("case", VSLNETS)
def test_vslnets_head_labels_as_recorded(case):
    _, _, batch = vslnet_run(case)
    inputs = read_arrays(case, "inputs")
    assert torch.equal(batch.labels["first"], inputs["start_labels"].long())
    assert torch.equal(batch.labels["last"], inputs["end_labels"].long())
    assert torch.equal(batch.labels["highlight"], inputs["highlight_labels"] > 0)


@pytest.mark.parametrize("case", VSLNETS)
def test_vslnets_head_loses_what_was_recorded(case):
    task, model, batch = vslnet_run(case)
    loss, recorded = task.loss(task.encode(model, batch)), read_arrays(case, "outputs")
    assert_output(loss.total, recorded["total_loss"])
    assert loss.parts["ends"] == pytest.approx(float(recorded["loc_loss"]), rel=1e-4)
    assert loss.parts["highlight"] == pytest.approx(float(recorded["highlight_loss"]), rel=1e-4)


@pytest.mark.parametrize("case", VSLNETS)
def test_vslnets_answers_are_the_recorded_ones(case):
    task, model, batch = vslnet_run(case)
    recorded, chances = read_settings(case)["predicted_times"], read_arrays(case, "outputs")["top6_scores"]
    for sample, answer in enumerate(task.answer(model, batch)):
        count = len(recorded[sample])
        np.testing.assert_allclose(answer.scores, chances[sample, :count], atol=1e-5, rtol=1e-4)
        gaps = np.diff(chances[sample, : count + 1].numpy(), prepend=np.inf)
        sure = (np.abs(gaps[:-1]) > 1e-5 * chances[sample, 0].item()) & (
            np.abs(gaps[1:]) > 1e-5 * chances[sample, 0].item()
        )
        np.testing.assert_allclose(answer.windows[sure], np.array(recorded[sample])[sure], atol=1e-4, rtol=1e-5)


def tan2d_run(case):
    settings, inputs = read_settings(case), read_arrays(case, "inputs")
    sizes = settings["config"]
    head = Tan2dHead(
        num_rows=sizes["N"],
        unit_rows=False,
        min_iou=sizes["min_iou"],
        bias=sizes["bias"],
        last_row="released",
        candidates=sizes["N"] ** 2,
    )
    greedy = Suppression(method="greedy", iou_threshold=settings["nms_thresh"], min_score=0.0, per_class=False)
    task = make_task(head, suppression=greedy, top=max(map(len, settings["top5_after_nms"])))
    raw = [inputs[f"raw{sample}"].numpy() for sample in range(len(inputs["text"]))]
    durations = [settings["duration"]] * len(raw)
    weights = beside(case, ".weights.safetensors")
    model = load_tan2d(weights, num_rows=sizes["N"], scales=tuple(sizes["scales"]), paddings=tuple(sizes["pads"]))
    return task, model, make_batch(task, raw, durations, settings["gt_times"], inputs["text"].numpy())


@pytest.mark.parametrize("case", TAN2DS)
def test_2d_tans_head_loses_what_was_recorded(case):
    task, model, batch = tan2d_run(case)
    inputs = read_arrays(case, "inputs")
    torch.testing.assert_close(batch.video, inputs["visual"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(batch.labels["ious"], inputs["map_gt"][:, 0], atol=1e-6, rtol=1e-4)
    assert_output(task.loss(task.encode(model, batch)).total, read_arrays(case, "outputs")["loss"])


@pytest.mark.parametrize("case", TAN2DS)
def test_2d_tans_answers_are_the_recorded_ones(case):
    task, model, batch = tan2d_run(case)
    for answer, recorded in zip(task.answer(model, batch), read_settings(case)["top5_after_nms"], strict=True):
        ours = np.column_stack([answer.windows, answer.scores])
        np.testing.assert_allclose(ours[: len(recorded)], recorded, atol=1e-5, rtol=1e-4)
