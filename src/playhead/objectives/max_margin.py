"""Max-margin ranking: a pair must beat every other pairing of its clip or text by a margin."""

import torch
from jaxtyping import Float
from torch import Tensor

from playhead.objectives.similarity import similarity


def max_margin(
    video: Float[Tensor, "N E"], text: Float[Tensor, "N E"], *, margin: float = 0.2, keep_diagonal: bool = False
) -> Float[Tensor, ""]:
    """Hinge on how far each pair's cosine lies above those of its clip, and of its text, with others.

    Rows are unit length; row i of `video` and of `text` are one pair. The mean runs over the 2 N (N - 1) hinges;
    `keep_diagonal` also counts the pair against itself, which adds the constant `margin` and no gradient.

    Raises:
        ValueError: a single pair without `keep_diagonal`, so that there is nothing to rank.

    Source: EgoVLP's `MaxMarginRankingLoss`, where `keep_diagonal` is `fix_norm=False`.
    """
    everywhere = torch.full((len(video),), margin, device=video.device)
    return _mean_hinge(video, text, everywhere, keep_diagonal)


def adaptive_max_margin(
    video: Float[Tensor, "N E"],
    text: Float[Tensor, "N E"],
    weights: Float[Tensor, " N"],
    *,
    margin: float = 0.4,
    keep_diagonal: bool = False,
) -> Float[Tensor, ""]:
    """`max_margin` with a margin of `weights[i] * margin` for pair i.

    A weight is the relevancy (0 to 1) of the sentence that was drawn for the clip.

    Raises:
        ValueError: a single pair without `keep_diagonal`, so that there is nothing to rank.

    Source: EgoVLP's `AdaptiveMaxMarginRankingLoss`, used for EPIC-KITCHENS multi-instance retrieval.
    """
    return _mean_hinge(video, text, weights * margin, keep_diagonal)


def _mean_hinge(video: Tensor, text: Tensor, margins: Tensor, keep_diagonal: bool) -> Tensor:
    num_pairs = len(video)
    if num_pairs == 1 and not keep_diagonal:
        raise ValueError("one pair has no other to be ranked against; give at least two.")
    cosines = similarity(video, text)
    floor = (margins.to(cosines) - cosines.diagonal())[:, None]
    hinges = (floor + cosines).relu() + (floor + cosines.T).relu()
    if keep_diagonal:
        return hinges.mean() / 2
    others = ~torch.eye(num_pairs, dtype=torch.bool, device=video.device)
    return (hinges * others).sum() / (2 * num_pairs * (num_pairs - 1))
