"""2D-TAN: a map whose cell (i, j) is the moment from row i to row j, scored for a language query.

Zhang et al., 2020, "Learning 2D Temporal Adjacent Networks for Moment Localization with Natural Language"; as released
for Ego4D's natural language queries (episodic memory, NLQ).

    x = relu(video w_v)                                  rows of the window
    m[i, j] = max of x[i..j], or stacked convolutions    candidates only; 0 elsewhere
    f = unit(t * (m w_m)),  t = text w_t                 the query meets every candidate
    f = relu(conv(f)) / (inputs of the convolution that can be told from padding)      four times
    logit[i, j] = f[i, j] . u

Not every cell is a candidate: short moments all are, longer ones start at every second row, long ones at every fourth.

Ego4D's setting: windows of 40 s with a stride of 20 s; features scaled to unit length and averaged to 40 rows
(`data.query_grid.average_to`, stretching); the text is the row of BERT's first token. Adam, lr 5e-5, batches of 32,
100 epochs, gradients clipped to norm 10, loss = `map_cross_entropy` of `scaled_ious`. Candidates of all windows of a
video are merged and suppressed at IoU 0.5; five are kept. The released loader for Ego4D can neither train nor
validate; the published row is quoted from the Ego4D paper.

Axis letters: B samples, N rows of the window, D width, M candidates.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from playhead.models.configs import known_fields, require_positive


@dataclass(frozen=True, kw_only=True)
class Tan2dConfig:
    """The sizes of 2D-TAN; the defaults are those released for Ego4D."""

    video_dim: int
    """Width of a row of video features: 256 for EgoVLP, 2304 for SlowFast."""
    text_dim: int = 768
    """Width of the row that stands for the query."""
    width: int = 512
    """Width of a row and of a cell within the network."""
    num_rows: int = 40
    """Rows of a window, and side of the map."""
    moments: Literal["max", "conv"] = "max"
    """How a moment is made of its rows: their maximum, or stacked convolutions."""
    scales: tuple[int, ...] = (16, 8, 8)
    """How many lengths of moments there are at each scale; from one scale to the next, starts become half as dense."""
    kernels: tuple[int, ...] = (9, 9, 9, 9)
    """Sides of the map's convolutions; a convolution each."""
    paddings: tuple[int, ...] = (16, 0, 0, 0)
    """Cells added around the map before each; in the end the map must have its old size."""

    def __post_init__(self):
        require_positive(self, "video_dim", "text_dim", "width", "num_rows")
        if self.moments not in ("max", "conv"):
            raise ValueError(f"Tan2dConfig: moments must be 'max' or 'conv', got {self.moments!r}.")
        if not self.scales or min(self.scales) < 1:
            raise ValueError(f"Tan2dConfig: each scale needs at least one length, got {self.scales}.")
        if not self.kernels or min(self.kernels) < 1 or min(self.paddings, default=0) < 0:
            raise ValueError(f"Tan2dConfig: kernels {self.kernels} and paddings {self.paddings} make no convolutions.")
        grown = sum(2 * padding - (kernel - 1) for kernel, padding in zip(self.kernels, self.paddings, strict=False))
        if len(self.kernels) != len(self.paddings) or grown:
            raise ValueError(f"Tan2dConfig: kernels {self.kernels} and paddings {self.paddings} change the map's size.")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Tan2dConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, one out of range, or no `video_dim`.
        """
        given = known_fields(cls, values)
        if "video_dim" not in given:
            raise ValueError("Tan2dConfig needs `video_dim`, the width of the video features.")
        return cls(**given)


@dataclass(frozen=True, slots=True)
class Tan2dOutput:
    """The map of logits, zero outside of the candidates, and which cells are candidates."""

    logits: Float[Tensor, "B N N"]
    cells: Bool[Tensor, "N N"]


@dataclass(frozen=True, slots=True)
class Step:
    """One length of moments: how many rows of the step before make one of its own, and where the moments lie."""

    kernel: int
    stride: int
    firsts: range
    length: int


def steps_of(num_rows: int, scales: tuple[int, ...]) -> Iterator[Step]:
    """Yield the lengths of moments, short ones first; ends where no moment of the next length fits the window."""
    spacing, length, count = 1, 1, num_rows
    for scale, num_lengths in enumerate(scales):
        for index in range(num_lengths):
            kernel, stride = (2, 1) if index else (3, 2) if scale else (1, 1)
            count = (count - kernel) // stride + 1
            if count < 1:
                return
            length += (kernel - 1) * spacing
            spacing *= stride
            yield Step(kernel, stride, range(0, count * spacing, spacing), length)


@dataclass(frozen=True, slots=True)
class _Tables:
    cells: Bool[Tensor, "N N"]
    places: Int[Tensor, " M"]  # of the candidates, in the order of steps, on the flattened map
    shares: tuple[Float[Tensor, "1 1 _ _"], ...]  # one map per convolution: 1 / (its real inputs), 0 where it has none


@functools.lru_cache(maxsize=16)
def _tables(config: Tan2dConfig, device: torch.device) -> _Tables:
    # Not buffers: they are no weights, and a model that is built without memory (device "meta") would not get them.
    size = config.num_rows
    places = [first * size + first + step.length - 1 for step in steps_of(size, config.scales) for first in step.firsts]
    with torch.device("cpu"), torch.no_grad(), torch.inference_mode(False):
        cells = torch.zeros(size * size, dtype=torch.bool)
        cells[places] = True
        cells = cells.unflatten(0, (size, size))
        shares, real = [], cells[None, None].double()
        for kernel, padding in zip(config.kernels, config.paddings, strict=True):
            inputs = F.conv2d(real, torch.ones(1, 1, kernel, kernel, dtype=torch.double), padding=padding).round()
            real = (inputs > 0).double()
            shares.append(torch.where(inputs > 0, 1 / inputs.clamp(min=1), 0.0).float().to(device))
        return _Tables(cells.to(device), torch.tensor(places).to(device), tuple(shares))


class MomentMap(nn.Module):
    """From rows to a map of moments."""

    def __init__(self, config: Tan2dConfig):
        super().__init__()
        self.config = config
        self.steps = tuple(steps_of(config.num_rows, config.scales))
        if config.moments == "conv":
            self.convs = nn.ModuleList(
                nn.Conv1d(config.width, config.width, step.kernel, stride=step.stride) for step in self.steps
            )

    def forward(self, rows: Float[Tensor, "B D N"]) -> Float[Tensor, "B D N N"]:
        """Return the moments of the candidates, zero in all other cells."""
        lengths = []
        for index, step in enumerate(self.steps):
            rows = self.convs[index](rows) if self.config.moments == "conv" else _slide_max(rows, step)
            lengths.append(rows)
        size, places = self.config.num_rows, _tables(self.config, rows.device).places
        moments = torch.cat(lengths, dim=2)
        cells = moments.new_zeros(*moments.shape[:2], size * size)
        return cells.index_copy(2, places, moments).unflatten(2, (size, size))


def _slide_max(rows: Tensor, step: Step) -> Tensor:
    # By hand, since torch's pooling and its gradient take many times as long for two or three neighbours.
    reach = rows.shape[2] - step.kernel + 1
    shifted = [rows[..., offset : offset + reach : step.stride] for offset in range(step.kernel)]
    return functools.reduce(torch.maximum, shifted)


class Tan2d(nn.Module):
    """The network; see the equations at the top."""

    def __init__(self, config: Tan2dConfig):
        super().__init__()
        self.config = config
        self.row_projection = nn.Linear(config.video_dim, config.width)
        self.text_projection = nn.Linear(config.text_dim, config.width)
        self.moments = MomentMap(config)
        self.moment_projection = nn.Conv2d(config.width, config.width, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(config.width, config.width, kernel, padding=padding)
            for kernel, padding in zip(config.kernels, config.paddings, strict=True)
        )
        self.out = nn.Conv2d(config.width, 1, 1)

    def forward(self, video: Float[Tensor, "B N V"], text: Float[Tensor, "B E"]) -> Tan2dOutput:
        """Return the map of a window and a query.

        Raises:
            ValueError: the window has another number of rows than the map.
        """
        if video.shape[1] != self.config.num_rows:
            raise ValueError(f"{video.shape[1]} rows given, but the map is made of {self.config.num_rows}.")
        tables = _tables(self.config, video.device)
        rows = self.row_projection(video).relu().transpose(1, 2)  # (B, D, N)
        moments = self.moment_projection(self.moments(rows))
        query = self.text_projection(text)[..., None, None]
        fused = F.normalize(query * moments, dim=1) * tables.cells
        for conv, share in zip(self.convs, tables.shares, strict=True):
            fused = conv(fused).relu() * share
        logits = self.out(fused)[:, 0] * tables.cells
        return Tan2dOutput(logits, tables.cells)
