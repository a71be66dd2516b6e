"""StateChangeNet: does an object change its state in a clip (OSCC), and in which of its frames (PNR)?

Lin et al., 2022, "Egocentric Video-Language Pretraining @ Ego4D Challenge 2022", Figure 2 (c) and (d): the video tower
of Frozen, fine-tuned whole, with one linear layer on its [CLS].

    c = video tower(x)            (B, D), the final norm of cls
    state = W_s c + b_s           (B, 2): no change, change
    key frame = W_k c + b_k       (B, T): which of the T = 16 frames

The released models have one of the two heads each. With `key_frame_head="frames"` each frame is scored by itself, from
the mean of its own patches h, so that the weights of the head know no place in time:

    key frame_t = w . mean_n h_tn + b

Axis letters: B batch, T frames, C channels, H W pixels, D width.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from playhead.models.configs import known_fields
from playhead.models.frozen import SpaceTimeConfig, SpaceTimeTransformer

Heads = Literal["oscc", "pnr", "both"]
"""What a model answers: whether something changes, when, or both."""


@dataclass(frozen=True, slots=True)
class StateChangeOutput:
    """Logits of each clip; None of what the model has no head for."""

    state: Float[Tensor, "B 2"] | None
    key_frame: Float[Tensor, "B T"] | None


@dataclass(frozen=True, kw_only=True)
class StateChangeConfig:
    """The video tower and what is asked of it."""

    video: SpaceTimeConfig = field(default_factory=SpaceTimeConfig)
    """The video tower; the key frame is one of its `num_frames`."""
    heads: Heads = "both"
    """Which of the two questions are answered."""
    key_frame_head: Literal["clip", "frames"] = "clip"
    """Whether the key frame is read from [CLS], as in the released model, or frame by frame."""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "StateChangeConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, or one out of range.
        """
        given = known_fields(cls, values)
        if isinstance(given.get("video"), Mapping):
            given["video"] = SpaceTimeConfig.from_dict(given["video"])
        return cls(**given)


class StateChangeNet(nn.Module):
    """The video tower of Frozen with a linear layer for each question."""

    def __init__(self, config: StateChangeConfig):
        super().__init__()
        self.config = config
        self.video = SpaceTimeTransformer(config.video)
        width, num_frames = config.video.width, config.video.num_frames
        slots = num_frames if config.key_frame_head == "clip" else 1
        self.state_head = nn.Linear(width, 2) if config.heads != "pnr" else None
        self.key_frame_head = nn.Linear(width, slots) if config.heads != "oscc" else None

    def forward(self, video: Float[Tensor, "B T C H W"]) -> StateChangeOutput:
        """Return the logits of each clip.

        Raises:
            ValueError: more frames than time slots, fewer where the key frame is read from [CLS], or frames of another
                size.
        """
        num_frames, slots = video.shape[1], self.config.video.num_frames
        if self.key_frame_head is not None and self.config.key_frame_head == "frames":
            tokens = self.video.forward_tokens(video)
            clip, frames = tokens[:, 0], tokens[:, 1:].unflatten(1, (num_frames, -1)).mean(dim=2)  # (B, D), (B, T, D)
            key_frame = self.key_frame_head(frames)[..., 0]
        else:
            if self.key_frame_head is not None and num_frames != slots:
                raise ValueError(f"{num_frames} frames given, but the key frame is one of {slots}; give so many.")
            clip = self.video(video)
            key_frame = None if self.key_frame_head is None else self.key_frame_head(clip)
        return StateChangeOutput(None if self.state_head is None else self.state_head(clip), key_frame)


def state_change_base(heads: Heads) -> StateChangeConfig:
    """ViT-B/16 at 224 pixels with 16 frames: EgoVLP's OSCC and PNR models, each with its own head."""
    return StateChangeConfig(heads=heads)
