"""The relevance of a video along its time line as points of an SVG, and where on it its moments lie."""

from collections.abc import Sequence
from dataclasses import dataclass

from playhead.apps.web.answers import MomentOut, RelevanceOut

WIDTH, HEIGHT = 1000.0, 100.0
_NARROWEST = 2.0  # of WIDTH: a moment of a second can be seen in a video of hours


@dataclass(frozen=True, slots=True)
class Bar:
    """A moment on the time line, in the units of the drawing."""

    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """What the page draws: the curve's points, the height from which on a window matches, and the moments."""

    points: str
    threshold: float
    bars: tuple[Bar, ...]


def draw(curve: RelevanceOut, moments: Sequence[MomentOut], duration: float) -> Drawing:
    """Return the drawing of a curve; it always has room for the threshold, so that curves can be compared by eye."""
    high = max([curve.threshold * 1.25, *curve.standing, 1e-6])
    low = min([0.0, *curve.standing])

    def down(value: float) -> float:
        return round(HEIGHT * (high - value) / (high - low), 1)

    def across(time: float) -> float:
        return round(WIDTH * min(max(time, 0.0), duration) / max(duration, 1e-6), 1)

    points = [f"{across(time)},{down(standing)}" for time, standing in zip(curve.times, curve.standing, strict=True)]
    bars = [Bar(across(one.start), max(_NARROWEST, round(across(one.end) - across(one.start), 1))) for one in moments]
    return Drawing(" ".join(points), down(curve.threshold), tuple(bars))
