"""How VSLNet, 2D-TAN and the point pyramid learn language queries and answer them.

Each head says how the features of a window lie on its network's grid, what is to be learnt there, what a window loses,
and what the network's outputs mean in seconds of the clip. `LanguageQuery` is the task around all of them.

Axis letters: R windows, S rows of a window, N rows of 2D-TAN's map, P points of all levels, M candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from playhead.data.query_grid import average_to, highlight_rows, span_ious, span_to_rows
from playhead.data.query_windows import Window
from playhead.decoding.language_spans import rank_cells, spans_in_seconds, top_spans
from playhead.decoding.nms import Detections
from playhead.decoding.point_spans import CandidateRules, point_candidates
from playhead.errors import RecipeError
from playhead.models.point_pyramid import PointPyramid, Pyramid
from playhead.models.tan2d import Tan2d, Tan2dOutput
from playhead.models.vslnet import VSLNet, VSLNetOutput
from playhead.objectives.detection import (
    Points,
    PointSums,
    assign_points,
    detection_loss,
    place_points,
    point_sums,
    regression_ranges,
)
from playhead.objectives.spans import (
    EPS,
    HIGHLIGHT_WEIGHT,
    highlight_sums,
    map_cross_entropy_sums,
    scaled_ious,
    span_cross_entropy,
)
from playhead.tasks.query_samples import QueryBatch, Times
from playhead.types import Loss


@dataclass(frozen=True, kw_only=True)
class VSLNetHead:
    """A first and a last row, and a highlight around them. Source: VSLNet as released for Ego4D.

    Raises:
        RecipeError: a setting is out of its range.
    """

    max_rows: int = 128
    """Windows with more rows are averaged down to so many; at most the model's `max_positions`."""
    highlight_extend: float = 0.1
    """Rows highlighted on either side of the answer, as a share of the answer's."""
    highlight_weight: float = HIGHLIGHT_WEIGHT
    """Weight of the highlight's loss beside that of the two ends."""
    highlight_in_score: bool = False
    """Multiply the probabilities of a window by its highest highlight. The probabilities of every window add up to 1,
    so several windows can only be compared with it; train it with `negatives`."""
    last_row: Literal["kept", "released"] = "kept"
    """Whether averaging counts a window's last row; the released code forgets it."""
    candidates: int = 5
    """Answers taken from each window."""

    def __post_init__(self):
        _require(self.max_rows >= 1 and self.candidates >= 1, "max_rows and candidates must be at least 1.")
        _require(self.highlight_extend >= 0 and self.highlight_weight >= 0, "the highlight's settings are negative.")

    def lay(self, rows: Float32[np.ndarray, "S D"]) -> Float32[np.ndarray, "N D"]:
        """Return at most `max_rows` means of neighbouring rows."""
        return average_to(rows, min(self.max_rows, len(rows)), last_row=self.last_row)

    def labels(
        self, windows: Sequence[Window], truths: Sequence[Times | None], num_rows: int, *, released: bool
    ) -> dict[str, Tensor]:
        """Return first and last row and the highlight of each window; all are nothing where it has no answer."""
        ends = np.zeros((len(windows), 2), dtype=np.int64)
        highlight = np.zeros((len(windows), num_rows), dtype=bool)
        for row, (window, truth) in enumerate(zip(windows, truths, strict=True)):
            if truth is None:
                continue
            number = len(window.rows)
            start, end = (time - window.origin for time in truth)
            on_empty = "released" if released else "nearest"
            ends[row] = span_to_rows(start, end, num_rows=number, duration=window.duration, on_empty=on_empty)
            extend = self.highlight_extend
            highlight[row, :number] = highlight_rows(*map(int, ends[row]), num_rows=number, extend=extend)
        first, last = torch.from_numpy(ends).T
        has_answer = torch.tensor([truth is not None for truth in truths])
        return {"first": first, "last": last, "highlight": torch.from_numpy(highlight), "has_answer": has_answer}

    def encode(self, model: VSLNet, batch: QueryBatch) -> dict[str, Tensor]:
        """Return of each window the loss of its ends and, summed over rows, of its highlight, each with its count."""
        found, labels = self._look(model, batch), batch.labels
        ends = span_cross_entropy(found.start_logits, found.end_logits, labels["first"], labels["last"])
        highlight, rows = highlight_sums(found.highlight_logits, labels["highlight"], batch.video_mask)
        answers = labels["has_answer"].to(ends.dtype)
        return {"ends": ends * answers, "answers": answers, "highlight": highlight, "rows": rows}

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return the mean over answers of the ends' loss, and over rows of the highlight's."""
        ends = rows["ends"].sum() / rows["answers"].sum().clamp(min=1)
        highlight = rows["highlight"].sum() / (rows["rows"].sum() + EPS)
        total = ends + self.highlight_weight * highlight
        return Loss(total, {"ends": float(ends.detach()), "highlight": float(highlight.detach())})

    def propose(self, model: VSLNet, batch: QueryBatch) -> list[Detections]:
        """Return the most probable runs of rows of each window."""
        found, mask = self._look(model, batch), batch.video_mask
        ranked = top_spans(found.start_logits, found.end_logits, mask, self.candidates)
        spans = spans_in_seconds(ranked, mask.sum(dim=1), batch.durations) + batch.origins[:, None, None]
        scores = ranked.scores
        if self.highlight_in_score:
            scores = scores * found.highlight_logits.amax(dim=1, keepdim=True).sigmoid()
        real = ranked.found.cpu().numpy()
        return [
            _candidates(window[here], score[here])
            for window, score, here in zip(spans.cpu().numpy(), scores.cpu().numpy(), real, strict=True)
        ]

    def _look(self, model: VSLNet, batch: QueryBatch) -> VSLNetOutput:
        config = model.config
        _require(config.words is None, "the model reads words; it must read text features (`words` unset).")
        _check_widths(batch, config.video_dim, config.text_dim)
        _require(
            max(batch.video.shape[1], batch.words.shape[1]) <= config.max_positions,
            f"windows have {batch.video.shape[1]} rows and queries {batch.words.shape[1]} words, but the model has "
            f"{config.max_positions} positions; lower head.max_rows or raise model.max_positions.",
        )
        return model(batch.video, batch.video_mask, *batch.words_of_windows)


@dataclass(frozen=True, kw_only=True)
class Tan2dHead:
    """A map of moments, scored by how much they overlap the answer. Source: 2D-TAN as in the Ego4D paper.

    Raises:
        RecipeError: a setting is out of its range.
    """

    num_rows: int = 40
    """Rows that every window is averaged or stretched to: the model's `num_rows`."""
    unit_rows: bool = True
    """Bring every row of features to length one first."""
    min_iou: float = 0.3
    """Moments that overlap the answer less than this are to score nothing."""
    bias: float = 0.3
    """What moments just above `min_iou` are to score; from there the score rises to 1."""
    last_row: Literal["kept", "released"] = "kept"
    """Whether averaging counts a window's last row; the released code forgets it."""
    candidates: int = 100
    """Answers taken from each window."""

    def __post_init__(self):
        _require(self.num_rows >= 1 and self.candidates >= 1, "num_rows and candidates must be at least 1.")
        _require(0 <= self.min_iou < 1 and 0 <= self.bias < 1, "min_iou and bias must lie in [0, 1).")

    def lay(self, rows: Float32[np.ndarray, "S D"]) -> Float32[np.ndarray, "N D"]:
        """Return `num_rows` means of neighbouring rows, or rows repeated where there are fewer."""
        if self.unit_rows:
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
        return average_to(rows, self.num_rows, stretch=True, last_row=self.last_row)

    def labels(
        self, windows: Sequence[Window], truths: Sequence[Times | None], num_rows: int, *, released: bool
    ) -> dict[str, Tensor]:
        """Return the IoU of each cell with the answer."""
        ious = np.zeros((len(windows), num_rows, num_rows), dtype=np.float32)
        for row, (window, truth) in enumerate(zip(windows, truths, strict=True)):
            if truth is not None:
                start, end = (time - window.origin for time in truth)
                ious[row] = span_ious(start, end, num_rows=num_rows, duration=window.duration)
        return {"ious": torch.from_numpy(ious)}

    def encode(self, model: Tan2d, batch: QueryBatch) -> dict[str, Tensor]:
        """Return each window's mean over candidates."""
        found = self._look(model, batch)
        targets = scaled_ious(batch.labels["ious"], min_iou=self.min_iou, bias=self.bias)
        return {"map": map_cross_entropy_sums(found.logits, targets, found.cells) / found.cells.sum()}

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return the mean over windows."""
        total = rows["map"].mean()
        return Loss(total, {"map": float(total.detach())})

    def propose(self, model: Tan2d, batch: QueryBatch) -> list[Detections]:
        """Return the cells of each window that score highest."""
        found = self._look(model, batch)
        spans, scores = rank_cells(found.logits, found.cells, 1.0)  # in window lengths, since these may differ
        spans = spans[:, : self.candidates] * batch.durations[:, None, None] + batch.origins[:, None, None]
        pairs = zip(spans.cpu().numpy(), scores[:, : self.candidates].cpu().numpy(), strict=True)
        return [_candidates(window, score) for window, score in pairs]

    def _look(self, model: Tan2d, batch: QueryBatch) -> Tan2dOutput:
        config = model.config
        _check_widths(batch, config.video_dim, config.text_dim)
        _require(
            config.num_rows == self.num_rows,
            f"head.num_rows is {self.num_rows}, model.num_rows {config.num_rows}; they must be equal.",
        )
        # The row of the first token stands for the whole query, as in the released code.
        return model(batch.video, batch.words[batch.sample_of, 0])


@dataclass(frozen=True, kw_only=True)
class PointPyramidHead:
    """Points of a pyramid that say how far it is to both ends. Source: GroundNLQ and SnAG, as ActionFormer learns.

    Raises:
        RecipeError: a setting is out of its range.
    """

    center_radius: float | None = 1.5
    """Strides around the middle of the answer within which points speak for it; unset is all of the answer."""
    first_range: float = 4.0
    """Rows to the further end up to which points of the finest level speak; each level reaches twice as far."""
    ranges_overlap: bool = True
    """Each level begins at half of where the one before it ends, as in the released settings for Ego4D."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over "answer" and "no answer"."""
    offset_weight: float = 1.0
    """Weight of the ends' loss beside that of the score."""
    normalizer: float | None = None
    """Number of speaking points that the loss is divided by; unset takes those of the global batch."""
    rules: CandidateRules = field(default_factory=CandidateRules)
    """Which points become candidates."""

    def __post_init__(self):
        positive = [value for value in (self.center_radius, self.normalizer, self.first_range) if value is not None]
        _require(min(positive) > 0, "center_radius, first_range and normalizer must be above 0.")
        _require(0 <= self.label_smoothing < 1 and self.offset_weight >= 0, "a share or weight is out of its range.")

    def lay(self, rows: Float32[np.ndarray, "S D"]) -> Float32[np.ndarray, "N D"]:
        """Return the rows as they are."""
        return rows

    def labels(
        self, windows: Sequence[Window], truths: Sequence[Times | None], num_rows: int, *, released: bool
    ) -> dict[str, Tensor]:
        """Return the answer of each window in steps of its grid, whose step i is the middle of row i."""
        spans = np.zeros((len(windows), 2), dtype=np.float32)
        for row, (window, truth) in enumerate(zip(windows, truths, strict=True)):
            if truth is not None:
                spans[row] = (np.array(truth) - window.origin) * (len(window.rows) / window.duration) - 0.5
        return {"spans": torch.from_numpy(spans), "has_answer": torch.tensor([truth is not None for truth in truths])}

    def encode(self, model: PointPyramid, batch: QueryBatch) -> dict[str, Tensor]:
        """Return the sums of each window's points: loss of scores, loss of offsets, points that speak."""
        found = self._look(model, batch)
        logits, offsets, mask = (torch.cat(levels, dim=1) for levels in (found.logits, found.offsets, found.masks))
        ranges = regression_ranges(model.config.levels, first=self.first_range, overlap=self.ranges_overlap)
        steps = [level.shape[1] for level in found.logits]
        points = place_points(steps, model.config.strides, ranges, logits.device)
        classes, ends = self._targets(points, batch)
        sums = point_sums(logits, offsets, mask, classes, ends, label_smoothing=self.label_smoothing)
        return {"scores": sums.classes, "offsets": sums.offsets, "positives": sums.positives}

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return both sums, divided by the number of points that speak."""
        sums = PointSums(rows["scores"], rows["offsets"], rows["positives"])
        total, scores, offsets = detection_loss(sums, self.normalizer, offset_weight=self.offset_weight)
        return Loss(total, {"scores": float(scores.detach()), "offsets": float(offsets.detach())})

    def propose(self, model: PointPyramid, batch: QueryBatch) -> list[Detections]:
        """Return what the points of each window say."""
        found, strides = self._look(model, batch), model.config.strides
        steps = (batch.durations / batch.video_mask.sum(dim=1)).tolist()
        proposed = []
        for row, (origin, step) in enumerate(zip(batch.origins.tolist(), steps, strict=True)):
            logits, offsets, masks = (
                [level[row] for level in part] for part in (found.logits, found.offsets, found.masks)
            )
            spoken = point_candidates(logits, offsets, masks, strides, rules=self.rules)
            proposed.append(_candidates(origin + (spoken.spans.astype(np.float64) + 0.5) * step, spoken.scores))
        return proposed

    def _targets(self, points: Points, batch: QueryBatch) -> tuple[Tensor, Tensor]:
        """Return of each window and point whether it speaks (R P 1), and its distances to both ends (R P 2)."""
        spans, the_answer = batch.labels["spans"], torch.zeros(1, dtype=torch.long, device=points.places.device)
        targets = [
            # Slices of one answer, or of none.
            assign_points(points, span[None][:number], the_answer[:number], 1, center_radius=self.center_radius)
            for span, number in zip(spans, batch.labels["has_answer"].int().tolist(), strict=True)
        ]
        classes, ends = zip(*targets, strict=True)
        return torch.stack(classes), torch.stack(ends)

    def _look(self, model: PointPyramid, batch: QueryBatch) -> Pyramid:
        config = model.config
        _require(config.text_width is not None, "the model reads no text; set model.text_width.")
        _require(config.num_classes == 1, f"the model tells {config.num_classes} classes, a query has one: an answer.")
        _check_widths(batch, sum(config.input_widths), config.text_width or 0)
        return model(batch.video, batch.video_mask, *batch.words_of_windows)


def _candidates(spans: np.ndarray, scores: np.ndarray) -> Detections:
    return Detections(spans, scores, np.zeros(len(scores), dtype=np.int64))


def _check_widths(batch: QueryBatch, video: int, text: int) -> None:
    for what, found, wanted in (("video", batch.video, video), ("text", batch.words, text)):
        if found.shape[2] != wanted:
            raise RecipeError(
                f"the {what} features have {found.shape[2]} columns, but the model reads {wanted}; change the model's "
                "width, or give the features that it was made for."
            )


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise RecipeError(problem)
