"""A step whose batch is encoded in parts: any global batch in the memory of one part, with the same gradient.

A loss over all rows of a batch cannot be added up from losses of its parts. But its gradient passes through the rows:

    1. encode all parts without recording anything; keep only their rows
    2. form the loss of all ranks' rows, and its gradient with respect to each row
    3. encode every part again, now recorded, with the dropout it had before, and go back from its rows' gradients

Source: Gao et al., 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (GradCache). It
restores saved random states; here a part's seed is a function of its number, so there is no state to save.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from playhead.errors import RecipeError
from playhead.train.config import Train
from playhead.train.evaluate import autocast
from playhead.train.parallel import World, gather_rows, in_fp32
from playhead.types import Batch, Loss, SplittingTask, TrainTask


def require_splitting(task: TrainTask) -> SplittingTask:
    """Return the task if its batches can be split.

    Raises:
        RecipeError: they cannot.
    """
    if not isinstance(task, SplittingTask):
        raise RecipeError(
            f"train.micro_batch is set, but {type(task).__name__} cannot split a batch: it has no method `split`, so "
            "rows of one sample may depend on others. Leave micro_batch unset, or lower train.global_batch."
        )
    return task


def cached_backward(
    step: nn.Module, task: TrainTask, batch: Batch, settings: Train, world: World, seed_of: Callable[[int], int]
) -> tuple[dict[str, Tensor], Loss]:
    """Return this rank's rows and the loss of all ranks' rows; its gradient is then in the parameters.

    `step` is what `parallel.spread` returns; the parts, of `settings.micro_batch` rows, go to the device one by one.
    `seed_of(part)` is the seed of dropout in part 0, 1, ... of this rank and step; it decides which numbers are drawn,
    so two runs draw alike only with equal parts.

    Raises:
        RecipeError: the task cannot split its batches, or `settings.micro_batch` is unset.
    """
    splitting = require_splitting(task)
    if settings.micro_batch is None:
        raise RecipeError("train.micro_batch is unset: there is no size of a part.")
    parts = splitting.split(batch, settings.micro_batch)

    def encoded(number: int) -> dict[str, Tensor]:
        torch.manual_seed(seed_of(number))
        with autocast(world.device, settings.precision):
            return step(task.encode, parts[number].to(world.device))

    with torch.no_grad():
        found = [encoded(number) for number in range(len(parts))]
    counts = {name: [len(rows[name]) for rows in found] for name in found[0]}
    own = {name: _leaf(torch.cat([rows[name] for rows in found])) for name in found[0]}
    del found
    loss = task.loss(in_fp32(gather_rows(own)))
    loss.total.backward()

    gradients = {name: rows.grad.split(counts[name]) for name, rows in own.items() if rows.grad is not None}
    for number in range(len(parts)):
        with _reducing(step, is_last=number == len(parts) - 1):
            again = encoded(number)
            learning = [name for name in gradients if again[name].requires_grad]
            torch.autograd.backward([again[name] for name in learning], [gradients[name][number] for name in learning])
    return own, loss


def _leaf(rows: Tensor) -> Tensor:
    return rows.requires_grad_() if rows.is_floating_point() else rows


def _reducing(step: nn.Module, *, is_last: bool) -> AbstractContextManager[Any]:
    """Let DDP add up the gradients of the parts and average over ranks once.

    FSDP2 averages after each part, which sums to the same and keeps gradients sharded.
    """
    return step.no_sync() if isinstance(step, DistributedDataParallel) and not is_last else nullcontext()
