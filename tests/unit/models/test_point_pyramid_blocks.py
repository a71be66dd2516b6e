import pytest
import torch
from torch.testing import assert_close

from playhead.models.point_pyramid_blocks import BlockConfig, ConvolutionBlock, MaskedConv, Residual, TransformerBlock


def block_config(**changes):
    settings = {
        "width": 4, "heads": 2, "dropout": 0.0, "drop_path": 0.0, "layer_scale": 1.0, "relative_positions": False,
    }  # fmt: skip
    return BlockConfig(**{**settings, **changes})


def test_a_masked_convolution_is_zero_on_padding_and_keeps_every_second_mask_with_stride_two():
    conv = MaskedConv(1, 1, stride=2)
    torch.nn.init.ones_(conv.conv.weight)
    steps = torch.tensor([[1.0, 2.0, 4.0, 8.0, 0.0, 0.0]])[..., None]
    mask = torch.tensor([[True, True, True, True, False, False]])
    out, thinned = conv(steps, mask)
    assert out[..., 0].tolist() == [[1 + 2, 2 + 4 + 8, 0]]
    assert thinned.tolist() == [[True, True, False]]


def test_dropped_branches_are_whole_samples_and_keep_the_mean():
    residual = Residual(block_config(drop_path=0.25, layer_scale=2.0)).train()
    torch.manual_seed(0)
    out = residual(torch.ones(4000, 3, 4))
    kept = out[:, 0, 0] > 0
    assert_close(out, torch.where(kept, 2 / 0.75, 0.0)[:, None, None].expand(-1, 3, 4))
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert_close(residual.eval()(torch.ones(1, 3, 4)), torch.full((1, 3, 4), 2.0))


def test_without_a_scale_a_branch_has_no_parameters():
    residual = Residual(block_config(layer_scale=None))
    assert list(residual.parameters()) == []
    assert_close(residual(torch.ones(1, 2, 4)), torch.ones(1, 2, 4))


def test_a_block_whose_branches_say_nothing_only_pools():
    block = TransformerBlock(block_config(), stride=2, window=3)
    for layer in (block.time.out, block.mlp.down):
        torch.nn.init.zeros_(layer.weight)
    steps = torch.tensor([[1.0, 5.0, 2.0, 3.0, 9.0, 0.0]])[..., None].expand(-1, -1, 4)
    mask = torch.tensor([[True, True, True, True, True, False]])
    out, thinned = block(steps, mask)
    assert out[0, :, 0].tolist() == [5, 5, 9]  # of three around 0, 2 and 4
    assert thinned.tolist() == [[True, True, True]]


def test_a_convolution_block_starts_from_a_residual():
    block = ConvolutionBlock(3)
    torch.nn.init.zeros_(block.second.conv.weight)
    steps = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    out, mask = block(steps, torch.ones(2, 5, dtype=torch.bool))
    assert_close(out, steps.relu())
    assert mask.all()
