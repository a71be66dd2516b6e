"""Retrieval by rank: is the right clip among the first k, and at which place does it stand?"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

Ties = Literal["pessimistic", "optimistic", "mean"]


def retrieval_ranks(
    similarity: Float[np.ndarray, "Q N"],
    targets: Int[np.ndarray, " Q"] | Bool[np.ndarray, "Q N"],
    ties: Ties = "pessimistic",
) -> Float[np.ndarray, " Q"]:
    """Return the rank, from 1, of each query's best right item.

    `targets` is the right column of each row, or marks all right ones. Wrong items that tie with the best right one
    stand before it ("pessimistic": a constant model scores nothing), behind it ("optimistic"), or half of them each
    ("mean": the expected rank of a random order, which may end in .5).

    Raises:
        ValueError: shapes do not go together, a row has no right item, or a similarity is NaN.
    """
    num_queries, num_items = similarity.shape
    if np.isnan(similarity).any():
        row = int(np.isnan(similarity).any(axis=1).argmax())
        raise ValueError(f"a similarity of query {row} is NaN; the model gave no finite rows.")
    right = _right_items(targets, num_queries, num_items)
    best = np.where(right, similarity, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    above = (similarity > best).sum(axis=1)
    beside = ((similarity == best) & ~right).sum(axis=1)
    share = {"pessimistic": 1.0, "optimistic": 0.0, "mean": 0.5}
    if ties not in share:
        raise ValueError(f"`ties` must be 'pessimistic', 'optimistic' or 'mean', got {ties!r}.")
    return 1.0 + above + share[ties] * beside


def retrieval_recall(
    similarity: Float[np.ndarray, "Q N"],
    targets: Int[np.ndarray, " Q"] | Bool[np.ndarray, "Q N"],
    ks: Sequence[int] = (1, 5, 10),
    ties: Ties = "pessimistic",
) -> dict[str, float]:
    """Return "R@k" in percent for each k, "median_rank", "mean_rank" and "queries", as `retrieval_ranks` ranks.

    Text to clip: rows are texts, columns clips. Transpose for the way back.

    Raises:
        ValueError: as `retrieval_ranks`; or no queries, or a k below 1.
    """
    if similarity.shape[0] == 0 or min(ks, default=1) < 1:
        raise ValueError(f"recall needs queries and k >= 1, got {similarity.shape[0]} queries and k of {list(ks)}.")
    ranks = retrieval_ranks(similarity, targets, ties)
    recalls = {f"R@{k}": 100.0 * float((ranks <= k).mean()) for k in ks}
    return {
        **recalls,
        "median_rank": float(np.median(ranks)),
        "mean_rank": float(ranks.mean()),
        "queries": similarity.shape[0],
    }


def _right_items(targets: np.ndarray, num_queries: int, num_items: int) -> Bool[np.ndarray, "Q N"]:
    if targets.ndim == 2:
        if targets.shape != (num_queries, num_items):
            raise ValueError(f"targets {targets.shape} do not fit a similarity of {(num_queries, num_items)}.")
        if not targets.any(axis=1).all():
            raise ValueError(f"query {int((~targets.any(axis=1)).argmax())} has no right item; leave it out.")
        return targets
    if len(targets) != num_queries or (num_queries and not 0 <= targets.min() <= targets.max() < num_items):
        raise ValueError(f"{num_queries} targets within 0..{num_items - 1} needed, got {len(targets)}; check them.")
    right = np.zeros((num_queries, num_items), dtype=bool)
    right[np.arange(num_queries), targets] = True
    return right
