"""How VSGN learns labelled segments and finds them.

Axis letters: R pieces, S steps, G segments, N anchors, K classes with the background 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from playhead.data.anchor_labels import AnchorLabels, anchor_labels, label_steps
from playhead.data.feature_files import ClipFeatures, TimeBase
from playhead.data.segment_crops import first_second, resize_features
from playhead.data.stitching import Stitching
from playhead.decoding.anchor_spans import decode_anchors, retrieve, suppress_all
from playhead.decoding.nms import Detections, greedy_nms
from playhead.models.vsgn import VSGN, VSGNOutput
from playhead.objectives.anchors import AnchorTargets, anchor_losses, anchor_rows, anchor_total
from playhead.tasks.localization_samples import Found, LocalizationBatch, Piece, Place, check_model, require
from playhead.types import Loss


@dataclass(frozen=True, kw_only=True)
class VSGNHead:
    """Anchors with classes, and boundaries. Source: VSGN as released for Ego4D's moment queries.

    Raises:
        RecipeError: a setting is out of its range.
    """

    num_steps: int = 928
    """Steps of an input, as in the model; shorter clips are padded."""
    long_clips: Literal["shrink", "cut"] = "shrink"
    """What becomes of clips with more rows: shrunk to `num_steps`, or cut, as released. Ego4D has none."""
    stitching: Stitching | None = None
    """Self-stitching as in the paper; the code for Ego4D has none. The model needs `stitched` and the same numbers."""
    first_row: Literal["seen", "released"] = "seen"
    """Whether step 0 lies around the middle of what row 0 saw, or begins with the clip, as released."""
    max_boxes: int | None = None
    """At most so many segments of a clip are learnt as boxes; unset takes all, the released code 50."""
    boundary_weight: float = 0.2
    """Weight of the losses of action, start and end."""
    thresholds: tuple[float, float, float] = (0.5, 0.5, 0.7)
    """Overlap from which an anchor is claimed by a segment: for classes, boxes and boundary adjustment."""
    match_without_overlap: bool = False
    """As released, let a segment of no length claim every anchor."""
    nms_threshold: float = 0.4
    """Overlap above which the worse of two proposals of a class goes."""
    top: int = 200
    """Detections, and retrieved proposals, kept of a clip."""
    sigma: float = 0.46
    """Width of the soft-NMS over all classes; larger is milder."""
    retrieve_known: bool = True
    """Take for recall only proposals of classes that the clip is known to show, as the official lists do; where nothing
    is known of it, the best of all classes."""

    def __post_init__(self):
        require(self.num_steps >= 1 and self.top >= 1 and self.sigma > 0, "needs num_steps, top >= 1 and sigma > 0.")
        require(self.max_boxes is None or self.max_boxes >= 1, "max_boxes must be at least 1, or unset.")
        require(self.boundary_weight >= 0 and min(self.thresholds) > 0, "a weight or threshold is out of its range.")
        steps = self.num_steps if self.stitching is None else self.stitching.num_steps
        require(steps == self.num_steps, f"head.num_steps is {self.num_steps}, its stitching's {steps}.")

    def training_piece(
        self, found: ClipFeatures, spans: Float64[np.ndarray, "G 2"], classes: Int64[np.ndarray, " G"], seed: int
    ) -> Piece:
        """Return the clip, or with `stitching` one of its training windows, drawn by the seed."""
        found = self._timed(found)
        first, last = 0, len(found.features)
        if self.stitching is not None:
            boxes = (spans - first_second(found.time)) / found.time.step
            windows = self.stitching.training_windows(last, boxes, seed)
            first, last = windows[int(np.random.default_rng((seed, 1)).integers(len(windows)))]
            inside = (boxes[:, 0] >= first) & (boxes[:, 1] <= last) | (last - first == len(found.features))
            spans, classes = spans[inside], classes[inside]
        piece = self._piece(found, first, last)
        place, begin = piece.place, first_second(piece.place.time)
        if place.stitched is None:
            labels = anchor_labels(
                spans,
                classes + 1,
                num_real=place.num_rows,
                num_steps=self.num_steps,
                seconds_per_step=place.time.step,
                first_second=begin,
                max_boxes=self.max_boxes,
            )
        else:
            twice = place.stitched.repeat((spans - begin) / place.time.step)
            numbers = np.tile(classes + 1, 2)
            labels = label_steps(twice, numbers, num_steps=self.num_steps, max_boxes=self.max_boxes)
        return replace(piece, targets=_anchor_targets(labels))

    def pieces(self, found: ClipFeatures) -> tuple[Piece, ...]:
        """Return the clip as one input, or with `stitching` windows of two lengths."""
        found, number = self._timed(found), len(found.features)
        windows = [(0, number)] if self.stitching is None else self.stitching.answer_windows(number)
        return tuple(self._piece(found, first, last) for first, last in windows)

    def encode(self, model: VSGN, batch: LocalizationBatch) -> dict[str, Tensor]:
        """Return of each piece and part of the loss the sum over what takes part, and its number."""
        said, targets = self._look(model, batch), batch.targets
        return anchor_rows(
            logits=said.logits,
            boxes=said.boxes,
            adjusted=said.adjusted,
            anchors=said.anchors,
            action=said.action,
            start=said.start,
            end=said.end,
            targets=AnchorTargets(**targets),
            thresholds=self.thresholds,
            match_without_overlap=self.match_without_overlap,
        )

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return the weighted sum of the six parts."""
        parts = anchor_losses(rows)
        total = anchor_total(parts, self.boundary_weight)
        return Loss(total, {name: float(part.detach()) for name, part in parts.items()})

    def find(self, model: VSGN, batch: LocalizationBatch) -> list[Found]:
        """Return the detections of each clip, all its pieces taken together, and the list for recall."""
        said = self._look(model, batch)
        scores = said.logits.float().softmax(dim=-1)
        arrays = [tensor.float().cpu().numpy() for tensor in (said.adjusted, scores, said.start, said.end)]
        proposed = [self._proposals(place, *(array[r] for array in arrays)) for r, place in enumerate(batch.places)]
        found = []
        for number, known in enumerate(batch.known_classes):
            own = [each for each, owner in zip(proposed, batch.sample_of, strict=True) if owner == number]
            proposals = own[0] if len(own) == 1 else self._merged(own)
            detected = suppress_all(proposals, top=self.top, sigma=self.sigma)
            if known is None or not self.retrieve_known:
                known = range(batch.num_classes)
            wanted = [number + 1 for number in known]
            found.append(Found(_from_zero(detected), _from_zero(retrieve(proposals, wanted, top=self.top))))
        return found

    def _piece(self, found: ClipFeatures, first: int, last: int) -> Piece:
        time = replace(found.time, offset=found.time.start_of(first))
        part, stitched = replace(found, features=found.features[first:last], time=time), None
        if self.stitching is not None and last - first <= self.stitching.longest:
            stitched = self.stitching.stitch(part.features)
            # The rows travel with the piece; the place only needs to know how they were laid.
            bare = replace(stitched, features=stitched.features[:, :0].copy())
            return Piece(stitched.features, stitched.mask, Place(time, last - first, bare))
        if last - first > self.num_steps:
            cut = replace(part, features=part.features[: self.num_steps])
            part = cut if self.long_clips == "cut" else resize_features(part, self.num_steps)
        own = len(part.features)
        rows = np.zeros((self.num_steps, part.features.shape[1]), dtype=np.float32)
        rows[:own] = part.features
        return Piece(rows, np.arange(self.num_steps) < own, Place(part.time, own))

    def _timed(self, found: ClipFeatures) -> ClipFeatures:
        """Return the features with rows that begin with the clip and touch each other, if so set."""
        if self.first_row == "seen":
            return found
        return replace(found, time=TimeBase(fps=1 / found.time.step, frames=1, stride=1))

    def _proposals(
        self,
        place: Place,
        boxes: Float[np.ndarray, "N 2"],
        scores: Float[np.ndarray, "N K"],
        start: Float[np.ndarray, " S"],
        end: Float[np.ndarray, " S"],
    ) -> Detections:
        return decode_anchors(
            boxes,
            scores,
            start,
            end,
            num_real=place.num_rows,
            seconds_per_step=place.time.step,
            first_second=first_second(place.time),
            iou_threshold=self.nms_threshold,
            unstitch=None if place.stitched is None else place.stitched.unstitch,
        )

    def _merged(self, parts: Sequence[Detections]) -> Detections:
        """Return the proposals of all pieces without those that a better one of their class overlaps."""
        spans, scores, labels = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("spans", "scores", "labels")
        )
        kept = greedy_nms(spans, scores, labels, iou_threshold=self.nms_threshold)
        return Detections(spans, scores, labels).take(kept)

    def _look(self, model: VSGN, batch: LocalizationBatch) -> VSGNOutput:
        config, own = model.config, self.stitching
        check_model(batch, config.feature_dim, config.num_classes)
        require(
            config.num_steps == self.num_steps,
            f"head.num_steps is {self.num_steps}, model.num_steps {config.num_steps}; they must be equal.",
        )
        asked = None if own is None else (own.short_ratio, own.gap)
        built = (config.short_ratio, config.stitch_gap) if config.stitched else None
        told = f"head.stitching has (short_ratio, gap) {asked}, the model's stitching {built}"
        require(asked == built, f"{told}; set model.stitched, short_ratio and stitch_gap alike.")
        return model(batch.features, batch.mask)


def _from_zero(detections: Detections) -> Detections:
    """Return classes counted from 0, as all but VSGN count them."""
    return replace(detections, labels=detections.labels - 1)


def _anchor_targets(labels: AnchorLabels) -> dict[str, np.ndarray]:
    """Return the labels by the names of `AnchorTargets`; there is always a place for one box."""
    number = len(labels.labels)
    boxes, classes = labels.padded(max(1, number))
    present = np.arange(len(classes)) < number
    steps = {"action": labels.action, "start": labels.start, "end": labels.end}
    return {"boxes": boxes, "labels": classes, "present": present, **steps}
