"""The point pyramid: ActionFormer, and with words the grounding heads built on it.

Zhang et al., 2022, "ActionFormer", section 3; with text cross-attention the design of GroundNLQ (Hou et al., 2023) and
SnAG (Mu et al., 2024).

A sequence of features becomes a pyramid: level l has a point every 2^l steps. Each point says how much it lies in a
moment of each class, and how far it is to the moment's two ends.

    features (B, S, D_in) -> embedding convolutions -> stem -> level 0
                                              branch, halving the steps -> level 1, 2, ...
    level l -> neck -> heads -> logits (B, S_l, K), offsets (B, S_l, 2) >= 0 in units of 2^l steps

One block, on steps x; q, k, v come from a depthwise convolution each, which halves the steps in the branch, as the
max-pooling of the residual does:

    y = pool(x) + attend(norm(x)),  [y = y + words(norm(y)),]  x' = y + mlp(norm(y))

What is padded is set to zero after each convolution, and the norms that follow give it their bias; the heads'
convolutions see that bias at a video's last step. So inputs are always padded by one rule (`padded_steps`), and a
video's answer does not depend on its batch.

Axis letters: B batch (videos; with text, queries), S steps, D width, K classes, L words, H heads.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from playhead.models.configs import known_fields, require_positive
from playhead.models.point_pyramid_blocks import (
    BlockConfig,
    ConvolutionBlock,
    FusionBlock,
    MaskedConv,
    Tower,
    TransformerBlock,
    Words,
    linear_layer,
)


@dataclass(frozen=True, kw_only=True)
class PointPyramidConfig:
    """The sizes; the defaults are ActionFormer's on THUMOS14. Time (fps, stride) belongs to the data."""

    input_widths: tuple[int, ...] = (2048,)
    """Widths of the feature sets, which come concatenated in this order."""
    projected_widths: tuple[int, ...] = ()
    """Width that each set is brought to first; empty leaves them as they are."""
    num_classes: int = 20
    """Classes; grounding has one, "relevant"."""
    max_steps: int = 2304
    """Steps that shorter inputs are padded to, and the length of the position table."""
    kind: Literal["transformer", "convolution"] = "transformer"
    """What the blocks are made of."""
    width: int = 512
    """Width of a step in the backbone."""
    embedding_layers: int = 2
    """Convolutions before the stem."""
    stem_blocks: int = 2
    """Blocks at full resolution."""
    levels: int = 6
    """Levels of the pyramid; each but the first adds a block that halves the steps."""
    heads: int = 4
    """Attention heads; must divide `width`."""
    windows: tuple[int, ...] = (19,)
    """Steps that a step sees, centred on it, per level; one number for all levels, 0 or 1 for no limit."""
    absolute_positions: bool = False
    """Add a sinusoid of the step's number."""
    relative_positions: bool = False
    """Learn a bias per distance and head; only where the window is limited."""
    neck: Literal["identity", "fpn"] = "identity"
    """A norm per level, or a feature pyramid network, which adds coarse levels to fine ones."""
    neck_width: int = 512
    """Width after the neck; with "identity" it is `width`."""
    head_width: int = 512
    """Width inside the heads."""
    head_layers: int = 3
    """Convolutions of each head, its output included."""
    class_prior: float = 0.01
    """Probability of each class at the start."""
    empty_classes: tuple[int, ...] = ()
    """Classes without any truth in training; they start at a millionth."""
    dropout: float = 0.0
    """Share of dropped values after attention and inside perceptrons."""
    drop_path: float = 0.1
    """Share of samples for which a residual branch is dropped in training."""
    layer_scale: float | None = 1e-4
    """Start of the factor per channel on each residual branch; unset has no such factor."""
    loss_normalizer: float | None = None
    """Keep a buffer `loss_normalizer` that starts at this: the running number of positives that the released training
    divides by (its `init_loss_norm`), so that a resumed run goes on with it; unset keeps none."""
    text_width: int | None = None
    """Width of the words' features; unset builds a model without text."""
    text_blocks: int = 2
    """Transformer blocks over the words."""
    text_fusion: Literal["blocks", "pyramid"] = "blocks"
    """Where steps look at words: in every block (GroundNLQ), or in `fusion_blocks` blocks after the backbone (SnAG),
    which then runs once per video, however many queries it has."""
    fusion_blocks: int = 2
    """Blocks of text_fusion="pyramid"; all levels share them."""

    def __post_init__(self):
        require_positive(self, "num_classes", "max_steps", "width", "levels", "heads", "neck_width", "head_width")
        require_positive(self, "head_layers", "embedding_layers")
        name = type(self).__name__
        if not self.input_widths or min((*self.input_widths, *self.projected_widths)) < 1:
            raise ValueError(f"{name}: input_widths needs widths above zero, got {self.input_widths}.")
        if self.projected_widths and len(self.projected_widths) != len(self.input_widths):
            raise ValueError(f"{name}: projected_widths {self.projected_widths} must be one per feature set, or empty.")
        for counted in ("stem_blocks", "text_blocks", "fusion_blocks"):
            if getattr(self, counted) < 0:
                raise ValueError(f"{name}: {counted} must not be negative, got {getattr(self, counted)}.")
        for started in ("layer_scale", "loss_normalizer"):
            if (value := getattr(self, started)) is not None and value <= 0:
                raise ValueError(f"{name}: {started} must be above zero, or unset, got {value}.")
        if not all(0 <= label < self.num_classes for label in self.empty_classes):
            raise ValueError(
                f"{name}: empty_classes {self.empty_classes} must lie below num_classes {self.num_classes}."
            )
        if self.width % self.heads:
            raise ValueError(f"{name}: heads {self.heads} must divide width {self.width}.")
        if len(self.windows) not in (1, self.levels) or min(self.windows) < 0:
            raise ValueError(
                f"{name}: windows {self.windows} must be one number, or one for each of {self.levels} levels."
            )
        if self.max_steps % self.strides[-1]:
            raise ValueError(f"{name}: the coarsest stride {self.strides[-1]} must divide max_steps {self.max_steps}.")
        if self.neck == "identity" and self.neck_width != self.width:
            raise ValueError(f"{name}: neck='identity' keeps the width, so neck_width must be {self.width}.")
        if not 0 < self.class_prior < 1 or not 0 <= self.dropout < 1 or not 0 <= self.drop_path < 1:
            raise ValueError(f"{name}: class_prior must lie in (0, 1), dropout and drop_path in [0, 1).")
        if self.text_width is not None and (self.text_width < 1 or self.kind == "convolution"):
            raise ValueError(f"{name}: text needs text_width above zero and kind='transformer'.")

    @property
    def strides(self) -> tuple[int, ...]:
        """Steps between two points, per level."""
        return tuple(2**level for level in range(self.levels))

    @property
    def level_windows(self) -> tuple[int, ...]:
        """The window of each level; 0 sees all."""
        windows = self.windows * self.levels if len(self.windows) == 1 else self.windows
        return tuple(0 if window == 1 else window for window in windows)

    @property
    def block(self) -> BlockConfig:
        """What all blocks have in common."""
        return BlockConfig(
            width=self.width,
            heads=self.heads,
            dropout=self.dropout,
            drop_path=self.drop_path,
            layer_scale=self.layer_scale,
            relative_positions=self.relative_positions,
        )

    def padded_steps(self, num_steps: int) -> int:
        """Return the steps that an input of `num_steps` is padded to.

        `max_steps`, and for longer ones the next multiple of what the released code's chunks of attention divide.
        """
        if num_steps <= self.max_steps:
            return self.max_steps
        chunks = zip(self.strides, self.level_windows, strict=True)
        divisor = max(stride * max(1, window // 2 * 2) for stride, window in chunks)
        divisor = math.lcm(divisor, self.strides[-1])
        return -(-num_steps // divisor) * divisor

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PointPyramidConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, or one out of range.
        """
        return cls(**known_fields(cls, values))


@dataclass(frozen=True, slots=True)
class Pyramid:
    """What the network says, level by level, the finest first; values at padded points are 0."""

    logits: tuple[Float[Tensor, "B _S K"], ...]
    """Class scores before the sigmoid."""
    offsets: tuple[Float[Tensor, "B _S 2"], ...]
    """Distance to the start and to the end, in strides of the level, not negative."""
    masks: tuple[Bool[Tensor, "B _S"], ...]
    """Which points are real."""
    levels: tuple[Float[Tensor, "B _S _D"], ...]
    """The backbone's output, before the neck."""


class Neck(nn.Module):
    """Levels of the backbone, ready for the shared heads."""

    def __init__(self, config: PointPyramidConfig):
        super().__init__()
        width, levels = config.neck_width, range(config.levels)
        self.lateral = self.smooth = None
        if config.neck == "fpn":
            self.lateral = nn.ModuleList(MaskedConv(config.width, width, 1, bias=False) for _ in levels)
            self.smooth = nn.ModuleList(MaskedConv(width, width, groups=width, bias=False) for _ in levels)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in levels)

    def forward(self, levels: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
        """Return the levels, normalised; with a pyramid network each holds what the coarser ones know."""
        levels = list(levels)
        if self.lateral is not None and self.smooth is not None:
            levels = [lateral(level, mask)[0] for lateral, level, mask in zip(self.lateral, levels, masks, strict=True)]
            for fine in range(len(levels) - 2, -1, -1):
                levels[fine] = levels[fine] + levels[fine + 1].repeat_interleave(2, dim=1)
            levels = [smooth(level, mask)[0] for smooth, level, mask in zip(self.smooth, levels, masks, strict=True)]
        return [norm(level) for norm, level in zip(self.norms, levels, strict=True)]


class PointPyramid(nn.Module):
    """The network."""

    def __init__(self, config: PointPyramidConfig):
        super().__init__()
        self.config = config
        in_blocks = config.text_width is not None and config.text_fusion == "blocks"

        def block(stride: int, window: int) -> nn.Module:
            if config.kind == "convolution":
                return ConvolutionBlock(config.width, stride)
            return TransformerBlock(config.block, stride, window, sees_words=in_blocks)

        windows = config.level_windows
        pairs = zip(config.input_widths, config.projected_widths, strict=False)
        self.projections = nn.ModuleList(MaskedConv(given, wanted, 1) for given, wanted in pairs)
        joined = sum(config.projected_widths or config.input_widths)
        self.embedding = Tower(joined, config.width, config.embedding_layers)
        self.stem = nn.ModuleList(block(1, windows[0]) for _ in range(config.stem_blocks))
        self.branch = nn.ModuleList(block(2, window) for window in windows[1:])
        positions = _sinusoids(config.max_steps, config.width) if config.absolute_positions else None
        self.register_buffer("positions", positions, persistent=False)
        self.neck = Neck(config)
        self.class_tower = Tower(config.neck_width, config.head_width, config.head_layers - 1)
        self.class_head = MaskedConv(config.head_width, config.num_classes)
        self.offset_tower = Tower(config.neck_width, config.head_width, config.head_layers - 1)
        self.offset_head = MaskedConv(config.head_width, 2)
        self.scales = nn.ParameterList(torch.ones(1) for _ in range(config.levels))
        if config.loss_normalizer is not None:
            self.register_buffer("loss_normalizer", torch.tensor(float(config.loss_normalizer)))
        if config.text_width is not None:
            self._add_text(config, config.text_width)
        self._initialise()

    def _add_text(self, config: PointPyramidConfig, text_width: int) -> None:
        self.word_embedding = nn.Sequential(
            linear_layer(text_width, config.width), nn.LayerNorm(config.width), nn.ReLU()
        )
        self.word_blocks = nn.ModuleList(TransformerBlock(config.block) for _ in range(config.text_blocks))
        self.word_norm = nn.LayerNorm(config.width)
        layers = config.fusion_blocks if config.text_fusion == "pyramid" else 0
        self.fusion = nn.ModuleList(FusionBlock(config.block) for _ in range(layers))

    def _initialise(self) -> None:
        bias = self.class_head.conv.get_parameter("bias")
        nn.init.constant_(bias, -math.log((1 - self.config.class_prior) / self.config.class_prior))
        with torch.no_grad():
            bias[list(self.config.empty_classes)] = -math.log((1 - 1e-6) / 1e-6)

    def blocks(self) -> Sequence[nn.Module]:
        """Return the blocks of the stem, then those of the branch."""
        return [*self.stem, *self.branch]

    def forward(
        self,
        features: Float[Tensor, "V S D"],
        mask: Bool[Tensor, "V S"],
        text: Float[Tensor, "B L E"] | None = None,
        text_mask: Bool[Tensor, "B L"] | None = None,
        video_of: Int[Tensor, " B"] | None = None,
    ) -> Pyramid:
        """Return logits and offsets of every point.

        A model with text needs the words' features and their mask; `video_of[i]` is the row of `features` that query i
        asks about, by default row i.

        Raises:
            ValueError: features of another width, a video or query that is all padding, not one video per query, or
                text given to a model without it or the other way round.
        """
        _check(features, mask, sum(self.config.input_widths), "feature")
        words = self._encode_words(text, text_mask)
        missing = self.config.padded_steps(features.shape[1]) - features.shape[1]
        features = F.pad(features.masked_fill(~mask[..., None], 0), (0, 0, 0, missing))
        mask = F.pad(mask, (0, missing))
        if words is None:
            return self._read_points(*self._encode_video(features, mask, None))
        video_of = _each_its_own(len(words.mask), mask) if video_of is None else video_of
        if self.config.text_fusion == "blocks":
            return self._read_points(*self._encode_video(features[video_of], mask[video_of], words))
        levels, masks = self._encode_video(features, mask, None)
        levels, masks = [level[video_of] for level in levels], [mask[video_of] for mask in masks]
        for block in self.fusion:
            levels = [block(level, mask, words) for level, mask in zip(levels, masks, strict=True)]
        return self._read_points(levels, masks)

    def _encode_words(self, text: Tensor | None, text_mask: Tensor | None) -> Words | None:
        if self.config.text_width is None and text is None:
            return None
        if self.config.text_width is None or text is None or text_mask is None:
            raise ValueError("a model with `text_width` needs text and its mask, and a model without it takes none.")
        _check(text, text_mask, self.config.text_width, "text feature")
        features = self.word_embedding(text) * text_mask[..., None]
        for block in self.word_blocks:
            features, _ = block(features, text_mask)
        return Words(self.word_norm(features), text_mask)

    def _encode_video(self, features: Tensor, mask: Tensor, words: Words | None) -> tuple[list[Tensor], list[Tensor]]:
        if self.projections:
            sets = features.split(self.config.input_widths, dim=2)
            sets = [project(part, mask)[0] for project, part in zip(self.projections, sets, strict=True)]
            features = torch.cat(sets, dim=2)
        steps = self.embedding(features, mask)
        if self.config.absolute_positions:
            steps = steps + self._positions_of(steps) * mask[..., None]
        for block in self.stem:
            steps, mask = block(steps, mask, words)
        levels, masks = [steps], [mask]
        for block in self.branch:
            steps, mask = block(steps, mask, words)
            levels.append(steps)
            masks.append(mask)
        return levels, masks

    def _positions_of(self, steps: Tensor) -> Float[Tensor, "S D"]:
        table, number = self.get_buffer("positions"), steps.shape[1]
        if number > len(table):  # a long video stretches the table, so that its positions lie among those learnt
            table = F.interpolate(table.T[None], number, mode="linear", align_corners=False)[0].T
        return table[:number].to(steps.dtype)

    def _read_points(self, levels: list[Tensor], masks: list[Tensor]) -> Pyramid:
        logits, offsets = [], []
        for scale, level, mask in zip(self.scales, self.neck(levels, masks), masks, strict=True):
            logits.append(self.class_head(self.class_tower(level, mask), mask)[0])
            offsets.append((self.offset_head(self.offset_tower(level, mask), mask)[0] * scale).relu())
        return Pyramid(tuple(logits), tuple(offsets), tuple(masks), tuple(levels))


def _check(rows: Tensor, mask: Tensor, width: int, what: str) -> None:
    if rows.shape[2] != width:
        raise ValueError(f"{what}s of width {width} wanted, got {rows.shape[2]}.")
    if not mask.any(dim=1).all():
        raise ValueError(f"row {int((~mask.any(dim=1)).nonzero()[0])} has no {what}; its mask is false everywhere.")


def _each_its_own(num_queries: int, mask: Tensor) -> Tensor:
    if num_queries != len(mask):
        raise ValueError(f"{num_queries} queries of {len(mask)} videos: `video_of` must say which asks about which.")
    return torch.arange(num_queries, device=mask.device)


def _sinusoids(number: int, width: int) -> Float[Tensor, "S D"]:
    """Sine and cosine in turn, each pair of a longer wave, over sqrt(width) as the released code has it."""
    wave = 10000 ** (torch.arange(width, dtype=torch.float64) // 2 * 2 / width)
    angle = torch.arange(number, dtype=torch.float64)[:, None] / wave
    even = torch.arange(width) % 2 == 0
    return (torch.where(even, angle.sin(), angle.cos()) / width**0.5).float()
