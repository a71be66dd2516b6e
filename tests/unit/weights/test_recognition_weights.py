import pytest
import torch
from safetensors.torch import save_file

from playhead.data.kinetics710 import published_classes
from playhead.errors import WeightsError
from playhead.models.action_probe import ActionProbe, ActionProbeConfig
from playhead.models.videomae import (
    VideoMAE,
    VideoMAEClassifier,
    VideoMAEClassifierConfig,
    VideoMAEConfig,
    VideoMAEEncoderConfig,
)
from playhead.weights.bundle import save_task_bundle
from playhead.weights.recognition_weights import start_classifier
from playhead.weights.videomae_weights import to_official

TINY = VideoMAEEncoderConfig(image_size=16, patch_size=8, num_frames=4, width=16, depth=2, heads=2)
PRETRAINING = VideoMAEConfig(encoder=TINY, decoder_width=8, decoder_depth=1, decoder_heads=2)


def classifier(num_classes, seed=0, **encoder):
    torch.manual_seed(seed)
    sizes = VideoMAEEncoderConfig(**(TINY.to_dict() | encoder))
    model = VideoMAEClassifier(VideoMAEClassifierConfig(encoder=sizes, num_classes=num_classes))
    torch.nn.init.normal_(model.head.weight)
    torch.nn.init.normal_(model.head.bias)
    return model


def equal_bodies(one, other):
    return all(
        torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items() if "head." not in key
    )


def test_a_bundle_hands_its_head_over_by_the_names_of_its_classes(tmp_path):
    source, model = classifier(3), classifier(4, seed=1)
    fresh = model.head.weight[2].clone()
    save_task_bundle(tmp_path / "b", source, {}, {"classes": ["run", "walk", "jump"]})
    start = start_classifier(model, tmp_path / "b", ["jump", "run", "fly", "walk"])
    assert equal_bodies(source, model)
    assert torch.equal(model.head.weight[[0, 1, 3]], source.head.weight[[2, 0, 1]])
    assert torch.equal(model.head.bias[[0, 1, 3]], source.head.bias[[2, 0, 1]])
    assert torch.equal(model.head.weight[2], fresh)
    assert (start.head_rows, start.fresh) == (3, ("fly",)) and "1 classes start anew (fly)" in str(start)


def test_an_official_head_is_taken_only_with_the_names_of_its_classes(tmp_path):
    source, path = classifier(710), tmp_path / "k710.safetensors"
    save_file(to_official(source), path)
    model = classifier(400, seed=1)
    fresh = model.head.weight.clone()
    start = start_classifier(model, path, published_classes("k400"))
    assert start.head_rows == 0 and torch.equal(model.head.weight, fresh) and equal_bodies(source, model)
    start = start_classifier(model, path, sorted(published_classes("k400")), published_classes("k710"))
    assert start.head_rows == 400
    place = sorted(published_classes("k400")).index("tying necktie")
    row = published_classes("k710").index("tying necktie")
    assert torch.equal(model.head.weight[place], source.head.weight[row])


def test_a_pretraining_gives_its_encoder_from_bundle_and_official_file_alike(tmp_path):
    torch.manual_seed(2)
    source = VideoMAE(PRETRAINING)
    save_task_bundle(tmp_path / "b", source, {}, {})
    save_file(to_official(source), tmp_path / "official.safetensors")
    found = [classifier(2, seed=5) for _ in range(2)]
    for model, path in zip(found, ("b", "official.safetensors"), strict=True):
        start = start_classifier(model, tmp_path / path, ["a", "b"])
        assert start.head_rows == 0 and start.taken == len(model.encoder.state_dict())
    assert torch.equal(found[0].encoder.layers[1].mlp.up.weight, source.encoder.layers[1].mlp.up.weight)
    assert all(torch.equal(one, other) for one, other in zip(*(m.state_dict().values() for m in found), strict=True))


def test_a_probe_takes_the_pretrained_encoder_with_its_norm(tmp_path):
    torch.manual_seed(2)
    source = VideoMAE(PRETRAINING)
    torch.nn.init.normal_(source.encoder.norm.weight)
    save_task_bundle(tmp_path / "b", source, {}, {})
    save_file(to_official(source), tmp_path / "official.safetensors")
    video = torch.randn(2, 4, 3, 16, 16)
    for path in ("b", "official.safetensors"):
        model = ActionProbe(ActionProbeConfig(encoder=TINY, num_classes=2))
        start_classifier(model, tmp_path / path, ["a", "b"])
        torch.testing.assert_close(model.encoder.forward_tokens(video), source.encoder.forward_tokens(video))
    save_task_bundle(tmp_path / "c", classifier(2), {}, {})
    with pytest.raises(WeightsError, match="fine-tuned classifier, whose encoder ends without a norm"):
        start_classifier(model, tmp_path / "c", ["a", "b"])


def test_heads_that_cannot_be_told_are_refused(tmp_path):
    save_task_bundle(tmp_path / "b", classifier(3), {}, {"classes": ["run", "walk", "jump"]})
    with pytest.raises(WeightsError, match=r"tells none of the 2 classes \('run', 'walk', 'jump'"):
        start_classifier(classifier(2), tmp_path / "b", ["a", "b"])
    save_file(to_official(classifier(3)), tmp_path / "o.safetensors")
    with pytest.raises(WeightsError, match="its head has 3 classes, but 2 names are given"):
        start_classifier(classifier(2), tmp_path / "o.safetensors", ["a", "b"], ["a", "b"])


@pytest.mark.parametrize("other", [{"width": 32}, {"depth": 1}, {"depth": 3}, {"patch_size": 4}])
def test_a_checkpoint_of_another_size_is_refused_and_the_tensor_named(tmp_path, other):
    save_task_bundle(tmp_path / "b", classifier(3), {}, {"classes": ["run", "walk", "jump"]})
    with pytest.raises(WeightsError, match=r"checkpoint of another size: encoder\.\S+ is"):
        start_classifier(classifier(2, **other), tmp_path / "b", ["run", "walk"])


def test_clips_of_another_length_and_size_take_the_same_weights(tmp_path):
    source = classifier(3)
    save_task_bundle(tmp_path / "b", source, {}, {"classes": ["run", "walk", "jump"]})
    model = classifier(3, seed=1, image_size=24, num_frames=8)
    assert start_classifier(model, tmp_path / "b", ["run", "walk", "jump"]).head_rows == 3
    assert equal_bodies(source, model)
