"""VideoMAE: a plain vision transformer over space-time tubes, pretrained by filling in what was hidden of a video.

Tong et al., 2022, "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training",
section 3; InternVideo (Wang et al., 2022), section 3.1.

    x = W tubes + b + p                    a tube is 2 frames of one patch; tokens lie frame pair by frame pair, then
                                           row by row; p is a fixed table of sines and cosines of the token's number
    x = x + g1 attention(norm(x))          g1, g2 are vectors with layer scale, otherwise 1
    x = x + g2 mlp(norm(x))

Pretraining encodes the visible tokens alone; a narrow decoder then sees them, followed by one mask token per hidden one
(each with its position), and tells the pixels of the hidden tubes:

    pixels = head(norm(decoder([A norm(x_visible) + q_visible, m + q_hidden]))[hidden])

The classifier encodes all tokens and takes head(norm(mean of x)).

Axis letters: B batch, T frames, C channels, H W pixels, N tokens of a clip, V visible and M hidden ones, D width,
P numbers of a tube, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int64
from torch import Tensor, nn

from playhead.models.configs import known_fields, require_positive
from playhead.models.videomae_blocks import Block, sine_table
from playhead.video.tubes import take_tubes, tube_grid

Positions = Literal["direct", "interpolated"]
Size = Literal["small", "base", "large", "huge", "giant"]


@dataclass(frozen=True, kw_only=True)
class VideoMAEEncoderConfig:
    """The sizes of the encoder; the defaults are ViT-B/16 for 16 frames of 224 pixels.

    No weight depends on `image_size` and `num_frames`: `replace` them to use the same weights on other clips.
    """

    image_size: int | tuple[int, int] = 224
    """Height and width of a frame in pixels; one number for a square."""
    patch_size: int = 16
    """Side of a patch in pixels."""
    tubelet: int = 2
    """Frames of a tube."""
    num_frames: int = 16
    """Frames of a clip."""
    width: int = 768
    """Width of a token."""
    depth: int = 12
    """Transformer blocks."""
    heads: int = 12
    """Attention heads; must divide `width`."""
    mlp_ratio: int | float = 4
    """Width inside the perceptron, in token widths."""
    eps: float = 1e-6
    """What the layer norms add to the variance."""
    layer_scale: float | None = None
    """Where the vectors that scale a block's two outputs start; unset has none, as all published models."""
    drop_path: float = 0.0
    """Chance that the last block skips a clip in training; it rises in a line from 0 in the first."""
    positions: Positions = "direct"
    """Positions of clips of another size than `position_frames` and `position_size`: "direct" computes the table for
    the clip's own tokens (the released VideoMAE), "interpolated" computes it for that size and resizes it, bicubic in
    space, linear in time (InternVideo's fine-tuning). At that size they are equal."""
    position_frames: int = 16
    """Frames for which "interpolated" computes its table."""
    position_size: int = 224
    """Height and width in pixels for which "interpolated" computes its table."""

    def __post_init__(self):
        require_positive(self, "patch_size", "tubelet", "num_frames", "width", "depth", "heads", "mlp_ratio", "eps")
        require_positive(self, "position_frames", "position_size")
        _check_heads("heads", self.heads, "width", self.width)
        height, width = self.frame_size
        if min(height, width) <= 0 or height % self.patch_size or width % self.patch_size:
            raise ValueError(f"frames of {height}x{width} do not divide into {self.patch_size}-pixel patches.")
        if self.num_frames % self.tubelet:
            raise ValueError(f"num_frames {self.num_frames} does not divide into tubes of {self.tubelet} frames.")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path must lie in [0, 1), got {self.drop_path}.")
        if self.positions not in ("direct", "interpolated"):  # it may come from a file
            raise ValueError(f"positions must be 'direct' or 'interpolated', got {self.positions!r}.")

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens of a clip in time, in rows and in columns."""
        height, width = self.frame_size
        return self.num_frames // self.tubelet, height // self.patch_size, width // self.patch_size

    @property
    def tube_numbers(self) -> int:
        """Pixels of a tube times its three channels."""
        return 3 * self.tubelet * self.patch_size**2

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "VideoMAEEncoderConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, or one out of range.
        """
        return cls(**known_fields(cls, values))


