"""How often the right class is among the best, and how the scores of a video's views become one.

Pure functions on arrays. Of classes with equal scores the one of the lower number counts as the better, so that a
result does not depend on how a sort breaks ties. Shares are in percent.
"""

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int64

Average = Literal["probabilities", "logits"]
"""How views are averaged: each one's softmax (VideoMAE, InternVideo's `prob`), or their logits before it (`score`)."""


def class_ranks(scores: Float[np.ndarray, "N K"], labels: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """Return how many classes stand before the right one; 0 where it is the best.

    Raises:
        ValueError: a label is no class, a score is not a number, or there is not one label per row.
    """
    if len(scores) != len(labels):
        raise ValueError(f"{len(scores)} rows of scores for {len(labels)} labels.")
    if len(labels) and not 0 <= labels.min() <= labels.max() < scores.shape[1]:
        raise ValueError(f"labels {labels.min()} to {labels.max()} for {scores.shape[1]} classes.")
    if not np.isfinite(scores).all():
        raise ValueError(f"the scores of row {int((~np.isfinite(scores)).any(axis=1).argmax())} are not all finite.")
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(axis=1)


def top_accuracy(ranks: Int64[np.ndarray, " N"], k: int) -> float:
    """Return the percentage of rows whose right class is among the `k` best.

    Raises:
        ValueError: there are no rows.
    """
    if not len(ranks):
        raise ValueError("no rows to measure.")
    return 100.0 * float((ranks < k).mean())


def mean_class_accuracy(ranks: Int64[np.ndarray, " N"], labels: Int64[np.ndarray, " N"]) -> float:
    """Return the mean over classes of the percentage of their rows that are right; classes without rows do not count.

    Raises:
        ValueError: there are no rows.
    """
    if not len(ranks):
        raise ValueError("no rows to measure.")
    rows = np.bincount(labels)
    right = np.bincount(labels[ranks == 0], minlength=len(rows))
    return 100.0 * float((right[rows > 0] / rows[rows > 0]).mean())


def softmax(logits: Float[np.ndarray, "*rows K"]) -> Float[np.ndarray, "*rows K"]:
    """Return the probabilities of logits along the last axis."""
    grown = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)


def average_views(logits: Float[np.ndarray, "*B V K"], average: Average) -> Float[np.ndarray, "*B K"]:
    """Return one row of scores for the views of each video."""
    return (softmax(logits) if average == "probabilities" else logits).mean(axis=-2)


def first_of_each(keys: Sequence[Hashable]) -> Bool[np.ndarray, " N"]:
    """Return which rows are not a repetition of an earlier one with the same key.

    The key of a view is the triple (video, clip, crop). Samplers over several ranks repeat rows to even out their
    shares. The published code joins the numbers of clip and crop to one text, so that ("1", "11") and ("11", "1") are
    taken for one view once there are ten clips.
    """
    seen: set[Hashable] = set()
    return np.array([not (key in seen or seen.add(key)) for key in keys], dtype=bool)


def merge_views(
    logits: Float[np.ndarray, "R K"], keys: Sequence[tuple[Hashable, int, int]], average: Average
) -> dict[Hashable, np.ndarray]:
    """Return the averaged scores of each video from rows of views in any order, repeated ones counted once.

    `keys` are (video, clip, crop). Videos come in the order in which they are first seen.

    Raises:
        ValueError: there is not one key per row, or a video has not as many views as the others.
    """
    if len(logits) != len(keys):
        raise ValueError(f"{len(logits)} rows of logits for {len(keys)} keys.")
    rows: dict[Hashable, list[int]] = {}
    for row in np.flatnonzero(first_of_each(keys)).tolist():
        rows.setdefault(keys[row][0], []).append(row)
    counts = {len(found) for found in rows.values()}
    if len(counts) > 1:
        fewest = min(rows, key=lambda video: len(rows[video]))
        raise ValueError(
            f"video {fewest!r} has {len(rows[fewest])} views, others have {max(counts)}; some are missing."
        )
    return {video: average_views(logits[found], average) for video, found in rows.items()}
