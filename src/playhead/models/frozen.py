"""Frozen: the dual encoder of EgoVLP, a space-time transformer beside DistilBERT.

Bain et al., 2021, "Frozen in Time", section 3; Lin et al., 2022, "Egocentric Video-Language Pretraining", section 4.1.

Tokens of a clip: one [CLS] for the whole clip, then the patches frame by frame.

    x = [cls + p_0,  conv(frame_f)[n] + p_{1+n} + t_f  for f < T for n < N]

One block. The residual around space attention starts at x and not at y; it is this that TimeSformer does not do, and
with which the time half can start as nothing:

    y = x + time(norm(x))          patch (f, n) sees cls and the patches (., n) of its place
    z = x + space(norm(y))         patch (f, n) sees cls and the patches (f, .) of its frame
    x' = z + mlp(norm(z))          in both attentions cls sees every token

A clip is the final norm of cls, then a linear layer; a text is DistilBERT's [CLS], then ReLU and a linear layer. Unit
rows of the two meet as cosines; the temperature belongs to the loss.

Axis letters: B batch, T frames, C channels, H W pixels, N patches of a frame, M = 1 + T N tokens, D width, L words,
E shared space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from playhead.models.configs import known_fields, require_positive
from playhead.models.distilbert import DistilBert, DistilBertConfig
from playhead.models.layers import Mlp, attend
from playhead.models.timesformer import TimeSformerBlock
from playhead.types import Tokens

UNIT_EPS = 1e-8  # a row shorter than this is divided by this, as in the released `sim_matrix`


@dataclass(frozen=True, kw_only=True)
class SpaceTimeConfig:
    """The sizes of the video tower; the defaults are ViT-B/16 with the 16 time slots of the released model."""

    image_size: int | tuple[int, int] = 224
    """Height and width of a frame in pixels; one number for a square."""
    patch_size: int = 16
    """Side of a patch in pixels."""
    width: int = 768
    """Width of a token."""
    depth: int = 12
    """Transformer blocks."""
    heads: int = 12
    """Attention heads; must divide `width`."""
    mlp_ratio: int | float = 4
    """Width inside the perceptron, in token widths."""
    num_frames: int = 16
    """Time slots. Clips may have fewer frames: they use the first slots."""
    eps: float = 1e-6
    """What the layer norms add to the variance."""
    time_init: Literal["zeros", "zero_output"] = "zeros"
    """How the time attention starts; with both it starts as nothing, and an image model comes through unchanged.

    "zeros" is the released code: qkv zero, output weights one. Its queries and keys never get a gradient, and its
    values only rounding noise, since the norm that follows removes what all channels share. "zero_output" starts qkv
    as any layer and the output at zero, so that all of it learns.
    """
    block: Literal["frozen", "timesformer"] = "frozen"
    """How space and time meet in a block: as above, or as in TimeSformer (`timesformer.py`), whose time half starts as
    nothing whatever `time_init` says."""

    def __post_init__(self):
        require_positive(self, "patch_size", "width", "depth", "heads", "mlp_ratio", "num_frames", "eps")
        if self.block not in ("frozen", "timesformer"):  # it may come from a file
            raise ValueError(f"SpaceTimeConfig: block must be 'frozen' or 'timesformer', got {self.block!r}.")
        if self.width % self.heads:
            raise ValueError(f"SpaceTimeConfig: heads {self.heads} must divide width {self.width}.")
        height, width = self.frame_size
        if min(height, width) <= 0 or height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"SpaceTimeConfig: frames of {height}x{width} do not divide into {self.patch_size}-pixel patches."
            )

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @property
    def num_patches(self) -> int:
        """Patches of one frame."""
        height, width = self.frame_size
        return (height // self.patch_size) * (width // self.patch_size)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SpaceTimeConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, or one out of range.
        """
        return cls(**known_fields(cls, values))


