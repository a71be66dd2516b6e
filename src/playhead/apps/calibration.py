"""Scores that can be compared between queries: how far a window stands out from what this index scores anyway.

A cosine alone says little: some queries are near to everything, some to nothing. So a window's *standing* for a query
is counted in standard deviations above the index's background for that same query. And because even the best of many
unrelated windows stands out a little, it is held against the best that unrelated queries find in the same index: the
stock queries below, of which hardly any library shows more than a few.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from playhead.apps.matrix import Windows

STOCK = (
    *("play the violin", "ride a camel through the desert", "launch a rocket", "milk a cow", "perform heart surgery"),
    *("score a penalty kick", "climb a glacier", "conduct an orchestra", "weld a steel beam", "land an airplane"),
    *("dance the tango", "shear a sheep", "surf a big wave", "fire a cannon", "harvest grapes in a vineyard"),
    *(
        "drive a race car",
        "dive at a coral reef",
        "give a speech in parliament",
        "blow glass",
        "juggle burning torches",
    ),
    *("feed a giraffe at the zoo", "ski down a mountain", "forge a sword", "fly a hot air balloon", "box in a ring"),
    *("row a boat on a river", "a thunderstorm at night", "a crowded stadium", "an elephant in the savanna"),
    *("a volcano erupting", "a submarine under the ice", "a wedding in a church", "a train crossing a bridge"),
    *("fireworks above a city", "a courtroom with a judge", "a newborn baby in a hospital", "a herd of horses"),
    *(
        "an astronaut in space",
        "a knight in armour",
        "a lighthouse in a storm",
        "a penguin colony",
        "a snake in the grass",
    ),
    *("shoot an arrow at a target", "x-ray a broken leg", "skate on a frozen lake", "a lion hunting a zebra"),
    *("throw a javelin", "ring a church bell", "brand a calf", "a whale jumping out of the sea"),
)
"""Queries that hardly any library of one's own videos shows more than a few of."""

SAMPLE = 4096
"""So many windows, evenly spread over the index, tell its background."""

PRIOR_WEIGHT = 200.0
"""An index of so many windows is half its own background; in a smaller one everything may be what is asked for."""

MATCH = 0.98
"""From this confidence on an answer counts as a match."""

_FLOOR = 1e-3  # of a deviation of cosines: vectors in single precision agree to better
_BEST_FLOOR = 0.25  # of the deviation of the best standings, so that a handful of equal ones does not decide


@dataclass(frozen=True, slots=True)
class Background:
    """What unrelated windows score for one query: the cosine in the middle, and the deviation from it."""

    level: float
    deviation: float

    def standing(self, scores: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
        """Return how many deviations each cosine lies above the level."""
        return (scores - self.level) / self.deviation


@dataclass(frozen=True, slots=True)
class Calibration:
    """The background of an index. `best` is the standing that an unrelated query's best window has, with deviation."""

    sample: Float[ndarray, "n E"]
    stock_level: float
    stock_deviation: float
    best: float
    best_deviation: float

    def background(self, scores: Float[ndarray, " n"]) -> Background:
        """Return the background of a query by its cosine to each window of the sample."""
        return _background(scores, self.stock_level, self.stock_deviation)

    def confidence(self, standing: float) -> float:
        """Return the share of unrelated queries (0 to 1) whose best window stands out less than this."""
        return 0.5 * (1 + math.erf((standing - self.best) / self.best_deviation / math.sqrt(2)))

    @property
    def match_from(self) -> float:
        """The standing from which on an answer counts as a match."""
        return self.best + _Z_OF_MATCH * self.best_deviation


def calibrate(windows: Windows, encode: Callable[[list[str]], Float[ndarray, "Q E"]]) -> Calibration:
    """Measure the background of an index; `encode` gives one unit row per text.

    Deviations are those below the median alone, which matches, being above it, do not reach; and so is that of the best
    standings, so that an index which does show some of the stock queries is not taken for one where that is usual.
    """
    stock = encode(list(STOCK))
    number = len(windows.times)
    if number == 0:
        return Calibration(np.zeros((0, stock.shape[1]), np.float32), 0.0, 1.0, 0.0, 1.0)
    sample = windows.read(np.unique(np.linspace(0, number - 1, min(number, SAMPLE)).round().astype(np.int64)))
    scores = sample @ stock.T  # (n, stock queries)
    level, deviation = float(np.median(scores)), max(_FLOOR, _lower_deviation(scores.reshape(-1)))
    grounds = [_background(column, level, deviation) for column in scores.T]
    best = np.array([ground.standing(most[None])[0] for ground, most in zip(grounds, windows.best(stock), strict=True)])
    return Calibration(sample, level, deviation, float(np.median(best)), max(_BEST_FLOOR, _lower_deviation(best)))


def _background(scores: ndarray, level: float, deviation: float) -> Background:
    """Return the median and lower deviation of some cosines, drawn towards a prior by `PRIOR_WEIGHT` windows."""
    if len(scores) == 0:
        return Background(level, deviation)
    own = len(scores) / (len(scores) + PRIOR_WEIGHT)
    variance = own * _lower_deviation(scores) ** 2 + (1 - own) * deviation**2
    return Background(own * float(np.median(scores)) + (1 - own) * level, max(_FLOOR, math.sqrt(variance)))


def _lower_deviation(values: ndarray) -> float:
    """Return the root of the mean square of what lies below the median, as the whole deviates if it is symmetric."""
    median = np.median(values)
    below = values[values <= median].astype(np.float64) - median
    return float(np.sqrt(np.mean(below**2)))


_Z_OF_MATCH = 2.054  # a normal variable is below its mean plus so many deviations with probability MATCH
