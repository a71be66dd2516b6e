"""Reading one sample after the other as torch wants it; one that is broken is handed over as its error, or replaced."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from playhead.data.mixture import alike
from playhead.data.workers import Board, Place
from playhead.errors import DecodeError, PlayheadError
from playhead.types import Batch, Samples

Collate = Callable[[list[Any]], Batch]

MOST_REPLACEMENTS = 8
"""If so many others in the place of a broken sample are broken too, the data is, and the run ends."""


@dataclass(frozen=True, slots=True)
class BrokenSample:
    """A sample that could not be read, and which other was read in its place."""

    index: int
    error: PlayheadError
    replaced_by: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The batch of one step, and the broken samples that were replaced in it."""

    batch: Batch
    broken: tuple[BrokenSample, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """What `Samples.read` gave, and the broken ones on the way to it."""

    content: Any
    broken: tuple[BrokenSample, ...] = ()


def replacement(seed: int, attempt: int, num_samples: int) -> Place:
    """Return what is read, in attempt 0, 1, ..., in place of a broken sample whose own draws come from `seed`.

    As that seed is a function of (seed of the run, epoch, index), so is the replacement: workers, ranks and resumes do
    not change it.
    """
    index, own_seed = np.random.SeedSequence((seed, attempt)).generate_state(2, np.uint64)
    return int(index % np.uint64(num_samples)), int(own_seed >> np.uint64(1))


@dataclass(frozen=True, slots=True)
class ReadByPlace:
    """What torch calls a data set, over `Samples`; an unreadable sample is handed over as its error.

    With `replaces`, others are read in its place. `stalled` are places that were given up, with what is told of them.
    """

    samples: Samples
    replaces: bool = False
    stalled: tuple[tuple[Place, DecodeError], ...] = ()
    board: Board | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: Place) -> Sample | PlayheadError:
        """Return the sample at a place, or an error."""
        (index, seed), broken = place, list[BrokenSample]()
        first = None
        for attempt in range(1 + (MOST_REPLACEMENTS if self.replaces else 0)):
            try:
                return Sample(self._read(place), tuple(broken))
            except PlayheadError as error:
                first = first or error
                others = alike(self.samples, index)
                other, own_seed = replacement(seed, attempt, len(others))
                instead = (others[other], own_seed)
                broken.append(BrokenSample(place[0], error, instead[0]))
                place = instead
        assert first is not None, "at least one attempt was made"
        return _with_index(first, index, self.replaces)

    def _read(self, place: Place) -> Any:
        for stalled, error in self.stalled:
            if stalled == place:
                raise error
        with self._watch(place):
            return self.samples.read(*place)

    def _watch(self, place: Place) -> AbstractContextManager[None]:
        return nullcontext() if self.board is None else self.board.reading(place)


def collate_or_error(collate: Collate, samples: list[Sample | PlayheadError]) -> Loaded | PlayheadError:
    """Make one batch. Errors are values: raised in a worker, torch would rebuild them from text, traceback and all."""
    contents, broken = [], []
    for sample in samples:
        if isinstance(sample, PlayheadError):
            return sample
        contents.append(sample.content)
        broken += sample.broken
    try:
        return Loaded(collate(contents), tuple(broken))
    except PlayheadError as error:
        return error


def _with_index(error: PlayheadError, index: int, replaces: bool) -> PlayheadError:
    more = f"; {MOST_REPLACEMENTS} others in its place are broken too" if replaces else ""
    problem = f"{error.problem} (sample {index}{more})"
    return type(error)(problem, path=error.path, row=error.row, time=error.time)
