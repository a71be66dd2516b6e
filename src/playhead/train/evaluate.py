"""Measure a model with a task, over all ranks: every sample is answered once, and the answers are scored together."""

from typing import Any, Literal

import torch
from torch import nn

from playhead.data.loading import make_eval_loader, rank_share
from playhead.errors import TrainingError
from playhead.train.intake import read_together
from playhead.train.parallel import Step, World, gather_objects
from playhead.train.stopping import Stop
from playhead.train.together import on_first
from playhead.types import EvalTask


@torch.no_grad()
def evaluate(
    model: nn.Module,
    task: EvalTask,
    split: str,
    *,
    world: World | None = None,
    batch_size: int = 16,
    workers: int = 0,
    precision: Literal["fp32", "bf16"] = "fp32",
    sample_timeout: float | None = None,
    stop: Stop | None = None,
) -> dict[str, float]:
    """Return the metrics of `task` on `split`, the same on every rank.

    `model` is a model or what `parallel.spread` made of it (without DDP). It is left in the mode it came in. Answers
    are put back in sample order before they are scored, on the first rank. A sample that cannot be read, or takes more
    than `sample_timeout` seconds, ends it on all ranks: here none takes the place of another.

    Raises:
        TrainingError: the task gave more or fewer answers than samples.
        PlayheadError: a sample cannot be read.
        StopAskedError: `stop` was asked on one rank; raised on all of them.
    """
    answers = gather_answers(
        model,
        task,
        split,
        world=world,
        batch_size=batch_size,
        workers=workers,
        precision=precision,
        sample_timeout=sample_timeout,
        stop=stop,
    )
    metrics = on_first(world or World(), lambda: task.score(answers, split))
    return {name: float(value) for name, value in metrics.items()}


@torch.no_grad()
def gather_answers(
    model: nn.Module,
    task: EvalTask,
    split: str,
    *,
    world: World | None = None,
    batch_size: int = 16,
    workers: int = 0,
    precision: Literal["fp32", "bf16"] = "fp32",
    sample_timeout: float | None = None,
    stop: Stop | None = None,
) -> list[Any]:
    """Return one answer per sample of `split` in sample order, on every rank; see `evaluate`."""
    world = world or World()
    step = model if isinstance(model, Step) else Step(model)
    samples = task.samples(split)
    batches = make_eval_loader(
        samples,
        task.collate,
        batch_size=batch_size,
        rank=world.rank,
        world_size=world.size,
        workers=workers,
        sample_timeout=sample_timeout,
    )
    was_training = model.training  # a new Step is in training mode, whatever its model is in
    step.eval()
    own = []
    for batch in read_together(batches, stop or Stop()):
        with autocast(world.device, precision):
            found = step(task.answer, batch.to(world.device))
        own.extend(found)
    step.train(was_training)
    share = rank_share(len(samples), world.rank, world.size)
    if len(own) - len(share) not in (0, 1):
        raise TrainingError(f"{type(task).__name__} gave {len(own)} answers for {len(share)} samples of {split!r}.")
    return [answer for rank in gather_objects(own[: len(share)]) for answer in rank]


def autocast(device: torch.device, precision: Literal["fp32", "bf16"]) -> torch.autocast:
    """Return the context in which a model encodes: bf16 where that loses little, or plain fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
