"""What is asked of an index: words, pictures and clips that a moment must fit or must not, and which videos count."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from fnmatch import fnmatch
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from playhead.apps.store import VideoRow
from playhead.errors import SearchError
from playhead.types import Clip, ClipRef

Wanted = str | os.PathLike[str] | ClipRef | Clip | UInt8[Tensor, "T C H W"]
"""Words (a str); the file of a picture or video (a Path); a piece of a video; frames."""

MOST_LETTERS = 200_000
"""A longer text is refused; of a shorter one the model reads as much as it can."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """Which videos of an index count; all that is given must hold.

    Raises:
        ValueError: a length is negative or not a number, or nothing can meet both ends.
    """

    files: tuple[str, ...] = ()
    """Patterns such as "*.mkv" or "*/kitchen/*": one of them fits the file's name or its whole path."""
    after: datetime | date | None = None
    """Changed at this time or later; a date begins at midnight here."""
    before: datetime | date | None = None
    """Changed before this time."""
    min_seconds: float | None = None
    """At least so long."""
    max_seconds: float | None = None
    """At most so long."""

    def __post_init__(self):
        for name in ("min_seconds", "max_seconds"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"`{name}` must be a number of at least 0, got {value}.")
        for low, high, what in (
            (self.min_seconds, self.max_seconds, "min_seconds is above max_seconds"),
            (_seconds(self.after), _seconds(self.before), "`after` is later than `before`"),
        ):
            if low is not None and high is not None and low > high:
                raise ValueError(f"{what}; no video can meet both.")

    @property
    def is_all(self) -> bool:
        """Whether every video counts."""
        return self == Where()

    def fits(self, row: VideoRow) -> bool:
        """Say whether a video counts."""
        changed, after, before = row.mtime_ns / 1e9, _seconds(self.after), _seconds(self.before)
        return (
            (not self.files or any(_fits(row.path, pattern) for pattern in self.files))
            and (after is None or changed >= after)
            and (before is None or changed < before)
            and (self.min_seconds is None or row.duration >= self.min_seconds)
            and (self.max_seconds is None or row.duration <= self.max_seconds)
        )

    def choose(self, rows: Sequence[VideoRow]) -> Mapping[str, str]:
        """Return the videos that count: content -> path; of equal files the first that fits."""
        chosen: dict[str, str] = {}
        for row in rows:
            if row.video_id not in chosen and self.fits(row):
                chosen[row.video_id] = row.path
        return chosen


@dataclass(frozen=True, slots=True)
class Request:
    """Every one of `wanted` must fit a moment, and none of `unwanted`."""

    wanted: tuple[Wanted, ...]
    unwanted: tuple[Wanted, ...] = ()

    @classmethod
    def of(cls, asked: Wanted | Sequence[Wanted], without: Wanted | Sequence[Wanted] = ()) -> "Request":
        """Return the request for one thing or several.

        Raises:
            SearchError: nothing is wanted, or a text is empty or absurdly long.
        """
        request = cls(_listed(asked), _listed(without))
        if not request.wanted:
            raise SearchError("nothing was asked for. Say in a few words what to look for.")
        for item in (*request.wanted, *request.unwanted):
            if isinstance(item, str):
                _check_text(item)
        return request

    def told(self) -> str:
        """Return the request in words."""
        told = " and ".join(tell(item) for item in self.wanted)
        return told + "".join(f", not {tell(item)}" for item in self.unwanted)


def tell(item: Wanted) -> str:
    """Return what is wanted in words: a text as it is, a file by its name."""
    match item:
        case str():
            return item
        case ClipRef():
            return f"{Path(item.video_id).name} {item.span.start:.1f}-{item.span.end:.1f} s"
        case os.PathLike():
            return Path(item).name
        case _:
            return "the frames given"


def read_date(text: str) -> datetime | date:
    """Return the day or time that a text such as 2025-03-01 or 2025-03-01T12:30 names.

    Raises:
        SearchError: it names none.
    """
    try:
        return date.fromisoformat(text) if len(text) <= 10 else datetime.fromisoformat(text)
    except ValueError as error:
        raise SearchError(f"{text!r} is no date; write 2025-03-01 or 2025-03-01T12:30.") from error


def _listed(asked: Wanted | Sequence[Wanted]) -> tuple[Wanted, ...]:
    if isinstance(asked, str | os.PathLike | ClipRef | Clip | Tensor):
        return (asked,)
    return tuple(asked)


def _check_text(text: str):
    if not text.strip() or not any(letter.isprintable() and not letter.isspace() for letter in text):
        raise SearchError("the query is empty. Say in a few words what to look for.")
    if len(text) > MOST_LETTERS:
        raise SearchError(
            f"the query has {len(text):,} letters; {MOST_LETTERS:,} are read at most. Ask in a few words."
        )


def _fits(path: str, pattern: str) -> bool:
    return fnmatch(path, pattern) or fnmatch(os.path.basename(path), pattern)


def _seconds(when: datetime | date | None) -> float | None:
    """Return the seconds since 1970 of a time, of a day its first; without a zone the one of this machine holds."""
    if when is None:
        return None
    return (when if isinstance(when, datetime) else datetime.combine(when, time())).timestamp()
