"""The classifier against recorded features, logits and gradients, with layer scale and with both kinds of positions."""

import pytest
import torch.nn.functional as F  # noqa: N812
from videomae_cases import (
    assert_gradient,
    assert_loss,
    assert_output,
    case_name,
    classifier_config,
    find_cases,
    read_case,
    time_major,
    under,
)

from playhead.models.videomae import VideoMAEClassifier
from playhead.weights.adapt import rename_keys
from playhead.weights.videomae_weights import FINE_TUNED

CASES = find_cases("out/logits", "param/patch_embed.proj.weight")


def native(released):
    return rename_keys(released, FINE_TUNED)


def load(case):
    arrays, metadata = read_case(case)
    model = VideoMAEClassifier(classifier_config(case, metadata)).eval()
    model.load_state_dict(native(under("param/", arrays)), strict=True)
    return model, arrays


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_positions_features_and_logits_are_the_recorded_ones(case):
    model, arrays = load(case)
    video = time_major(arrays["in/video"])
    assert_output(model.encoder.positions, arrays["out/pos_embed"][0])
    assert_output(model.features(video), arrays["out/features"])
    assert_output(model(video), arrays["out/logits"])


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_loss_and_gradients_are_the_recorded_ones(case):
    model, arrays = load(case)

    loss = F.cross_entropy(model(time_major(arrays["in/video"])), arrays["in/label"])
    loss.backward()

    assert_loss(loss.detach(), arrays["out/ce_loss"])
    expected = native(under("grad/", arrays))
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert gradient is not None, name
        assert_gradient(gradient, expected[name])
