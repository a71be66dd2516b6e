"""Files of every published layout, written by hand or by transformers, fill a model to the last key."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import VideoMAEConfig as HuggingFaceConfig
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

from playhead.errors import WeightsError
from playhead.models.videomae import (
    VideoMAE,
    VideoMAEClassifier,
    VideoMAEClassifierConfig,
    VideoMAEConfig,
    VideoMAEEncoderConfig,
)
from playhead.weights.bundle import load_task_bundle, save_task_bundle
from playhead.weights.videomae_weights import (
    Untold,
    initialise_videomae,
    load_videomae,
    load_videomae_classifier,
    to_hugging_face,
    to_official,
)

ENCODER = VideoMAEEncoderConfig(image_size=16, patch_size=8, num_frames=4, width=16, depth=2, heads=2)
PRETRAINING = VideoMAEConfig(encoder=ENCODER, decoder_width=8, decoder_depth=1, decoder_heads=2)
CLASSIFIER = VideoMAEClassifierConfig(encoder=ENCODER, num_classes=3, head_scale=1.0)
UNTOLD = Untold(heads=2, decoder_heads=2, image_size=16, num_frames=4)


def some(kind, config, seed=0):
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def assert_same_weights(ours, theirs):
    assert_close(ours.state_dict(), theirs.state_dict(), atol=0, rtol=0)


def official(model, wrapper, prefix=""):
    state = {f"{prefix}{key}": value for key, value in to_official(model).items()}
    return {wrapper: state, "epoch": 799, "optimizer": {"state": {}}} if wrapper else state


@pytest.mark.parametrize(
    ("wrapper", "prefix"), [("model", ""), ("module", ""), (None, "module."), ("model", "backbone.")]
)
def test_pretrained_files_of_the_official_trainers_load(tmp_path, wrapper, prefix):
    """MCG-NJU and VideoMAE V2 save {'model': ...}, DeepSpeed {'module': ...}, DDP puts `module.` before names."""
    model = some(VideoMAE, PRETRAINING)
    torch.save(official(model, wrapper, prefix), tmp_path / "checkpoint-799.pth")
    loaded = load_videomae(tmp_path / "checkpoint-799.pth", UNTOLD)
    assert loaded.config == PRETRAINING
    assert_same_weights(loaded, model)


@pytest.mark.parametrize(("wrapper", "prefix"), [("model", ""), ("module", ""), (None, "model.")])
def test_fine_tuned_files_load(tmp_path, wrapper, prefix):
    """InternVideo's and VideoMAE V2's are {'module': ...}; V2's on the hub have `model.` before names."""
    model = some(VideoMAEClassifier, CLASSIFIER)
    torch.save(official(model, wrapper, prefix), tmp_path / "best.pth")
    loaded = load_videomae_classifier(tmp_path / "best.pth", UNTOLD)
    assert loaded.config == replace(CLASSIFIER, head_scale=0.001)
    assert_same_weights(loaded, model)


