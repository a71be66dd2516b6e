"""Batches by step number: the order of the data is a pure function of (seed, step), so a position is one integer.

Nothing here has a state that a checkpoint would need. The order of an epoch comes from (seed, epoch), a sample's own
draws from (seed, epoch, index): they are the same with any number of workers and ranks, and after any resume.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import forkserver
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from playhead.errors import PlayheadError, RecipeError, TrainingError
from playhead.types import Batch, Samples

Collate = Callable[[list[Any]], Batch]


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


def make_loader(
    samples: Samples,
    collate: Collate,
    order: EpochOrder,
    *,
    first_step: int,
    last_step: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """Yield this rank's batch of each step in [first_step, last_step).

    A rank takes its contiguous slice of the global batch. With `workers` above 0, that many processes read ahead,
    `prefetch` batches each; 0 reads in this process.

    Raises:
        PlayheadError: a sample cannot be read; same class as in the worker, its message ends with the sample's index.
        TrainingError: a worker process died.
    """
    places = _TrainPlaces(order, first_step, last_step, rank, world_size)
    return _batches(samples, collate, places, workers, prefetch)


def make_eval_loader(
    samples: Samples,
    collate: Collate,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """Yield this rank's share of all samples in order: every sample once, none left out.

    Every rank yields equally many samples, since a sharded model must be called equally often everywhere: where the
    share of a rank is one short, its last sample comes once more at the very end. `rank_share` says how many count.

    Raises:
        PlayheadError, TrainingError: as `make_loader`.
    """
    share = list(rank_share(len(samples), rank, world_size))
    longest = -(-len(samples) // world_size)
    share += [share[-1] if share else 0] * (longest - len(share))
    places = [[(i, sample_seed(0, 0, i)) for i in share[at : at + batch_size]] for at in range(0, longest, batch_size)]
    return _batches(samples, collate, places, workers, prefetch)


def rank_share(num_samples: int, rank: int, world_size: int) -> range:
    """Return the contiguous samples that one rank evaluates; the shares of all ranks follow each other in order."""
    return range(rank * num_samples // world_size, (rank + 1) * num_samples // world_size)


@contextmanager
def _dead_workers_named() -> Iterator[None]:
    """Turn torch's report of a worker that was killed or crashed into a TrainingError."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise TrainingError(
            f"{str(error).splitlines()[0].rstrip('. ')}. A data worker that is killed mostly ran out of memory: lower "
            "train.workers or train.prefetch; workers=0 reads in the main process and shows a crash where it is."
        ) from error


@dataclass(frozen=True, slots=True)
class _TrainPlaces:
    """(index, seed) of each sample of a rank's batch, step by step."""

    order: EpochOrder
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
            mine = indices[self.rank * per_rank : (self.rank + 1) * per_rank]
            yield [(int(index), sample_seed(self.order.seed, epoch, int(index))) for index in mine]


@dataclass(frozen=True, slots=True)
class _ReadByPlace:
    """What torch calls a data set, over `Samples`: an unreadable sample is handed over as its error."""

    samples: Samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: tuple[int, int]) -> Any:
        index, seed = place
        try:
            return self.samples.read(index, seed)
        except PlayheadError as error:
            problem = f"{error.problem} (sample {index})"
            return type(error)(problem, path=error.path, row=error.row, time=error.time)


def _collate_or_error(collate: Collate, samples: list[Any]) -> Batch | PlayheadError:
    # Errors travel as values: raised in a worker, torch would rebuild them from a text that holds the whole traceback.
    for sample in samples:
        if isinstance(sample, PlayheadError):
            return sample
    try:
        return collate(samples)
    except PlayheadError as error:
        return error


def _batches(
    samples: Samples, collate: Collate, places: _TrainPlaces | Sequence[Any], workers: int, prefetch: int
) -> Iterator[Batch]:
    loader = DataLoader(
        _ReadByPlace(samples),  # pyright: ignore[reportArgumentType]  # a Dataset by what it does
        batch_sampler=places,
        collate_fn=partial(_collate_or_error, collate),
        num_workers=workers,
        prefetch_factor=prefetch if workers else None,
        multiprocessing_context=_worker_context(samples) if workers else None,
        worker_init_fn=_begin_worker,
        generator=torch.Generator(),  # else each new iterator would draw from, and so move, the global generator
    )
    with _dead_workers_named():
        for batch in loader:
            if isinstance(batch, PlayheadError):
                raise batch
            yield batch


def _worker_context(samples: Samples) -> Any:
    """Start workers from a clean process: a fork of this one would inherit open decoders, threads and CUDA."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # Imported once by the server, not once by each worker: a worker then starts in milliseconds, not seconds.
    context.set_forkserver_preload(["torch", type(samples).__module__])
    with _sigterm_ignored():
        forkserver.ensure_running()
    return context


@contextmanager
def _sigterm_ignored() -> Iterator[None]:
    # torchrun and batch systems send SIGTERM to the whole process group. The loop then wants to finish its step, so
    # the server of the workers, which inherits what is ignored here, must outlive it; it ends with this process.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


def _begin_worker(_worker: int) -> None:
    if os.name == "posix":
        os.setpgid(0, 0)  # as above: signals to the group are for the main process, which ends its workers itself
    # Torch's workers watch the process that forked them. That is the server, which in turn waits for its workers: after
    # a SIGKILL of the main process both would stay for ever.
    threading.Thread(target=_end_with_main_process, daemon=True).start()


def _end_with_main_process() -> None:
    main_process = multiprocessing.parent_process()
    assert main_process is not None, "a worker has a parent"
    main_process.join()
    os._exit(1)
