"""AdamW over two groups of parameters, and the learning rate as a pure function of the step."""

import math

from torch import nn
from torch.optim import AdamW

from playhead.train.config import Optim

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
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    if optim.schedule == "constant":
        return optim.lr
    if optim.schedule == "step":
        return optim.lr * optim.gamma ** (step // (steps_per_epoch * optim.step_epochs))
    done = (step - optim.warmup_steps) / max(1, total_steps - optim.warmup_steps)
    left = 1 - min(1.0, done) if optim.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return optim.min_lr + (optim.lr - optim.min_lr) * left


def make_optimizer(model: nn.Module, optim: Optim) -> AdamW:
    """Return AdamW over the parameters that learn, those that decay in the first group.

    The fused kernel does the whole update in one pass over memory; on CPUs it is about four times faster.
    """
    decays = {"matrices": _is_matrix, "all_but_biases_and_norms": _is_no_bias_or_norm}[optim.decayed]
    decayed, spared, seen = [], [], set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            (decayed if decays(module, name, parameter) else spared).append(parameter)
    groups = [{"params": decayed, "weight_decay": optim.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return AdamW(groups, lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=True)


def _is_matrix(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    return name.endswith("weight") and parameter.ndim >= 2 and not isinstance(module, nn.Embedding)


def _is_no_bias_or_norm(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    return not name.startswith("bias") and not isinstance(module, nn.LayerNorm)


def set_learning_rate(optimizer: AdamW, rate: float) -> None:
    """Give every group this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
