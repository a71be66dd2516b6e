"""2D-TAN against the recorded network: from features and times to maps, loss, gradients and answers in seconds."""

import numpy as np
import pytest
import torch
from grounding_cases import (
    as_parameters,
    assert_digest,
    assert_output,
    beside,
    find_cases,
    read_arrays,
    read_digests,
    read_settings,
)

from playhead.data.query_grid import average_to, span_ious
from playhead.decoding.language_spans import rank_cells
from playhead.decoding.nms import greedy_nms
from playhead.objectives.spans import map_cross_entropy, map_cross_entropy_sums, scaled_ious
from playhead.weights.vslnet_weights import load_tan2d, tan2d_keymap

CASES = as_parameters(find_cases("tan2d"))


def load_model(case):
    sizes = read_settings(case)["config"]
    weights = beside(case, ".weights.safetensors")
    return load_tan2d(weights, num_rows=sizes["N"], scales=tuple(sizes["scales"]), paddings=tuple(sizes["pads"]))


def run(case):
    model, inputs = load_model(case), read_arrays(case, "inputs")
    return model, model(inputs["visual"], inputs["text"][:, 0])


def loss(case, output):
    sizes = read_settings(case)["config"]
    targets = scaled_ious(read_arrays(case, "inputs")["map_gt"][:, 0], min_iou=sizes["min_iou"], bias=sizes["bias"])
    return map_cross_entropy(output.logits, targets, output.cells), targets


@pytest.mark.parametrize("case", CASES)
def test_maps_are_the_recorded_ones(case):
    _, output = run(case)
    recorded = read_arrays(case, "outputs")
    assert torch.equal(output.cells.expand_as(recorded["map_mask"][:, 0]), recorded["map_mask"][:, 0] > 0)
    assert_output(output.logits, recorded["prediction"][:, 0])
    assert_output(output.logits.sigmoid() * output.cells, recorded["joint_prob"][:, 0])


@pytest.mark.parametrize("case", CASES)
def test_what_lies_between_the_layers_is_what_was_recorded(case):
    model, inputs, seen = load_model(case), read_arrays(case, "inputs"), {}
    model.moments.register_forward_hook(lambda _, given, out: seen.update(frame=given[0], prop_map=out))
    model.convs[0].register_forward_pre_hook(lambda _, given: seen.update(fused=given[0]))
    model.out.register_forward_pre_hook(lambda _, given: seen.update(map_conv=given[0]))

    model(inputs["visual"], inputs["text"][:, 0])

    recorded = {key: value for key, value in read_arrays(case, "outputs").items() if key.startswith("inter.")}
    assert {f"inter.{name}" for name in seen} == set(recorded)
    for name, value in seen.items():
        assert_output(value, recorded[f"inter.{name}"])


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_the_recorded_one(case):
    _, output = run(case)
    recorded = read_arrays(case, "outputs")["loss"]
    ours, targets = loss(case, output)
    assert_output(ours, recorded)
    sums = map_cross_entropy_sums(output.logits, targets, output.cells)
    assert_output(sums.mean() / output.cells.sum(), recorded)


@pytest.mark.parametrize("case", CASES)
def test_every_gradient_has_the_recorded_digest(case):
    model, output = run(case)
    loss(case, output)[0].backward()
    parameters, digests = dict(model.named_parameters()), read_digests(case)
    keymap = tan2d_keymap(tuple(read_settings(case)["config"]["scales"]))
    assert {keymap.rename(name) for name in digests} == set(parameters)
    for name, digest in digests.items():
        gradient = parameters[keymap.rename(name)].grad
        assert gradient is not None, name
        assert_digest(gradient.reshape(digest["shape"]), digest, name)


@pytest.mark.parametrize("case", CASES)
def test_the_map_of_true_ious_is_the_recorded_one(case):
    settings, recorded = read_settings(case), read_arrays(case, "inputs")["map_gt"].numpy()
    for (start, end), expected in zip(settings["gt_times"], recorded, strict=True):
        ours = span_ious(start, end, num_rows=settings["config"]["N"], duration=settings["duration"])
        np.testing.assert_allclose(ours, expected[0], atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_features_are_averaged_as_recorded(case):
    inputs = read_arrays(case, "inputs")
    for sample, given in enumerate(inputs["visual"].numpy()):
        raw = inputs[f"raw{sample}"].numpy()
        ours = average_to(raw, len(given), stretch=True, last_row="released")
        np.testing.assert_allclose(ours, given, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_ranked_and_suppressed_moments_are_the_recorded_ones(case):
    _, output = run(case)
    settings = read_settings(case)
    spans, scores = rank_cells(output.logits, output.cells, settings["duration"])
    for sample, recorded in enumerate(settings["top5_after_nms"]):
        moments, chances = spans[sample].detach().numpy(), scores[sample].detach().double().numpy()
        kept = greedy_nms(moments, chances, iou_threshold=settings["nms_thresh"], top=len(recorded))
        ours = np.column_stack([moments[kept], chances[kept]])
        np.testing.assert_allclose(ours, recorded, atol=1e-5, rtol=1e-4)
