"""Whose turn it is in a mixture, and which rows: shares, own epochs, resumes and ranks, for any sources."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from playhead.data.loading import EpochOrder, make_loader, order_of
from playhead.data.mixture import MixedSamples, MixtureOrder, modules_of
from playhead.errors import AnnotationError, RecipeError

BATCHES = ["one_source", "all_sources"]


@st.composite
def mixtures(draw):
    """Sizes, weights, kind of batches, global batch and seed; `made` makes an order of them."""
    count, batch = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    sizes = draw(st.lists(st.integers(3 * batch, 50), min_size=count, max_size=count))
    weights = draw(st.none() | st.lists(st.floats(0.1, 5.0), min_size=count, max_size=count))
    return tuple(sizes), weights and tuple(weights), draw(st.sampled_from(BATCHES)), batch, draw(st.integers(0, 3))


def made(mixture):
    try:
        return MixtureOrder(tuple("abcd"[: len(mixture[0])]), *mixture)
    except RecipeError:  # a weight too small for a turn of its own
        assume(False)


def used(order, steps):
    """Return (source, own epoch, own row) of all rows of some steps, in order."""
    bounds = np.cumsum([0, *order.sizes])
    found = []
    for step in steps:
        epochs, indices = order(step)
        sources = np.searchsorted(bounds, indices, side="right") - 1
        found += list(zip(sources.tolist(), epochs.tolist(), (indices - bounds[sources]).tolist(), strict=True))
    return found


@settings(max_examples=30, deadline=None)
@given(mixtures())
def test_at_every_step_each_source_has_had_its_share_to_within_one_step(mixture):
    order = made(mixture)
    weights = np.array(order.weights or order.sizes, float)
    had, whole = Counter(), order.steps_per_epoch
    unit = order.global_batch if order.batches == "one_source" else 1
    for step in range(2 * whole):
        had.update(source for source, _, _ in used(order, [step]))
        for source, share in enumerate(weights / weights.sum()):
            exact = share * order.global_batch * (step + 1)
            of_epoch = order.units[source] * unit / whole * (step + 1)
            assert abs(had[source] - of_epoch) < max(unit, 1) + 1e-6  # on the way
            if step + 1 == whole:
                assert abs(had[source] - exact) < unit + 1e-6  # and of the weight at the end of the epoch


@settings(max_examples=30, deadline=None)
@given(mixtures())
def test_every_row_comes_once_in_each_epoch_of_its_source(mixture):
    order = made(mixture)
    found = used(order, range(3 * order.steps_per_epoch))
    for source, size in enumerate(order.sizes):
        own = [(epoch, row) for which, epoch, row in found if which == source]
        assert [epoch for epoch, _ in own] == sorted(epoch for epoch, _ in own)
        for epoch in range(own[-1][0]):  # those that were passed whole
            assert sorted(row for which, row in own if which == epoch) == list(range(size))
        last = [row for epoch, row in own if epoch == own[-1][0]]
        assert len(set(last)) == len(last)


@settings(max_examples=30, deadline=None)
@given(mixtures())
def test_no_batch_has_a_row_twice_and_one_source_means_one(mixture):
    order = made(mixture)
    for step in range(3 * order.steps_per_epoch):
        rows = used(order, [step])
        assert len({(source, row) for source, _, row in rows}) == order.global_batch
        if order.batches == "one_source":
            assert {source for source, _, _ in rows} == {order.source_of(step)}


@settings(max_examples=20, deadline=None)
@given(mixtures(), st.integers(0, 40))
def test_a_step_is_the_same_whatever_was_asked_before(mixture, step):
    order = made(mixture)
    late = made(mixture)(step)
    for earlier in range(step + 1):
        now = order(earlier)
    assert np.array_equal(late[0], now[0]) and np.array_equal(late[1], now[1])


def test_equal_weights_take_turns():
    order = MixtureOrder(("cc3m", "webvid"), (33, 250), (1.0, 1.0), "one_source", 8, 0)
    assert [order.source_of(step) for step in range(6)] == [0, 1, 0, 1, 0, 1]
    assert order.steps_per_epoch == 283 // 8 and order.units == (18, 17)


def test_without_weights_the_numbers_of_samples_decide():
    order = MixtureOrder(("a", "b"), (300, 100), None, "one_source", 10, 0)
    assert order.units == (30, 10)
    assert [order.source_of(step) for step in range(8)] == [0, 0, 1, 0, 0, 0, 1, 0]
    mixed = MixtureOrder(("a", "b"), (300, 100), None, "all_sources", 10, 0)
    assert [sum(source == 0 for source, _, _ in used(mixed, [step])) for step in range(4)] == [7, 8, 7, 8]


def test_seeds_and_sources_have_permutations_of_their_own():
    def first(seed, source):
        order = MixtureOrder(("a", "b"), (60, 60), (1.0, 1.0), "one_source", 20, seed)
        return tuple(row for _, _, row in used(order, [source]))

    assert len({first(seed, source) for seed in (0, 1) for source in (0, 1)}) == 4


@pytest.mark.parametrize(
    ("sizes", "weights", "batches", "said"),
    [
        ((20, 20), (1.0,), "one_source", "2 weights above 0 are needed"),
        ((20, 20), (1.0, 0.0), "one_source", "2 weights above 0 are needed"),
        ((20, 20), (1.0, float("nan")), "one_source", "2 weights above 0 are needed"),
        ((1, 1), None, "one_source", "global_batch is 4, but there are only 2"),
        ((200, 20), (1000.0, 1.0), "one_source", "source 'b' gets less than one step of an epoch"),
        ((200, 20), (10.0, 1.0), "all_sources", "source 'b' gets less than one row of a batch"),
        ((200, 11), (1.0, 1.0), "one_source", "source 'b' has 11 samples, but a batch takes up to 4 of them"),
    ],
)
def test_a_mixture_that_cannot_be_made_is_told(sizes, weights, batches, said):
    with pytest.raises(RecipeError, match=said):
        MixtureOrder(("a", "b"), sizes, weights, batches, 4, 0)


@dataclass(frozen=True)
class Numbers:
    """Samples that are (which, index, seed); some cannot be read."""

    which: str
    size: int
    broken: tuple[int, ...] = ()

    def __len__(self):
        return self.size

    def read(self, index, seed):
        if index in self.broken:
            raise AnnotationError("is broken.")
        return self.which, index, seed


@dataclass(frozen=True)
class NumberBatch:
    rows: tuple
    names: tuple[str, ...]

    def to(self, device):
        return self


def collate(samples):
    return NumberBatch(tuple(samples), tuple(map(str, samples)))


def load(samples, order, first, last, **options):
    return [one.batch.rows for one in make_loader(samples, collate, order, first_step=first, last_step=last, **options)]


def mixed(batches, **settings):
    return MixedSamples(("a", "b"), (Numbers("a", 40), Numbers("b", 25, **settings)), (2.0, 1.0), batches)


def test_samples_of_no_mixture_keep_their_order():
    order = order_of(Numbers("a", 20), 4, 0)
    assert order == EpochOrder(20, 4, 0)


@pytest.mark.parametrize("batches", BATCHES)
def test_ranks_workers_and_resumes_read_the_same_rows(batches):
    samples = mixed(batches)
    order = order_of(samples, 6, 0)
    whole = load(samples, order, 0, 25)
    shares = [load(samples, order, 0, 25, rank=rank, world_size=3) for rank in range(3)]
    assert [sum(parts, ()) for parts in zip(*shares, strict=True)] == whole
    assert load(samples, order, 7, 25, workers=2 if batches == "all_sources" else 0, prefetch=1) == whole[7:]
    assert len({sample[2] for _, sample in sum(whole, ())}) == 25 * 6  # every reading has draws of its own
    if batches == "all_sources":
        assert {sum(source for source, _ in share) for share in shares[1]} <= {0, 1}  # no rank has all of one source


@pytest.mark.parametrize("batches", BATCHES)
def test_a_broken_sample_is_replaced_by_one_of_its_source(batches):
    samples = mixed(batches, broken=tuple(range(12)))
    order = order_of(samples, 6, 0)
    loaded = list(make_loader(samples, collate, order, first_step=0, last_step=8, replace_broken=True))
    broken = [one for batch in loaded for one in batch.broken]
    assert broken and all(40 <= one.index < 52 and 40 <= one.replaced_by < 65 for one in broken)
    for step, batch in enumerate(loaded):
        assert sorted(source for source, _ in batch.batch.rows) == sorted(
            source for source, _, _ in used(order, [step])
        )


def test_a_mixture_names_the_modules_of_its_parts_and_refuses_other_places():
    samples = mixed("one_source")
    assert modules_of(samples) == sorted({"playhead.data.mixture", Numbers.__module__})
    assert samples.read(40, 5) == (1, ("b", 0, 5)) and samples.read(39, 5) == (0, ("a", 39, 5))
    for index in (-1, 65):
        with pytest.raises(IndexError):
            samples.read(index, 0)
    assert len(samples) == 65
