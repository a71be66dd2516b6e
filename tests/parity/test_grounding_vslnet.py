"""VSLNet against the recorded network: from features and times to logits, losses, gradients and answers in seconds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
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

from playhead.data.query_grid import average_to, highlight_rows, rows_to_span, span_to_rows
from playhead.decoding.language_spans import spans_in_seconds, top_spans
from playhead.models.vslnet import Words
from playhead.objectives.spans import highlight_loss, highlight_sums, span_cross_entropy
from playhead.train.config import Optim
from playhead.train.optim import make_optimizer
from playhead.weights.vslnet_weights import VSLNET, load_vslnet

CASES = as_parameters(find_cases("vslnet"))


def load_model(case):
    return load_vslnet(beside(case, ".weights.safetensors"), heads=read_settings(case)["config"]["heads"])


def read_inputs(case):
    arrays = read_arrays(case, "inputs")
    text = arrays.get("query_features")
    if text is None:
        text = Words(arrays["word_ids"], arrays["char_ids"])
    return arrays["video_features"], arrays["video_mask"] > 0, text, arrays["query_mask"] > 0


def run(case):
    model = load_model(case)
    return model, model(*read_inputs(case))


def without_tie(scores):
    """Return which places but the last differ from those before and after by more than rounding."""
    apart = scores[:, :-1] - scores[:, 1:] > 1e-5 * scores[:, :-1]
    return apart & F.pad(apart, (1, 0), value=True)[:, :-1]


def losses(case, output):
    arrays = read_arrays(case, "inputs")
    labels = arrays["start_labels"], arrays["end_labels"]
    location = span_cross_entropy(output.start_logits, output.end_logits, *labels).mean()
    highlight = highlight_loss(output.highlight_logits, arrays["highlight_labels"] > 0, arrays["video_mask"] > 0)
    return location, highlight, location + read_settings(case)["highlight_lambda"] * highlight


@pytest.mark.parametrize("case", CASES)
def test_logits_are_the_recorded_ones(case):
    _, output = run(case)
    recorded = read_arrays(case, "outputs")
    assert_output(output.start_logits, recorded["start_logits"])
    assert_output(output.end_logits, recorded["end_logits"])
    assert_output(output.highlight_logits.sigmoid(), recorded["h_score"])


@pytest.mark.parametrize("case", CASES)
def test_what_lies_between_the_layers_is_what_was_recorded(case):
    model, seen = load_model(case), {}
    for name in ("video_projection", "encoder", "attention", "pooling"):
        layer = model.get_submodule(name)
        layer.register_forward_hook(lambda _, __, out, name=name: seen.setdefault(name, []).append(out))

    model(*read_inputs(case))

    recorded = read_arrays(case, "outputs")
    query, video = seen["encoder"]
    ours = {
        "inter.video_affine": seen["video_projection"][0],
        "inter.query_encoded": query,
        "inter.video_encoded": video,
        "inter.cq_attention": seen["attention"][0],
        "inter.cq_concat": seen["pooling"][0],
    }
    assert set(ours) == {key for key in recorded if key.startswith("inter.")}
    for name, rows in ours.items():
        assert_output(rows, recorded[name])


@pytest.mark.parametrize("case", CASES)
def test_losses_are_the_recorded_ones(case):
    _, output = run(case)
    recorded = read_arrays(case, "outputs")
    for name, loss in zip(("loc_loss", "highlight_loss", "total_loss"), losses(case, output), strict=True):
        assert_output(loss, recorded[name])


@pytest.mark.parametrize("case", CASES)
def test_the_highlight_loss_is_its_sums_over_its_counts(case):
    _, output = run(case)
    arrays = read_arrays(case, "inputs")
    sums, counts = highlight_sums(output.highlight_logits, arrays["highlight_labels"] > 0, arrays["video_mask"] > 0)
    assert counts.tolist() == arrays["video_lens"].tolist()
    assert_output(sums.sum() / counts.sum(), read_arrays(case, "outputs")["highlight_loss"])


@pytest.mark.parametrize("case", CASES)
def test_every_gradient_has_the_recorded_digest(case):
    model, output = run(case)
    losses(case, output)[2].backward()
    parameters = dict(model.named_parameters())
    digests = read_digests(case)
    assert {VSLNET.rename(name) for name in digests} == set(parameters)
    for name, digest in digests.items():
        gradient = parameters[VSLNET.rename(name)].grad
        assert gradient is not None, name
        assert_digest(gradient.reshape(digest["shape"]), digest, name)


@pytest.mark.parametrize("case", CASES)
def test_the_best_spans_are_the_recorded_ones(case):
    _, output = run(case)
    recorded, mask = read_arrays(case, "outputs"), read_arrays(case, "inputs")["video_mask"] > 0
    best = top_spans(output.start_logits, output.end_logits, mask, top=recorded["top6_scores"].shape[1])
    assert_output(best.scores, recorded["top6_scores"])
    count, sure = recorded["start_indices"].shape[1], without_tie(recorded["top6_scores"])
    assert torch.equal(best.first[:, :count][sure], recorded["start_indices"][sure])
    assert torch.equal(best.last[:, :count][sure], recorded["end_indices"][sure])


@pytest.mark.parametrize("case", CASES)
def test_answers_in_seconds_are_the_recorded_ones(case):
    _, output = run(case)
    settings, inputs = read_settings(case), read_arrays(case, "inputs")
    recorded = torch.tensor(settings["predicted_times"])
    best = top_spans(output.start_logits, output.end_logits, inputs["video_mask"] > 0, top=recorded.shape[1])
    durations = torch.tensor(settings["durations"], dtype=torch.float64)
    sure = without_tie(read_arrays(case, "outputs")["top6_scores"])[:, : recorded.shape[1]]
    ours = spans_in_seconds(best, inputs["video_lens"], durations)
    torch.testing.assert_close(ours.float()[sure], recorded[sure], atol=1e-4, rtol=1e-5)
    for sample, place in sure.nonzero().tolist():
        rows, duration = int(inputs["video_lens"][sample]), settings["durations"][sample]
        first, last = int(best.first[sample, place]), int(best.last[sample, place])
        expected = pytest.approx(settings["predicted_times"][sample][place], rel=1e-5)
        assert rows_to_span(first, last, num_rows=rows, duration=duration) == expected


@pytest.mark.parametrize("case", CASES)
def test_labels_are_the_recorded_ones_with_the_released_rule_for_zero_length(case):
    settings, inputs = read_settings(case), read_arrays(case, "inputs")
    for sample, (start, end) in enumerate(settings["gt_times"]):
        rows, duration = settings["v_len"][sample], settings["durations"][sample]
        first, last = span_to_rows(start, end, num_rows=rows, duration=duration, on_empty="released")
        assert [first, last] == settings["labels"][sample]
        assert [first, last] == [int(inputs["start_labels"][sample]), int(inputs["end_labels"][sample])]
        marked = highlight_rows(first, last, num_rows=rows, extend=settings["highlight_extend"])
        recorded = inputs["highlight_labels"][sample].numpy() > 0
        np.testing.assert_array_equal(marked, recorded[:rows])


@pytest.mark.parametrize("case", CASES)
def test_features_are_averaged_down_as_recorded(case):
    settings, arrays = read_settings(case), np.load(beside(case, ".raw_features.npz"))
    inputs = read_arrays(case, "inputs")
    for sample, rows in enumerate(settings["raw_lengths"]):
        raw = arrays[f"raw{sample}"]
        assert len(raw) == rows
        sampled = average_to(raw, settings["config"]["maxpos"], last_row="released")
        np.testing.assert_allclose(sampled, arrays[f"sampled{sample}"], atol=1e-5, rtol=1e-4)
        given = inputs["video_features"][sample].numpy()
        np.testing.assert_allclose(sampled, given[: len(sampled)], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_the_same_parameters_decay(case):
    settings, model = read_settings(case), load_model(case)
    names = {parameter: name for name, parameter in model.named_parameters()}
    frozen = set(settings["keys_without_grad"])  # never given a gradient, so AdamW passes them by; buffers with us
    decay = settings["optimizer_groups"][0]["weight_decay"]
    optimizer = make_optimizer(model, Optim(lr=1e-4, weight_decay=decay, decayed="all_but_biases_and_norms"))
    for group, recorded in zip(optimizer.param_groups, settings["optimizer_groups"], strict=True):
        assert group["weight_decay"] == recorded["weight_decay"]
        expected = {VSLNET.rename(name) for name in recorded["params"] if name not in frozen}
        assert {names[parameter] for parameter in group["params"]} == expected
