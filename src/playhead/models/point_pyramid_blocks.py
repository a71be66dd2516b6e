"""The blocks of the point pyramid: convolutions and attention over steps of which some are padding.

A layer is what it adds to the steps: norm, work, factor per channel. A block is a few layers, and may halve the steps.
Padding is zero after each convolution; a norm gives it its bias again.

Axis letters: B batch, S steps, D width, H heads, L words.
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor, nn

from playhead.models.banded_attention import banded_attention
from playhead.models.layers import attend


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """What all blocks of a pyramid have in common; the fields are told in `PointPyramidConfig`."""

    width: int
    heads: int
    dropout: float
    drop_path: float
    layer_scale: float | None
    relative_positions: bool


@dataclass(frozen=True, slots=True)
class Words:
    """The encoded words of a batch of queries; `mask` is true on real words."""

    features: Float[Tensor, "B L D"]
    mask: Bool[Tensor, "B L"]


class MaskedConv(nn.Module):
    """A convolution over time whose output is zero where its input is padding; with a stride the mask is thinned."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, bias: bool = True):
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(
        self, steps: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B S_out D_out"], Bool[Tensor, "B S_out"]]:
        """Return the convolved steps and their mask."""
        out, mask = self.conv(steps.transpose(1, 2)).transpose(1, 2), mask[:, :: self.stride]
        return out * mask[..., None], mask


class Tower(nn.Module):
    """Convolutions without bias, each with norm and ReLU."""

    def __init__(self, inputs: int, width: int, layers: int):
        super().__init__()
        widths = itertools.pairwise([inputs] + [width] * layers)
        self.convs = nn.ModuleList(MaskedConv(before, after, bias=False) for before, after in widths)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))

    def forward(self, steps: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D_out"]:
        """Return the steps; padded ones hold what the last norm's bias leaves."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            steps = norm(conv(steps, mask)[0]).relu()
        return steps


class Residual(nn.Module):
    """What a layer adds: its output, scaled per channel and in training dropped for some samples."""

    def __init__(self, config: BlockConfig):
        super().__init__()
        self.drop = config.drop_path
        scale = config.layer_scale
        self.scale = None if scale is None else nn.Parameter(torch.full((config.width,), scale))

    def forward(self, out: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        """Return the output as it is to be added."""
        if self.scale is not None:
            out = out * self.scale
        if not self.training or self.drop == 0:
            return out
        stays = torch.rand(len(out), 1, 1, device=out.device) >= self.drop
        return out * stays / (1 - self.drop)


class Lane(nn.Module):
    """One of query, key and value: depthwise convolution, norm, linear layer."""

    def __init__(self, width: int, stride: int):
        super().__init__()
        self.conv = MaskedConv(width, width, stride=stride, groups=width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.linear = linear_layer(width, width)

    def forward(
        self, steps: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"], heads: int
    ) -> tuple[Float[Tensor, "B H S_out d"], Bool[Tensor, "B S_out"]]:
        """Return the lane's steps by head, and their mask."""
        steps, mask = self.conv(steps, mask)
        return _by_head(self.linear(self.norm(steps)), heads), mask


class TimeLayer(nn.Module):
    """Steps look at steps: at all, or within a window. A stride halves what looks, what is seen, and the residual."""

    def __init__(self, config: BlockConfig, stride: int, window: int):
        super().__init__()
        self.heads, self.stride, self.window, self.dropout = config.heads, stride, window, config.dropout
        self.norm = nn.LayerNorm(config.width)
        self.query, self.key, self.value = (Lane(config.width, stride) for _ in range(3))
        self.out = linear_layer(config.width, config.width)
        self.relative = None
        if config.relative_positions and window:
            self.relative = nn.Parameter(torch.empty(config.heads, window // 2 * 2 + 1))
            nn.init.trunc_normal_(self.relative, std=(2 / config.width) ** 0.5)
        self.residual = Residual(config)

    def forward(
        self, steps: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B S_out D"], Bool[Tensor, "B S_out"]]:
        """Return the steps with what they gathered, and their mask."""
        normed = self.norm(steps)
        query, out_mask = self.query(normed, mask, self.heads)
        (key, _), (value, _) = self.key(normed, mask, self.heads), self.value(normed, mask, self.heads)
        if self.window:
            mixed = banded_attention(query, key, value, out_mask, self.window, self.relative)
        else:
            mixed = attend(query, key, value, out_mask[:, None, None, :])
        real = out_mask[..., None]
        out = F.dropout(self.out(mixed.transpose(1, 2).flatten(2)), self.dropout, self.training)
        return self._pool(steps) * real + self.residual(out * real), out_mask

    def _pool(self, steps: Tensor) -> Tensor:
        if self.stride == 1:
            return steps
        return F.max_pool1d(steps.transpose(1, 2), 3, self.stride, 1).transpose(1, 2)


class WordLayer(nn.Module):
    """Steps look at the words of their query."""

    def __init__(self, config: BlockConfig):
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.norm = nn.LayerNorm(config.width)
        self.query, self.key, self.value, self.out = (linear_layer(config.width, config.width) for _ in range(4))
        self.residual = Residual(config)

    def forward(self, steps: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"], words: Words) -> Float[Tensor, "B S D"]:
        """Return the steps with what they gathered."""
        query = _by_head(self.query(self.norm(steps)), self.heads)
        key, value = (_by_head(part(words.features), self.heads) for part in (self.key, self.value))
        mixed = attend(query, key, value, words.mask[:, None, None, :])
        out = F.dropout(self.out(mixed.transpose(1, 2).flatten(2)), self.dropout, self.training)
        return steps + self.residual(out * mask[..., None])


class MlpLayer(nn.Module):
    """Each step by itself: two linear layers, four widths apart, with an exact GELU."""

    def __init__(self, config: BlockConfig):
        super().__init__()
        self.dropout = config.dropout
        self.norm = nn.LayerNorm(config.width)
        self.up, self.down = linear_layer(config.width, 4 * config.width), linear_layer(4 * config.width, config.width)
        self.residual = Residual(config)

    def forward(self, steps: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """Return the steps, changed."""
        hidden = F.dropout(F.gelu(self.up(self.norm(steps))), self.dropout, self.training)
        out = F.dropout(self.down(hidden), self.dropout, self.training)
        return steps + self.residual(out * mask[..., None])


class TransformerBlock(nn.Module):
    """Time, with `sees_words` the words of the query, perceptron."""

    def __init__(self, config: BlockConfig, stride: int = 1, window: int = 0, sees_words: bool = False):
        super().__init__()
        self.time = TimeLayer(config, stride, window)
        self.words = WordLayer(config) if sees_words else None
        self.mlp = MlpLayer(config)

    def forward(
        self, steps: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"], words: Words | None = None
    ) -> tuple[Float[Tensor, "B S_out D"], Bool[Tensor, "B S_out"]]:
        """Return the steps, changed and perhaps halved, and their mask."""
        steps, mask = self.time(steps, mask)
        if self.words is not None:
            steps = self.words(steps, mask, words)
        return self.mlp(steps, mask), mask


class FusionBlock(nn.Module):
    """Words of the query and perceptron, without time: for levels whose video has been encoded."""

    def __init__(self, config: BlockConfig):
        super().__init__()
        self.words = WordLayer(config)
        self.mlp = MlpLayer(config)

    def forward(self, steps: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"], words: Words) -> Float[Tensor, "B S D"]:
        """Return the steps, changed."""
        return self.mlp(self.words(steps, mask, words), mask)


class ConvolutionBlock(nn.Module):
    """Two convolutions with ReLU and a residual, in the place of a transformer block."""

    def __init__(self, width: int, stride: int = 1):
        super().__init__()
        self.first = MaskedConv(width, 2 * width, stride=stride)
        self.second = MaskedConv(2 * width, width)
        self.skip = MaskedConv(width, width, 1, stride) if stride > 1 else None

    def forward(
        self, steps: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"], words: Words | None = None
    ) -> tuple[Float[Tensor, "B S_out D"], Bool[Tensor, "B S_out"]]:
        """Return the steps, changed and perhaps halved, and their mask; there is no form with words."""
        hidden, out_mask = self.first(steps, mask)
        out, _ = self.second(hidden.relu(), out_mask)
        return (out + (steps if self.skip is None else self.skip(steps, mask)[0])).relu(), out_mask


def linear_layer(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer whose bias starts at zero, as all of the pyramid's do."""
    linear = nn.Linear(inputs, outputs)
    nn.init.zeros_(linear.bias)
    return linear


def _by_head(steps: Tensor, heads: int) -> Tensor:
    return steps.unflatten(2, (heads, -1)).transpose(1, 2)  # (B, H, S, d)
