"""Batches by step number: the order of the data is a pure function of (seed, step), so a position is one integer.

Nothing here has a state that a checkpoint would need. The order of an epoch comes from (seed, epoch), a sample's own
draws from (seed, epoch, index): they are the same with any number of workers and ranks, and after any resume.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch.utils.data import DataLoader

from playhead.data.mixture import MixedSamples, MixtureOrder
from playhead.data.reading import Collate, Loaded, ReadByPlace, collate_or_error
from playhead.data.workers import Board, Place, StalledError, watched, worker_context
from playhead.errors import PlayheadError, RecipeError
from playhead.types import Samples


@dataclass(frozen=True, slots=True)
class EpochOrder:
    """Which samples make the global batch of a step; each epoch is one new permutation of all samples.

    The last `num_samples % global_batch` samples of each permutation are left out, so that every batch has the same
    size; as the permutations differ, none is left out for good.

    Raises:
        RecipeError: there are fewer samples than one global batch needs.
    """

    num_samples: int
    global_batch: int
    seed: int

    def __post_init__(self):
        if self.num_samples < self.global_batch:
            raise RecipeError(
                f"train.global_batch is {self.global_batch}, but there are only {self.num_samples} training samples; "
                "lower it or give more data."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Full global batches in one pass over the data."""
        return self.num_samples // self.global_batch

    def __call__(self, step: int) -> tuple[int, np.ndarray]:
        """Return the epoch that `step` (from 0) lies in and the sample indices of its global batch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _permutation(self.num_samples, self.seed, epoch)
        return epoch, order[place * self.global_batch : (place + 1) * self.global_batch]


@lru_cache(maxsize=2)
def _permutation(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(num_samples)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """Return the seed of one sample's own draws: 63 bits, so that both numpy and torch take it."""
    return int(np.random.SeedSequence((seed, epoch, index)).generate_state(1, np.uint64)[0] >> 1)


@runtime_checkable
class Order(Protocol):
    """Which samples make the global batch of a step, as a pure function of the step."""

    @property
    def num_samples(self) -> int:
        """Samples to choose from."""
        ...

    @property
    def global_batch(self) -> int:
        """Samples of a step."""
        ...

    @property
    def seed(self) -> int:
        """What the order comes from."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in one epoch."""
        ...

    def __call__(self, step: int) -> tuple[int | np.ndarray, np.ndarray]:
        """Return the epoch of a step, or of each of its samples, and the sample indices of its global batch."""
        ...


def order_of(samples: Samples, global_batch: int, seed: int) -> Order:
    """Return the order in which samples are read: of a mixture its own, of all others a new permutation each epoch.

    Raises:
        RecipeError: there are too few samples, or the weights of a mixture do not fit them.
    """
    if isinstance(samples, MixedSamples):
        sizes = tuple(map(len, samples.parts))
        return MixtureOrder(samples.names, sizes, samples.weights, samples.batches, global_batch, seed)
    return EpochOrder(len(samples), global_batch, seed)


def make_loader(
    samples: Samples,
    collate: Collate,
    order: Order,
    *,
    first_step: int,
    last_step: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    prefetch: int = 2,
    replace_broken: bool = False,
    sample_timeout: float | None = None,
) -> Iterator[Loaded]:
    """Yield this rank's batch of each step in [first_step, last_step).

    A rank takes its contiguous slice of the global batch. With `workers` above 0, that many processes read ahead,
    `prefetch` batches each; 0 reads in this process. With `replace_broken`, others are read in the place of samples
    that cannot be read or (with workers) take more than `sample_timeout` seconds, and what is yielded names them.

    Raises:
        PlayheadError: a sample cannot be read; same class as in the worker, its message ends with the sample's index.
        TrainingError: a worker process died.
    """
    reading, step = ReadByPlace(samples, replaces=replace_broken), first_step
    while step < last_step:
        places = _TrainPlaces(order, step, last_step, rank, world_size)
        try:
            for loaded in _batches(reading, collate, places, workers, prefetch, sample_timeout):
                step += 1
                yield loaded
        except StalledError as stall:  # its worker is gone; as a position is one integer, all can begin anew
            if not replace_broken:
                raise stall.error from None
            reading = replace(reading, stalled=(*reading.stalled, *((place, stall.error) for place in stall.places)))


def make_eval_loader(
    samples: Samples,
    collate: Collate,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    prefetch: int = 2,
    sample_timeout: float | None = None,
) -> Iterator[Loaded]:
    """Yield this rank's share of all samples in order: every sample once, none left out and none replaced.

    Every rank yields equally many samples, since a sharded model must be called equally often everywhere: where the
    share of a rank is one short, its last sample comes once more at the very end. `rank_share` says how many count.

    Raises:
        PlayheadError, TrainingError: as `make_loader`.
    """
    share = list(rank_share(len(samples), rank, world_size))
    longest = -(-len(samples) // world_size)
    share += [share[-1] if share else 0] * (longest - len(share))
    places = [[(i, sample_seed(0, 0, i)) for i in share[at : at + batch_size]] for at in range(0, longest, batch_size)]
    try:
        yield from _batches(ReadByPlace(samples), collate, places, workers, prefetch, sample_timeout)
    except StalledError as stall:
        raise stall.error from None


def rank_share(num_samples: int, rank: int, world_size: int) -> range:
    """Return the contiguous samples that one rank evaluates; the shares of all ranks follow each other in order."""
    return range(rank * num_samples // world_size, (rank + 1) * num_samples // world_size)


@dataclass(frozen=True, slots=True)
class _TrainPlaces:
    """(index, seed) of each sample of a rank's batch, step by step."""

    order: Order
    first_step: int
    last_step: int
    rank: int
    world_size: int

    def __len__(self) -> int:
        return max(0, self.last_step - self.first_step)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_rank = self.order.global_batch // self.world_size
        for step in range(self.first_step, self.last_step):
            epoch, indices = self.order(step)
            mine = slice(self.rank * per_rank, (self.rank + 1) * per_rank)
            own = zip(np.broadcast_to(epoch, len(indices))[mine].tolist(), indices[mine].tolist(), strict=True)
            yield [(index, sample_seed(self.order.seed, epoch, index)) for epoch, index in own]


def _batches(
    reading: ReadByPlace,
    collate: Collate,
    places: _TrainPlaces | Sequence[list[Place]],
    workers: int,
    prefetch: int,
    sample_timeout: float | None,
) -> Iterator[Loaded]:
    options = {
        "batch_sampler": places,
        "collate_fn": partial(collate_or_error, collate),
        "generator": torch.Generator(),  # else each new iterator would draw from, and so move, the global generator
    }
    if workers == 0:
        yield from _raising(iter(DataLoader(reading, **options)))  # pyright: ignore[reportArgumentType]  # as below
        return
    context = worker_context(reading.samples)
    board = Board(context, workers, sample_timeout)
    loader = DataLoader(
        replace(reading, board=board),  # pyright: ignore[reportArgumentType]  # a Dataset by what it does
        num_workers=workers,
        prefetch_factor=prefetch,
        multiprocessing_context=context,
        worker_init_fn=board.begin_worker,
        **options,
    )
    with watched(loader, board) as batches:
        yield from _raising(batches)


def _raising(batches: Iterator[Loaded | PlayheadError]) -> Iterator[Loaded]:
    for loaded in batches:
        if isinstance(loaded, PlayheadError):
            raise loaded
        yield loaded