@dataclass(frozen=True, kw_only=True)
class VideoMAEConfig:
    """The encoder, and the decoder of pretraining; the defaults are the base size."""

    encoder: VideoMAEEncoderConfig = field(default_factory=VideoMAEEncoderConfig)
    """The encoder, which is kept after pretraining."""
    decoder_width: int = 384
    """Width of a token in the decoder."""
    decoder_depth: int = 4
    """Blocks of the decoder."""
    decoder_heads: int = 6
    """Attention heads of the decoder; must divide `decoder_width`."""
    decoder_mlp_ratio: int | float = 4
    """Width inside the decoder's perceptrons, in token widths."""

    def __post_init__(self):
        require_positive(self, "decoder_width", "decoder_depth", "decoder_heads", "decoder_mlp_ratio")
        _check_heads("decoder_heads", self.decoder_heads, "decoder_width", self.decoder_width)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "VideoMAEConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, one out of range, or no encoder.
        """
        return cls(**_with_encoder(known_fields(cls, values), cls.__name__))


@dataclass(frozen=True, kw_only=True)
class VideoMAEClassifierConfig:
    """The encoder, and a linear layer over the mean of its tokens."""

    encoder: VideoMAEEncoderConfig = field(default_factory=VideoMAEEncoderConfig)
    """The encoder."""
    num_classes: int
    """Classes to tell apart."""
    head_dropout: float = 0.0
    """Share of the features that is dropped before the head in training."""
    head_scale: float = 0.001
    """By which the head's random start is multiplied. Source: VideoMAE's `init_scale`."""

    def __post_init__(self):
        require_positive(self, "num_classes")
        if not 0 <= self.head_dropout < 1:
            raise ValueError(f"head_dropout must lie in [0, 1), got {self.head_dropout}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "VideoMAEClassifierConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, one out of range, or no encoder.
        """
        return cls(**_with_encoder(known_fields(cls, values), cls.__name__))


