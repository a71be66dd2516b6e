"""Classes from a frozen encoder: what its tokens tell without being changed.

    linear       logits = W batch_norm(mean of tokens) + b
    attentive    q' = q + attention(q, norm(tokens));  logits = W norm(q' + mlp(norm(q'))) + b

The encoder stays in evaluation mode and gets no gradient, so that a step costs its forward pass and little more.

Source: linear, He et al., 2022 (MAE), appendix A: a batch norm without weights before the linear layer lets one rate
serve features of any scale. Attentive, Bardes et al., 2024 (V-JEPA), section 4: one learnt query and one block.

Axis letters: B batch, T frames, C channels, H W pixels, N tokens, D width, K classes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from playhead.models.configs import known_fields, require_positive
from playhead.models.layers import Mlp, attend
from playhead.models.videomae import VideoMAEEncoder, VideoMAEEncoderConfig


@dataclass(frozen=True, kw_only=True)
class ActionProbeConfig:
    """The frozen encoder, and what is learnt on top of it."""

    encoder: VideoMAEEncoderConfig = field(default_factory=VideoMAEEncoderConfig)
    """The encoder, which does not learn."""
    num_classes: int
    """Classes to tell apart."""
    kind: Literal["linear", "attentive"] = "linear"
    """One linear layer over the mean of the tokens, or a query that looks at all of them."""
    heads: int = 12
    """Attention heads of the attentive probe; must divide the encoder's width."""

    def __post_init__(self):
        require_positive(self, "num_classes", "heads")
        if self.kind not in ("linear", "attentive"):  # it may come from a file
            raise ValueError(f"kind must be 'linear' or 'attentive', got {self.kind!r}.")
        if self.kind == "attentive" and self.encoder.width % self.heads:
            raise ValueError(f"heads {self.heads} must divide the encoder's width {self.encoder.width}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ActionProbeConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, one out of range, or no encoder.
        """
        given = known_fields(cls, values)
        if not isinstance(given.get("encoder"), Mapping):
            raise ValueError("ActionProbeConfig needs the settings of its `encoder`.")
        return cls(**{**given, "encoder": VideoMAEEncoderConfig.from_dict(given["encoder"])})


class AttentivePool(nn.Module):
    """One row per clip: what a learnt query finds in its tokens."""

    def __init__(self, width: int, heads: int, eps: float):
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.empty(1, 1, width))
        self.token_norm = nn.LayerNorm(width, eps=eps)
        self.to_query, self.to_key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, 4 * width)
        self.norm = nn.LayerNorm(width, eps=eps)
        nn.init.trunc_normal_(self.query, std=0.02)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B D"]:
        """Return one row per clip."""
        query = self.query.expand(len(tokens), -1, -1)
        asked = self.to_query(query).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, 1, d)
        found = self.to_key_value(self.token_norm(tokens)).unflatten(-1, (2, self.heads, -1))
        key, value = found.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, d)
        query = query + self.proj(attend(asked, key, value).transpose(1, 2).flatten(2))
        query = query + self.mlp(self.mlp_norm(query))
        return self.norm(query[:, 0])


class ActionProbe(nn.Module):
    """A frozen encoder and the probe that learns."""

    def __init__(self, config: ActionProbeConfig):
        super().__init__()
        self.config, self.num_frames, self.width = config, config.encoder.num_frames, config.encoder.width
        self.encoder = VideoMAEEncoder(config.encoder).requires_grad_(False)
        if config.kind == "linear":
            self.pool = None
            self.feature_norm = nn.BatchNorm1d(self.width, eps=config.encoder.eps, affine=False)
        else:
            self.pool = AttentivePool(self.width, config.heads, config.encoder.eps)
            self.feature_norm = nn.Identity()
        self.head = nn.Linear(self.width, config.num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def train(self, mode: bool = True) -> "ActionProbe":
        """Set the mode of the probe; the encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def features(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B D"]:
        """Return one row per clip: what the head sees.

        Raises:
            ValueError: clips of another size than the model's.
        """
        with torch.no_grad():
            tokens = self.encoder.forward_tokens(video)
        return self.feature_norm(tokens.mean(dim=1) if self.pool is None else self.pool(tokens))

    def forward(self, video: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B K"]:
        """Return the logits of the classes; raises as `features`."""
        return self.head(self.features(video))
