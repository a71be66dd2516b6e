"""ActionFormer against the recorded runs: training (targets, losses, gradients), inference, optimizer, schedule."""

import math

import numpy as np
import pytest
import torch
from grounding_cases import (
    as_parameters,
    assert_digest,
    assert_output,
    find_cases,
    read_arrays,
    read_digests,
    read_settings,
)

from playhead.decoding.nms import Detections, suppress
from playhead.decoding.point_spans import decode_points, point_candidates, to_seconds
from playhead.models.point_pyramid import PointPyramid
from playhead.objectives.detection import (
    assign_batch,
    detection_loss,
    next_normalizer,
    place_points,
    point_sums,
)
from playhead.train.config import Optim
from playhead.train.optim import learning_rate, make_optimizer
from playhead.weights.point_pyramid_weights import (
    ACTIONFORMER,
    actionformer_state,
    candidate_rules,
    center_radius,
    point_ranges,
    pyramid_config,
    suppression_of,
)

CASES = find_cases("actionformer")
EACH_CASE = pytest.mark.parametrize("case", as_parameters(CASES))


def read_model(case):
    model = PointPyramid(pyramid_config(read_settings(case)["user_config"]))
    model.load_state_dict(actionformer_state(read_arrays(case, "weights"), model), strict=True)
    return model.eval()


def read_video(case, video):
    arrays = read_arrays(case, "inputs")
    return {name: arrays[f"{video['video_id']}.{name}"] for name in ("feats", "segments", "labels")}


def read_batch(case):
    """The videos of the training batch: padded features, their mask, and the truths."""
    chosen = [video for video in read_settings(case)["videos"] if video["used_in_training"]]
    videos = [read_video(case, video) for video in chosen]
    features = [video["feats"].T for video in videos]
    lengths = torch.tensor([len(rows) for rows in features])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    return torch.nn.utils.rnn.pad_sequence(features, batch_first=True), mask, videos


def read_levels(recorded, name):
    found = []
    while f"{name}{len(found)}" in recorded:
        found.append(recorded[f"{name}{len(found)}"])
    assert found
    return found


def make_points(case, pyramid, config):
    ranges = point_ranges(read_settings(case)["user_config"])
    return place_points([mask.shape[1] for mask in pyramid.masks], config.strides, ranges)


def make_targets(case, videos, points, config):
    radius = center_radius(read_settings(case)["user_config"])
    truths = [(video["segments"], video["labels"]) for video in videos]
    return assign_batch(points, truths, config.num_classes, center_radius=radius)


def assert_levels(pyramid, recorded, name):
    for what, ours in (("cls_logits", pyramid.logits), ("offsets", pyramid.offsets)):
        for mine, theirs in zip(ours, read_levels(recorded, f"{name}.{what}"), strict=True):
            assert_output(mine.detach(), theirs)
    for mine, theirs in zip(pyramid.masks, read_levels(recorded, f"{name}.mask"), strict=True):
        assert torch.equal(mine, theirs)


@EACH_CASE
def test_the_settings_derived_are_the_recorded_ones(case):
    settings, config = read_settings(case), read_model(case).config
    assert list(config.strides) == settings["fpn_strides"]
    assert config.padded_steps(config.max_steps) == config.max_steps
    longer = config.padded_steps(config.max_steps + 1)
    divisor = settings["max_div_factor"]
    assert longer == math.ceil((config.max_steps + 1) / divisor) * divisor


@EACH_CASE
def test_a_training_batch_gives_the_recorded_levels_and_points(case):
    model, recorded = read_model(case), read_arrays(case, "outputs")
    features, mask, _ = read_batch(case)
    pyramid = model(features, mask)
    assert_levels(pyramid, recorded, "train")
    for ours, theirs in zip(pyramid.levels, read_levels(recorded, "train.backbone"), strict=True):
        assert_output(ours.detach().transpose(1, 2), theirs)
    points = make_points(case, pyramid, model.config)
    ours = torch.stack([points.places, points.nearest, points.furthest, points.strides], dim=1)
    assert torch.equal(ours, torch.cat(read_levels(recorded, "train.points")))


@EACH_CASE
def test_points_answer_for_the_recorded_truths(case):
    model, recorded = read_model(case), read_arrays(case, "outputs")
    features, mask, videos = read_batch(case)
    points = make_points(case, model(features, mask), model.config)
    classes, offsets = make_targets(case, videos, points, model.config)
    assert torch.equal(classes, recorded["train.gt_cls"])
    assert_output(offsets, recorded["train.gt_offsets"])


