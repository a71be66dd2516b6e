"""Several sources in one run: whose turn it is, and which of its rows, as pure functions of (seed, step).

Every source passes through epochs of its own, each a new permutation of all its rows: none comes twice before all have
come once. How many rows of a source have been used is told by the step alone, so a position in a mixture is one integer
too, and neither workers, ranks nor resumes change anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from playhead.errors import RecipeError
from playhead.types import Samples

Batches = Literal["one_source", "all_sources"]
"""What a batch is made of: rows of one source, the sources taking turns; or rows of all of them."""

ROOM = 3  # a source needs so many times the rows that one batch takes of it; see `_own_epoch`
KEPT_PERMUTATIONS = 8  # of the sources' epochs; 8 bytes a row at most


@dataclass(frozen=True)
class MixedSamples:
    """The samples of all sources, one source after the other; what is read is the number of the source and a sample.

    `weights` are the shares of the sources in what is read, of any sum; None shares by their numbers of samples.
    """

    names: tuple[str, ...]
    parts: tuple[Samples, ...]
    weights: tuple[float, ...] | None = None
    batches: Batches = "one_source"

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def read(self, index: int, seed: int) -> tuple[int, Any]:
        """Return the source of a sample, by its place among the sources, and the sample."""
        source, own = self._find(index)
        return source, self.parts[source].read(index - own.start, seed)

    def alike(self, index: int) -> range:
        """Return the samples of the source of sample `index`: those that may take its place."""
        return self._find(index)[1]

    def _find(self, index: int) -> tuple[int, range]:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} asked for, but there are {len(self)}.")
        bounds = accumulate(map(len, self.parts), initial=0)
        spans = enumerate(range(start, end) for start, end in pairwise(bounds))
        return next((source, span) for source, span in spans if index in span)


def alike(samples: Samples, index: int) -> range:
    """Return the samples that may be read in the place of another: all, or those of the same source of a mixture."""
    return samples.alike(index) if isinstance(samples, MixedSamples) else range(len(samples))


def modules_of(samples: Samples) -> list[str]:
    """Return the modules that a process needs to read samples."""
    parts = samples.parts if isinstance(samples, MixedSamples) else ()
    return sorted({type(one).__module__ for one in (samples, *parts)})


@dataclass(frozen=True)
class MixtureOrder:
    """Which samples make the global batch of a step, from several sources.

    An epoch of the mixture has as many steps as all samples together fill. In it every source gets its share of the
    steps ("one_source") or of the rows ("all_sources"), rounded to whole ones; at every step on the way it is within
    one step, or one row, of that share. A source that is small for its weight passes several times, a large one once in
    many epochs.

    Raises:
        RecipeError: weights do not fit the sources, a source gets nothing, or is too small for its part of a batch.

    Source: alternating image and video batches as Frozen in Time and InternVideo do, with equal weights; the order of
    turns for any weights is Tijdeman's (The chairman assignment problem, 1980).
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    weights: tuple[float, ...] | None
    batches: Batches
    global_batch: int
    seed: int

    def __post_init__(self):
        if self.weights is not None and (
            len(self.weights) != len(self.sizes) or not all(0 < weight < float("inf") for weight in self.weights)
        ):
            raise RecipeError(f"{len(self.sizes)} weights above 0 are needed, one per source, got {self.weights}.")
        if not self.steps_per_epoch:
            raise RecipeError(
                f"train.global_batch is {self.global_batch}, but there are only {self.num_samples} training samples; "
                "lower it or give more data."
            )
        for source, (name, size) in enumerate(zip(self.names, self.sizes, strict=True)):
            own = self.units[source]
            if own < (1 if self.batches == "one_source" else self.steps_per_epoch):
                whole = "one step of an epoch" if self.batches == "one_source" else "one row of a batch"
                raise RecipeError(f"source {name!r} gets less than {whole}; raise its weight or leave it out.")
            most = self._most_rows(source)
            if size < ROOM * most:
                raise RecipeError(
                    f"source {name!r} has {size} samples, but a batch takes up to {most} of them and {ROOM} times as "
                    "many are needed; lower train.global_batch or its weight, or give more data."
                )

    @property
    def num_samples(self) -> int:
        """Samples of all sources."""
        return sum(self.sizes)

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in one epoch of the mixture."""
        return self.num_samples // self.global_batch

    @cached_property
    def units(self) -> tuple[int, ...]:
        """Steps ("one_source") or rows ("all_sources") of each source in one epoch of the mixture."""
        total = self.steps_per_epoch * (1 if self.batches == "one_source" else self.global_batch)
        return _apportion(total, self.weights or tuple(map(float, self.sizes)))

    def __call__(self, step: int) -> tuple[Int[np.ndarray, " B"], Int[np.ndarray, " B"]]:
        """Return the samples of the global batch of `step` (from 0), and for each the epoch of its source."""
        offsets = [0, *accumulate(self.sizes)]
        epochs, indices, places = [], [], []
        for source, (begin, end) in enumerate(self._rows(step)):
            own_epochs, own = _stream(self.sizes[source], self._most_rows(source), self.seed, source, begin, end)
            epochs.append(own_epochs)
            indices.append(own + offsets[source])
            places.append((np.arange(end - begin) + 0.5) / max(1, end - begin))
        spread = np.argsort(np.concatenate(places), kind="stable")  # so that every rank has its share of every source
        return np.concatenate(epochs)[spread], np.concatenate(indices)[spread]

    def source_of(self, step: int) -> int:
        """Return whose turn a step is ("one_source")."""
        return int(_turns(self.units)[0][step % self.steps_per_epoch])

    def _rows(self, step: int) -> list[tuple[int, int]]:
        """Return from where to where in its endless row of samples each source is used by a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self.batches == "one_source":
            turns, before = _turns(self.units)
            done = epoch * self.units[turns[place]] + int(before[place])
            batch = (done * self.global_batch, (done + 1) * self.global_batch)
            return [batch if source == turns[place] else (0, 0) for source in range(len(self.sizes))]
        begins, ends = (self._rows_before(place + later) for later in (0, 1))
        done = [epoch * units for units in self.units]
        return [(old + begin, old + end) for old, begin, end in zip(done, begins, ends, strict=True)]

    def _rows_before(self, place: int) -> list[int]:
        """Return how many rows of each source the first `place` steps of an epoch take, `global_batch` a step in all.

        The bounds between the sources are rounded down, so each source is within one row of its share.
        """
        bounds = [units * place // self.steps_per_epoch for units in accumulate(self.units, initial=0)]
        return [end - begin for begin, end in pairwise(bounds)]

    def _most_rows(self, source: int) -> int:
        """Return the most rows that a batch takes of a source."""
        if self.batches == "one_source":
            return self.global_batch
        return min(self.global_batch, self.units[source] // self.steps_per_epoch + 2)


def _apportion(total: int, weights: Sequence[float]) -> tuple[int, ...]:
    """Return whole numbers of sum `total` in proportion to `weights`, each less than 1 away: by largest remainder."""
    exact = np.asarray(weights) / sum(weights) * total
    whole = np.floor(exact).astype(int)
    rest = np.argsort(-(exact - whole), kind="stable")[: total - int(whole.sum())]
    whole[rest] += 1
    return tuple(whole.tolist())


@lru_cache(maxsize=2)
def _turns(counts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return whose turn each step of an epoch is, and how many turns that source had before it in the epoch.

    After every step the turns of each source differ from its share of the steps by less than one: of the sources that
    are far enough behind, the one goes that would first be late.
    """
    total, slack = sum(counts), max(1, 2 * len(counts) - 2)
    turns, before, done = np.zeros(total, np.int16), np.zeros(total, np.int64), [0] * len(counts)
    for step in range(1, total + 1):
        behind = [slack * (count * step - had * total) for count, had in zip(counts, done, strict=True)]
        due = [source for source, steps in enumerate(behind) if steps >= total]
        turn = min(due, key=lambda source: ((slack - 1) * total - behind[source]) / counts[source])
        turns[step - 1], before[step - 1] = turn, done[turn]
        done[turn] += 1
    return turns, before


def _stream(
    size: int, most: int, seed: int, source: int, begin: int, end: int
) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
    """Return the rows at the places [begin, end) of a source's endless row of epochs, and their epochs."""
    epochs, places = np.divmod(np.arange(begin, end), size)
    rows = np.empty(len(places), np.int64)
    for epoch in np.unique(epochs).tolist():
        rows[epochs == epoch] = _own_epoch(size, most, seed, source, epoch)[places[epochs == epoch]]
    return epochs, rows


@lru_cache(maxsize=KEPT_PERMUTATIONS)
def _own_epoch(size: int, most: int, seed: int, source: int, epoch: int) -> np.ndarray:
    """Return the order of a source's rows in one of its epochs.

    A batch of up to `most` rows may lie across the border of two epochs. For no row to stand in it twice, rows at the
    begin that were also at the end of the epoch before are exchanged for others from the middle. The ends stay as they
    were drawn, so that this asks for no epoch but the one before.
    """
    order = _drawn(size, seed, source, epoch)
    if epoch:
        last = np.sort(_drawn(size, seed, source, epoch - 1)[size - most :])
        again = np.flatnonzero(np.isin(order[:most], last))
        free = most + np.flatnonzero(~np.isin(order[most : size - most], last))[: len(again)]
        order[again], order[free] = order[free], order[again]
    return order


def _drawn(size: int, seed: int, source: int, epoch: int) -> np.ndarray:
    kind = np.int32 if size < 2**31 else np.int64
    return np.random.default_rng((seed, source, epoch)).permutation(np.arange(size, dtype=kind))
