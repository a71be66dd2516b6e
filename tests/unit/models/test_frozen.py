import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import (
    DividedAttention,
    Frozen,
    FrozenConfig,
    SpaceTimeConfig,
    SpaceTimeTransformer,
    frozen_base,
    frozen_tiny,
)
from playhead.models.layers import attend
from playhead.types import DualEncoder, Tokens, VideoEncoder

VIDEO = SpaceTimeConfig(image_size=(16, 24), patch_size=8, width=24, depth=2, heads=3, num_frames=4)
TEXT = DistilBertConfig(vocab_size=30, dim=16, n_layers=1, n_heads=2, hidden_dim=16, max_positions=8)
TINY = FrozenConfig(video=VIDEO, text=TEXT, shared_dim=10)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_frozen():
    """A model whose every parameter matters, unlike at the start of training."""
    model = Frozen(TINY).eval()
    for seed, parameter in enumerate(model.parameters()):
        parameter.data = noise(*parameter.shape, seed=seed) * 0.3
    return model


def some_text():
    return Tokens(ids=torch.tensor([[1, 5, 2], [1, 2, 0]]), mask=torch.tensor([[True] * 3, [True, True, False]]))


@pytest.mark.parametrize("axis", ["time", "space"])
@pytest.mark.parametrize(("num_frames", "num_patches"), [(3, 4), (1, 5), (4, 1)])
def test_divided_attention_is_joint_attention_under_the_mask_of_its_definition(axis, num_frames, num_patches):
    layer = DividedAttention(12, 3, axis).double()
    tokens = noise(2, 1 + num_frames * num_patches, 12).double()
    frame = torch.arange(num_frames).repeat_interleave(num_patches)
    place = torch.arange(num_patches).repeat(num_frames)
    line = place if axis == "time" else frame
    sees = torch.ones(len(tokens[0]), len(tokens[0]), dtype=torch.bool)
    sees[1:, 1:] = line[:, None] == line[None, :]
    query, key, value = (part.unflatten(-1, (3, 4)).transpose(1, 2) for part in layer.qkv(tokens).chunk(3, dim=-1))
    joint = layer.proj(attend(query, key, value, sees[None, None]).transpose(1, 2).flatten(2))
    assert_close(layer(tokens, num_frames), joint)
    assert_close(layer(tokens, num_frames, only_cls=True), joint[:, :1])


def test_cls_alone_is_the_first_of_all_tokens_with_the_same_gradients():
    model, video = some_frozen().video.double(), noise(2, 3, 3, 16, 24).double()
    alone, among = model(video), model.forward_tokens(video)[:, 0]
    assert_close(alone, among)
    parameters = tuple(model.parameters())
    assert_close(
        torch.autograd.grad(alone.square().sum(), parameters), torch.autograd.grad(among.square().sum(), parameters)
    )


def test_the_released_model_has_180_934_400_parameters():
    with torch.device("meta"):
        model = Frozen(frozen_base())
    assert sum(parameter.numel() for parameter in model.parameters()) == 180_934_400
    assert sum(parameter.numel() for parameter in model.video.parameters()) == 114_177_792
    assert len(model.state_dict()) == 327


def test_the_laptop_size_runs_on_its_own_frames():
    config = frozen_tiny(image_size=32, num_frames=2, vocab_size=30)
    video, text = Frozen(config)(noise(2, 2, 3, 32, 32), some_text())
    assert video.shape == text.shape == (2, config.shared_dim)


def test_it_is_a_dual_encoder_and_its_tower_a_video_encoder():
    model = some_frozen()
    assert isinstance(model, DualEncoder)
    tower: VideoEncoder = model.video
    assert (tower.num_frames, tower.width) == (4, 24)
    assert tower.forward_tokens(noise(1, 2, 3, 16, 24)).shape == (1, 1 + 2 * 6, 24)
    assert [type(block).__name__ for block in model.blocks()] == ["SpaceTimeBlock"] * 2 + ["DistilBertLayer"]


def test_encoded_rows_are_unit_length_and_parallel_to_the_projected_ones():
    model, video, text = some_frozen(), noise(2, 4, 3, 16, 24), some_text()
    for unit, projected in (
        (model.encode_video(video), model.project_video(video)),
        (model.encode_text(text), model.project_text(text)),
    ):
        assert_close(unit.norm(dim=1), torch.ones(2))
        assert_close(unit * projected.norm(dim=1, keepdim=True), projected)


def test_a_row_of_zeros_stays_finite():
    model = some_frozen()
    for parameter in model.video_projection.parameters():
        parameter.data.zero_()
    assert_close(model.encode_video(noise(1, 1, 3, 16, 24)), torch.zeros(1, 10))


def test_the_first_projected_word_is_the_projected_text():
    model, text = some_frozen(), some_text()
    words = model.project_words(text)
    assert words.shape == (2, 3, 10)
    assert_close(words[:, 0], model.project_text(text))


def test_the_order_of_frames_is_told_by_the_time_embedding_alone():
    model, video = some_frozen().double(), noise(1, 4, 3, 16, 24).double()
    assert (model.encode_video(video) - model.encode_video(video.flip(1))).abs().max() > 1e-4
    model.video.time_embedding.data.zero_()
    assert_close(model.encode_video(video), model.encode_video(video.flip(1)), atol=1e-12, rtol=0)