@EACH_CASE
def test_losses_and_gradients_are_the_recorded_ones(case):
    settings, recorded, digests = read_settings(case), read_arrays(case, "outputs"), read_digests(case)
    model, train = read_model(case), settings["user_config"]["train_cfg"]
    features, mask, videos = read_batch(case)
    pyramid = model(features, mask)
    classes, offsets = make_targets(case, videos, make_points(case, pyramid, model.config), model.config)
    sums = point_sums(
        torch.cat(pyramid.logits, dim=1),
        torch.cat(pyramid.offsets, dim=1),
        torch.cat(pyramid.masks, dim=1),
        classes,
        offsets,
        label_smoothing=float(train["label_smoothing"]),
    )
    weight = float(train["loss_weight"]) if train["loss_weight"] > 0 else "auto"
    normalizers = [float(settings["loss_normalizer"][0])]
    for _ in settings["loss_normalizer"][1:]:
        normalizers.append(next_normalizer(normalizers[-1], float(sums.positives.sum())))
    assert normalizers == pytest.approx(settings["loss_normalizer"], rel=1e-12)

    total, class_part, offset_part = detection_loss(sums, normalizers[1], offset_weight=weight)
    second, _, _ = detection_loss(sums, normalizers[2], offset_weight=weight)
    for ours, name in ((total, "final"), (class_part, "cls"), (offset_part, "reg"), (second, "second_call_final")):
        assert_output(ours.detach(), recorded[f"train.{name}_loss"])

    total.backward()
    gradients = {ACTIONFORMER.inverted().rename(name): parameter.grad for name, parameter in model.named_parameters()}
    assert set(gradients) == set(digests)
    for name, digest in digests.items():
        gradient = gradients[name]
        assert_digest(None if gradient is None else gradient.reshape(digest["shape"]), digest, name)


@EACH_CASE
@torch.no_grad()
def test_every_video_gives_the_recorded_moments(case):
    settings, recorded, model = read_settings(case), read_arrays(case, "outputs"), read_model(case)
    rules, suppression = candidate_rules(settings["user_config"]), suppression_of(settings["user_config"])
    for number, video in enumerate(settings["videos"]):
        features = read_video(case, video)["feats"].T[None]
        pyramid = model(features, torch.ones(1, features.shape[1], dtype=torch.bool))
        assert_levels(pyramid, recorded, f"test{number}")
        parts = [[level[0] for level in part] for part in (pyramid.logits, pyramid.offsets, pyramid.masks)]
        candidates = point_candidates(*parts, model.config.strides, rules=rules)
        assert_detections(candidates, recorded, f"test{number}.pre_nms")
        names = {"fps": "fps", "stride": "feat_stride", "frames": "feat_num_frames", "duration": "duration"}
        time = {ours: float(video[theirs]) for ours, theirs in names.items()}
        final = to_seconds(suppress(candidates, suppression), **time)
        assert_detections(final, recorded, f"test{number}.final")
        (at_once,) = decode_points(
            pyramid.logits,
            pyramid.offsets,
            pyramid.masks,
            model.config.strides,
            rules=rules,
            suppression=suppression,
        )
        assert_detections(to_seconds(at_once, **time), recorded, f"test{number}.final")


def assert_detections(ours: Detections, recorded, name):
    labels, scores, spans = (recorded[f"{name}.{what}"] for what in ("labels", "scores", "segments"))
    assert len(ours) == len(scores)
    ours = ours.take(in_recorded_order(ours, scores.numpy(), labels.numpy()))
    assert ours.labels.tolist() == labels.tolist()
    assert_output(torch.from_numpy(ours.scores), scores)
    assert_output(torch.from_numpy(ours.spans).float(), spans)


def in_recorded_order(ours: Detections, scores, labels):
    """Our rows; where neighbours have the same score but for rounding, in the recorded order of their labels."""
    rows = list(range(len(ours)))
    for place in range(len(rows) - 1):
        if ours.labels[rows[place]] != labels[place] and abs(scores[place] - scores[place + 1]) <= 1e-6 * scores[place]:
            rows[place], rows[place + 1] = rows[place + 1], rows[place]
    return np.array(rows, dtype=np.int64)


@EACH_CASE
def test_the_optimizer_decays_the_recorded_parameters(case):
    model = read_model(case)
    names = {parameter: ACTIONFORMER.inverted().rename(name) for name, parameter in model.named_parameters()}
    recorded = read_settings(case)["optimizer_groups"]
    decay = float(max(group["weight_decay"] for group in recorded))
    optimizer = make_optimizer(model, Optim(lr=1e-4, weight_decay=decay))
    for group in recorded:
        ours = {
            names[p]
            for ours in optimizer.param_groups
            if ours["weight_decay"] == group["weight_decay"]
            for p in ours["params"]
        }
        assert ours == set(group["params"])


@EACH_CASE
def test_the_rate_is_the_recorded_one_without_its_first_update_at_rate_zero(case):
    recorded = read_settings(case)["lr_schedule"]
    warmup = recorded["warmup_epochs"] * recorded["iters_per_epoch"]
    assert recorded["lrs"][0] == 0
    optim = Optim(lr=float(recorded["base_lr"]), schedule="cosine", warmup_steps=warmup - 1, min_lr=1e-8)
    ours = [
        learning_rate(optim, step, total_steps=len(recorded["lrs"]) - 1, steps_per_epoch=recorded["iters_per_epoch"])
        for step in range(len(recorded["lrs"]) - 1)
    ]
    assert ours == pytest.approx(recorded["lrs"][1:], rel=1e-9, abs=1e-12)


def test_there_are_cases():
    assert CASES
