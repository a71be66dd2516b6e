"""FrameLstm: an LSTM in both directions over the frames of a clip, the "Bi-d LSTM" baseline of OSCC and PNR.

Ego4D (Grauman et al., 2022), hands and objects; EGO4D/hands-and-objects, cnn-lstm.

    f_t = mean over places of an image ResNet-50            (D)
    h   = LSTM forwards and backwards over f_1 .. f_T       (T, 2 S)
    key frame_t = w . h_t + b                               its sigmoid is the chance that t is the key frame
    state       = W mean_t h_t + b

Axis letters: B batch, T frames, C channels, H W pixels, D width of a frame's features, S hidden width of the LSTM.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from playhead.models.configs import known_fields, require_positive
from playhead.models.resnet3d import ResNet3d, ResNet3dConfig
from playhead.models.state_change import Heads, StateChangeOutput


@dataclass(frozen=True, kw_only=True)
class FrameLstmConfig:
    """The image network and the LSTM above it; the defaults are the released baseline."""

    trunk: ResNet3dConfig = field(default_factory=lambda: ResNet3dConfig(arch="c2d"))
    """The network of each frame; only "c2d" looks at single frames."""
    hidden: int = 512
    """Width of the LSTM in each direction."""
    layers: int = 1
    """Layers of the LSTM."""
    heads: Heads = "both"
    """Which of the two questions are answered."""

    def __post_init__(self):
        require_positive(self, "hidden", "layers")
        if self.trunk.arch != "c2d":
            raise ValueError(f"FrameLstmConfig: trunk.arch must be 'c2d', for images, got {self.trunk.arch!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FrameLstmConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, or one out of range.
        """
        given = known_fields(cls, values)
        if isinstance(given.get("trunk"), Mapping):
            given["trunk"] = ResNet3dConfig.from_dict(given["trunk"])
        return cls(**given)


class FrameLstm(nn.Module):
    """The image network, the LSTM and a linear layer for each question."""

    def __init__(self, config: FrameLstmConfig):
        super().__init__()
        self.config = config
        self.trunk = ResNet3d(config.trunk)
        self.lstm = nn.LSTM(config.trunk.out_width, config.hidden, config.layers, batch_first=True, bidirectional=True)
        self.key_frame_head = nn.Linear(2 * config.hidden, 1) if config.heads != "oscc" else None
        self.state_head = nn.Linear(2 * config.hidden, 2) if config.heads != "pnr" else None

    def forward(self, video: Float[Tensor, "B T C H W"]) -> StateChangeOutput:
        """Return the logits of each clip; those of the key frame are meant for a sigmoid each."""
        return self.read_features(self.frame_features(video))

    def frame_features(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T D"]:
        """Return what the image network says of each frame."""
        return self.trunk(video).mean(dim=(3, 4)).transpose(1, 2)

    def read_features(self, features: Float[Tensor, "B T D"]) -> StateChangeOutput:
        """Return the logits of clips whose frame features are at hand."""
        hidden, _ = self.lstm(features)  # (B, T, 2 S)
        key_frame = None if self.key_frame_head is None else self.key_frame_head(hidden)[..., 0]
        state = None if self.state_head is None else self.state_head(hidden.mean(dim=1))
        return StateChangeOutput(state, key_frame)
