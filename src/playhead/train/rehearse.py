"""What a step costs: the loop's own work on one batch, again and again, without data, log or checkpoints."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from playhead.train.config import Optim, Train
from playhead.train.evaluate import autocast
from playhead.train.gradient_cache import cached_backward
from playhead.train.numerics import computing_as
from playhead.train.optim import make_optimizer
from playhead.train.parallel import World, gradient_norm, in_fp32, spread
from playhead.types import Batch, TrainTask


@dataclass(frozen=True, slots=True)
class StepCost:
    """The seconds of each step, by the wall, and the peak of the device's memory in bytes, where it is known.

    On a CPU that is the peak of the whole process.
    """

    seconds: tuple[float, ...]
    peak_bytes: int | None


def rehearse(
    model: nn.Module,
    task: TrainTask,
    batches: Sequence[Batch],
    optim: Optim,
    settings: Train,
    steps: int,
    device: torch.device,
) -> StepCost:
    """Make steps as `train` would on one rank, each with the next of the batches, and throw their results away.

    Each batch is first used once to warm up; with `settings.compile` that takes its time.
    """
    world = World(device=device)
    with computing_as(settings):
        step = spread(model.to(device).train(), replace(settings, parallel="none"), world)
        optimizer = make_optimizer(model, optim)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

        def once(batch: Batch) -> None:
            _backward(step, task, batch, settings, world)
            gradient_norm(model, optim.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        for batch in batches:
            _timed(lambda batch=batch: once(batch), device)
        turns = [batches[place % len(batches)] for place in range(steps)]
        seconds = tuple(_timed(lambda batch=batch: once(batch), device) for batch in turns)
    return StepCost(seconds, _peak_bytes(device))


def _backward(step: nn.Module, task: TrainTask, batch: Batch, settings: Train, world: World) -> None:
    if settings.micro_batch is None:
        with autocast(world.device, settings.precision):
            rows = step(task.encode, batch.to(world.device))
        task.loss(in_fp32(rows)).total.backward()
    else:
        cached_backward(step, task, batch, settings, world, seed_of=lambda part: part)


def _timed(work: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _peak_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform != "linux":
        return None
    # Not getrusage: a process inherits the peak of the one that started it.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
