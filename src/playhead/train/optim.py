"""AdamW over groups of parameters, and the learning rate as a pure function of the step."""

import inspect
import math
from collections.abc import Mapping

from torch import nn
from torch.optim import AdamW

from playhead.errors import RecipeError
from playhead.train.config import Optim
from playhead.train.parallel import blocks_of

RELEASED_LATER_LR = 2e-4  # showlab/EgoVLP, run/train_egoclip.py: default of --learning_rate1
RELEASED_MILESTONES = (60, 80)  # epochs; default of --schedule


def learning_rate(optim: Optim, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
    """Return the rate of update `step`, counted from 0.

    Source of "egovlp_released": the trainers of showlab/EgoVLP call `_adjust_learning_rate` after every epoch, which
    forgets the configured 3e-5; the paper (section 3.1) knows one constant rate.
    """
    if optim.schedule == "egovlp_released":
        epoch = step // steps_per_epoch
        passed = sum(epoch >= milestone for milestone in RELEASED_MILESTONES)
        return optim.lr if epoch == 0 else RELEASED_LATER_LR * 0.1**passed
    warmup = optim.warmup_steps or optim.warmup_epochs * steps_per_epoch
    if step < warmup:
        if optim.warmup_start is None:
            return optim.lr * (step + 1) / warmup
        return optim.warmup_start + (optim.lr - optim.warmup_start) * step / max(1, warmup - 1)
    if optim.schedule == "constant":
        return optim.lr
    if optim.schedule == "step":
        return optim.lr * optim.gamma ** (step // (steps_per_epoch * optim.step_epochs))
    done = (step - warmup) / max(1, total_steps - warmup)
    left = 1 - min(1.0, done) if optim.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return optim.min_lr + (optim.lr - optim.min_lr) * left


def make_optimizer(model: nn.Module, optim: Optim) -> AdamW:
    """Return AdamW over the parameters that learn, in groups that share decay and rate, those that decay first.

    The fused kernel does the whole update in one pass over memory; on CPUs it is about four times faster.
    """
    decays = {"matrices": _is_matrix, "all_but_biases_and_norms": _is_no_bias_or_norm}[optim.decayed]
    scales = {} if optim.layer_decay is None else layer_scales(model, optim.layer_decay)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            is_spared = not decays(module, name, parameter)
            groups.setdefault((scales.get(parameter, 1.0), is_spared), []).append(parameter)
    ordered = [
        {"params": groups[key], "weight_decay": 0.0 if key[1] else optim.weight_decay, "scale": key[0]}
        for key in sorted(groups)
    ]
    return AdamW(ordered, lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=True)


def layer_scales(model: nn.Module, decay: float) -> Mapping[nn.Parameter, float]:
    """Return the share of the rate at which each parameter learns: `decay` to the number of layers after its own.

    The layers are what stands before the model's blocks (by the order in which a module lists its parameters), each
    block, and what stands after them.

    Source: BEiT (Bao et al., 2022), appendix; VideoMAE, optim_factory.py.

    Raises:
        RecipeError: the model has no blocks, or those of several towers, which have no one order.
    """
    blocks = blocks_of(model)
    towers = [module for module in model.modules() if inspect.ismethod(getattr(module, "blocks", None))]
    if not blocks or len({tuple(map(id, tower.blocks())) for tower in towers}) > 1:  # pyright: ignore[reportCallIssue]
        raise RecipeError(
            f"optim.layer_decay needs a model with one row of blocks; {type(model).__name__} has "
            f"{'several' if blocks else 'none'}."
        )
    number = {parameter: place for place, block in enumerate(blocks, start=1) for parameter in block.parameters()}
    last, reached = len(blocks) + 1, 0
    scales = {}
    for parameter in model.parameters():
        layer = number.get(parameter, last if reached else 0)
        reached = max(reached, number.get(parameter, 0))
        scales[parameter] = decay ** (last - layer)
    return scales


def _is_matrix(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    return name.endswith("weight") and parameter.ndim >= 2 and not isinstance(module, nn.Embedding)


def _is_no_bias_or_norm(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    return not name.startswith("bias") and not isinstance(module, nn.LayerNorm)


def set_learning_rate(optimizer: AdamW, rate: float) -> None:
    """Give every group this rate, or its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
