"""Cross-entropy against soft targets, as label smoothing and mixing make them."""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int64
from torch import Tensor


def soft_targets(labels: Int64[Tensor, " B"], num_classes: int, smoothing: float = 0.0) -> Float[Tensor, "B K"]:
    """Return 1 - `smoothing` for the class of each label, and `smoothing` spread evenly over all classes.

    Source: Szegedy et al., 2016; as timm's `Mixup`, whose share for the true class includes its part of the rest.

    Raises:
        ValueError: `smoothing` lies outside of [0, 1), or a label outside of the classes.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must lie in [0, 1), got {smoothing}.")
    # On a GPU a look at the labels would wait for all that is under way there; it refuses them by itself.
    looks = labels.device.type == "cpu" and len(labels) > 0
    if looks and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(f"labels {int(labels.min())} to {int(labels.max())} for {num_classes} classes.")
    off = smoothing / num_classes
    targets = torch.full((len(labels), num_classes), off, device=labels.device)
    return targets.scatter_(1, labels[:, None], 1.0 - smoothing + off)


def soft_cross_entropy(logits: Float[Tensor, "B K"], targets: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """Return -sum(target * log softmax(logit)) of each row."""
    return -(targets * F.log_softmax(logits.float(), dim=1)).sum(dim=1)
