"""VSGN against the recorded network: labels, pyramid, boxes, losses, gradients and proposals in seconds."""

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

from playhead.data.anchor_labels import anchor_labels
from playhead.decoding.anchor_spans import decode_anchors
from playhead.models.vsgn import GROUPS
from playhead.objectives.anchors import AnchorTargets, anchor_losses, anchor_rows, anchor_total
from playhead.weights.vsgn_weights import export_map, load_vsgn, to_vsgn

CASES = as_parameters(find_cases("vsgn"))
LOSSES = {
    "class": "loss_cls_dec",
    "box": "loss_reg_dec",
    "action": "loss_action",
    "start": "loss_start",
    "end": "loss_end",
    "adjust": "loss_bd_adjust",
}


def load_model(case):
    settings = read_settings(case)["config"]
    model = load_vsgn(
        beside(case, ".weights.safetensors"),
        num_steps=settings["temporal_scale"],
        anchor_scales=tuple(settings["anchor_scale"]),
        num_neighbours=settings["num_neigh"],
        stitched=settings["use_xGPN"] and settings["use_VSS"],
        short_ratio=settings["short_ratio"],
        stitch_gap=settings["stitch_gap"],
    )
    assert model.config.num_classes == settings["decoder_num_classes"] - 1
    assert model.config.num_levels == settings["num_levels"]
    assert model.config.tower_layers == settings["num_head_layers"]
    assert model.config.graph == settings["use_xGPN"]
    return model


def read_inputs(case):
    inputs = read_arrays(case, "inputs")
    steps = torch.arange(inputs["features"].shape[2])
    return inputs["features"].transpose(1, 2), steps < inputs["num_frms"][:, None]


def run(case):
    model = load_model(case)
    return model, model(*read_inputs(case))


def losses(case, output):
    inputs, settings = read_arrays(case, "inputs"), read_settings(case)
    boxes = inputs["gt_bbox"]
    targets = AnchorTargets(
        boxes=boxes[..., :2] * settings["config"]["temporal_scale"],
        labels=boxes[..., 2].long(),
        present=torch.arange(boxes.shape[1]) < inputs["num_gt"][:, None],
        action=inputs["gt_action"],
        start=inputs["gt_start"],
        end=inputs["gt_end"],
    )
    # The first of the three belongs to a stage that the reference no longer has.
    _, at_first, at_adjustment = settings["config"]["iou_thr"]
    rows = anchor_rows(
        logits=output.logits,
        boxes=output.boxes,
        adjusted=output.adjusted,
        anchors=output.anchors,
        action=output.action,
        start=output.start,
        end=output.end,
        targets=targets,
        thresholds=(at_first, at_first, at_adjustment),
    )
    return anchor_losses(rows)


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_the_recorded_ones(case):
    _, output = run(case)
    recorded = read_arrays(case, "outputs")
    assert_output(output.logits.softmax(dim=-1), recorded["score_dec"])
    assert_output(output.boxes, recorded["loc_dec"])
    assert_output(output.adjusted, recorded["loc_adjusted"])
    for name in ("action", "start", "end"):
        assert_output(getattr(output, name), recorded[f"{name}ness"])


