"""InfoNCE: each clip against all texts of the batch, and back."""

import torch
from jaxtyping import Float
from torch import Tensor

from playhead.objectives.similarity import similarity


def info_nce(
    video: Float[Tensor, "N E"], text: Float[Tensor, "N E"], *, temperature: float = 0.05
) -> Float[Tensor, ""]:
    """Pull each clip to its own narration and push it from all others, and back.

    Rows are unit length; row i of `video` and of `text` are one pair. The two directions are summed, not averaged.

    Raises:
        ValueError: `temperature` is not above zero.

    Source: `NormSoftmaxLoss` of Frozen in Time (Bain et al., 2021), Eq. 1-3.
    """
    if temperature <= 0:
        raise ValueError(f"`temperature` must be above zero, got {temperature}.")
    logits = similarity(video, text) / temperature
    own = logits.diagonal()
    return (logits.logsumexp(dim=1) - own).mean() + (torch.logsumexp(logits, dim=0) - own).mean()
