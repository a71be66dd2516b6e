"""Learning moments from points: which point answers for which truth, and what it loses.

A point at place x of a level with stride s says class scores and two offsets (l, r): it means [x - l s, x + r s).
Places, truths and lengths are in steps of the feature grid.

Source: ActionFormer (Zhang et al., 2022), section 3.4, and its released code. Axis letters: B videos, P points of all
levels, G truths of one video, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor

NO_LIMIT = 10_000.0
"""The longest distance of the coarsest level; the released configurations write "no limit" so."""

SAME_LENGTH = 1e-3
"""Truths no more than this longer than the shortest are all given to the point (THUMOS14 has pairs of labels)."""

_EPS = 1e-8


@dataclass(frozen=True, slots=True)
class Points:
    """The points of all levels, the finest level first."""

    places: Float[Tensor, " P"]
    """Where they stand."""
    strides: Float[Tensor, " P"]
    """Steps between two points of their level."""
    nearest: Float[Tensor, " P"]
    """Distance to the further end of a truth from which on they answer for it."""
    furthest: Float[Tensor, " P"]
    """Distance to the further end of a truth up to which they answer for it."""


@dataclass(frozen=True, slots=True)
class PointSums:
    """Sums per video, so that the normaliser can be that of the global batch."""

    classes: Float[Tensor, " B"]
    """Focal loss over real points and classes."""
    offsets: Float[Tensor, " B"]
    """DIoU loss over points that answer for a truth."""
    positives: Float[Tensor, " B"]
    """How many points those are."""


def regression_ranges(levels: int, *, first: float = 4.0, overlap: bool = False) -> tuple[tuple[float, float], ...]:
    """Return the distances that each level answers for: twice as far from level to level, the coarsest without limit.

    With `overlap` each level begins at half of where the one before it ends: the released settings for Ego4D, whose
    second level takes [2, 8] where THUMOS14's takes [4, 8].

    Raises:
        ValueError: `levels` is below 1.
    """
    if levels < 1:
        raise ValueError(f"`levels` must be at least 1, got {levels}.")
    ends = [first * 2**level for level in range(levels - 1)] + [NO_LIMIT]
    return tuple(
        (0.0 if level == 0 else ends[level - 1] / (2 if overlap else 1), end) for level, end in enumerate(ends)
    )


def place_points(
    level_steps: Sequence[int],
    strides: Sequence[int],
    ranges: Sequence[tuple[float, float]],
    device: torch.device | str = "cpu",
) -> Points:
    """Return the points of levels that have so many steps; point i of a level stands at i strides, without offset.

    Raises:
        ValueError: not one stride and range for each level.
    """
    if not len(level_steps) == len(strides) == len(ranges):
        raise ValueError(f"{len(level_steps)} levels, but {len(strides)} strides and {len(ranges)} ranges.")
    rows = [
        torch.stack([torch.arange(steps) * stride, *(torch.full((steps,), value) for value in (stride, *reach))])
        for steps, stride, reach in zip(level_steps, strides, ranges, strict=True)
    ]
    return Points(*torch.cat(rows, dim=1).to(device=device, dtype=torch.float32))


def assign_points(
    points: Points,
    spans: Float[Tensor, "G 2"],
    labels: Int[Tensor, " G"],
    num_classes: int,
    *,
    center_radius: float | None = 1.5,
) -> tuple[Float[Tensor, "P {num_classes}"], Float[Tensor, "P 2"]]:
    """Return each point's classes (0 or 1) and the offsets to the ends of its truth, in strides.

    A point answers for a truth if it lies inside and within `center_radius` strides of its middle (None: anywhere
    inside), and the further end is at a distance its level answers for, both ends included. Of several truths the
    shortest wins, of equals the first; but the classes of all that are as short count. Offsets of points without
    class are without meaning.
    """
    if len(spans) == 0:
        return points.places.new_zeros(len(points.places), num_classes), points.places.new_zeros(len(points.places), 2)
    places, strides = points.places[:, None], points.strides[:, None]
    starts, ends = spans.T
    offsets = torch.stack([places - starts, ends - places], dim=2)  # (P, G, 2)
    inside = offsets
    if center_radius is not None:
        middles, reach = (starts + ends) / 2, strides * center_radius
        lefts, rights = torch.maximum(middles - reach, starts), torch.minimum(middles + reach, ends)
        inside = torch.stack([places - lefts, rights - places], dim=2)
    further = offsets.amax(dim=2)
    answers = (inside.amin(dim=2) > 0) & (further >= points.nearest[:, None]) & (further <= points.furthest[:, None])
    lengths = torch.where(answers, ends - starts, torch.inf)
    shortest, chosen = lengths.min(dim=1)
    as_short = answers & (lengths <= shortest[:, None] + SAME_LENGTH)
    classes = as_short.to(offsets.dtype) @ F.one_hot(labels.long(), num_classes).to(offsets.dtype)
    own = offsets[torch.arange(len(chosen), device=chosen.device), chosen]
    return classes.clamp(max=1), own / strides


def assign_batch(
    points: Points,
    truths: Sequence[tuple[Float[Tensor, "_G 2"], Int[Tensor, " _G"]]],
    num_classes: int,
    *,
    center_radius: float | None = 1.5,
) -> tuple[Float[Tensor, "B P {num_classes}"], Float[Tensor, "B P 2"]]:
    """Return `assign_points` for each video of a batch, whose truths are given as spans and labels.

    Raises:
        ValueError: there is no video.
    """
    if not truths:
        raise ValueError("a batch needs at least one video.")
    targets = [assign_points(points, *truth, num_classes, center_radius=center_radius) for truth in truths]
    return torch.stack([classes for classes, _ in targets]), torch.stack([offsets for _, offsets in targets])


def focal_loss(
    logits: Float[Tensor, "*rows"], targets: Float[Tensor, "*rows"], *, alpha: float = 0.25, gamma: float = 2.0
) -> Float[Tensor, "*rows"]:
    """Return binary cross-entropy, entry by entry, with those already right weighing little: times (1 - p)^gamma.

    Positives weigh `alpha`, negatives 1 - `alpha`; targets between 0 and 1 are mixtures.

    Source: Lin et al., 2017, "Focal loss for dense object detection", Eq. 5.
    """
    probability = logits.sigmoid()
    right = probability * targets + (1 - probability) * (1 - targets)
    balance = alpha * targets + (1 - alpha) * (1 - targets)
    return balance * (1 - right) ** gamma * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def diou_loss(offsets: Float[Tensor, "*rows 2"], targets: Float[Tensor, "*rows 2"]) -> Float[Tensor, "*rows"]:
    """Return 1 - IoU + (distance of the middles / length of the hull)^2 of two spans around one point.

    Source: Zheng et al., 2020, "Distance-IoU loss", in one dimension.
    """
    shared = torch.minimum(offsets, targets).sum(dim=-1)
    union = offsets.sum(dim=-1) + targets.sum(dim=-1) - shared
    hull = torch.maximum(offsets, targets).sum(dim=-1)
    difference = (offsets - targets).diff(dim=-1).squeeze(-1) / 2
    return 1 - shared / union.clamp(min=_EPS) + (difference / hull.clamp(min=_EPS)) ** 2


def point_sums(
    logits: Float[Tensor, "B P K"],
    offsets: Float[Tensor, "B P 2"],
    mask: Bool[Tensor, "B P"],
    classes: Float[Tensor, "B P K"],
    target_offsets: Float[Tensor, "B P 2"],
    *,
    label_smoothing: float = 0.0,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> PointSums:
    """Return what the points of each video lose; padded points (`mask` false) lose nothing.

    `label_smoothing` moves that share of each target to 1 / (K + 1).
    """
    positive = mask & (classes.sum(dim=2) > 0)
    smoothed = classes * (1 - label_smoothing) + label_smoothing / (classes.shape[2] + 1)
    class_loss = focal_loss(logits.float(), smoothed, alpha=alpha, gamma=gamma)
    # Points without a truth get a harmless one, so that no gradient of theirs can overflow on its way to zero.
    offset_loss = diou_loss(offsets.float(), torch.where(positive[..., None], target_offsets, 1.0))
    return PointSums(
        classes=(class_loss * mask[..., None]).sum(dim=(1, 2)),
        offsets=(offset_loss * positive).sum(dim=1),
        positives=positive.sum(dim=1, dtype=torch.float32),
    )


def level_sums(
    logits: Sequence[Float[Tensor, "B _S K"]],
    offsets: Sequence[Float[Tensor, "B _S 2"]],
    masks: Sequence[Bool[Tensor, "B _S"]],
    strides: Sequence[int],
    ranges: Sequence[tuple[float, float]],
    truths: Sequence[tuple[Float[Tensor, "_G 2"], Int[Tensor, " _G"]]],
    *,
    center_radius: float | None = 1.5,
    label_smoothing: float = 0.0,
) -> PointSums:
    """Return `point_sums` of a pyramid given level by level, the finest first, for the truths of each video.

    `truths` are spans, in steps of the feature grid, and labels; `ranges` is a distance from and to per level.

    Raises:
        ValueError: not one stride and range for each level, or not as many truths as videos.
    """
    if len(truths) != len(masks[0]):
        raise ValueError(f"{len(masks[0])} videos, but truths of {len(truths)}.")
    points = place_points([mask.shape[1] for mask in masks], strides, ranges, masks[0].device)
    classes, targets = assign_batch(points, truths, logits[0].shape[2], center_radius=center_radius)
    all_logits, all_offsets, mask = (torch.cat(tuple(part), dim=1) for part in (logits, offsets, masks))
    return point_sums(all_logits, all_offsets, mask, classes, targets, label_smoothing=label_smoothing)


def detection_loss(
    sums: PointSums,
    normalizer: float | Float[Tensor, ""] | None = None,
    *,
    offset_weight: float | Literal["auto"] = 1.0,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the loss of the global batch, and its two parts before weighing: of classes and of offsets.

    Both parts are divided by `normalizer`, by default the positives of the batch (at least 1). "auto" weighs the
    offsets so that both parts count alike, without gradient through the weight.
    """
    if normalizer is None:
        normalizer = sums.positives.sum().clamp(min=1)
    class_part, offset_part = sums.classes.sum() / normalizer, sums.offsets.sum() / normalizer
    weight = offset_weight
    if weight == "auto":
        weight = class_part.detach() / offset_part.detach().clamp(min=0.01)
    return class_part + offset_part * weight, class_part, offset_part


def next_normalizer(previous: float, num_positives: float, *, momentum: float = 0.9) -> float:
    """Return the running number of positives that the released code divides by, after a batch with `num_positives`.

    It starts at a setting (`init_loss_norm`), is updated before the loss is taken, and is in no checkpoint of theirs.
    """
    return momentum * previous + (1 - momentum) * max(num_positives, 1)
