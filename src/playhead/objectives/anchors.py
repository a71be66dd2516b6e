"""VSGN's losses: anchors learn a class and the way to a segment, and steps learn where segments begin and end.

A box is (start, end) in steps. Each loss is a ratio over the whole batch, so a batch first becomes rows: per sample a
sum and a count, which can be gathered over ranks and only then divided.

Axis letters: B batch, N anchors, G segments of a sample (padded), K classes with the background 0, S feature steps.

Source: VSGN (Zhao et al., 2021), section 3.4, and its released code for Ego4D's moment queries.
"""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor

LOG_FLOOR = 1e-5  # added to a probability before its logarithm
AREA_FLOOR = 1e-7  # added to lengths that divide


@dataclass(frozen=True, slots=True)
class AnchorTargets:
    """What a batch should learn; `data.anchor_labels` makes it from spans. `G` is 1 or more, if only of padding."""

    boxes: Float[Tensor, "B G 2"]
    """(start, end) of each segment, in steps."""
    labels: Int[Tensor, "B G"]
    """Its class, 1 or higher."""
    present: Bool[Tensor, "B G"]
    """Whether there is such a segment; the rest is padding."""
    action: Float[Tensor, "B S"]
    """Above 0.5 where something happens."""
    start: Float[Tensor, "B S"]
    """Above 0.5 where something starts."""
    end: Float[Tensor, "B S"]
    """Above 0.5 where something ends."""

    def to(self, device: torch.device | str) -> "AnchorTargets":
        """Return the same targets on `device`."""
        return AnchorTargets(*(getattr(self, part.name).to(device, non_blocking=True) for part in fields(self)))


def anchor_rows(
    *,
    logits: Float[Tensor, "B N K"],
    boxes: Float[Tensor, "B N 2"],
    adjusted: Float[Tensor, "B N 2"],
    anchors: Float[Tensor, "N 2"],
    action: Float[Tensor, "B S"],
    start: Float[Tensor, "B S"],
    end: Float[Tensor, "B S"],
    targets: AnchorTargets,
    thresholds: tuple[float, float, float] = (0.5, 0.5, 0.7),
    match_without_overlap: bool = False,
) -> dict[str, Float[Tensor, "B 2"]]:
    """Return for each part of the loss, per sample, the sum over what takes part and its number.

    Segments claim anchors (`claim_anchors`) by where these stand for the boxes, and by where they have moved to for
    classes and adjustment; no gradient flows through the claims, but it does through the moved boxes into the adjusted.

    Args:
        logits: class scores before the softmax, the background first.
        boxes: the moved anchors.
        adjusted: the same after the boundary adjustment.
        anchors: where they stood before.
        action: probability that something happens at a step.
        start: that something starts there.
        end: that something ends there.
        targets: what is true.
        thresholds: overlap from which an anchor is claimed, for classes, boxes and adjustment.
        match_without_overlap: as in `claim_anchors`.
    """
    moved, standing = (overlap_of_steps(where.detach(), targets.boxes) for where in (boxes, anchors.expand_as(boxes)))
    by_class, by_box, by_adjust = (
        claim_anchors(overlaps, targets.present, threshold, match_without_overlap)
        for overlaps, threshold in zip((moved, standing, moved), thresholds, strict=True)
    )
    rows = {
        "box": _sum_and_count(_distance_to_claimed(boxes, by_box, targets), by_box >= 0),
        "adjust": _sum_and_count(_distance_to_claimed(adjusted, by_adjust, targets), by_adjust >= 0),
    }
    positive = by_class >= 0
    wanted = torch.where(positive, targets.labels.gather(1, by_class.clamp(min=0)), 0)
    surprise = F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)
    rows["class_positive"] = _sum_and_count(surprise, positive)
    rows["class_negative"] = _sum_and_count(surprise, ~positive)
    for name, said, true in (
        ("action", action, targets.action),
        ("start", start, targets.start),
        ("end", end, targets.end),
    ):
        positive, said = true > 0.5, said.float()
        rows[f"{name}_positive"] = _sum_and_count(-(said + LOG_FLOOR).log(), positive)
        rows[f"{name}_negative"] = _sum_and_count(-(1 - said + LOG_FLOOR).log(), ~positive)
    return rows


