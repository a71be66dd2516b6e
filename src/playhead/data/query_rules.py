"""What becomes of language queries without a text, and of answers that are no sound span of their clip."""

import math
from dataclasses import dataclass
from typing import Literal

from playhead.types import Span

ONE_FRAME = 1 / 30  # seconds; Ego4D's videos have 30 frames per second
FAULTS = {
    "no_text": "the text is missing or blank",
    "not_finite": "a time is not finite",
    "ends_before_start": "the answer ends before it starts",
    "outside_clip": "the answer is not within its clip",
    "zero_length": "the answer ends where it starts",
}


@dataclass(frozen=True, kw_only=True)
class SpanRules:
    """What to do with each fault of a query; readers count every use.

    "drop" leaves the query out; its place in the file stays taken. "keep" keeps it with the times of the file, without
    a span where those are none. "error" stops.
    """

    no_text: Literal["drop", "keep", "error"] = "drop"
    """The text is missing, null or blank."""
    not_finite: Literal["error", "drop", "keep"] = "error"
    """A time is NaN or infinite."""
    ends_before_start: Literal["drop", "keep", "error"] = "drop"
    """The ends are swapped."""
    outside_clip: Literal["cut", "drop", "keep", "error"] = "cut"
    """The answer begins before the clip or ends after it; "cut" drops those of which nothing lies inside."""
    zero_length: Literal["widen", "drop", "keep", "error"] = "widen"
    """The answer ends where it starts (8.9 % of release 1); "widen" makes it one frame (1/30 s) long."""


RELEASED = SpanRules(not_finite="keep", ends_before_start="keep", outside_clip="keep", zero_length="keep")
"""As the reference reads: every query with a text, its times untouched. It is also what the challenge scores."""


def settle(start: float, end: float, duration: float, rules: SpanRules) -> tuple[Span | None, str, str]:
    """Return the span of an answer in a clip of `duration` seconds, its fault ("" if none), and the rule applied to it.

    The span is None where none is sound and no rule makes one. The rule is "drop" where "cut" leaves nothing.
    """
    if not (math.isfinite(start) and math.isfinite(end)):
        return None, "not_finite", rules.not_finite
    if end < start:
        return None, "ends_before_start", rules.ends_before_start
    if start < 0 or end > duration:
        if rules.outside_clip == "cut":
            first, last = max(start, 0.0), min(end, duration)
            return (Span(first, last), "outside_clip", "cut") if first < last else (None, "outside_clip", "drop")
        if rules.outside_clip != "keep":
            return None, "outside_clip", rules.outside_clip
    if start == end:
        # At the very end of the clip there is no room behind it.
        first = max(0.0, duration - ONE_FRAME) if duration - ONE_FRAME < start <= duration else start
        widened = Span(first, first + ONE_FRAME) if rules.zero_length == "widen" else None
        return widened, "zero_length", rules.zero_length
    return Span(start, end), "", "keep"
