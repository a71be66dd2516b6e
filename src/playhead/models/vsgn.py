"""VSGN: a pyramid of temporal convolutions and graphs that finds labelled segments in a sequence of features.

Zhao et al., 2021, "Video Self-Stitching Graph Network for Temporal Action Localization"; in the form of Ego4D's moment
queries (Grauman et al., 2022), whose released code is followed where the two differ.

    x_0 = relu(conv(features)),  e_l = pool(relu(conv(x_l) + graph(x_l))),  x_{l+1} = e_l     down; no pool at l = 0
    d_top = relu(conv(e_top)),   d_l = relu(conv(relu(up(d_{l+1})) + relu(conv(e_l))))        up

`graph` sends to each step the largest message of its nearest neighbours in feature space (itself included), channel by
channel. Every step of every level has one anchor per scale; two towers, shared by the levels, score its classes and
move and stretch it. Three heads say for each step whether something happens, starts or ends there, and the boundary
adjustment looks once more at the finest level around both ends of each moved anchor.

Boxes are (start, end) in steps, the middle of step i being at i + 0.5. Class 0 is the background.

Axis letters: B batch, S feature steps, D width of a feature or of a step, N anchors, K classes with the background.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from playhead.models.configs import known_fields, require_positive

CENTER_WEIGHT, LENGTH_WEIGHT = 10.0, 5.0  # units of what the box tower predicts, as in Faster R-CNN
LONGEST_STRETCH = math.log(1000 / 16)  # an anchor grows at most 62.5 times
GROUPS = 32  # channel groups that the towers normalise
BOUNDARY_SHARE = 8.0  # the boundary adjustment looks an eighth of a box's length to both sides of an end


@dataclass(frozen=True, kw_only=True)
class VSGNConfig:
    """The sizes; the defaults are Ego4D's moment queries."""

    feature_dim: int
    """Width of an input feature."""
    num_classes: int = 110
    """Classes without the background."""
    num_steps: int = 928
    """Steps of an input; shorter clips are padded."""
    width: int = 256
    """Width of a step inside the network; a multiple of 32."""
    num_levels: int = 5
    """Levels of the pyramid, each half as long as the one before."""
    tower_layers: int = 4
    """Convolutions in each of the two towers."""
    anchor_scales: tuple[int, ...] = (1, 10)
    """Lengths of the anchors of a level, in its own steps."""
    graph: bool = True
    """Whether steps listen to their neighbours in feature space. Without, levels shrink by strided convolutions."""
    num_neighbours: int = 12
    """Neighbours of a step in the graph, itself included."""
    stitched: bool = False
    """Whether half of the neighbours in a short clip are sought across the seam of self-stitching."""
    short_ratio: float = 0.4
    """A clip is short up to this share of `num_steps`."""
    stitch_gap: int = 30
    """Empty steps between a short clip and its magnified copy."""

    def __post_init__(self):
        sizes = ("feature_dim", "num_classes", "num_steps", "width", "num_levels", "tower_layers", "num_neighbours")
        require_positive(self, *sizes)
        if self.width % GROUPS:
            raise ValueError(f"VSGNConfig: width {self.width} must be a multiple of {GROUPS}.")
        if self.num_steps % 2 ** (self.num_levels - 1):
            levels = self.num_levels
            raise ValueError(f"VSGNConfig: {self.num_steps} steps cannot be halved into {levels} levels.")
        if self.graph and self.num_neighbours > (shortest := self.num_steps >> max(0, self.num_levels - 2)):
            found = f"{self.num_neighbours} neighbours, but a level has only {shortest} steps"
            raise ValueError(f"VSGNConfig: {found}; ask for fewer neighbours or levels.")
        if not self.anchor_scales or min(self.anchor_scales) < 1:
            raise ValueError(f"VSGNConfig: anchor_scales must be 1 or more, got {self.anchor_scales}.")
        if not 0 < self.short_ratio <= 1 or self.stitch_gap < 1:
            raise ValueError("VSGNConfig: short_ratio must be in (0, 1], and stitch_gap at least 1.")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "VSGNConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, or one out of range.
        """
        return cls(**known_fields(cls, values))


@dataclass(frozen=True, slots=True)
class VSGNOutput:
    """What the network says; anchors run from the finest level to the coarsest, step by step, scale by scale."""

    logits: Float[Tensor, "B N K"]
    """Class scores before the softmax."""
    boxes: Float[Tensor, "B N 2"]
    """The anchors, moved and stretched."""
    adjusted: Float[Tensor, "B N 2"]
    """`boxes` after the boundary adjustment."""
    anchors: Float[Tensor, "N 2"]
    """Where they were before."""
    action: Float[Tensor, "B S"]
    """Probability that something happens at a step."""
    start: Float[Tensor, "B S"]
    """Probability that something starts there."""
    end: Float[Tensor, "B S"]
    """Probability that something ends there."""


class GraphConvolution(nn.Module):
    """The largest of the messages W [neighbour, self] + b, channel by channel."""

    def __init__(self, width: int, num_neighbours: int):
        super().__init__()
        self.num_neighbours = num_neighbours
        self.message = nn.Linear(2 * width, width)

    def forward(self, steps: Float[Tensor, "B D S"], seam: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B D S"]:
        """Return what each step hears; `seam` as in `nearest_steps`."""
        nodes = steps.transpose(1, 2)
        of_neighbour, of_self = self.message.weight.chunk(2, dim=1)
        # The part that comes from the step itself is the same for all its neighbours, so it waits until after the max.
        sent = F.linear(nodes, of_neighbour)  # (B, S, D)
        with torch.no_grad():
            neighbours = nearest_steps(nodes, self.num_neighbours, seam)
            loudest = self._loudest(sent, neighbours)
        return (sent.gather(1, loudest) + F.linear(nodes, of_self, self.message.bias)).transpose(1, 2)

    @staticmethod
    def _loudest(sent: Tensor, neighbours: Tensor) -> Tensor:
        """Return for each step and channel which step sends the largest message; holds two neighbours at a time."""
        nearest, *others = (step[..., None].expand_as(sent) for step in neighbours.unbind(-1))
        loudest, best = nearest, sent.gather(1, nearest)
        for step in others:
            message = sent.gather(1, step)
            loudest = torch.where(message > best, step, loudest)
            best = torch.maximum(message, best)
        return loudest


def nearest_steps(
    nodes: Float[Tensor, "B S D"], num_neighbours: int, seam: Int[Tensor, " B"] | None = None
) -> Int[Tensor, "B S {num_neighbours}"]:
    """Return the nearest steps of each step by squared distance, nearest first; a step is its own neighbour.

    Where `seam` is not negative, the steps before it are a clip and those from it on its magnified copy: the first half
    of the neighbours are the nearest, and the others the nearest of the rest with no pair inside the copy, so that the
    copy listens to the clip.

    Source: VSGN, section 3.3; the released code, which leaves pairs inside the clip allowed.
    """
    exact = nodes.double()  # |a - b|^2 is a small difference of large numbers
    lengths = exact.square().sum(-1)
    distances = lengths[:, :, None] + lengths[:, None] - 2 * exact @ exact.transpose(1, 2)
    noise = 1e-12 * (lengths[:, :, None] + lengths[:, None])
    # Equal steps, as in the padding, shall be at equal distances.
    distances = torch.where(distances > noise, distances, 0).float()
    nearest = distances.topk(num_neighbours, largest=False).indices
    if seam is None:
        return nearest
    first = nearest[..., : num_neighbours // 2]
    copied = torch.arange(nodes.shape[1], device=nodes.device) >= seam[:, None]  # (B, S)
    distances = distances.masked_fill(copied[:, :, None] & copied[:, None], torch.inf).scatter(2, first, torch.inf)
    others = distances.topk(num_neighbours - num_neighbours // 2, largest=False).indices
    return torch.where((seam >= 0)[:, None, None], torch.cat([first, others], dim=-1), nearest)


class EncoderLevel(nn.Module):
    """One level on the way down: each half as long as the one before, but for the first."""

    def __init__(self, config: VSGNConfig, halves: bool):
        super().__init__()
        self.halves = halves
        stride = 2 if halves and not config.graph else 1
        self.conv = nn.Conv1d(config.width, config.width, 3, stride=stride, padding=1)
        self.graph = GraphConvolution(config.width, config.num_neighbours) if config.graph else None

    def forward(self, steps: Float[Tensor, "B D S"], seam: Int[Tensor, " B"] | None) -> Float[Tensor, "B D S_out"]:
        """Return the level's steps."""
        if self.graph is None:
            return F.relu(self.conv(steps))
        found = F.relu(self.conv(steps) + self.graph(steps, seam))
        return F.max_pool1d(found, 2) if self.halves else found