def test_a_clip_does_not_depend_on_its_batch():
    model, video = some_frozen(), noise(3, 4, 3, 16, 24)
    assert_close(model.encode_video(video)[1:2], model.encode_video(video[1:2]), atol=1e-5, rtol=1e-4)


def test_a_sliced_and_permuted_clip_is_read_as_its_copy():
    model = some_frozen()
    sliced = noise(2, 16, 24, 3, 8).permute(0, 4, 3, 1, 2)[:, ::2]
    assert not sliced.is_contiguous()
    assert_close(model.encode_video(sliced), model.encode_video(sliced.contiguous()))


def test_one_clip_of_one_frame_has_finite_gradients():
    model = some_frozen()
    model.encode_video(noise(1, 1, 3, 16, 24))[0, 0].backward()
    gradients = [parameter.grad for parameter in model.video.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_more_frames_than_slots_are_refused():
    with pytest.raises(ValueError, match="5 frames given, but the model has 4 time slots"):
        some_frozen().encode_video(noise(1, 5, 3, 16, 24))


def test_frames_of_another_size_are_refused():
    with pytest.raises(ValueError, match="frames of 3x16x24 wanted, got 3x24x16"):
        some_frozen().encode_video(noise(1, 2, 3, 24, 16))


def test_bf16_autocast_changes_rows_by_bf16_accuracy_only():
    model, video, text = some_frozen(), noise(2, 4, 3, 16, 24), some_text()
    exact = model(video, text)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(video, text)
    for rows, expected in zip(low, exact, strict=True):
        assert rows.dtype == torch.float32
        assert_close(rows.norm(dim=1), torch.ones(2))
        assert (rows * expected).sum(dim=1).min() > 0.995


COMPILE = """
import torch
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.types import Tokens

video = SpaceTimeConfig(image_size=16, patch_size=8, width=24, depth=2, heads=3, num_frames=4)
text = DistilBertConfig(vocab_size=30, dim=16, n_layers=1, n_heads=2, hidden_dim=16, max_positions=8)
model = Frozen(FrozenConfig(video=video, text=text, shared_dim=10))
tokens = Tokens(ids=torch.tensor([[1, 5, 2]]), mask=torch.ones(1, 3, dtype=torch.bool))
given = (torch.randn(2, 4, 3, 16, 16), tokens)
rows = torch.compile(model.eval(), backend="eager", fullgraph=True)(*given)
torch.testing.assert_close(rows, model(*given))
"""


def test_it_compiles_into_one_graph():
    # In a process of its own: the type checks of the test run are no code for a compiler.
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_exports_with_any_number_of_clips():
    tower, batch = some_frozen().video, torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(tower, (noise(3, 4, 3, 16, 24),), dynamic_shapes=({0: batch},))
    video = noise(5, 4, 3, 16, 24, seed=1)
    assert_close(program.module()(video), tower(video), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("time_init", ["zeros", "zero_output"])
def test_time_attention_starts_as_nothing(time_init):
    model, video = SpaceTimeTransformer(replace(VIDEO, time_init=time_init)), noise(2, 4, 3, 16, 24)
    before = model.embed(video)
    for block in model.blocks():
        assert_close(block.time_attention(before, 4), torch.zeros_like(before), atol=0, rtol=0)
    assert_close(model.time_embedding, torch.zeros_like(model.time_embedding), atol=0, rtol=0)
    assert model.position_embedding.std().item() == pytest.approx(0.02, rel=0.2)


def queries_and_keys_after(steps, time_init):
    torch.manual_seed(0)
    model, video, goal = SpaceTimeTransformer(replace(VIDEO, time_init=time_init)), noise(3, 4, 3, 16, 24), noise(3, 24)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    start = model.layers[0].time_attention.qkv.weight.detach().clone()
    for _ in range(steps):
        optimiser.zero_grad()
        (model(video) - goal).square().mean().backward()
        optimiser.step()
    return (model.layers[0].time_attention.qkv.weight - start)[: 2 * 24]


def test_the_released_start_never_trains_queries_and_keys_of_time_but_ours_does():
    assert queries_and_keys_after(5, "zeros").abs().max() == 0
    assert queries_and_keys_after(5, "zero_output").abs().max() > 1e-3


def test_settings_come_back_from_json():
    for config in (TINY, frozen_tiny(), frozen_base(4)):
        assert FrozenConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"video": {"head": 3}, "text": {}}, "SpaceTimeConfig has no setting head"),
        ({"video": {}, "text": {}, "depth": 3}, "FrozenConfig has no setting depth"),
        ({"video": {}}, "needs the settings of both towers"),
        ({"video": {"heads": 7}, "text": {}}, "heads 7 must divide width 768"),
        ({"video": {"image_size": 100}, "text": {}}, "100x100 do not divide into 16-pixel patches"),
        ({"video": {}, "text": {}, "shared_dim": 0}, "shared_dim must be above zero"),
    ],
)
def test_settings_that_make_no_model_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        FrozenConfig.from_dict(wrong)
