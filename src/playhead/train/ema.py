"""The running average of the weights: smoother than the weights themselves, and often the better model."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """average <- decay * average + (1 - decay) * weights after every step; exact on resume, since it is saved whole.

    Only parameters that learn are averaged; buffers are those of the model. Works on sharded parameters shard by shard.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights of one step."""
        current = [p.detach() for p in model.parameters() if p.requires_grad]
        torch._foreach_lerp_(list(self.weights.values()), current, 1 - self.decay)  # pyright: ignore[reportPrivateImportUsage]

    @contextmanager
    @torch.no_grad()
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Lend the averages to the model; on leaving, its own weights are back bit for bit."""
        parameters: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
        own = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        _copy_into(parameters, self.weights)
        try:
            yield
        finally:
            _copy_into(parameters, own)


@torch.no_grad()
def _copy_into(targets: dict[str, Tensor], sources: dict[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(sources[name])
