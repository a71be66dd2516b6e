"""VideoMAE against transformers' own, and what it promises of clips of any size; golden arrays are in tests/parity."""

import json
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from transformers import VideoMAEConfig as HuggingFaceConfig
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification

from playhead.data.masking import token_order
from playhead.models.videomae import (
    VideoMAE,
    VideoMAEClassifier,
    VideoMAEClassifierConfig,
    VideoMAEConfig,
    VideoMAEEncoder,
    VideoMAEEncoderConfig,
    position_table,
    videomae,
    videomae_classifier,
    videomae_encoder,
)
from playhead.models.videomae_blocks import sine_table
from playhead.objectives.masked_video import masked_video_losses, pixel_targets
from playhead.types import VideoEncoder
from playhead.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from playhead.video.tubes import take_tubes, tube_grid
from playhead.weights.videomae_weights import to_hugging_face

ENCODER = VideoMAEEncoderConfig(image_size=16, patch_size=8, num_frames=4, width=16, depth=2, heads=2)
PRETRAINING = VideoMAEConfig(encoder=ENCODER, decoder_width=8, decoder_depth=1, decoder_heads=2)
CLASSIFIER = VideoMAEClassifierConfig(encoder=ENCODER, num_classes=3, head_scale=1.0)


def some(kind, config, seed=0):
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too, which start as nothing
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def some_clips(config=ENCODER, num_clips=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_clips, config.num_frames, 3, *config.frame_size, generator=generator)


def some_mask(num_hidden=6, num_clips=2):
    generator = torch.Generator().manual_seed(2)
    order = torch.stack([torch.randperm(8, generator=generator) for _ in range(num_clips)])
    return torch.zeros(num_clips, 8, dtype=torch.bool).scatter(1, order[:, :num_hidden], True)


def load_twin(kind, model):
    state, config = to_hugging_face(model)
    twin = kind(HuggingFaceConfig.from_dict(json.loads(json.dumps(config)))).eval()
    renamed = {key.replace("q_bias", "query.bias").replace("v_bias", "value.bias"): state[key] for key in state}
    twin.load_state_dict(renamed, strict=True)
    return twin


@torch.no_grad()
def test_predictions_and_loss_are_those_of_transformers():
    model, mask = some(VideoMAE, PRETRAINING), some_mask()
    video = some_clips() * torch.tensor(IMAGENET_STD).view(3, 1, 1)  # so that it lies around the mean colour
    twin = load_twin(VideoMAEForPreTraining, model)
    theirs = twin(video, bool_masked_pos=mask)

    visible, hidden = token_order(mask)
    ours = model(video, visible, hidden)

    assert_close(ours, theirs.logits, atol=1e-5, rtol=1e-4)
    pixels = video * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    tubes = take_tubes(tube_grid(pixels, 2, 8).movedim(4, -1), hidden)
    assert_close(masked_video_losses(ours, pixel_targets(tubes, white=1.0)).mean(), theirs.loss, atol=0, rtol=1e-4)


@torch.no_grad()
def test_features_and_logits_are_those_of_transformers():
    model, video = some(VideoMAEClassifier, CLASSIFIER), some_clips()
    twin = load_twin(VideoMAEForVideoClassification, model)
    assert_close(model(video), twin(video).logits, atol=1e-5, rtol=1e-4)
    tokens = twin.videomae(video).last_hidden_state
    assert_close(model.encoder.forward_tokens(video), tokens, atol=1e-5, rtol=1e-4)
    assert_close(model.features(video), twin.fc_norm(tokens.mean(dim=1)), atol=1e-5, rtol=1e-4)


def test_what_is_hidden_is_never_looked_at_or_embedded():
    model, video, mask = some(VideoMAE, PRETRAINING), some_clips(), some_mask()
    visible, hidden = token_order(mask)
    embedded = []
    embed = model.encoder._embed
    model.encoder._embed = lambda tubes: embedded.append(tubes.shape) or embed(tubes)
    changed = video.clone()
    grid = tube_grid(changed, 2, 8)
    grid[mask.view(2, 2, 2, 2)] = 9.0  # a view into `changed`
    assert not torch.equal(changed, video)
    assert_close(model(changed, visible, hidden), model(video, visible, hidden), atol=0, rtol=0)
    assert embedded == [(2, 2, 3 * 2 * 8 * 8)] * 2


@torch.no_grad()
def test_visible_tokens_are_encoded_as_if_there_were_no_others():
    """With every token visible the encoder is the one that sees the whole clip."""
    encoder, video = some(VideoMAEEncoder, ENCODER), some_clips()
    everything = torch.arange(8).expand(2, -1)
    assert_close(encoder.forward_visible(video, everything), encoder.forward_tokens(video))
    assert isinstance(encoder, VideoEncoder) and len(encoder.blocks()) == 2


def test_a_tube_is_embedded_as_by_a_convolution():
    encoder, video = some(VideoMAEEncoder, ENCODER), some_clips()
    convolved = encoder.patch_embedding(video.transpose(1, 2)).flatten(2).transpose(1, 2)
    tubes = take_tubes(tube_grid(video, 2, 8), torch.arange(8).expand(2, -1))
    assert_close(encoder._embed(tubes), convolved, atol=1e-5, rtol=1e-4)


def test_both_kinds_of_positions_agree_at_the_published_size_and_differ_elsewhere():
    published = replace(ENCODER, image_size=224, num_frames=16)
    assert_close(position_table(replace(published, positions="interpolated")), position_table(published))
    for config in (replace(published, num_frames=32), replace(published, image_size=(64, 224))):
        direct, interpolated = (position_table(replace(config, positions=kind)) for kind in ("direct", "interpolated"))
        assert direct.shape == interpolated.shape == (torch.tensor(config.grid).prod(), 16)
        assert not torch.allclose(direct, interpolated, atol=0.1)