@pytest.mark.parametrize("case", CASES)
def test_anchors_are_the_recorded_ones(case):
    model, recorded = load_model(case), read_arrays(case, "outputs")
    levels = [recorded[f"anchors{level}"] for level in range(model.config.num_levels)]
    torch.testing.assert_close(model.anchors(), torch.cat(levels), atol=0, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_every_level_and_tower_is_as_recorded(case):
    model, seen = load_model(case), {"classes": [], "boxes": []}
    for name, outputs in seen.items():
        model.get_submodule(name).register_forward_hook(lambda _, __, out, outputs=outputs: outputs.append(out))
    model.pyramid.register_forward_hook(lambda _, __, out: seen.update(pyramid=out))

    model(*read_inputs(case))

    down, up = seen["pyramid"]
    ours = {f"inter.enc{level}": steps for level, steps in enumerate(down)}
    ours |= {f"inter.dec{level}": steps for level, steps in enumerate(up)}
    # Towers see the finest level first; the recorded ones are numbered from the coarsest on.
    for name, key in (("classes", "cls"), ("boxes", "reg")):
        ours |= {f"inter.{key}_dec{n}": out.transpose(1, 2) for n, out in enumerate(reversed(seen[name]))}
    recorded = read_arrays(case, "outputs")
    assert set(ours) == {key for key in recorded if key.startswith("inter.")}
    for name, steps in ours.items():
        assert_output(steps, recorded[name])


@pytest.mark.parametrize("case", CASES)
def test_losses_are_the_recorded_ones(case):
    _, output = run(case)
    ours, recorded, weights = losses(case, output), read_arrays(case, "outputs"), read_settings(case)["loss_weights"]
    assert {weights[LOSSES[name]] for name in ("class", "box", "adjust")} == {1}
    assert weights["loss_start"] == weights["loss_end"] == weights["loss_action"]
    for name, key in LOSSES.items():
        assert_output(ours[name], recorded[key])
    assert_output(anchor_total(ours, weights["loss_action"]), recorded["total_loss"])


@pytest.mark.parametrize("case", CASES)
def test_every_gradient_has_the_recorded_digest(case):
    model, output = run(case)
    anchor_total(losses(case, output), read_settings(case)["loss_weights"]["loss_action"]).backward()
    digests, to_theirs = read_digests(case), export_map(model.config.graph)
    gradients = {to_theirs.rename(name): parameter.grad for name, parameter in model.named_parameters()}
    assert set(gradients) == set(digests)
    noise = noise_of_removed_biases(model)
    for name, digest in digests.items():
        if name in noise:
            assert max(gradients[name].abs().max(), digest["abs_sum"] / digest["shape"][0]) < noise[name]
        else:
            assert_digest(gradients[name], digest, name)


def noise_of_removed_biases(model):
    """Return how small the gradients of biases are that a norm of one channel per group takes away: only rounding."""
    if model.config.width > GROUPS:
        return {}
    to_theirs, noise = export_map(model.config.graph), {}
    for tower in ("classes", "boxes"):
        for place, layer in enumerate(model.get_submodule(tower).layers):
            if isinstance(layer, torch.nn.Conv1d):
                noise[to_theirs.rename(f"{tower}.layers.{place}.bias")] = 1e-4 * layer.weight.grad.abs().max()
    return noise


@pytest.mark.parametrize("case", CASES)
def test_labels_are_the_recorded_ones(case):
    settings, inputs = read_settings(case), read_arrays(case, "inputs")
    num_steps = settings["config"]["temporal_scale"]
    numbers = {}
    for sample, clip in enumerate(settings["samples"]):
        names = [each["label"] for each in clip["annotations"]]
        recorded = inputs["gt_bbox"][sample].numpy()
        classes = recorded[: len(names), 2].astype(int)
        for name, number in zip(names, classes, strict=True):
            assert numbers.setdefault(name, number) == number
        labels = anchor_labels(
            [(each["start_time"], each["end_time"]) for each in clip["annotations"]],
            classes,
            num_real=int(inputs["num_frms"][sample]),
            num_steps=num_steps,
            seconds_per_step=1 / clip["fps"],
            max_boxes=len(recorded),
        )
        boxes, _ = labels.padded(len(recorded))
        np.testing.assert_allclose(boxes / num_steps, recorded[:, :2], atol=1e-6)
        assert len(labels.boxes) == inputs["num_gt"][sample]
        np.testing.assert_array_equal(labels.action, inputs["gt_action"][sample].numpy())
        np.testing.assert_allclose(labels.start, inputs["gt_start"][sample].numpy(), atol=1e-6)
        np.testing.assert_allclose(labels.end, inputs["gt_end"][sample].numpy(), atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_proposals_are_the_recorded_ones(case):
    settings, recorded = read_settings(case), read_arrays(case, "outputs")
    with np.load(beside(case, ".proposals.npz")) as proposals:
        assert len(proposals.files) == len(settings["samples"])
        for sample, clip in enumerate(settings["samples"]):
            ours = decode_anchors(
                recorded["loc_adjusted"][sample].numpy(),
                recorded["score_dec"][sample].numpy(),
                recorded["startness"][sample].numpy(),
                recorded["endness"][sample].numpy(),
                num_real=clip["num_frms"],
                seconds_per_step=1 / clip["fps"],
                iou_threshold=settings["nms_thr"],
                keep_empty=True,
            )
            table = np.column_stack([ours.spans, ours.scores, ours.labels])
            np.testing.assert_allclose(table, proposals[f"clip{sample}"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_exported_weights_are_the_recorded_ones(case):
    exported, recorded = to_vsgn(load_model(case)), read_arrays(case, "weights")
    assert set(exported) == set(recorded)
    for name, tensor in recorded.items():
        assert torch.equal(exported[name], tensor)
