"""How ActionFormer, the point pyramid without text, learns labelled segments and finds them.

Axis letters: R pieces, S rows of a piece, P points of all levels, G segments, K classes.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from playhead.data.feature_files import ClipFeatures
from playhead.data.segment_crops import Crop, resize_features
from playhead.decoding.nms import Suppression
from playhead.decoding.point_spans import CandidateRules, decode_points
from playhead.models.point_pyramid import PointPyramid, Pyramid
from playhead.objectives.detection import (
    Points,
    PointSums,
    assign_points,
    detection_loss,
    place_points,
    point_sums,
    regression_ranges,
)
from playhead.tasks.localization_samples import Found, LocalizationBatch, Piece, Place, check_model, require
from playhead.types import Loss

RUNNING_COUNT = "loss_normalizer"  # the model's buffer that holds the running number of points that speak


@dataclass(frozen=True, kw_only=True)
class ActionFormerHead:
    """Points of a pyramid that say class and distance to both ends. The defaults are ActionFormer's on THUMOS14.

    Raises:
        RecipeError: a setting is out of its range.
    """

    crop: Crop = field(default_factory=Crop)
    """The part of a clip that is learnt from; its `max_rows` is the model's `max_steps`."""
    resize: int | None = None
    """Stretch or shrink every clip to so many rows, as for ActivityNet (192); unset takes the rows as they are."""
    center_radius: float | None = 1.5
    """Strides around the middle of a segment within which points speak for it; unset is all of the segment."""
    first_range: float = 4.0
    """Rows to the further end up to which points of the finest level speak; each level reaches twice as far."""
    ranges_overlap: bool = False
    """Each level begins at half of where the one before it ends, as in the released settings for Ego4D."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over the classes; the released settings for ActivityNet have 0.1."""
    offset_weight: float | Literal["auto"] = 1.0
    """Weight of the ends' loss beside that of the classes; "auto" weighs both alike."""
    normalizer: Literal["batch", "running"] = "batch"
    """What the loss is divided by: the number of speaking points of the global batch, or as released its running mean,
    which the model keeps as its buffer "loss_normalizer", so that a resumed run goes on with it."""
    momentum: float = 0.9
    """Of the running mean."""
    rules: CandidateRules = field(default_factory=CandidateRules)
    """Which points become candidates."""
    suppression: Suppression = field(default_factory=Suppression)
    """How candidates become detections."""

    def __post_init__(self):
        require(self.first_range > 0 and (self.center_radius is None or self.center_radius > 0), "a reach must be > 0.")
        require(self.offset_weight == "auto" or self.offset_weight >= 0, "offset_weight cannot be negative.")
        require(0 <= self.label_smoothing < 1 and 0 <= self.momentum < 1, "a share is out of its range.")
        require(self.resize is None or self.resize >= 1, "resize must be at least 1, or unset.")

    def training_piece(
        self, found: ClipFeatures, spans: Float64[np.ndarray, "G 2"], classes: Int64[np.ndarray, " G"], seed: int
    ) -> Piece:
        """Return a random part of the clip that holds a segment, with segments in steps; step i is row i's middle."""
        found = self._resized(found)
        steps = found.time.grid(spans)
        first, last = 0, len(found.features)
        if self.resize is None:
            # On the grid, rows [first, last) are those from `first` on, before `last`.
            first, last = self.crop.draw(last, steps, np.random.default_rng(seed))
            steps, stays = self.crop.cut(steps, first, last)
            classes = classes[stays]
        time = replace(found.time, offset=found.time.start_of(first))
        targets = {"spans": steps.astype(np.float32), "labels": classes, "present": np.ones(len(classes), dtype=bool)}
        rows = found.features[first:last]
        return Piece(rows, np.ones(len(rows), dtype=bool), Place(time, len(rows)), targets)

    def pieces(self, found: ClipFeatures) -> tuple[Piece, ...]:
        """Return the whole clip; the model takes any length."""
        found = self._resized(found)
        rows = found.features
        return (Piece(rows, np.ones(len(rows), dtype=bool), Place(found.time, len(rows))),)

    def encode(self, model: PointPyramid, batch: LocalizationBatch) -> dict[str, Tensor]:
        """Return of each piece the loss of classes and of ends, and how many points speak; and what to divide by."""
        steps = self.resize or self.crop.max_rows
        told = f"pieces have up to {steps} rows, but model.max_steps is {model.config.max_steps}"
        require(steps <= model.config.max_steps, f"{told}; lower head.crop.max_rows or head.resize.")
        said = self._look(model, batch.features, batch.mask, batch)
        logits, offsets, mask = (torch.cat(levels, dim=1) for levels in (said.logits, said.offsets, said.masks))
        ranges = regression_ranges(model.config.levels, first=self.first_range, overlap=self.ranges_overlap)
        steps = [level.shape[1] for level in said.logits]
        points = place_points(steps, model.config.strides, ranges, logits.device)
        classes, ends = self._targets(points, batch, logits.shape[2])
        sums = point_sums(logits, offsets, mask, classes, ends, label_smoothing=self.label_smoothing)
        rows = {"classes": sums.classes, "offsets": sums.offsets, "positives": sums.positives}
        if self.normalizer == "running":
            rows["normalizer"] = self._running(model, sums.positives).expand_as(sums.positives)
        return rows

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return the sum of both parts, divided by the number of points that speak."""
        sums = PointSums(rows["classes"], rows["offsets"], rows["positives"])
        normalizer = rows["normalizer"][0] if "normalizer" in rows else None
        total, classes, offsets = detection_loss(sums, normalizer, offset_weight=self.offset_weight)
        return Loss(total, {"classes": float(classes.detach()), "offsets": float(offsets.detach())})

    def find(self, model: PointPyramid, batch: LocalizationBatch) -> list[Found]:
        """Return the detections of each clip.

        Clips that the model pads to one length go through it together: its padding is part of its answer.
        """
        lengths = [model.config.padded_steps(place.num_rows) for place in batch.places]
        found: list[Found | None] = [None] * len(batch.places)
        for length in sorted(set(lengths)):
            rows = [row for row, own in enumerate(lengths) if own == length]
            longest = max(batch.places[row].num_rows for row in rows)
            said = self._look(model, batch.features[rows, :longest], batch.mask[rows, :longest], batch)
            strides, settings = model.config.strides, {"rules": self.rules, "suppression": self.suppression}
            detected = decode_points(said.logits, said.offsets, said.masks, strides, **settings)
            for row, own in zip(rows, detected, strict=True):
                seconds = batch.places[row].time.center_of(own.spans.astype(np.float64))
                found[row] = Found(replace(own, spans=seconds))
        return [each for each in found if each is not None]

    def _resized(self, found: ClipFeatures) -> ClipFeatures:
        return found if self.resize is None else resize_features(found, self.resize)

    def _targets(self, points: Points, batch: LocalizationBatch, num_classes: int) -> tuple[Tensor, Tensor]:
        """Return of each piece and point its classes (R P K), and its distances to both ends (R P 2)."""
        columns = (batch.targets[name] for name in ("spans", "labels", "present"))
        targets = [
            assign_points(points, spans[present], labels[present], num_classes, center_radius=self.center_radius)
            for spans, labels, present in zip(*columns, strict=True)
        ]
        classes, ends = zip(*targets, strict=True)
        return torch.stack(classes), torch.stack(ends)

    @torch.no_grad()
    def _running(self, model: PointPyramid, positives: Float[Tensor, " R"]) -> Float[Tensor, ""]:
        """Take the points that speak in the global batch into the model's running mean, and return that."""
        buffers = dict(model.named_buffers())
        require(
            RUNNING_COUNT in buffers, "normalizer='running' needs a model that keeps it; set model.loss_normalizer."
        )
        count = positives.sum()
        if dist.is_initialized():
            dist.all_reduce(count)
        # As `objectives.detection.next_normalizer`, but without waiting for the device.
        return buffers[RUNNING_COUNT].lerp_(count.clamp(min=1), 1 - self.momentum).clone()

    def _look(self, model: PointPyramid, features: Tensor, mask: Tensor, batch: LocalizationBatch) -> Pyramid:
        config = model.config
        require(config.text_width is None, "the model reads text, which segments have not; unset model.text_width.")
        check_model(batch, sum(config.input_widths), config.num_classes)
        return model(features, mask)