def test_positions_are_sines_and_cosines_by_hand():
    table = sine_table(3, 4)
    assert_close(table[:, 0], torch.tensor([0.0, 1.0, 2.0]).sin())
    assert_close(table[:, 1], torch.tensor([0.0, 1.0, 2.0]).cos())
    assert_close(table[:, 2], torch.tensor([0.0, 0.01, 0.02]).sin())
    assert_close(table[:, 3], torch.tensor([0.0, 0.01, 0.02]).cos())


@torch.no_grad()
def test_the_same_weights_take_clips_of_another_size():
    model = some(VideoMAEClassifier, CLASSIFIER)
    wide = replace(CLASSIFIER, encoder=replace(ENCODER, image_size=(8, 24), num_frames=6, positions="interpolated"))
    other = VideoMAEClassifier(wide).eval()
    other.load_state_dict(model.state_dict(), strict=True)
    assert other(some_clips(wide.encoder)).shape == (2, 3)


def test_clips_of_another_size_than_the_models_are_refused():
    model = VideoMAEClassifier(CLASSIFIER)
    with pytest.raises(ValueError, match=r"clips of 4x3x16x16 .* wanted, got 4x3x16x24"):
        model(torch.zeros(1, 4, 3, 16, 24))
    with pytest.raises(ValueError, match="got 6x3x16x16"):
        model.features(torch.zeros(1, 6, 3, 16, 16))


def test_layer_scale_of_nothing_makes_blocks_of_nothing():
    encoder = VideoMAEEncoder(replace(ENCODER, layer_scale=1e-9), normed=False).eval()
    video = some_clips()
    tubes = take_tubes(tube_grid(video, 2, 8), torch.arange(8).expand(2, -1))
    assert_close(encoder.forward_tokens(video), encoder._embed(tubes) + encoder.positions, atol=1e-6, rtol=0)


def test_drop_path_skips_whole_clips_in_training_alone_and_keeps_the_mean():
    torch.manual_seed(0)
    rates = [block.drop_path for block in VideoMAEEncoder(replace(ENCODER, depth=3, drop_path=0.4)).blocks()]
    assert rates == pytest.approx([0.0, 0.2, 0.4])
    block = VideoMAEEncoder(replace(ENCODER, drop_path=0.5)).blocks()[1]
    tokens = torch.randn(1, 4, 16).expand(2000, -1, -1)
    with torch.no_grad():
        changes = block.train()(tokens) - tokens
        whole = block.eval()(tokens[:1]) - tokens[:1]
    skipped = (changes == 0).flatten(1).all(dim=1)
    assert 0.2 < skipped.float().mean() < 0.3  # both halves of a block, each by itself
    attention = changes[~skipped].mean(dim=0)
    assert_close(changes.mean(dim=0), whole[0], atol=0.1, rtol=0.1)
    assert attention.abs().sum() > 0


def test_sizes_have_the_parameters_that_a_hand_count_gives():
    for size, width, depth in (("small", 384, 12), ("base", 768, 12), ("giant", 1408, 40)):
        config = videomae_encoder(size)
        hidden = 6144 if size == "giant" else 4 * width
        block = 4 * width * width + 3 * width + 2 * width * hidden + hidden + width + 4 * width
        with torch.device("meta"):
            encoder = VideoMAEEncoder(config)
        count = sum(parameter.numel() for parameter in encoder.parameters())
        assert count == depth * block + config.tube_numbers * width + width + 2 * width
    assert videomae_encoder("giant").grid == (8, 16, 16)
    assert videomae("huge").decoder_depth == 8 and videomae("large").decoder_depth == 12
    assert videomae_classifier("small", num_classes=7, drop_path=0.1).encoder.drop_path == 0.1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_size": 20}, "do not divide into 8-pixel patches"),
        ({"num_frames": 5}, "tubes of 2 frames"),
        ({"heads": 3}, "heads 3 must divide width 16"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"depth": 0}, "depth must be above zero"),
    ],
)
def test_sizes_that_make_no_network_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        replace(ENCODER, **changes)


@pytest.mark.parametrize("config", [PRETRAINING, CLASSIFIER, replace(ENCODER, image_size=(8, 16))])
def test_settings_survive_json(config):
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_new_head_says_next_to_nothing():
    """Source: VideoMAE's init_scale, so that fine-tuning starts from equal chances."""
    torch.manual_seed(0)
    logits = VideoMAEClassifier(replace(CLASSIFIER, head_scale=0.001))(some_clips())
    assert 0 < logits.abs().max() < 1e-3


@pytest.mark.parametrize("in_bf16", [False, True])
def test_a_training_step_that_keeps_less_has_the_same_gradient(in_bf16):
    """In evaluation mode everything is kept, in training, on a CPU, norms and activations are made again."""
    model, video = some(VideoMAE, PRETRAINING), some_clips()
    visible, hidden = token_order(some_mask())
    gradients, kept = [], []
    for is_training in (False, True):
        sizes: dict[int, int] = {}

        def note(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        model.train(is_training).zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
                predicted = model(video, visible, hidden)
            predicted.float().square().mean().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
        kept.append(sum(sizes.values()))
    assert_close(gradients[1], gradients[0], atol=0, rtol=0)
    assert kept[1] < 0.9 * kept[0]
