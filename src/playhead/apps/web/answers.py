"""What the API takes and gives, and the work behind both it and the pages; each function runs in a thread of a gate."""

import glob
import math
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from playhead.apps.collection import Collection
from playhead.apps.request import Wanted, Where
from playhead.apps.search import Answers, FoundMoment
from playhead.apps.store import VideoRow
from playhead.errors import SearchError
from playhead.types import ClipRef, Span

Text = Annotated[str, Field(max_length=200_000)]
Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
MOST_MOMENTS = 100


class Frozen(BaseModel):
    """What all models of the API have in common: nothing unknown is taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Piece(Frozen):
    """A stretch of a video of the index."""

    video: str
    start: Seconds
    end: Seconds

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> "Piece":
        if self.end <= self.start:
            raise ValueError("a piece must end after its start")
        return self


class Words(Frozen):
    """What to look for in words: all of `q`, nothing of `without`, in the videos that fit the rest."""

    q: Annotated[list[Text], Field(max_length=8)] = []
    """Words; all must fit."""
    without: Annotated[list[Text], Field(max_length=8)] = []
    """Words that must not fit."""
    files: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=20)] = []
    """Patterns such as `*.mkv`; one must fit the file's name or path."""
    after: datetime | date | None = None
    before: datetime | date | None = None
    min_seconds: Seconds | None = None
    max_seconds: Seconds | None = None
    top: Annotated[int, Field(ge=1, le=MOST_MOMENTS)] = 10
    ground: bool = False
    """Let the network for language queries sharpen the ends."""
    verbatim: bool = False
    """Ask with the words as they are."""


class Question(Words):
    """What to look for, in words and by example."""

    like: Annotated[list[Piece], Field(max_length=4)] = []
    """Pieces of videos of the index; all must be alike."""


class MomentOut(BaseModel):
    """One answer."""

    video: str
    """Id of the video, for addresses."""
    file: str
    start: float
    end: float
    score: float
    """Cosine to what was asked."""
    standing: float
    """Deviations above the index's background; comparable between queries."""
    confidence: float
    matches: bool
    by: str
    page: str
    thumbnail: str
    strip: str


class AnswersOut(BaseModel):
    """The moments found, best first; where `matches` is false nothing here fits, and these are the nearest."""

    asked: str
    matches: bool
    moments: list[MomentOut]
    windows: int
    seconds: float
    exact: bool


class VideoOut(BaseModel):
    """A video of the index; `parts` are the addresses to play it from, and the second at which each begins."""

    video: str
    file: str
    duration: float
    width: int
    height: int
    num_windows: int
    parts: list[tuple[str, float]] = []


class RelevanceOut(BaseModel):
    """What each window scores along the time line; windows share a point where there are more than asked for."""

    times: list[float]
    starts: list[float]
    ends: list[float]
    scores: list[float]
    standing: list[float]
    threshold: float
    """The standing from which on a window matches."""


def wanted_of(collection: Collection, question: Question) -> list[Wanted]:
    """Return what is wanted; pieces only of videos that the index holds.

    Raises:
        SearchError: nothing is, or a piece is of no video of the index.
    """
    likes = [ClipRef(collection.by_id(one.video).path, Span(one.start, one.end)) for one in question.like]
    wanted: list[Wanted] = [*question.q, *likes]
    if not wanted:
        raise SearchError("nothing was asked for. Say in a few words what to look for.")
    return wanted


def search(collection: Collection, question: Question, only: VideoRow | None = None) -> Answers:
    """Return what the collection answers; with `only`, from this video alone.

    Raises:
        SearchError: nothing is asked, or no video can meet the filters.
    """
    files = tuple(question.files) if only is None else (glob.escape(only.path),)
    try:
        where = Where(
            files=files,
            after=question.after,
            before=question.before,
            min_seconds=question.min_seconds,
            max_seconds=question.max_seconds,
        )
    except (ValueError, OverflowError, OSError) as error:
        raise SearchError(f"{error} Change the filters.") from error
    return collection.search(
        wanted_of(collection, question),
        top=question.top,
        without=question.without,
        where=where,
        verbatim=question.verbatim,
        ground=question.ground,
    )


def relevance(collection: Collection, question: Question, row: VideoRow, points: int) -> RelevanceOut:
    """Return the curve along a video, of at most so many points, each the best of the windows it stands for."""
    curve = collection.relevance(
        wanted_of(collection, question), row.path, without=question.without, verbatim=question.verbatim
    )
    number = len(curve.times)
    each = max(1, math.ceil(number / points))
    best = [first + int(np.argmax(curve.standing[first : first + each])) for first in range(0, number, each)]
    return RelevanceOut(
        times=_rounded(curve.times[best]),
        starts=_rounded(curve.spans[best, 0]),
        ends=_rounded(curve.spans[best, 1]),
        scores=_rounded(curve.scores[best]),
        standing=_rounded(curve.standing[best]),
        threshold=round(float(curve.threshold), 4),
    )


def tell_moment(moment: FoundMoment) -> MomentOut:
    """Return a moment as the API gives it."""
    media, start, end = f"/media/{moment.content_id}", round(moment.span.start, 3), round(moment.span.end, 3)
    return MomentOut(
        video=moment.content_id,
        file=moment.file,
        start=start,
        end=end,
        score=round(moment.score, 6),
        standing=round(moment.standing, 4),
        confidence=round(moment.confidence, 6),
        matches=moment.matches,
        by=moment.by,
        page=f"/video/{moment.content_id}?t={start:g}&end={end:g}",
        thumbnail=f"{media}/thumbnail.jpg?t={(start + end) / 2:.1f}",
        strip=f"{media}/strip.jpg?start={start:g}&end={end:g}",
    )


def tell_answers(answers: Answers) -> AnswersOut:
    """Return answers as the API gives them."""
    return AnswersOut(
        asked=answers.told[:2000],
        matches=answers.matches,
        moments=[tell_moment(moment) for moment in answers],
        windows=answers.windows,
        seconds=round(answers.seconds, 4),
        exact=answers.exact,
    )


def tell_video(row: VideoRow, parts: Sequence[tuple[str, float]] = ()) -> VideoOut:
    """Return a row as the API gives it."""
    return VideoOut(
        video=row.video_id,
        file=row.path,
        duration=round(row.duration, 3),
        width=row.width,
        height=row.height,
        num_windows=row.num_windows,
        parts=list(parts),
    )


def name_of(path: str) -> str:
    """Return the last part of a path."""
    return Path(path).name or path


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]
