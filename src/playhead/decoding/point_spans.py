"""From the points of a pyramid to the moments of a video: candidates, suppression, seconds.

A point at place x of a level with stride s and offsets (l, r) means [x - l s, x + r s) on the feature grid, where
position x is the middle of what feature x has seen. Source: ActionFormer (Zhang et al., 2022), section 3.3, and its
released code. Axis letters: B videos, S points of a level, K classes, N candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from playhead.decoding.nms import Detections, Suppression, suppress


@dataclass(frozen=True, kw_only=True)
class CandidateRules:
    """Which points speak. The defaults are ActionFormer's.

    Raises:
        ValueError: a value is out of its range.
    """

    min_probability: float = 0.001
    """A class of a point speaks if its probability is above this."""
    top_per_level: int = 5000
    """At most so many classes of points speak per level, the most probable."""
    min_length: float = 0.05
    """Spans must be longer than this, in steps of the feature grid."""

    def __post_init__(self):
        if not 0 <= self.min_probability < 1 or self.top_per_level < 1 or self.min_length < 0:
            raise ValueError(
                "CandidateRules: needs min_probability in [0, 1), top_per_level >= 1 and min_length >= 0, got "
                f"{self.min_probability}, {self.top_per_level}, {self.min_length}."
            )


def decode_points(
    logits: Sequence[Float[Tensor, "B _S K"]],
    offsets: Sequence[Float[Tensor, "B _S 2"]],
    masks: Sequence[Bool[Tensor, "B _S"]],
    strides: Sequence[int],
    *,
    rules: CandidateRules,
    suppression: Suppression,
) -> list[Detections]:
    """Return the moments of each video of a batch, best first, in steps of the feature grid.

    Levels are given finest first, `strides` in steps; a class is its number, and with one class all are 0.
    """
    found = []
    for row in range(len(masks[0])):
        row_logits, row_offsets, row_masks = ([level[row] for level in part] for part in (logits, offsets, masks))
        candidates = point_candidates(row_logits, row_offsets, row_masks, strides, rules=rules)
        found.append(suppress(candidates, suppression))
    return found


@torch.no_grad()
def point_candidates(
    logits: Sequence[Float[Tensor, "_S K"]],
    offsets: Sequence[Float[Tensor, "_S 2"]],
    masks: Sequence[Bool[Tensor, "_S"]],
    strides: Sequence[int],
    *,
    rules: CandidateRules,
) -> Detections:
    """Return what the points of one video say before suppression: level by level, each from the most probable down.

    Spans are in steps of the feature grid, and may reach over the ends of the video.
    """
    spans, scores, labels = [], [], []
    for level_logits, level_offsets, mask, stride in zip(logits, offsets, masks, strides, strict=True):
        probability = (level_logits.float().sigmoid() * mask[:, None]).flatten()
        speaks = (probability > rules.min_probability).nonzero()[:, 0]
        order = probability[speaks].argsort(descending=True, stable=True)[: rules.top_per_level]
        chosen = speaks[order]
        point, label = chosen // level_logits.shape[1], chosen % level_logits.shape[1]
        reach = level_offsets[point].float() * stride
        span = point[:, None] * stride + reach * reach.new_tensor([-1.0, 1.0])
        long_enough = span[:, 1] - span[:, 0] > rules.min_length
        spans.append(span[long_enough])
        scores.append(probability[chosen][long_enough])
        labels.append(label[long_enough])
    return Detections(*(torch.cat(parts).cpu().numpy() for parts in (spans, scores, labels)))


def to_seconds(
    found: Detections, *, fps: float, stride: float, frames: float, duration: float | None = None, offset: float = 0.0
) -> Detections:
    """Return the same moments in seconds, cut to [0, duration].

    Feature i has seen `frames` frames from frame i * `stride` on, at `fps` frames per second, beginning `offset`
    seconds into the video; its place on the grid is their middle. A moment that lies outside becomes empty.

    Raises:
        ValueError: `fps` or `stride` is not above zero.
    """
    if fps <= 0 or stride <= 0:
        raise ValueError(f"`fps` and `stride` must be above zero, got {fps} and {stride}.")
    seconds = (found.spans.astype(np.float64) * stride + 0.5 * frames) / fps + offset
    return Detections(np.clip(seconds, 0.0, duration), found.scores, found.labels)


def fuse_video_scores(
    found: Detections, class_scores: Float[ndarray, " K"], *, top_classes: int = 2, top_spans: int | None = None
) -> Detections:
    """Return the moments of a video once for each of its `top_classes` classes by another model, that class first.

    For detectors that only tell moments from background: the new score is sqrt(score * class score), the label the
    class. Each class has the moments in their order, the first `top_spans` of them.

    Raises:
        ValueError: `top_classes` is below 1 or over the number of classes, or a score is negative.

    Source: `postprocess_results` of ActionFormer's released code, for ActivityNet with the scores of a classifier.
    """
    if not 1 <= top_classes <= len(class_scores):
        raise ValueError(f"`top_classes` must lie in [1, {len(class_scores)}], got {top_classes}.")
    if (class_scores < 0).any():
        raise ValueError(f"class score {int(np.flatnonzero(class_scores < 0)[0])} is negative.")
    best = np.argsort(-class_scores, kind="stable")[:top_classes]
    spans, scores = found.spans[:top_spans], found.scores[:top_spans]
    fused = np.sqrt(class_scores[best][:, None] * scores)
    return Detections(np.tile(spans, (top_classes, 1)), fused.ravel(), np.repeat(best, len(scores)))
