"""EgoNCE: InfoNCE that knows which narrations tell of the same action."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from playhead.objectives.similarity import similarity


def ego_nce(
    video: Float[Tensor, "N E"],
    text: Float[Tensor, "N E"],
    positives: Bool[Tensor, "N N"],
    *,
    temperature: float = 0.05,
) -> Float[Tensor, ""]:
    """Pull each clip to every narration of the same action, and back.

    Rows are unit length; row i of `video` and of `text` are one pair. `positives[i, k]` says that narration k tells
    the action of clip i; its diagonal must be true. The two directions are summed, not averaged.

    Raises:
        ValueError: a row is not its own positive, or `temperature` is not above zero.

    Source: EgoVLP (Lin et al., 2022), Eq. 1-2, whose minus sign is missing in print. As in the released code,
    positives are also sought among the neighbour rows; Eq. 2 draws them from the batch alone. The released code takes
    the log of a sum of softmax values, which underflows in half precision; the difference of two log-sum-exps does not.
    """
    if temperature <= 0:
        raise ValueError(f"`temperature` must be above zero, got {temperature}.")
    own = positives.diagonal()
    if not own.all():
        raise ValueError(f"row {int((~own).nonzero()[0])} of `positives` is not its own positive; set the diagonal.")
    logits = similarity(video, text) / temperature
    return _one_way(logits, positives) + _one_way(logits.T, positives.T)


def _one_way(logits: Tensor, positives: Tensor) -> Tensor:
    pulled = logits.masked_fill(~positives, float("-inf"))
    return (logits.logsumexp(dim=1) - pulled.logsumexp(dim=1)).mean()


def action_positives(
    nouns: Bool[Tensor, "N Kn"],
    verbs: Bool[Tensor, "N Kv"],
    share: Literal["noun_and_verb", "noun", "verb"] = "noun_and_verb",
) -> Bool[Tensor, "N N"]:
    """Say which rows tell of the same action: those that share a noun and a verb, or only the one named.

    `nouns` and `verbs` are multi-hot over the taxonomy. Each row is its own positive, also when it has no tag.

    Raises:
        ValueError: `share` is none of the three.

    Source: EgoVLP (Lin et al., 2022), section 4.2.
    """
    if share == "noun_and_verb":
        same = _share_a_tag(nouns) & _share_a_tag(verbs)
    elif share == "noun":
        same = _share_a_tag(nouns)
    elif share == "verb":
        same = _share_a_tag(verbs)
    else:
        raise ValueError(f"`share` must be 'noun_and_verb', 'noun' or 'verb', got {share!r}.")
    return same | torch.eye(len(nouns), dtype=torch.bool, device=nouns.device)


def _share_a_tag(tags: Tensor) -> Tensor:
    # float32 also inside autocast: counts of shared tags are small whole numbers, and only zero or not matters.
    counts = tags.float()
    return (counts @ counts.T) > 0