def hugging_face(kind, **changes):
    settings = HuggingFaceConfig(
        image_size=16, patch_size=8, num_frames=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, decoder_hidden_size=8, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=32, layer_norm_eps=1e-6, num_labels=3, **changes,
    )  # fmt: skip
    torch.manual_seed(0)
    model = kind(settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def hub_names(state):
    """The names of the files on the hub, which were written by transformers 4."""
    names = {key: key.replace("query.bias", "q_bias").replace("value.bias", "v_bias") for key in state}
    return {names[key]: value.contiguous() for key, value in state.items()}


@pytest.mark.parametrize("names", [dict, hub_names], ids=["transformers_5", "hub"])
@torch.no_grad()
def test_pretrained_files_of_hugging_face_load_with_their_biases(tmp_path, names):
    twin = hugging_face(VideoMAEForPreTraining, use_mean_pooling=False)
    save_file(names(twin.state_dict()), tmp_path / "model.safetensors")
    model = load_videomae(tmp_path / "model.safetensors", UNTOLD)
    biases = twin.videomae.encoder.layer[1].attention.attention
    assert_close(model.encoder.layers[1].attention.query_bias, biases.query.bias)
    assert_close(model.encoder.layers[1].attention.value_bias, biases.value.bias)
    video, mask = torch.randn(2, 4, 3, 16, 16), torch.tensor([[True, False] * 4] * 2)
    visible, hidden = torch.arange(1, 8, 2).expand(2, -1), torch.arange(0, 8, 2).expand(2, -1)
    twin.config.norm_pix_loss = False
    assert_close(model(video, visible, hidden), twin(video, bool_masked_pos=mask).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("names", [dict, hub_names], ids=["transformers_5", "hub"])
@torch.no_grad()
def test_fine_tuned_files_of_hugging_face_load(tmp_path, names):
    twin = hugging_face(VideoMAEForVideoClassification)
    save_file(names(twin.state_dict()), tmp_path / "model.safetensors")
    model = load_videomae_classifier(tmp_path / "model.safetensors", UNTOLD)
    video = torch.randn(2, 4, 3, 16, 16)
    assert_close(model(video), twin(video).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "config", "twin_kind"),
    [
        (VideoMAE, PRETRAINING, VideoMAEForPreTraining),
        (VideoMAE, PRETRAINING, VideoMAEModel),
        (VideoMAEClassifier, CLASSIFIER, VideoMAEForVideoClassification),
    ],
)
@torch.no_grad()
def test_what_is_written_for_hugging_face_is_read_there(tmp_path, kind, config, twin_kind):
    model = some(kind, config)
    state, settings = to_hugging_face(model)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(settings))
    twin, told = twin_kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"] and not told["mismatched_keys"]
    assert twin_kind is VideoMAEModel or not told["unexpected_keys"]
    video = torch.randn(1, 4, 3, 16, 16)
    if twin_kind is VideoMAEForVideoClassification:
        assert_close(model(video), twin.eval()(video).logits, atol=1e-5, rtol=1e-4)
    elif twin_kind is VideoMAEModel:
        tokens = model.encoder.forward_tokens(video)
        assert_close(tokens, twin.eval()(video).last_hidden_state, atol=1e-5, rtol=1e-4)
    back = load_videomae if kind is VideoMAE else load_videomae_classifier
    assert_same_weights(back(tmp_path / "model.safetensors", UNTOLD), model)


@pytest.mark.parametrize("layout", ["official", "hugging_face", "bundle"])
def test_a_classifier_starts_from_the_encoder_of_a_pretraining(tmp_path, layout):
    pretrained, path = some(VideoMAE, PRETRAINING), tmp_path / "weights.safetensors"
    if layout == "bundle":
        path = tmp_path / "bundle"
        save_task_bundle(path, pretrained, {}, {})
    else:
        save_file(to_official(pretrained) if layout == "official" else to_hugging_face(pretrained)[0], path)
    model = VideoMAEClassifier(replace(CLASSIFIER, encoder=replace(ENCODER, image_size=32, num_frames=8)))
    before = {key: value.clone() for key, value in model.state_dict().items()}

    report = initialise_videomae(model, path)

    state = model.state_dict()
    for key, value in pretrained.encoder.state_dict().items():
        if not key.startswith("norm."):
            assert_close(state[f"encoder.{key}"], value, atol=0, rtol=0)
    assert report.fresh == ("feature_norm.weight", "feature_norm.bias", "head.weight", "head.bias")
    assert all(torch.equal(state[key], before[key]) for key in report.fresh)
    assert all("of pretraining" in report.reasons[key] for key in report.dropped)


