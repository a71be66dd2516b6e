"""What fails on one rank ends all of them, at one place and with the same words; none waits for one that is gone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException

from playhead.errors import PlayheadError, TrainingError
from playhead.train.parallel import World, gather_objects

Result = TypeVar("Result")

LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
"""Words of torch's errors when another rank does not answer any more."""


def first_failure(own: Exception | None) -> Exception | None:
    """Return the failure of the first rank that has one, on every rank; all ranks must ask.

    A rank whose own failure is a fault of the program gets that one, with its traceback; to the others it is told.
    """
    failures = gather_objects(_portable(own))
    if own is not None and not isinstance(own, PlayheadError):
        return own
    return next((failure for failure in failures if failure is not None), None)


def on_first(world: World, work: Callable[[], Result]) -> Result:
    """Return on every rank what `work()` gives on the first, which alone calls it; its failure is that of all ranks."""
    result: Any = None
    failure: Exception | None = None
    if world.is_first:
        try:
            result = work()
        except Exception as error:
            failure = error
    result, told = gather_objects((result, _portable(failure)))[0]
    if failure is not None:
        raise failure
    if told is not None:
        raise told
    return result


@contextmanager
def lost_ranks_named(world: World, last_checkpoint: Callable[[], Path | None]) -> Iterator[None]:
    """Turn torch's error about a rank that is gone into one that says what to do.

    Raises:
        TrainingError: another rank ended or was killed while this one waited for it.
    """
    try:
        yield
    except (RuntimeError, CheckpointException) as error:
        is_of_ranks = isinstance(error, dist.DistError) or any(word in str(error) for word in LOST)
        if world.size == 1 or not is_of_ranks:
            raise
        last = last_checkpoint()
        kept = "there is no checkpoint yet" if last is None else f"the last checkpoint, {last.name}, is complete"
        raise TrainingError(
            f"rank {world.rank} lost another of the {world.size} ranks: it failed, was killed or ran out of memory; "
            f"what it said itself tells why. {kept[0].upper()}{kept[1:]}; start the same command again to go on."
        ) from error


def _portable(error: Exception | None) -> Exception | None:
    if error is None or isinstance(error, PlayheadError):
        return error
    rank = dist.get_rank() if dist.is_initialized() else 0
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return TrainingError(f"rank {rank} failed ({words}); its own output says more.")
