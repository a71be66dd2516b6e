"""A ResNet-50 over space and time, and the two heads that make it the I3D baseline of OSCC and PNR.

Carreira and Zisserman, 2017 (I3D); Feichtenhofer et al., 2019, "SlowFast", Table 1 (slow pathway); heads: Ego4D
(Grauman et al., 2022), hands and objects.

    stem        conv t x 7 x 7, stride 1 x 2 x 2; max-pool 1 x 3 x 3, stride 1 x 2 x 2
    stage s     3, 4, 6, 3 blocks; the first halves height and width, but for stage 0
    block       x' = relu(shortcut(x) + expand(middle(reduce(x)))):  t x 1 x 1, then 1 x 3 x 3, then 1 x 1 x 1

Time is never pooled, so every frame keeps its own features. `t` is 3 where a layer looks at the frames beside a frame,
and 1 elsewhere; `KERNELS` says where. With t = 1 everywhere it is a ResNet-50 of single images ("c2d").

    key frame_t = w . grid(x_t) + b           grid: the mean over windows that leave 2 x 2 places, flattened
    state       = W grid(mean_t x_t) + b

Axis letters: B batch, C channels, T frames, H W pixels, h w places of the last map, G grid side.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from playhead.models.configs import known_fields, require_positive
from playhead.models.state_change import Heads, StateChangeOutput

Arch = Literal["c2d", "i3d", "slow", "slow_layer5"]

KERNELS: Mapping[Arch, tuple[tuple[int, ...], ...]] = {
    "c2d": ((1,), (1,), (1,), (1,), (1,)),
    "i3d": ((5,), (3,), (3, 1), (3, 1), (1, 3)),
    "slow": ((1,), (1,), (1,), (3,), (3,)),
    "slow_layer5": ((3,), (3,), (3,), (3,), (3,)),
}
"""Frames that stem and blocks of stages 0 to 3 look at; the blocks of a stage take turns.

"i3d" and "c2d" are without the pooling of time that others put behind stage 0; it has no weights. "slow_layer5" is the
baseline of Ego4D, which calls it I3D.
"""

EXPANSION = 4  # channels of a block's output over those inside it; He et al., 2016


@dataclass(frozen=True, kw_only=True)
class ResNet3dConfig:
    """The sizes of the network; the defaults are the slow ResNet-50."""

    arch: Arch = "slow"
    """Where the layers look at more than one frame."""
    width: int = 64
    """Channels of the stem; stage s has 4 * 2^s times as many."""
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    """Blocks of each stage."""

    def __post_init__(self):
        require_positive(self, "width")
        if len(self.depths) != len(KERNELS[self.arch]) - 1 or min(self.depths) < 1:
            raise ValueError(f"ResNet3dConfig: depths needs four numbers of at least 1, got {self.depths}.")

    @property
    def out_width(self) -> int:
        """Channels of the last map."""
        return self.width * EXPANSION * 2 ** (len(self.depths) - 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ResNet3dConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, or one out of range.
        """
        return cls(**known_fields(cls, values))


@dataclass(frozen=True, kw_only=True)
class DualHeadConfig:
    """The network and its two heads; the defaults are Ego4D's baseline."""

    trunk: ResNet3dConfig = field(default_factory=lambda: ResNet3dConfig(arch="slow_layer5"))
    """The network below the heads."""
    heads: Heads = "both"
    """Which of the two questions are answered; the released model answers both."""
    image_size: int = 225
    """Side of a frame in pixels; 225 leaves a last map of 8 x 8."""
    grid: int = 2
    """Places of the last map, in each direction, that the heads see."""
    dropout: float = 0.5
    """Share of a head's input that is dropped in training."""

    def __post_init__(self):
        require_positive(self, "image_size", "grid")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"DualHeadConfig: dropout must lie in [0, 1), got {self.dropout}.")
        if self.map_size < self.grid:
            raise ValueError(
                f"DualHeadConfig: frames of {self.image_size} px leave a last map of side {self.map_size}, too small "
                f"for a grid of side {self.grid}."
            )

    @property
    def map_size(self) -> int:
        """Side of the last map: the picture's is halved five times, and rounded up."""
        return -(-self.image_size // 32)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DualHeadConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, or one out of range.
        """
        given = known_fields(cls, values)
        if isinstance(given.get("trunk"), Mapping):
            given["trunk"] = ResNet3dConfig.from_dict(given["trunk"])
        return cls(**given)


class Bottleneck(nn.Module):
    """One block: narrow, look around, widen, and add what came in."""

    def __init__(self, width_in: int, inner: int, kernel: int, stride: int):
        super().__init__()
        out = inner * EXPANSION
        self.reduce = _conv(width_in, inner, (kernel, 1, 1))
        self.reduce_norm = nn.BatchNorm3d(inner)
        self.middle = _conv(inner, inner, (1, 3, 3), stride)
        self.middle_norm = nn.BatchNorm3d(inner)
        self.expand = _conv(inner, out, (1, 1, 1))
        self.expand_norm = nn.BatchNorm3d(out)
        changes = width_in != out or stride != 1
        self.shortcut = _conv(width_in, out, (1, 1, 1), stride) if changes else None
        self.shortcut_norm = nn.BatchNorm3d(out) if changes else None

    def forward(self, x: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B C_out T H_out W_out"]:
        """Return the block's map."""
        y = F.relu(self.reduce_norm(self.reduce(x)))
        y = F.relu(self.middle_norm(self.middle(y)))
        y = self.expand_norm(self.expand(y))
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut(x))
        return F.relu(x + y)