def test_a_classifier_goes_on_from_another_with_its_head_or_without(tmp_path):
    start = some(VideoMAEClassifier, CLASSIFIER)
    save_file(to_official(start), tmp_path / "best.safetensors")
    model = VideoMAEClassifier(CLASSIFIER)
    initialise_videomae(model, tmp_path / "best.safetensors")
    assert_same_weights(model, start)

    other = VideoMAEClassifier(replace(CLASSIFIER, num_classes=5))
    with pytest.raises(WeightsError, match=r"head.weight \(3, 16\) for \(5, 16\)"):
        initialise_videomae(other, tmp_path / "best.safetensors")
    report = initialise_videomae(other, tmp_path / "best.safetensors", keep_head=False)
    assert report.fresh == ("head.weight", "head.bias")
    assert_close(other.feature_norm.weight, start.feature_norm.weight, atol=0, rtol=0)


def test_layer_scale_is_read_from_the_file(tmp_path):
    scaled = replace(CLASSIFIER, encoder=replace(ENCODER, layer_scale=0.1))
    model = some(VideoMAEClassifier, scaled)
    save_file(to_official(model), tmp_path / "best.safetensors")
    loaded = load_videomae_classifier(tmp_path / "best.safetensors", UNTOLD)
    assert loaded.config.encoder.layer_scale == 0.1
    assert_same_weights(loaded, model)
    with pytest.raises(WeightsError, match="has no layer scale"):
        to_hugging_face(loaded)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("encoder.blocks.1.attn.q_bias"), r"1 entries are not in this VideoMAE, pretrained"),
        (lambda state: state.update({"encoder.blocks.0.attn.extra": torch.zeros(1)}), "have no rule"),
        (lambda state: state.update({"encoder.blocks.0.mlp.fc2.bias": torch.zeros(3)}), "another shape"),
        (lambda state: state.pop("encoder_to_decoder.weight"), "no whole decoder"),
        (lambda state: [state.pop(key) for key in list(state) if "patch_embed" in key], "is no VideoMAE"),
    ],
)
def test_files_that_do_not_fit_to_the_last_key_are_refused(tmp_path, change, said):
    state = to_official(some(VideoMAE, PRETRAINING))
    change(state)
    save_file(state, tmp_path / "bad.safetensors")
    with pytest.raises(WeightsError, match=said):
        load_videomae(tmp_path / "bad.safetensors", UNTOLD)


def test_a_checkpoint_of_another_size_or_kind_is_refused(tmp_path):
    save_file(to_official(some(VideoMAE, PRETRAINING)), tmp_path / "pretrained.safetensors")
    save_file(to_official(some(VideoMAEClassifier, CLASSIFIER)), tmp_path / "classifier.safetensors")
    with pytest.raises(WeightsError, match=r"a width of 16, which no published model has .*give heads"):
        load_videomae(tmp_path / "pretrained.safetensors")
    with pytest.raises(WeightsError, match="holds a fine-tuned classifier; a pretrained model"):
        load_videomae(tmp_path / "classifier.safetensors", UNTOLD)
    with pytest.raises(WeightsError, match="holds a pretrained model"):
        load_videomae_classifier(tmp_path / "pretrained.safetensors", UNTOLD)
    with pytest.raises(WeightsError, match="holds a fine-tuned classifier"):
        initialise_videomae(VideoMAE(PRETRAINING), tmp_path / "classifier.safetensors")
    wider = replace(CLASSIFIER, encoder=replace(ENCODER, width=32))
    with pytest.raises(WeightsError, match="another shape"):
        initialise_videomae(VideoMAEClassifier(wider), tmp_path / "pretrained.safetensors")


@torch.no_grad()
def test_bundles_give_back_both_models(tmp_path):
    video = torch.randn(1, 4, 3, 16, 16)
    for kind, config in ((VideoMAE, PRETRAINING), (VideoMAEClassifier, CLASSIFIER)):
        model = some(kind, config)
        save_task_bundle(tmp_path / kind.__name__, model, {"anything": 1}, {})
        loaded = load_task_bundle(tmp_path / kind.__name__).model
        assert loaded.config == config
        assert_same_weights(loaded, model)
        assert_close(loaded.encoder.forward_tokens(video), model.encoder.forward_tokens(video))
    assert set(load_file(tmp_path / "VideoMAE" / "model.safetensors")) == set(some(VideoMAE, PRETRAINING).state_dict())