def _with_encoder(given: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(given.get("encoder"), Mapping):
        raise ValueError(f"{name} needs the settings of its `encoder`.")
    return {**given, "encoder": VideoMAEEncoderConfig.from_dict(given["encoder"])}


def _check_heads(name: str, heads: int, of: str, width: int) -> None:
    if width % heads:
        raise ValueError(f"{name} {heads} must divide {of} {width}.")


def position_table(config: VideoMAEEncoderConfig) -> Float[Tensor, "N D"]:
    """Return the positions of the encoder's tokens, as `config.positions` says.

    Source: of "interpolated" InternVideo's run_class_finetuning.py, which does it only on the way from a checkpoint.
    """
    time, rows, columns = config.grid
    if config.positions == "direct":
        return sine_table(time * rows * columns, config.width)
    side, known_time = config.position_size // config.patch_size, config.position_frames // config.tubelet
    table = sine_table(known_time * side * side, config.width)
    if (rows, columns) != (side, side):
        images = table.unflatten(0, (known_time, side, side)).permute(0, 3, 1, 2)  # (time, D, rows, columns)
        images = F.interpolate(images, (rows, columns), mode="bicubic", align_corners=False)
        table = images.permute(0, 2, 3, 1).flatten(0, 2)
    if time != known_time:
        lines = table.unflatten(0, (known_time, -1)).permute(1, 2, 0)  # (rows columns, D, time)
        table = F.interpolate(lines, time, mode="linear", align_corners=False).permute(2, 0, 1).flatten(0, 1)
    return table.contiguous()


class VideoMAEEncoder(nn.Module):
    """The encoder, a `VideoEncoder`; without `normed` its last norm is left to whoever uses the tokens."""

    positions: Tensor

    def __init__(self, config: VideoMAEEncoderConfig, *, normed: bool = True):
        super().__init__()
        self.config, self.num_frames, self.width = config, config.num_frames, config.width
        kernel = (config.tubelet, config.patch_size, config.patch_size)
        # Its weights are those of a convolution, as published; but a product with the tubes can leave out hidden ones.
        self.patch_embedding = nn.Conv3d(3, config.width, kernel, stride=kernel)
        self.register_buffer("positions", position_table(config), persistent=False)
        hidden, rates = round(config.width * config.mlp_ratio), np.linspace(0, config.drop_path, config.depth)
        self.layers = nn.ModuleList(
            Block(config.width, config.heads, hidden, config.eps, config.layer_scale, rate) for rate in rates.tolist()
        )
        self.norm = nn.LayerNorm(config.width, eps=config.eps) if normed else nn.Identity()

    def blocks(self) -> Sequence[nn.Module]:
        """Return the transformer blocks, first to last."""
        return list(self.layers)

    def forward_tokens(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B N D"]:
        """Return every token after the final norm.

        Raises:
            ValueError: clips of another size than the model's.
        """
        self._check(video)
        config = self.config
        tubes = tube_grid(video, config.tubelet, config.patch_size).flatten(4).flatten(1, 3)  # (B, N, P)
        return self._encode(self._embed(tubes) + self.positions)

    def forward_visible(
        self, video: Float[Tensor, "B T C H W"], visible: Int64[Tensor, "B V"]
    ) -> Float[Tensor, "B V D"]:
        """Return the tokens with these numbers after the final norm; the others are never made.

        Raises:
            ValueError: clips of another size than the model's.
        """
        self._check(video)
        tubes = take_tubes(tube_grid(video, self.config.tubelet, self.config.patch_size), visible)
        return self._encode(self._embed(tubes) + self.positions[visible])

    def _embed(self, tubes: Float[Tensor, "B N P"]) -> Float[Tensor, "B N D"]:
        return F.linear(tubes, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)

    def _encode(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        for block in self.layers:
            tokens = block(tokens)
        return self.norm(tokens)

    def _check(self, video: Tensor) -> None:
        wanted = (self.num_frames, 3, *self.config.frame_size)
        if tuple(video.shape[1:]) != wanted:
            found = "x".join(map(str, video.shape[1:]))
            raise ValueError(f"clips of {'x'.join(map(str, wanted))} (T C H W) wanted, got {found}.")


class VideoMAEDecoder(nn.Module):
    """From visible tokens, in the decoder's width, to the numbers of the hidden tubes."""

    positions: Tensor

    def __init__(self, config: VideoMAEConfig):
        super().__init__()
        width, eps = config.decoder_width, config.encoder.eps
        self.register_buffer("positions", sine_table(int(np.prod(config.encoder.grid)), width), persistent=False)
        hidden = round(width * config.decoder_mlp_ratio)
        scale = config.encoder.layer_scale
        self.layers = nn.ModuleList(
            Block(width, config.decoder_heads, hidden, eps, scale, 0.0) for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(width, eps=eps)
        self.head = nn.Linear(width, config.encoder.tube_numbers)

    def forward(
        self,
        tokens: Float[Tensor, "B V D"],
        mask_token: Float[Tensor, "1 1 D"],
        visible: Int64[Tensor, "B V"],
        hidden: Int64[Tensor, "B M"],
    ) -> Float[Tensor, "B M P"]:
        """Return the numbers of the hidden tubes, in the order of `hidden`."""
        seen = tokens + self.positions[visible]
        tokens = torch.cat([seen, (mask_token + self.positions[hidden]).to(seen.dtype)], dim=1)
        for block in self.layers:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, visible.shape[1] :]))


class VideoMAE(nn.Module):
    """The pretraining model."""

    def __init__(self, config: VideoMAEConfig):
        super().__init__()
        self.config = config
        self.encoder = VideoMAEEncoder(config.encoder)
        self.to_decoder = nn.Linear(config.encoder.width, config.decoder_width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_width))
        self.decoder = VideoMAEDecoder(config)
        self.apply(_start_pretraining)
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)

    def blocks(self) -> Sequence[nn.Module]:
        """Return the blocks of the encoder, then those of the decoder."""
        return [*self.encoder.layers, *self.decoder.layers]

    def forward(
        self, video: Float[Tensor, "B T C H W"], visible: Int64[Tensor, "B V"], hidden: Int64[Tensor, "B M"]
    ) -> Float[Tensor, "B M P"]:
        """Return the numbers of the hidden tubes: pixel by pixel (frame, row, column), channel last.

        `visible` and `hidden` are the numbers of tokens (`data.masking.token_order`), each clip's all different.

        Raises:
            ValueError: clips of another size than the model's.
        """
        tokens = self.to_decoder(self.encoder.forward_visible(video, visible))
        return self.decoder(tokens, self.mask_token, visible, hidden)


