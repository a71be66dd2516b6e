import pytest
import torch
from jaxtyping import TypeCheckError
from torch.testing import assert_close
from transformers import TimesformerConfig, TimesformerModel

from playhead.models.frozen import SpaceTimeConfig, SpaceTimeTransformer
from playhead.models.timesformer import GroupAttention, TimeSformerBlock

SIZES = SpaceTimeConfig(
    image_size=16, patch_size=8, width=24, depth=2, heads=3, mlp_ratio=2, num_frames=3, block="timesformer"
)

# What transformers calls the parts, in our names.
PARTS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "position_embedding",
    "embeddings.time_embeddings": "time_embedding",
    "embeddings.patch_embeddings.projection": "patch_embedding",
    "encoder.layer": "layers",
    "temporal_attention.attention.qkv": "time_attention.qkv",
    "temporal_attention.output.dense": "time_attention.proj",
    "temporal_layernorm": "time_norm",
    "temporal_dense": "time_output",
    "attention.attention.qkv": "space_attention.qkv",
    "attention.output.dense": "space_attention.proj",
    "layernorm_before": "space_norm",
    "layernorm_after": "mlp_norm",
    "intermediate.dense": "mlp.up",
    "output.dense": "mlp.down",
    "layernorm": "norm",
}


def our_name(name):
    for theirs, ours in PARTS.items():
        name = name.replace(theirs, ours)
    return name


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_block():
    block = TimeSformerBlock(12, 3, 20, 1e-6).double()
    for seed, parameter in enumerate(block.parameters()):
        parameter.data = noise(*parameter.shape, seed=seed).double() * 0.4
    return block


def twins():
    torch.manual_seed(0)
    config = TimesformerConfig(
        image_size=16, patch_size=8, num_frames=3, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=48,
    )  # fmt: skip
    twin = TimesformerModel(config).eval()
    for parameter in twin.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    ours = SpaceTimeTransformer(SIZES).eval()
    ours.load_state_dict({our_name(name): value for name, value in twin.state_dict().items()}, strict=True)
    return ours, twin


def test_every_token_is_that_of_transformers():
    ours, twin = twins()
    video = noise(2, 3, 3, 16, 16)
    expected = twin(pixel_values=video).last_hidden_state  # behind cls place by place, each through time
    patches = expected[:, 1:].unflatten(1, (4, 3)).transpose(1, 2).flatten(1, 2)
    tokens = ours.forward_tokens(video)
    assert_close(tokens[:, 0], expected[:, 0], atol=2e-5, rtol=1e-4)
    assert_close(tokens[:, 1:], patches, atol=2e-5, rtol=1e-4)
    assert_close(ours(video), tokens[:, 0], atol=2e-6, rtol=1e-5)


def test_gradients_are_those_of_transformers():
    ours, twin = twins()
    video, weights = noise(2, 3, 3, 16, 16), noise(2, 24, seed=1)
    (ours(video) * weights).sum().backward()
    (twin(pixel_values=video).last_hidden_state[:, 0] * weights).sum().backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    for name, parameter in twin.named_parameters():
        assert_close(gradients[our_name(name)], parameter.grad, atol=2e-4, rtol=2e-3)


def attention_by_hand(layer, tokens):
    """Multi-head attention among `tokens` (L, D), head by head."""
    query, key, value = (layer.qkv.weight @ tokens.T + layer.qkv.bias[:, None]).T.chunk(3, dim=1)
    width = tokens.shape[1] // layer.heads
    seen = [
        torch.softmax(query[:, part] @ key[:, part].T / width**0.5, dim=1) @ value[:, part]
        for part in (slice(head * width, (head + 1) * width) for head in range(layer.heads))
    ]
    return torch.cat(seen, dim=1) @ layer.proj.weight.T + layer.proj.bias


@torch.no_grad()
@pytest.mark.parametrize(("num_frames", "num_patches"), [(3, 4), (1, 5), (4, 1)])
def test_a_block_is_its_equations_token_by_token(num_frames, num_patches):
    block, tokens = some_block(), noise(2, 1 + num_frames * num_patches, 12).double()
    clips = []
    for clip in tokens:
        cls, x = clip[0], clip[1:].reshape(num_frames, num_patches, 12)
        y = x.clone()
        for n in range(num_patches):
            y[:, n] += block.time_output(attention_by_hand(block.time_attention, block.time_norm(x[:, n])))
        z, of_cls = y.clone(), torch.zeros(12, dtype=torch.float64)
        for f in range(num_frames):
            s = attention_by_hand(block.space_attention, block.space_norm(torch.cat([cls[None], y[f]])))
            of_cls += s[0] / num_frames
            z[f] += s[1:]
        z = torch.cat([(cls + of_cls)[None], z.reshape(-1, 12)])
        clips.append(z + block.mlp(block.mlp_norm(z)))
    expected = torch.stack(clips)
    assert_close(block(tokens, num_frames), expected)
    assert_close(block(tokens, num_frames, only_cls=True), expected[:, :1])


@torch.no_grad()
def test_what_time_adds_stays_in_the_stream_unlike_in_a_frozen_block():
    tokens = noise(1, 1 + 3 * 4, 24)
    for kind, stays in (("timesformer", True), ("frozen", False)):
        block = SpaceTimeTransformer(
            SpaceTimeConfig(image_size=16, patch_size=8, width=24, depth=1, heads=3, block=kind)
        )
        block = block.layers[0]
        for part in (block.space_attention.proj, block.mlp.down):
            part.weight.zero_()
            part.bias.zero_()
        last = block.time_output if kind == "timesformer" else block.time_attention.proj
        last.bias.fill_(1.0)
        assert (block(tokens, 3)[:, 1:] - tokens[:, 1:]).abs().max().item() == pytest.approx(1.0 if stays else 0.0)


@torch.no_grad()
def test_at_the_start_a_still_clip_is_seen_as_its_image():
    model = SpaceTimeTransformer(SIZES).eval()
    image = noise(2, 1, 3, 16, 16)
    assert_close(model(image.expand(-1, 3, -1, -1, -1)), model(image))


def test_groups_do_not_see_each_other():
    layer, tokens = GroupAttention(12, 3), noise(2, 5, 4, 12)
    changed = tokens.clone()
    changed[:, 2] += 1
    same = (layer(changed) - layer(tokens)).abs().amax(dim=(0, 2, 3)) < 1e-6
    assert same.tolist() == [True, True, False, True, True]


def test_an_unknown_block_is_refused():
    with pytest.raises((ValueError, TypeCheckError), match=r"block.*\n?.*joint"):
        SpaceTimeConfig.from_dict({"block": "joint"})
