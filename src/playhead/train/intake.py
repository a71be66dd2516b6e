"""Taking in the data of a step on all ranks alike: if one of them cannot, none goes on to wait for it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from playhead.data.reading import BrokenSample, Loaded
from playhead.train.parallel import any_rank, gather_objects
from playhead.train.stopping import Stop, StopAskedError
from playhead.train.together import first_failure
from playhead.types import Batch


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of one step's reading: all but `batch`, which is this rank's own, is the same on every rank.

    `batch` is None if there is no more, if a rank has failed, or if one was asked to stop. `broken` are the samples of
    the global batch that were replaced.
    """

    batch: Batch | None
    broken: tuple[BrokenSample, ...] = ()
    failure: Exception | None = None
    stopping: bool = False


def take_in(batches: Iterator[Loaded], stop: Stop) -> Taken:
    """Return the next batch, or why there is none; a stop asked on any rank counts, and ends this rank's waiting.

    Costs one small collective among the CPUs.
    """
    loaded, failure = None, None
    try:
        with stop.interrupting():
            loaded = next(batches, None)
    except StopAskedError:
        pass
    except Exception as error:  # whatever it is, the other ranks must hear of it
        failure = error
    has_news = loaded is not None and bool(loaded.broken)
    fails, stopping, news = any_rank(failure is not None, stop.asked, has_news, device=torch.device("cpu"))
    if fails:
        return Taken(None, failure=first_failure(failure))
    if stopping or loaded is None:
        return Taken(None, stopping=stopping)
    broken = [one for rank in gather_objects(loaded.broken) for one in rank] if news else []
    return Taken(loaded.batch, tuple(broken))


def read_together(batches: Iterator[Loaded], stop: Stop) -> Iterator[Batch]:
    """Yield the batches of this rank, equally many on each.

    Raises:
        Exception: reading failed on one rank; raised on all of them.
        StopAskedError: one rank was asked to stop; likewise.
    """
    while True:
        taken = take_in(batches, stop)
        if taken.failure is not None:
            raise taken.failure
        if taken.stopping:
            raise StopAskedError
        if taken.batch is None:
            return
        yield taken.batch