class GraphPyramid(nn.Module):
    """Down through the levels and up again; see the equations at the top."""

    def __init__(self, config: VSGNConfig):
        super().__init__()
        self.config = config
        width, levels = config.width, range(config.num_levels)
        self.stem = nn.Conv1d(config.feature_dim, width, 3, padding=1)
        self.encoder = nn.ModuleList(EncoderLevel(config, halves=level > 0) for level in levels)
        # From the coarsest level to the finest, in the order of their use.
        self.upsample = nn.ModuleList(
            nn.ConvTranspose1d(width, width, 3, stride=2, padding=1, output_padding=1) for _ in levels[1:]
        )
        self.lateral = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in levels[1:])
        self.smooth = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in levels)

    def forward(
        self, features: Float[Tensor, "B D S"], seam: Int[Tensor, " B"] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the levels going down, finest first, and going up, coarsest first; each (B, width, its steps).

        `seam` says at which step the magnified copy begins; negative where there is none.
        """
        steps, down = F.relu(self.stem(features)), []
        for level, encode in enumerate(self.encoder):
            # The level works on steps that were halved `level - 1` times; so is the seam.
            at_level = None if seam is None else seam >> max(0, level - 1)
            steps = encode(steps, at_level)
            down.append(steps)
        up = [F.relu(self.smooth[0](down[-1]))]
        for smooth, upsample, lateral, skipped in zip(
            self.smooth[1:], self.upsample, self.lateral, down[-2::-1], strict=True
        ):
            up.append(F.relu(smooth(F.relu(upsample(up[-1])) + F.relu(lateral(skipped)))))
        return down, up


class Tower(nn.Module):
    """Convolutions with normalised channel groups, and what they say of each anchor: "B D S" to "B S out"."""

    def __init__(self, width: int, num_layers: int, num_outputs: int):
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(num_layers):
            layers += [nn.Conv1d(width, width, 3, padding=1), nn.GroupNorm(GROUPS, width), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Conv1d(width, num_outputs, 3, padding=1)

    def forward(self, steps: Float[Tensor, "B D S"]) -> Float[Tensor, "B S D_out"]:
        """Return the outputs of each step."""
        return self.out(self.layers(steps)).transpose(1, 2)


class BoundaryAdjustment(nn.Module):
    """How far one end of each box should move, from the steps left of it, at it and right of it."""

    def __init__(self, width: int):
        super().__init__()
        self.around = nn.Conv1d(width, width, 3)
        self.out = nn.Conv1d(width, 1, 1)

    def forward(self, steps: Float[Tensor, "B S D"], places: Int[Tensor, "B N 3"]) -> Float[Tensor, "B N"]:
        """Return the offsets, in steps; `places` are the three steps."""
        # There are about four boxes per step: multiply first and then gather, one place after the other.
        seen = [
            F.linear(steps, weight).gather(1, place[..., None].expand(-1, -1, steps.shape[-1]))
            for weight, place in zip(self.around.weight.unbind(-1), places.unbind(-1), strict=True)
        ]
        hidden = seen[0] + seen[1] + seen[2] + self.around.get_parameter("bias")
        return F.linear(F.relu(hidden), self.out.weight.squeeze(-1), self.out.bias).squeeze(-1)


class VSGN(nn.Module):
    """The network."""

    def __init__(self, config: VSGNConfig):
        super().__init__()
        self.config = config
        width, per_step = config.width, len(config.anchor_scales)
        self.pyramid = GraphPyramid(config)
        self.classes = Tower(width, config.tower_layers, per_step * (config.num_classes + 1))
        self.boxes = Tower(width, config.tower_layers, per_step * 2)
        self.action, self.start, self.end = (
            nn.Sequential(nn.Conv1d(width, width, 3, padding=1), nn.ReLU(), nn.Conv1d(width, 1, 1), nn.Sigmoid())
            for _ in range(3)
        )
        self.adjust_start = BoundaryAdjustment(width)
        self.adjust_end = BoundaryAdjustment(width)

    def forward(self, features: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> VSGNOutput:
        """Return classes, boxes and boundaries; what stands where `mask` is false is not looked at.

        With `stitched`, the mask of a stitched clip is true on the clip and on its copy, and false on the gap between:
        its first run of true steps is the clip.

        Raises:
            ValueError: not as many steps or channels as the settings say.
        """
        wanted, found = (self.config.num_steps, self.config.feature_dim), tuple(features.shape[1:])
        if found != wanted:
            raise ValueError(f"features of {wanted[0]} steps x {wanted[1]} wanted, got {found[0]} x {found[1]}.")
        features = features.masked_fill(~mask[..., None], 0)
        _, up = self.pyramid(features.transpose(1, 2), self._seam(mask) if self.config.stitched else None)
        finest, levels = up[-1], up[::-1]
        logits = torch.cat([self.classes(level).unflatten(2, (-1, self.config.num_classes + 1)) for level in levels], 1)
        moves = torch.cat([self.boxes(level).unflatten(2, (-1, 2)) for level in levels], dim=1)
        anchors = self.anchors(features.device)
        boxes = decode_boxes(moves.flatten(1, 2).float(), anchors)
        return VSGNOutput(
            logits=logits.flatten(1, 2),
            boxes=boxes,
            adjusted=self._adjust(boxes, finest),
            anchors=anchors,
            action=self.action(finest).squeeze(1),
            start=self.start(finest).squeeze(1),
            end=self.end(finest).squeeze(1),
        )

    def anchors(self, device: torch.device | str = "cpu") -> Float[Tensor, "N 2"]:
        """Return the boxes that the box tower moves: for each step of each level one per scale, around its middle."""
        found = []
        for level in range(self.config.num_levels):
            stride = 2**level
            middles = torch.arange(self.config.num_steps // stride, device=device) * stride + stride / 2
            # A box of w steps reaches from the middle of its first to the middle of its last one.
            half = (torch.tensor(self.config.anchor_scales, device=device) * stride - 1) / 2
            found.append(torch.stack([middles[:, None] - half, middles[:, None] + half], dim=-1).flatten(0, 1))
        return torch.cat(found)

    def _seam(self, mask: Tensor) -> Tensor:
        """Return at which step the copy of each short clip begins; -1 for long clips, which have none."""
        own = mask.long().cumprod(dim=1).sum(dim=1)
        is_short = own <= self.config.short_ratio * self.config.num_steps
        return torch.where(is_short, own + self.config.stitch_gap, -1)

    def _adjust(self, boxes: Tensor, finest: Tensor) -> Tensor:
        last, steps = self.config.num_steps - 1, finest.transpose(1, 2)
        inside = boxes.detach().clamp(0, last)
        reach = (inside[..., 1:] - inside[..., :1] + 1) / BOUNDARY_SHARE  # (B, N, 1)
        around = torch.tensor([-1.0, 0.0, 1.0], device=boxes.device) * reach  # (B, N, 3)
        starts, ends = ((end[..., None] + around).long().clamp(0, last) for end in inside.unbind(-1))
        offsets = torch.stack([self.adjust_start(steps, starts), self.adjust_end(steps, ends)], dim=-1)
        return boxes + offsets


def decode_boxes(moves: Float[Tensor, "B N 2"], anchors: Float[Tensor, "N 2"]) -> Float[Tensor, "B N 2"]:
    """Return the anchors moved by tenths and stretched by e to fifths of their lengths, which count both end steps."""
    lengths, middles = anchors[:, 1] - anchors[:, 0] + 1, anchors.mean(dim=1)
    middles = moves[..., 0] / CENTER_WEIGHT * lengths + middles
    lengths = (moves[..., 1] / LENGTH_WEIGHT).clamp(max=LONGEST_STRETCH).exp() * lengths
    half = (lengths - 1) / 2
    return torch.stack([middles - half, middles + half], dim=-1)
