"""What VSGN should learn of one clip, from its labelled spans: boxes with classes, and scores of steps.

A clip is a row of `num_steps` steps, of which the first `num_real` are features and the rest padding. Step i covers
[i, i + 1); the time of x steps is `first_second + x * seconds_per_step`.

Source: the data loader of Ego4D's moment queries (Grauman et al., 2022); VSGN (Zhao et al., 2021), section 3.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy import ndarray

BOUNDARY_REACH = 1.5  # steps; a boundary is a window of three steps around an end


@dataclass(frozen=True, slots=True)
class AnchorLabels:
    """The labels of one clip."""

    boxes: Float32[ndarray, "G 2"]
    """(start, end) of each segment, in steps."""
    labels: Int[ndarray, " G"]
    """Its class, 1 or higher."""
    action: Float32[ndarray, " S"]
    """The class that a step shows, 0 for none; where segments overlap, that of the last one."""
    start: Float32[ndarray, " S"]
    """How much of a step is within a boundary window around a start."""
    end: Float32[ndarray, " S"]
    """The same of the ends."""
    num_dropped: int
    """Segments that are not among the boxes because there were too many."""
    num_outside: int
    """Segments that lie outside of the features; they became boxes without length at the border."""

    def padded(self, num_boxes: int) -> tuple[Float32[ndarray, "N 2"], Int[ndarray, " N"]]:
        """Return boxes and labels with zeros behind them, to put clips into one batch.

        Raises:
            ValueError: there are more than `num_boxes`.
        """
        missing = num_boxes - len(self.labels)
        if missing < 0:
            raise ValueError(f"{len(self.labels)} boxes do not fit into {num_boxes} places.")
        return np.pad(self.boxes, ((0, missing), (0, 0))), np.pad(self.labels, (0, missing))


def anchor_labels(
    spans: Sequence[tuple[float, float]] | Float[ndarray, "G 2"],
    classes: Sequence[int] | Int[ndarray, " G"],
    *,
    num_real: int,
    num_steps: int,
    seconds_per_step: float,
    first_second: float = 0.0,
    max_boxes: int | None = 50,
) -> AnchorLabels:
    """Return the labels of a clip whose segments are `spans` (seconds of the clip) of `classes` (1 or higher).

    Ends are cut to [0, num_real - 1] steps, as the released loader does. A clip without segments has no boxes and
    zeros elsewhere.

    Args:
        spans: (start, end) in seconds; an end may equal its start.
        classes: one number per span; 0 is the background and no segment's.
        num_real: steps that are features.
        num_steps: steps with the padding.
        seconds_per_step: seconds from a step to the next.
        first_second: where step 0 begins.
        max_boxes: at most so many boxes, the first; as released. Steps know all segments. Unset keeps all.

    Raises:
        ValueError: a span is reversed or not finite, a class is below 1, or a number is out of range.
    """
    seconds, numbers = _checked(spans, classes, num_real, num_steps, seconds_per_step, max_boxes)
    steps = (seconds - first_second) / seconds_per_step
    outside = (steps[:, 1] < 0) | (steps[:, 0] > num_real - 1)
    return label_steps(
        np.clip(steps, 0, num_real - 1),
        numbers,
        num_steps=num_steps,
        max_boxes=max_boxes,
        num_outside=int(outside.sum()),
    )


def label_steps(
    boxes: Float[ndarray, "G 2"],
    classes: Int[ndarray, " G"],
    *,
    num_steps: int,
    max_boxes: int | None = 50,
    num_outside: int = 0,
) -> AnchorLabels:
    """Return the labels of boxes that are already in steps, and inside; self-stitching makes such."""
    action = np.zeros(num_steps, dtype=np.float32)
    for (first, last), number in zip(np.rint(boxes).astype(int), classes, strict=True):
        action[first : last + 1] = number
    return AnchorLabels(
        boxes=boxes[:max_boxes].astype(np.float32),
        labels=classes[:max_boxes],
        action=action,
        start=_near(boxes[:, 0], num_steps),
        end=_near(boxes[:, 1], num_steps),
        num_dropped=0 if max_boxes is None else max(0, len(boxes) - max_boxes),
        num_outside=num_outside,
    )


def _near(ends: Float[ndarray, " G"], num_steps: int) -> Float32[ndarray, " S"]:
    """Return how much of each step is within the boundary window of the end that covers most of it."""
    steps = np.arange(num_steps)
    right = np.minimum(steps + 1, ends[:, None] + BOUNDARY_REACH)
    left = np.maximum(steps, ends[:, None] - BOUNDARY_REACH)
    return (right - left).clip(min=0).max(axis=0, initial=0).astype(np.float32)


def _checked(
    spans: Sequence[tuple[float, float]] | ndarray,
    classes: Sequence[int] | ndarray,
    num_real: int,
    num_steps: int,
    seconds_per_step: float,
    max_boxes: int | None,
) -> tuple[ndarray, ndarray]:
    seconds = np.asarray(spans, dtype=np.float64).reshape(-1, 2)
    numbers = np.asarray(classes, dtype=np.int64).reshape(-1)
    if len(seconds) != len(numbers):
        raise ValueError(f"{len(seconds)} spans, but {len(numbers)} classes.")
    if not 1 <= num_real <= num_steps:
        raise ValueError(f"`num_real` must be 1 to {num_steps} (num_steps), got {num_real}.")
    if not 0 < seconds_per_step < np.inf or (max_boxes is not None and max_boxes < 1):
        raise ValueError(f"needs seconds_per_step > 0 and max_boxes >= 1, got {seconds_per_step} and {max_boxes}.")
    wrong = ~np.isfinite(seconds).all(axis=1) | (seconds[:, 1] < seconds[:, 0]) | (numbers < 1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        found = f"span {row} is {seconds[row].tolist()} of class {numbers[row]}"
        raise ValueError(f"{found}; ends must be finite and in order, and a class 1 or higher.")
    return seconds, numbers