class VideoMAEClassifier(nn.Module):
    """The fine-tuned model."""

    def __init__(self, config: VideoMAEClassifierConfig):
        super().__init__()
        self.config, self.num_frames, self.width = config, config.encoder.num_frames, config.encoder.width
        self.encoder = VideoMAEEncoder(config.encoder, normed=False)
        self.feature_norm = nn.LayerNorm(self.width, eps=config.encoder.eps)
        self.head_dropout = nn.Dropout(config.head_dropout)
        self.head = nn.Linear(self.width, config.num_classes)
        self.apply(_start_fine_tuning)
        with torch.no_grad():
            self.head.weight.mul_(config.head_scale)

    def blocks(self) -> Sequence[nn.Module]:
        """Return the transformer blocks, first to last."""
        return self.encoder.blocks()

    def features(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B D"]:
        """Return one row per clip: the norm of the mean of its tokens.

        Raises:
            ValueError: clips of another size than the model's.
        """
        return self.feature_norm(self.encoder.forward_tokens(video).mean(dim=1))

    def forward(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B K"]:
        """Return the logits of the classes; raises as `features`."""
        return self.head(self.head_dropout(self.features(video)))


def _start_pretraining(module: nn.Module) -> None:
    # The convolution keeps torch's own start, as in the released code.
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _start_fine_tuning(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


_SIZES: dict[str, tuple[VideoMAEEncoderConfig, tuple[int, int, int]]] = {
    "small": (VideoMAEEncoderConfig(width=384, depth=12, heads=6), (192, 4, 3)),
    "base": (VideoMAEEncoderConfig(), (384, 4, 6)),
    "large": (VideoMAEEncoderConfig(width=1024, depth=24, heads=16), (512, 12, 8)),
    "huge": (VideoMAEEncoderConfig(width=1280, depth=32, heads=16), (512, 8, 8)),
    "giant": (VideoMAEEncoderConfig(width=1408, depth=40, heads=16, mlp_ratio=48 / 11, patch_size=14), (512, 4, 8)),
}
"""Encoder, and (width, depth, heads) of the decoder. Source: VideoMAE, and InternVideo for the depths of L and H;
"giant" is VideoMAE V2's (Wang et al., 2023)."""


def videomae_encoder(size: Size = "base", **changes: Any) -> VideoMAEEncoderConfig:
    """Return the encoder of a published size, with other values where they are given.

    Raises:
        ValueError: there is no such size, or a value is out of range.
    """
    if size not in _SIZES:
        raise ValueError(f"no VideoMAE of size {size!r}; there are {', '.join(_SIZES)}.")
    return replace(_SIZES[size][0], **changes)


def videomae(size: Size = "base", **changes: Any) -> VideoMAEConfig:
    """Return the pretraining model of a published size; `changes` are of its encoder. Raises as `videomae_encoder`."""
    encoder = videomae_encoder(size, **changes)
    width, depth, heads = _SIZES[size][1]
    ratio = encoder.mlp_ratio
    return VideoMAEConfig(
        encoder=encoder, decoder_width=width, decoder_depth=depth, decoder_heads=heads, decoder_mlp_ratio=ratio
    )


def videomae_classifier(
    size: Size = "base", *, num_classes: int, head_dropout: float = 0.0, **changes: Any
) -> VideoMAEClassifierConfig:
    """Return the classifier of a published size; `changes` are of its encoder. Raises as `videomae_encoder`."""
    encoder = videomae_encoder(size, **changes)
    return VideoMAEClassifierConfig(encoder=encoder, num_classes=num_classes, head_dropout=head_dropout)
