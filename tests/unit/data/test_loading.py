"""The order of the data is a function of the step alone; workers, ranks and resumes do not change it."""

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from playhead.data.loading import EpochOrder, make_eval_loader, make_loader, rank_share, sample_seed
from playhead.data.reading import replacement
from playhead.errors import AnnotationError, RecipeError, TrainingError


@dataclass(frozen=True)
class Pairs:
    """Samples that are (index, seed); some of them cannot be read, or kill who reads them."""

    num_samples: int
    broken: int | None = None
    deadly: int | None = None
    all_broken: bool = False

    def __len__(self):
        return self.num_samples

    def read(self, index, seed):
        if index == self.broken or self.all_broken:
            raise AnnotationError("is empty.", path="pairs.csv", row=7)
        if index == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return index, seed


@dataclass(frozen=True)
class PairBatch:
    indices: torch.Tensor
    seeds: tuple[int, ...]
    names: tuple[str, ...]

    def to(self, device):
        return self


def collate(samples):
    indices, seeds = zip(*samples, strict=True)
    return PairBatch(torch.tensor(indices), seeds, tuple(map(str, indices)))


def load(samples, order, first_step, last_step, **options):
    loader = make_loader(samples, collate, order, first_step=first_step, last_step=last_step, **options)
    return [loaded.batch for loaded in loader]


def test_an_epoch_has_each_sample_once_but_for_the_rest_that_fills_no_batch():
    order = EpochOrder(num_samples=23, global_batch=5, seed=1)
    assert order.steps_per_epoch == 4
    epochs = [np.concatenate([order(step)[1] for step in range(4 * epoch, 4 * epoch + 4)]) for epoch in range(3)]
    assert [order(step)[0] for step in (0, 3, 4, 11)] == [0, 0, 1, 2]
    assert all(len(np.unique(epoch)) == 20 for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    assert len(set(np.concatenate(epochs).tolist())) == 23  # what one epoch leaves out, another has


def test_the_order_depends_on_the_seed_and_not_on_what_was_asked_before():
    order = EpochOrder(num_samples=23, global_batch=5, seed=1)
    late = order(9)[1].tolist()
    order(0)
    assert EpochOrder(num_samples=23, global_batch=5, seed=1)(9)[1].tolist() == late
    assert EpochOrder(num_samples=23, global_batch=5, seed=2)(9)[1].tolist() != late


def test_fewer_samples_than_a_batch_are_refused():
    with pytest.raises(RecipeError, match="global_batch is 5, but there are only 4 training samples"):
        EpochOrder(num_samples=4, global_batch=5, seed=0)


def test_sample_seeds_fit_both_libraries_and_differ_by_each_of_their_three_sources():
    seeds = {sample_seed(seed, epoch, index) for seed in range(4) for epoch in range(4) for index in range(50)}
    assert len(seeds) == 800
    assert all(0 <= seed < 2**63 for seed in seeds)
    torch.Generator().manual_seed(max(seeds))


def test_ranks_share_the_global_batch_in_order():
    order = EpochOrder(num_samples=20, global_batch=6, seed=0)
    shares = [load(Pairs(20), order, 0, 4, rank=rank, world_size=3) for rank in range(3)]
    for step in range(4):
        together = torch.cat([share[step].indices for share in shares])
        assert together.tolist() == order(step)[1].tolist()


def test_workers_and_a_later_start_change_neither_order_nor_seeds():
    order = EpochOrder(num_samples=20, global_batch=4, seed=0)
    whole = load(Pairs(20), order, 0, 8)
    resumed = load(Pairs(20), order, 3, 8, workers=2, prefetch=1)
    assert [(one.indices.tolist(), one.seeds) for one in resumed] == [
        (one.indices.tolist(), one.seeds) for one in whole[3:]
    ]
    assert whole[0].seeds == tuple(sample_seed(0, 0, index) for index in whole[0].indices.tolist())


def test_reading_does_not_move_the_global_generator():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load(Pairs(8), EpochOrder(8, 4, 0), 0, 2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_that_cannot_be_read_keeps_its_error_and_tells_its_index(workers):
    with pytest.raises(AnnotationError) as caught:
        load(Pairs(8, broken=5), EpochOrder(8, 4, 0), 0, 2, workers=workers)
    assert str(caught.value) == "pairs.csv, row 7: is empty. (sample 5)"
    assert caught.value.row == 7


def test_a_broken_sample_is_replaced_by_what_its_own_seed_says_and_by_nothing_else():
    order = EpochOrder(8, 4, 0)
    expected = load(Pairs(8), order, 0, 6)
    loaded = list(make_loader(Pairs(8, broken=5), collate, order, first_step=0, last_step=6, replace_broken=True))
    replaced = 0
    for step in range(6):
        reports = {one.index: one for one in loaded[step].broken}
        assert set(reports) <= {5}
        for index, seed, found, found_seed in zip(
            expected[step].indices.tolist(), expected[step].seeds, loaded[step].batch.indices.tolist(),
            loaded[step].batch.seeds, strict=True,
        ):  # fmt: skip
            if index != 5:
                assert (found, found_seed) == (index, seed)
                continue
            replaced += 1
            tries = (replacement(seed, attempt, 8) for attempt in range(8))
            assert (found, found_seed) == next(place for place in tries if place[0] != 5)
    assert replaced == 3  # once in each epoch


def test_replacements_differ_by_epoch_and_reach_every_sample():
    found = {replacement(sample_seed(0, epoch, 5), 0, 8)[0] for epoch in range(100)}
    assert found == set(range(8))


def test_if_all_samples_are_broken_the_search_ends():
    with pytest.raises(AnnotationError, match=r"is empty\. \(sample \d; 8 others in its place are broken too\)"):
        list(make_loader(Pairs(8, all_broken=True), collate, EpochOrder(8, 4, 0), first_step=0, last_step=1,
                         replace_broken=True))  # fmt: skip


def test_a_killed_worker_is_a_training_error_that_says_what_to_try():
    with pytest.raises(TrainingError, match=r"worker .*lower train\.workers"):
        load(Pairs(8, deadly=5), EpochOrder(8, 4, 0), 0, 2, workers=1)


@pytest.mark.parametrize(("num_samples", "world_size"), [(1, 1), (1, 2), (7, 2), (8, 3), (2, 4)])
def test_evaluation_shares_cover_all_samples_once_with_equally_many_batches(num_samples, world_size):
    counted, lengths = [], set()
    for rank in range(world_size):
        share = rank_share(num_samples, rank, world_size)
        loader = make_eval_loader(Pairs(num_samples), collate, batch_size=2, rank=rank, world_size=world_size)
        batches = [loaded.batch.indices for loaded in loader]
        lengths.add(len(batches))
        counted += torch.cat(batches).tolist()[: len(share)]
    assert counted == list(range(num_samples))
    assert len(lengths) == 1


@dataclass(frozen=True)
class WhoReads(Pairs):
    """Samples that are the process that reads them."""

    def read(self, index, seed):
        return os.getpid(), seed


def read_with_a_worker_and_be_killed(pipe):
    loader = make_loader(WhoReads(8), collate, EpochOrder(8, 4, 0), first_step=0, last_step=2, workers=1)
    pipe.send(int(next(loader).batch.indices[0]))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks /proc whether a process is there")
def test_workers_end_with_a_main_process_that_is_killed():
    context = multiprocessing.get_context("forkserver")
    receiving, sending = context.Pipe(duplex=False)
    main_process = context.Process(target=read_with_a_worker_and_be_killed, args=(sending,))
    main_process.start()
    worker = receiving.recv()
    main_process.join()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