def anchor_losses(rows: dict[str, Float[Tensor, "B 2"]]) -> dict[str, Float[Tensor, ""]]:
    """Return the six losses of the batch whose rows these are: class, box, action, start, end, adjust.

    Positives and negatives have one mean each, however few the positives are. A mean of nothing is 0, where the
    released code divides by zero.
    """
    mean = {name: row[:, 0].sum() / row[:, 1].sum().clamp(min=1) for name, row in rows.items()}
    losses = {"class": mean["class_positive"] + mean["class_negative"], "box": mean["box"]}
    for name in ("action", "start", "end"):
        losses[name] = (mean[f"{name}_positive"] + mean[f"{name}_negative"]) / 2
    return losses | {"adjust": mean["adjust"]}


def anchor_total(losses: dict[str, Float[Tensor, ""]], boundary_weight: float = 0.2) -> Float[Tensor, ""]:
    """Return the sum of the six, action, start and end weighted by `boundary_weight`."""
    boundaries = losses["action"] + losses["start"] + losses["end"]
    return losses["class"] + losses["box"] + losses["adjust"] + boundary_weight * boundaries


def overlap_of_steps(boxes: Float[Tensor, "B N 2"], segments: Float[Tensor, "B G 2"]) -> Float[Tensor, "B N G"]:
    """Return intersection over union, where a box is one step longer than its ends say, as in the released code."""
    starts, ends = boxes[:, :, None].unbind(-1)
    segment_starts, segment_ends = segments[:, None].unbind(-1)
    shared = (torch.minimum(ends, segment_ends) - torch.maximum(starts, segment_starts)).clamp(min=0)
    union = (ends - starts + 1 + segment_ends - segment_starts - shared).clamp(min=AREA_FLOOR)
    return shared / union


def claim_anchors(
    overlaps: Float[Tensor, "B N G"],
    present: Bool[Tensor, "B G"],
    threshold: float,
    match_without_overlap: bool = False,
) -> Int[Tensor, "B N"]:
    """Return which segment claims each anchor, or -1.

    An anchor goes to the segment that it overlaps most (the first of equals), if by `threshold` or more. So that no
    segment is left without, the anchors that overlap a segment most of all need not reach the threshold; of a segment
    without length that is every anchor, with an overlap of 0. The released code lets it claim them all, and a sample
    with such a segment has no negatives; that is `match_without_overlap`.
    """
    overlaps = overlaps.masked_fill(~present[:, None], -1)
    most, claimed_by = overlaps.max(dim=2)
    best = overlaps.amax(dim=1, keepdim=True)  # (B, 1, G)
    counts = best >= 0 if match_without_overlap else best > 0
    is_best = ((overlaps == best) & counts).any(dim=2)
    return torch.where((most >= threshold) | is_best, claimed_by, -1)


def giou_distance(boxes: Float[Tensor, "*rows 2"], segments: Float[Tensor, "*rows 2"]) -> Float[Tensor, "*rows"]:
    """Return 1 - generalised IoU, between 0 (equal) and 2 (far apart); a box whose ends are swapped counts as sorted.

    Source: Rezatofighi et al., 2019, in one dimension.
    """
    starts, ends = torch.minimum(*boxes.unbind(-1)), torch.maximum(*boxes.unbind(-1))
    segment_starts, segment_ends = segments.unbind(-1)
    shared = (torch.minimum(ends, segment_ends) - torch.maximum(starts, segment_starts)).clamp(min=0)
    hull = torch.maximum(ends, segment_ends) - torch.minimum(starts, segment_starts) + AREA_FLOOR
    union = ends - starts + segment_ends - segment_starts - shared + AREA_FLOOR
    return 1 - shared / union + (hull - union) / hull


def _distance_to_claimed(boxes: Tensor, claims: Tensor, targets: AnchorTargets) -> Tensor:
    segments = targets.boxes.gather(1, claims.clamp(min=0)[..., None].expand(-1, -1, 2))
    return giou_distance(boxes, segments)


def _sum_and_count(values: Tensor, takes_part: Tensor) -> Tensor:
    return torch.stack([torch.where(takes_part, values, 0).sum(dim=1), takes_part.sum(dim=1).to(values.dtype)], dim=1)
