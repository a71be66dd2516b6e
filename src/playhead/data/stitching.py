"""Video self-stitching: a short clip and a magnified copy of it in one input, so that what is brief is long as well.

    steps     0 ........ own | gap | own + gap ............ num_steps
              the clip       empty   the clip again, stretched to fill the rest

A segment then stands there twice, and an answer found on the copy is brought back to the clip. Long clips are cut into
short ones first, and kept whole as well.

Source: VSGN (Zhao et al., 2021), section 3.2. The code for Ego4D's moment queries stitches nothing. What the paper
leaves open, and how it is read here:

* The copy's step j shows the clip at (j + 0.5) own / magnified - 0.5, mixed of its two neighbours: steps are stretches
  of time, and times scale by magnified / own. The released code stretches between the middles of the first and last
  step instead, but scales times as we do, which is up to half a step of the clip apart.
* Ends stay fractions of a step; the released code rounds them.
* In training, a window begins at random before a short segment and holds it whole; it cuts no segment that is over
  before it or begins behind it. Segments that overlap it may still stick out; they are not learnt from that window.
* To answer, windows of the two lengths slide by half of theirs, and all their proposals are suppressed together.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray

Window = tuple[int, int]
"""Rows [first, last) of a clip."""


@dataclass(frozen=True, kw_only=True)
class Stitching:
    """How clips are cut and stitched; the network needs the same numbers."""

    num_steps: int = 928
    """Steps of an input."""
    short_ratio: float = 0.4
    """A clip is short, and is stitched, up to this share of `num_steps`."""
    gap: int = 30
    """Empty steps between a clip and its copy."""

    def __post_init__(self):
        if not 0 < self.short_ratio < 1 or self.gap < 1 or self.longest < 1:
            raise ValueError(
                "Stitching: short_ratio must be between 0 and 1, gap 1 or more, and a short clip have steps."
            )
        if self.num_steps - self.gap < 2 * self.longest:
            found = f"{self.num_steps} steps with {self.longest} for the clip and {self.gap} for the gap"
            raise ValueError(f"Stitching: {found} leave no room to magnify; lower short_ratio or gap.")

    @property
    def longest(self) -> int:
        """Steps that a short clip can have."""
        return int(self.short_ratio * self.num_steps)

    def training_windows(self, num_rows: int, boxes: Float[ndarray, "G 2"], seed: int) -> list[Window]:
        """Return the rows of a clip to train on: all of them, and in a long clip one window for each short segment.

        `boxes` are the segments, in rows. A short segment that an earlier window holds gets none of its own.
        """
        windows = [(0, num_rows)]
        if num_rows <= self.longest:
            return windows
        generator = np.random.default_rng(seed)
        for start, end in boxes[np.argsort(boxes[:, 0], kind="stable")]:
            held = any(first <= start and end <= last for first, last in windows[1:])
            if end - start <= self.longest - 1 and not held:  # one row less: windows begin and end with whole rows
                windows.append(self._window_around(start, end, num_rows, boxes, generator))
        return windows

    def answer_windows(self, num_rows: int) -> list[Window]:
        """Return the rows of a clip to look at: long windows and, if it is long, short ones too."""
        if num_rows <= self.longest:
            return [(0, num_rows)]
        return [*_sliding(num_rows, self.num_steps), *_sliding(num_rows, self.longest)]

    def stitch(self, features: Float32[ndarray, "S D"]) -> "StitchedClip":
        """Return the input made of a short clip.

        Raises:
            ValueError: it is too long, or empty.
        """
        own = len(features)
        if not 1 <= own <= self.longest:
            raise ValueError(f"a clip of {own} steps given, but only 1 to {self.longest} are stitched.")
        begin = own + self.gap
        stitched = np.zeros((self.num_steps, features.shape[1]), dtype=np.float32)
        stitched[:own], stitched[begin:] = features, _stretch(features, self.num_steps - begin)
        mask = np.ones(self.num_steps, dtype=bool)
        mask[own:begin] = False
        return StitchedClip(stitched, mask, own, self.gap)

    def _window_around(
        self, start: float, end: float, num_rows: int, boxes: ndarray, generator: np.random.Generator
    ) -> Window:
        latest = int(start)
        first = int(generator.integers(max(0, int(np.ceil(end)) - self.longest), latest + 1))
        over_before = boxes[(boxes[:, 0] < first) & (boxes[:, 1] > first) & (boxes[:, 1] <= start), 1]
        first = min(latest, int(np.ceil(over_before.max(initial=first))))
        last = min(first + self.longest, num_rows)
        behind = boxes[(boxes[:, 0] >= end) & (boxes[:, 0] < last) & (boxes[:, 1] > last), 0]
        return first, min(num_rows, max(int(np.ceil(end)), int(behind.min(initial=last))))


@dataclass(frozen=True, slots=True)
class StitchedClip:
    """An input made of a clip and its copy."""

    features: Float32[ndarray, "S D"]
    """The clip, the empty gap, the copy."""
    mask: Bool[ndarray, " S"]
    """True on the clip and on the copy; its first run of true steps is the clip."""
    own: int
    """Steps of the clip."""
    gap: int
    """Steps of the gap."""

    @property
    def magnified(self) -> int:
        """Steps of the copy."""
        return len(self.mask) - self.own - self.gap

    def repeat(self, boxes: Float[ndarray, "G 2"]) -> Float[ndarray, "2*G 2"]:
        """Return boxes on the clip, in its steps, and after them the same on the copy."""
        inside = np.clip(boxes, 0, self.own - 1)
        on_copy = np.clip(boxes * (self.magnified / self.own), 0, self.magnified - 1)
        return np.concatenate([inside, on_copy + self.own + self.gap])

    def unstitch(self, boxes: Float[ndarray, "N 2"]) -> Float[ndarray, "N 2"]:
        """Return all boxes on the clip: those that start behind it are on the copy, and are brought back."""
        back = (boxes - self.own - self.gap) * (self.own / self.magnified)
        return np.where(boxes[:, :1] >= self.own, back, boxes)


def _sliding(num_rows: int, length: int) -> Iterator[Window]:
    """Yield windows that overlap by half; the last one ends with the clip."""
    for first in range(0, num_rows, max(1, length // 2)):
        if first + length >= num_rows:
            yield max(0, num_rows - length), num_rows
            return
        yield first, first + length


def _stretch(features: Float32[ndarray, "S D"], length: int) -> Float32[ndarray, "T D"]:
    places = ((np.arange(length) + 0.5) * len(features) / length - 0.5).clip(0, len(features) - 1)
    left = places.astype(int)
    share = (places - left)[:, None].astype(np.float32)
    right = np.minimum(left + 1, len(features) - 1)
    return features[left] * (1 - share) + features[right] * share
