"""The block of TimeSformer: divided space-time attention (Bertasius et al., 2021, "Is Space-Time Attention All You
Need for Video Understanding?", section 3; the released code says what the paper leaves open).

Patch (f, n) is at place n of frame f; c is the class token. Two things set it apart from the block in `frozen.py`:
what time adds stays in the stream (y goes on to z), and c takes no part in time, but sees each frame by itself.

    y(f, n) = x(f, n) + fc(time(norm(x(., n))))             the patches of one place see each other
    s(f, .) = space(norm([c, y(f, .)]))                     c and the patches of one frame see each other
    z = [c + mean over f of s(f, c),  y + s(., .)]
    x' = z + mlp(norm(z))

Axis letters: B batch, T frames, N patches of a frame, M = 1 + T N tokens, D width, G groups that do not see each other,
L tokens of a group.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from playhead.models.layers import Mlp, attend


class GroupAttention(nn.Module):
    """Self-attention within each group of tokens."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "B G L D"]) -> Float[Tensor, "B G L D"]:
        """Return what each token gathered."""
        num_groups = tokens.shape[1]
        qkv = self.qkv(tokens).unflatten(-1, (3, self.heads, -1))  # (B, G, L, 3, heads, d)
        # Groups travel as if they were heads, since CUDA limits the batch of its attention to 65535.
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).flatten(2, 3)  # each (B, G heads, L, d)
        seen = attend(query, key, value).unflatten(1, (num_groups, self.heads))
        return self.proj(seen.transpose(2, 3).flatten(3))


class TimeSformerBlock(nn.Module):
    """Time attention, space attention, perceptron; see the equations at the top.

    Its parts have the names of those of `SpaceTimeBlock`; `time_output`, the fc above, is the one more.
    """

    def __init__(self, width: int, heads: int, hidden: int, eps: float):
        super().__init__()
        self.time_norm = nn.LayerNorm(width, eps=eps)
        self.time_attention = GroupAttention(width, heads)
        self.time_output = nn.Linear(width, width)
        self.space_norm = nn.LayerNorm(width, eps=eps)
        self.space_attention = GroupAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, hidden)
        # As released: at the start time adds nothing, and a clip is seen as an image model sees its frames.
        nn.init.zeros_(self.time_output.weight)
        nn.init.zeros_(self.time_output.bias)

    def forward(
        self, tokens: Float[Tensor, "B M D"], num_frames: int, only_cls: bool = False
    ) -> Float[Tensor, "B M_out D"]:
        """Return the tokens, changed; with `only_cls` only the first of them, without the perceptron for the others."""
        cls, grid = tokens[:, :1], tokens[:, 1:].unflatten(1, (num_frames, -1))  # (B, 1, D), (B, T, N, D)
        places = self.time_norm(grid).transpose(1, 2)  # (B, N, T, D)
        grid = grid + self.time_output(self.time_attention(places)).transpose(1, 2)
        frames = torch.cat([cls[:, None].expand(-1, num_frames, -1, -1), grid], dim=2)  # (B, T, 1 + N, D)
        seen = self.space_attention(self.space_norm(frames))
        tokens = cls + seen[:, :, 0].mean(dim=1, keepdim=True)
        if not only_cls:
            tokens = torch.cat([tokens, (grid + seen[:, :, 1:]).flatten(1, 2)], dim=1)
        return tokens + self.mlp(self.mlp_norm(tokens))