class ResNet3d(nn.Module):
    """The network without a head."""

    def __init__(self, config: ResNet3dConfig):
        super().__init__()
        self.config = config
        stem_kernels, *stage_kernels = KERNELS[config.arch]
        self.stem = _conv(3, config.width, (stem_kernels[0], 7, 7), 2)
        self.stem_norm = nn.BatchNorm3d(config.width)
        self.pool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        stages, width_in = [], config.width
        for number, (depth, kernels) in enumerate(zip(config.depths, stage_kernels, strict=True)):
            inner, blocks = config.width * 2**number, []
            for place in range(depth):
                stride = 2 if place == 0 and number > 0 else 1
                blocks.append(Bottleneck(width_in, inner, kernels[place % len(kernels)], stride))
                width_in = inner * EXPANSION
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self._initialise()

    def blocks(self) -> list[nn.Module]:
        """Return the blocks, first to last."""
        return [block for stage in self.stages for block in stage.children()]

    def forward(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B D T h w"]:
        """Return the last map of each frame."""
        x = self.pool(F.relu(self.stem_norm(self.stem(video.transpose(1, 2)))))
        for stage in self.stages:
            x = stage(x)
        return x

    def _initialise(self) -> None:
        # SlowFast's start from scratch: He's normal by the fan out; the norms are torch's own 1 and 0.
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class DualHeadResNet(nn.Module):
    """The network with a head that scores every frame and one that judges the clip."""

    def __init__(self, config: DualHeadConfig):
        super().__init__()
        self.config = config
        self.trunk = ResNet3d(config.trunk)
        width = config.trunk.out_width * config.grid**2
        self.dropout = nn.Dropout(config.dropout)
        self.key_frame_head = nn.Linear(width, 1) if config.heads != "oscc" else None
        self.state_head = nn.Linear(width, 2) if config.heads != "pnr" else None
        for head in (self.key_frame_head, self.state_head):
            if head is not None:
                nn.init.normal_(head.weight, std=0.01)  # SlowFast's FC_INIT_STD
                nn.init.zeros_(head.bias)

    def forward(self, video: Float[Tensor, "B T C H W"]) -> StateChangeOutput:
        """Return the logits of each clip.

        Raises:
            ValueError: frames of another size.
        """
        size = self.config.image_size
        if tuple(video.shape[2:]) != (3, size, size):
            raise ValueError(f"frames of 3x{size}x{size} wanted, got {'x'.join(map(str, video.shape[2:]))}.")
        last = self.trunk(video)  # (B, D, T, h, w)
        window = self.config.map_size - self.config.grid + 1
        frames = F.avg_pool3d(last, (1, window, window), stride=1)  # (B, D, T, G, G)
        frames = frames.permute(0, 2, 3, 4, 1).flatten(2)  # (B, T, G G D), channels last as in the released heads
        key_frame = None if self.key_frame_head is None else self.key_frame_head(self.dropout(frames))[..., 0]
        state = None if self.state_head is None else self.state_head(self.dropout(frames.mean(dim=1)))
        return StateChangeOutput(state, key_frame)


def _conv(width_in: int, width_out: int, kernel: tuple[int, int, int], stride: int = 1) -> nn.Conv3d:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Conv3d(width_in, width_out, kernel, stride=(1, stride, stride), padding=padding, bias=False)


def dual_head_base(heads: Heads = "both") -> DualHeadConfig:
    """Ego4D's "I3D ResNet-50" for OSCC and PNR: `slow_layer5` at 225 pixels."""
    return DualHeadConfig(heads=heads)