@dataclass(frozen=True, kw_only=True)
class FrozenConfig:
    """The two towers and the space in which they meet."""

    video: SpaceTimeConfig = field(default_factory=SpaceTimeConfig)
    """The video tower."""
    text: DistilBertConfig = field(default_factory=DistilBertConfig)
    """The text tower."""
    shared_dim: int = 256
    """Width of the shared space."""

    def __post_init__(self):
        require_positive(self, "shared_dim")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FrozenConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, one out of range, or a tower that is missing.
        """
        given = known_fields(cls, values)
        if not isinstance(given.get("video"), Mapping) or not isinstance(given.get("text"), Mapping):
            raise ValueError("FrozenConfig needs the settings of both towers, `video` and `text`.")
        given["video"] = SpaceTimeConfig.from_dict(given["video"])
        given["text"] = DistilBertConfig.from_dict(given["text"])
        return cls(**given)


class DividedAttention(nn.Module):
    """Attention over one axis of the clip: cls sees all, a patch sees cls and the patches on its line of `axis`."""

    def __init__(self, width: int, heads: int, axis: Literal["time", "space"]):
        super().__init__()
        self.heads, self.axis = heads, axis
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self, tokens: Float[Tensor, "B M D"], num_frames: int, only_cls: bool = False
    ) -> Float[Tensor, "B M_out D"]:
        """Return what each token gathered; with `only_cls`, what cls gathered: one token."""
        if only_cls:
            return self.proj(self._gather_for_cls(tokens).flatten(2))
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).unbind(2)  # each (B, M, heads, d)
        cls = _attend_heads_last(query[:, :1], key, value)
        lines = [part[:, 1:].unflatten(1, (num_frames, -1)) for part in (query, key, value)]  # (B, T, N, heads, d)
        keys = self._with_cls(key[:, :1], lines[1])
        values = self._with_cls(value[:, :1], lines[2])
        patches = _attend_heads_last(self._by_line(lines[0]), keys, values)
        gathered = torch.cat([cls.flatten(2), patches.reshape(tokens.shape[0], -1, tokens.shape[2])], dim=1)
        return self.proj(gathered)

    def _by_line(self, grid: Tensor) -> Tensor:
        # Time: one line per place, all places of a clip as if they were heads, since CUDA limits the batch to 65535.
        return grid.flatten(2, 3) if self.axis == "time" else grid.flatten(0, 1)

    def _with_cls(self, cls: Tensor, grid: Tensor) -> Tensor:
        num_frames, num_patches = grid.shape[1:3]
        if self.axis == "time":
            first = cls[:, :, None].expand(-1, -1, num_patches, -1, -1)
            return self._by_line(torch.cat([first, grid], dim=1))  # (B, 1 + T, N heads, d)
        first = cls[:, None].expand(-1, num_frames, -1, -1, -1)
        return self._by_line(torch.cat([first, grid], dim=2))  # (B T, 1 + N, heads, d)

    def _gather_for_cls(self, tokens: Tensor) -> Tensor:
        weight, bias, width = self.qkv.weight, self.qkv.bias, tokens.shape[-1]
        query = F.linear(tokens[:, :1], weight[:width], bias[:width]).unflatten(-1, (self.heads, -1))
        key, value = F.linear(tokens, weight[width:], bias[width:]).unflatten(-1, (2, self.heads, -1)).unbind(2)
        return _attend_heads_last(query, key, value)


def _attend_heads_last(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attend(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)).transpose(1, 2)


class SpaceTimeBlock(nn.Module):
    """Time attention, space attention, perceptron; see the equations at the top."""

    def __init__(self, config: SpaceTimeConfig):
        super().__init__()
        width = config.width
        self.time_norm = nn.LayerNorm(width, eps=config.eps)
        self.time_attention = DividedAttention(width, config.heads, "time")
        self.space_norm = nn.LayerNorm(width, eps=config.eps)
        self.space_attention = DividedAttention(width, config.heads, "space")
        self.mlp_norm = nn.LayerNorm(width, eps=config.eps)
        self.mlp = Mlp(width, round(width * config.mlp_ratio))

    def forward(
        self, tokens: Float[Tensor, "B M D"], num_frames: int, only_cls: bool = False
    ) -> Float[Tensor, "B M_out D"]:
        """Return the tokens, changed; with `only_cls` only the first of them, without the work for the others."""
        timed = tokens + self.time_attention(self.time_norm(tokens), num_frames)
        if only_cls:
            tokens = tokens[:, :1]
        tokens = tokens + self.space_attention(self.space_norm(timed), num_frames, only_cls)
        return tokens + self.mlp(self.mlp_norm(tokens))


def _make_block(config: SpaceTimeConfig) -> nn.Module:
    if config.block == "timesformer":
        return TimeSformerBlock(config.width, config.heads, round(config.width * config.mlp_ratio), config.eps)
    return SpaceTimeBlock(config)


class SpaceTimeTransformer(nn.Module):
    """The video tower, a `VideoEncoder`."""

    def __init__(self, config: SpaceTimeConfig):
        super().__init__()
        self.config, self.num_frames, self.width = config, config.num_frames, config.width
        self.patch_embedding = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.position_embedding = nn.Parameter(torch.zeros(1, 1 + config.num_patches, config.width))
        self.time_embedding = nn.Parameter(torch.zeros(1, config.num_frames, config.width))
        self.layers = nn.ModuleList(_make_block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.eps)
        self._initialise()

    def blocks(self) -> Sequence[nn.Module]:
        """Return the transformer blocks, first to last."""
        return list(self.layers)

    def forward(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B D"]:
        """Return cls after the final norm; equal to `forward_tokens(video)[:, 0]`, but about 5 % less work.

        Raises:
            ValueError: more frames than time slots, or frames of another size.
        """
        tokens, last = self.embed(video), len(self.layers) - 1
        for index, block in enumerate(self.layers):
            tokens = block(tokens, video.shape[1], only_cls=index == last)
        return self.norm(tokens[:, 0])

    def forward_tokens(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B M D"]:
        """Return every token after the final norm.

        Raises:
            ValueError: more frames than time slots, or frames of another size.
        """
        tokens = self.embed(video)
        for block in self.layers:
            tokens = block(tokens, video.shape[1])
        return self.norm(tokens)

    def embed(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B M D"]:
        """Return the tokens that enter the first block.

        Raises:
            ValueError: more frames than time slots, or frames of another size.
        """
        num_clips, num_frames = video.shape[:2]
        if not 1 <= num_frames <= self.num_frames:
            raise ValueError(f"{num_frames} frames given, but the model has {self.num_frames} time slots.")
        if tuple(video.shape[2:]) != (3, *self.config.frame_size):
            height, width = self.config.frame_size
            raise ValueError(f"frames of 3x{height}x{width} wanted, got {'x'.join(map(str, video.shape[2:]))}.")
        patches = self.patch_embedding(video.flatten(0, 1)).flatten(2).transpose(1, 2)  # (B T, N, D)
        patches = patches + self.position_embedding[:, 1:]
        patches = patches.unflatten(0, (num_clips, num_frames)) + self.time_embedding[:, :num_frames, None]
        cls = self.cls_token + self.position_embedding[:, :1]
        return torch.cat([cls.expand(num_clips, -1, -1), patches.flatten(1, 2)], dim=1)

    def _initialise(self) -> None:
        # Other layers keep torch's own start, as in the released code; the time embedding stays at zero.
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.position_embedding, std=0.02)
        for block in self.layers if self.config.block == "frozen" else ():
            attention = block.get_submodule("time_attention")
            qkv, proj = attention.get_submodule("qkv"), attention.get_submodule("proj")
            if self.config.time_init == "zeros":
                nn.init.zeros_(qkv.get_parameter("weight"))
                nn.init.zeros_(qkv.get_parameter("bias"))
                nn.init.ones_(proj.get_parameter("weight"))
            else:
                nn.init.zeros_(proj.get_parameter("weight"))
            nn.init.zeros_(proj.get_parameter("bias"))


class Frozen(nn.Module):
    """The dual encoder."""

    def __init__(self, config: FrozenConfig):
        super().__init__()
        self.config = config
        self.video = SpaceTimeTransformer(config.video)
        self.text = DistilBert(config.text)
        self.video_projection = nn.Linear(config.video.width, config.shared_dim)
        self.text_projection = nn.Linear(config.text.dim, config.shared_dim)

    def blocks(self) -> Sequence[nn.Module]:
        """Return the blocks of the video tower, then those of the text tower."""
        return [*self.video.blocks(), *self.text.blocks()]

    def forward(
        self, video: Float[Tensor, "B T C H W"], text: Tokens
    ) -> tuple[Float[Tensor, "B E"], Float[Tensor, "B_text E"]]:
        """Return the unit rows of clips and of texts."""
        return self.encode_video(video), self.encode_text(text)

    def encode_video(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B E"]:
        """Return one unit row per clip, in float32 at least."""
        return _unit_rows(self.project_video(video))

    def encode_text(self, text: Tokens) -> Float[Tensor, "B E"]:
        """Return one unit row per text, in float32 at least."""
        return _unit_rows(self.project_text(text))

    def project_video(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B E"]:
        """Return one row per clip, not normalised: the released NLQ and MQ features."""
        return self.video_projection(self.video(video))

    def project_text(self, text: Tokens) -> Float[Tensor, "B E"]:
        """Return one row per text, not normalised."""
        return self.text_projection(self.text(text)[:, 0].relu())

    def project_words(self, text: Tokens) -> Float[Tensor, "B L E"]:
        """Return one row per token, not normalised; rows under the mask are without meaning."""
        return self.text_projection(self.text(text).relu())


def _unit_rows(rows: Tensor) -> Tensor:
    # bf16 rows would be of unit length to two digits only.
    return F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=-1, eps=UNIT_EPS)


def frozen_base(num_frames: int = 16) -> FrozenConfig:
    """ViT-B/16 at 224 pixels and DistilBERT-base: EgoVLP. The released model has 16 slots, of which 4 were trained."""
    return FrozenConfig(video=SpaceTimeConfig(num_frames=num_frames))


def frozen_tiny(
    *, image_size: int = 64, patch_size: int = 8, num_frames: int = 4, vocab_size: int = 30522
) -> FrozenConfig:
    """For a laptop, trained from nothing: 2.1 M parameters beside the word embedding.

    Its time attention can learn, unlike that of the released start.
    """
    video = SpaceTimeConfig(
        image_size=image_size,
        patch_size=patch_size,
        width=128,
        depth=6,
        heads=4,
        num_frames=num_frames,
        time_init="zero_output",
    )
    text = DistilBertConfig(vocab_size=vocab_size, dim=128, n_layers=2, n_heads=4, hidden_dim=512, max_positions=64)
    return FrozenConfig(video=video, text=text, shared_dim=128)
