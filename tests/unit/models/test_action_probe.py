import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from playhead.models.action_probe import ActionProbe, ActionProbeConfig, AttentivePool
from playhead.models.videomae import VideoMAEEncoderConfig
from playhead.train.config import Optim
from playhead.train.optim import make_optimizer

TINY = VideoMAEEncoderConfig(image_size=16, patch_size=8, num_frames=4, width=16, depth=2, heads=2, drop_path=0.5)


def probe(kind):
    torch.manual_seed(0)
    return ActionProbe(ActionProbeConfig(encoder=TINY, num_classes=3, kind=kind, heads=2))


@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_a_step_changes_the_probe_and_leaves_the_encoder_as_it_was(kind):
    model = probe(kind).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = make_optimizer(model, Optim(lr=0.1))
    F.cross_entropy(model(torch.randn(4, 4, 3, 16, 16)), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and not any(key.startswith("encoder.") for key in changed)
    assert {"head.weight", "head.bias"} <= changed
    assert ("pool.query" in changed) == (kind == "attentive")


@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_the_encoder_stays_in_evaluation_mode(kind):
    model, video = probe(kind).train(), torch.randn(3, 4, 3, 16, 16)
    assert model.training and not any(module.training for module in model.encoder.modules())
    assert torch.equal(model.encoder.forward_tokens(video), model.encoder.forward_tokens(video))  # no drop path


def test_linear_features_are_the_normalised_mean_of_the_tokens():
    model, video = probe("linear").train(), torch.randn(6, 4, 3, 16, 16)
    rows = model.encoder.forward_tokens(video).mean(dim=1)
    expected = (rows - rows.mean(dim=0)) / (rows.var(dim=0, unbiased=False) + TINY.eps).sqrt()
    torch.testing.assert_close(model.features(video), expected)


def test_the_attentive_pool_does_not_mind_the_order_of_tokens_and_looks_at_all_of_them():
    torch.manual_seed(0)
    pool, tokens = AttentivePool(8, 2, 1e-6), torch.randn(1, 5, 8)
    torch.testing.assert_close(pool(tokens), pool(tokens.flip(1)))
    for place in range(5):
        other = tokens.clone()
        other[:, place] += torch.randn(8)
        assert not torch.allclose(pool(other), pool(tokens))


def test_settings_survive_json_and_wrong_ones_are_refused():
    config = ActionProbeConfig(encoder=TINY, num_classes=3, kind="attentive", heads=4)
    assert ActionProbeConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="must divide"):
        ActionProbeConfig(encoder=TINY, num_classes=3, kind="attentive", heads=3)
    with pytest.raises(ValueError, match="no setting colour"):
        ActionProbeConfig.from_dict(config.to_dict() | {"colour": "red"})
