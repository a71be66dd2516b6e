"""Parts of a clip's features, and the segments that can be learnt from a part; features stretched to a wanted length.

Axis letters: S rows of a clip, D width, G segments.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from playhead.data.feature_files import ClipFeatures, TimeBase


def resize_features(found: ClipFeatures, num_rows: int) -> ClipFeatures:
    """Return `num_rows` rows mixed of their two neighbours, evenly over the same stretch of time.

    A row stands for a step of time around the middle of what it saw; so do the new ones, whose steps are longer or
    shorter.

    Raises:
        ValueError: `num_rows` is below 1.
    """
    if num_rows < 1:
        raise ValueError(f"`num_rows` must be at least 1, got {num_rows}.")
    rows, time, number = found.features, found.time, len(found.features)
    places = ((np.arange(num_rows) + 0.5) * number / num_rows - 0.5).clip(0, number - 1)
    left = places.astype(int)
    share = (places - left)[:, None].astype(np.float32)
    mixed = rows[left] * (1 - share) + rows[np.minimum(left + 1, number - 1)] * share
    step = time.step * number / num_rows
    stretched = TimeBase(fps=1 / step, frames=1, stride=1, offset=first_second(time))
    return replace(found, features=mixed, time=stretched)


def first_second(time: TimeBase) -> float:
    """Return where the step around the middle of row 0 begins; step i begins `i * time.step` later."""
    return time.center_of(0) - time.step / 2


@dataclass(frozen=True, kw_only=True)
class Crop:
    """How a part of a clip is drawn for training. The defaults are ActionFormer's on THUMOS14.

    Raises:
        ValueError: a value is out of its range.
    """

    max_rows: int = 2304
    """Longer clips are cut to so many rows."""
    shares: tuple[float, float] | None = (0.9, 1.0)
    """Shorter clips are cut to a random share between these; unset leaves them whole."""
    keep: float = 0.5
    """Share of a segment that must be in the part for it to be learnt; Ego4D's released settings have 0.3."""

    def __post_init__(self):
        if self.max_rows < 1 or not 0 < self.keep <= 1:
            raise ValueError(f"Crop: needs max_rows >= 1 and keep in (0, 1], got {self.max_rows} and {self.keep}.")
        if self.shares is not None and not 0 < self.shares[0] <= self.shares[1] <= 1:
            raise ValueError(f"Crop: shares must be 0 < low <= high <= 1, got {self.shares}.")

    def draw(self, num_rows: int, spans: Float64[ndarray, "G 2"], generator: np.random.Generator) -> tuple[int, int]:
        """Return rows [first, last) that hold a segment, wherever that can be.

        Every such part of the drawn length is as probable, as in the released code, which draws until one does but
        gives up after 200 draws.
        """
        length = min(num_rows, self.max_rows)
        if num_rows <= self.max_rows and self.shares is not None:
            low, high = (max(1, min(num_rows, round(share * num_rows))) for share in self.shares)
            length = int(generator.integers(low, high + 1))
        starts = np.arange(num_rows - length + 1)
        holding = (self._shares_inside(spans, starts[:, None], starts[:, None] + length) >= self.keep).any(axis=1)
        first = int(generator.choice(starts[holding] if holding.any() else starts))
        return first, first + length

    def cut(
        self, spans: Float64[ndarray, "G 2"], first: int, last: int
    ) -> tuple[Float64[ndarray, "G_kept 2"], Bool[ndarray, " G"]]:
        """Return the segments that stay, cut to the part and counted from its first row, and which they are."""
        stays = self._shares_inside(spans, first, last) >= self.keep
        return np.clip(spans[stays], first, last) - first, stays

    @staticmethod
    def _shares_inside(spans: ndarray, first: ndarray | int, last: ndarray | int) -> ndarray:
        inside = np.minimum(spans[:, 1], last) - np.maximum(spans[:, 0], first)
        return inside.clip(min=0) / (spans[:, 1] - spans[:, 0])
