"""Ask an index: ranked moments over all videos, or the relevance of one video along its time line."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from playhead.apps.calibration import MATCH, Background, Calibration
from playhead.apps.index import VideoIndex
from playhead.apps.matrix import MARGIN, Stretch, Windows
from playhead.apps.model import Model
from playhead.apps.request import Request, Where
from playhead.decoding.spans import merge_windows, shrunk_background
from playhead.errors import SearchError
from playhead.types import Moment, Span
from playhead.weights.bundle import Bundle

_MOST = 20_000  # windows that the approximate index is asked for at most
_SOME = 64  # windows of a long video that tell its background
_ANYWHERE = Where()


@dataclass(frozen=True, slots=True)
class FoundMoment:
    """One answer. `score` is the cosine of its best window to what was asked (of several things, to the least alike).

    `standing` counts deviations above what the index scores anyway, and can be compared between queries; `confidence`
    is the share of unrelated queries whose best moment stands out less. `content_id` is the same for copies of a file.
    """

    file: str
    span: Span
    score: float
    standing: float
    confidence: float
    content_id: str
    label: str = ""
    by: str = "windows"

    @property
    def matches(self) -> bool:
        """Whether it stands out more than the best of almost all unrelated queries."""
        return self.confidence >= MATCH

    def plain(self) -> Moment:
        """Return it as the `Moment` that all tasks share."""
        return Moment(self.file, self.span, self.score, self.label)


@dataclass(frozen=True, slots=True)
class Answers(Sequence[FoundMoment]):
    """The moments found, best first; a sequence of them. `told` is what was asked, in words.

    Moments that do not match are still given, since the nearest may be of use; `matches` says whether the best does.
    """

    moments: tuple[FoundMoment, ...]
    told: str
    windows: int
    """Windows that were searched."""
    seconds: float
    """How long it took."""
    exact: bool
    """Whether every window was scored, or the approximate index chose those that were."""

    @property
    def matches(self) -> bool:
        """Whether anything here is what was asked for."""
        return bool(self.moments) and self.moments[0].matches

    def __len__(self) -> int:
        return len(self.moments)

    def __getitem__(self, place):
        return self.moments[place]


@dataclass(frozen=True, slots=True)
class Relevance:
    """What each window of one video scores: `spans` and their middles `times` in seconds, in order of time."""

    spans: Float[ndarray, "S 2"]
    times: Float[ndarray, " S"]
    scores: Float[ndarray, " S"]
    """Cosine to what was asked."""
    standing: Float[ndarray, " S"]
    """Deviations above the background; see `FoundMoment`."""
    threshold: float
    """The standing from which on a window matches."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as vectors: the first `num_wanted` rows must fit, the others must not; and the index's background."""

    rows: Float[ndarray, "Q E"]
    num_wanted: int
    calibration: Calibration
    grounds: tuple[Background, ...] = field(init=False)

    def __post_init__(self):
        columns = (self.calibration.sample @ self.rows.T).T
        object.__setattr__(self, "grounds", tuple(self.calibration.background(column) for column in columns))

    def standing(self, scores: Float[ndarray, "n Q"]) -> Float[ndarray, " n"]:
        """Return one standing per window: the lowest of what is wanted, less the highest of what is not, if above 0."""
        each = [ground.standing(scores[:, place]) for place, ground in enumerate(self.grounds)]
        joined = np.minimum.reduce(each[: self.num_wanted])
        if len(each) > self.num_wanted:
            joined = joined - np.maximum(np.maximum.reduce(each[self.num_wanted :]), 0.0)
        return joined

    def usual(self) -> float:
        """Return the standing in the middle of the index's sample."""
        sample = self.calibration.sample
        return float(np.median(self.standing(sample @ self.rows.T))) if len(sample) else 0.0


def search(index: VideoIndex, bundle: Bundle, text: str, top: int = 5, *, fraction: float = 0.5) -> list[Moment]:
    """Return up to `top` distinct moments that fit `text`, best first; `video_id` is the path of the file.

    This is `ask` for one text as it stands, in the plain form that all tasks share.

    Raises:
        SearchError: the text is empty, or the index is of another model.
    """
    answers = ask(index, Model(bundle, ""), Request.of(text), top, fraction=fraction, verbatim=True)
    return [moment.plain() for moment in answers]


def ask(
    index: VideoIndex,
    model: Model,
    request: Request,
    top: int = 5,
    *,
    where: Where = _ANYWHERE,
    verbatim: bool = False,
    fraction: float = 0.5,
) -> Answers:
    """Return up to `top` distinct moments that fit the request, best first.

    Every window (above `neighbours.EXACT_UP_TO`: every window near the best that the approximate index knows) gets a
    standing (`calibration`). Windows of a video are merged into moments by `decoding.spans.merge_windows`, above a
    background that is the video's median standing drawn towards the index's; a moment's standing is that of its best
    window. Equals come in order of path, then of time. Texts are put as the model wants them, unless `verbatim`.

    Raises:
        SearchError: the index is of another model.
        DecodeError: a picture or clip of the request cannot be decoded.
    """
    if top < 1:
        raise ValueError(f"`top` must be at least 1, got {top}.")
    began = time.perf_counter()
    index.require(model.bundle)
    windows, calibration = index.searchable(model)
    asked = encode_request(model, request, calibration, verbatim=verbatim)
    chosen = None if where.is_all else where.choose(windows.times.rows)
    allowed = None if chosen is None else np.array([name in chosen for name in windows.times.video_ids], dtype=bool)
    found = _best_moments(windows, asked, allowed, top, fraction)
    moments = tuple(_found(one, windows, asked, chosen, request.told()) for one in found)
    counts = np.diff(windows.times.offsets)
    number = int(counts.sum() if allowed is None else counts[allowed].sum())
    return Answers(moments, request.told(), number, time.perf_counter() - began, windows.is_exact)


def relevance_along(
    index: VideoIndex, model: Model, request: Request, video: str | os.PathLike[str], *, verbatim: bool = False
) -> Relevance:
    """Return what each window of `video` scores: the curve along its time line.

    Raises:
        SearchError: the index is of another model, or does not hold `video`.
    """
    index.require(model.bundle)
    windows, calibration = index.searchable(model)
    place = _place_of(windows, video)
    asked = encode_request(model, request, calibration, verbatim=verbatim)
    first, stop = windows.times.offsets[place], windows.times.offsets[place + 1]
    scores = windows.read(np.arange(first, stop)) @ asked.rows.T
    spans = windows.times.spans[first:stop]
    wanted = scores[:, : asked.num_wanted].min(axis=1)
    threshold = asked.calibration.match_from
    return Relevance(spans, spans.mean(axis=1), wanted, asked.standing(scores), threshold)


def relevance(
    index: VideoIndex, bundle: Bundle, text: str, video: str | os.PathLike[str]
) -> tuple[Float[ndarray, " S"], Float[ndarray, " S"]]:
    """Return the middle of each window of `video` (seconds) and its cosine to `text`: the curve along the time line.

    Raises:
        SearchError: the text is empty, the index is of another model, or it does not hold `video`.
    """
    curve = relevance_along(index, Model(bundle, ""), Request.of(text), video, verbatim=True)
    return curve.times, curve.scores


def encode_request(model: Model, request: Request, calibration: Calibration, *, verbatim: bool) -> Asked:
    """Return a request as vectors.

    Raises:
        DecodeError: a picture or clip cannot be decoded.
    """
    items = (*request.wanted, *request.unwanted)
    texts = [item if verbatim else model.wording(item) for item in items if isinstance(item, str)]
    of_texts = iter(model.encode_text(texts))
    rows = [next(of_texts) if isinstance(item, str) else model.encode_video(item)[0] for item in items]
    return Asked(np.stack(rows), len(request.wanted), calibration)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A moment by its video, span and standing."""

    video: int
    span: Span
    standing: float
    score: float


def _best_moments(
    windows: Windows, asked: Asked, allowed: Bool[ndarray, " V"] | None, top: int, fraction: float
) -> list[_Candidate]:
    """Return the best moments; where only windows near good ones are looked at, of more of these if need be."""
    prior, count = asked.usual(), 20 + 8 * top
    while True:
        stretches = windows.stretches(asked.rows, asked.num_wanted, allowed, count)
        found = _merge(windows, asked, stretches, prior, top, fraction)
        number = sum(len(stretch.scores) for stretch in stretches)
        if windows.is_exact or len(found) >= top or count >= min(_MOST, len(windows.times)) or number == 0:
            return found[:top]
        count *= 4


def _merge(
    windows: Windows, asked: Asked, stretches: Sequence[Stretch], prior: float, top: int, fraction: float
) -> list[_Candidate]:
    moments: list[_Candidate] = []
    for stretch, standing in _best_first(stretches, asked):
        best = float(standing.max())
        if len(moments) >= top and best < moments[top - 1].standing:
            break  # no window of this stretch or of those after it can still get in
        stretch, standing = _widened(windows, asked, stretch, standing, prior, fraction)
        spans = windows.times.spans[stretch.first : stretch.stop]
        background = _video_background(windows, asked, stretch, standing, prior)
        for span, height in merge_windows(spans, standing, background=background, fraction=fraction, top=top):
            # The best window of a moment is its first of that height; others of the video may be as high.
            inside = np.flatnonzero((standing == height) & (spans[:, 1] > span.start) & (spans[:, 0] < span.end))
            score = float(stretch.scores[inside[0], : asked.num_wanted].min())
            moments.append(_Candidate(stretch.video, span, height, score))
        moments.sort(key=lambda one: (-one.standing, windows.times.paths[one.video], one.span.start))
        if not windows.is_exact:
            moments = _apart(moments)  # stretches of one video may have grown into each other
    return moments


def _apart(moments: Sequence[_Candidate]) -> list[_Candidate]:
    """Return the moments that overlap no better one of their video."""
    kept: list[_Candidate] = []
    for moment in moments:
        if not any(moment.video == other.video and moment.span.overlap(other.span) > 0 for other in kept):
            kept.append(moment)
    return kept


def _best_first(stretches: Sequence[Stretch], asked: Asked) -> Iterator[tuple[Stretch, ndarray]]:
    """Yield stretches with their standings, in order of the best of these; of equals, as they come."""
    standings = [asked.standing(stretch.scores) for stretch in stretches]
    best = np.array([-standing.max() for standing in standings])
    for place in np.argsort(best, kind="stable"):
        yield stretches[place], standings[place]


def _widened(
    windows: Windows, asked: Asked, stretch: Stretch, standing: ndarray, prior: float, fraction: float
) -> tuple[Stretch, ndarray]:
    """Return the stretch, made longer until its best moment ends inside it or with its video."""
    begin, end = (int(bound) for bound in windows.times.offsets[stretch.video : stretch.video + 2])
    margin = MARGIN
    while stretch.first > begin or stretch.stop < end:
        spans = windows.times.spans[stretch.first : stretch.stop]
        background = _video_background(windows, asked, stretch, standing, prior)
        ((span, _),) = merge_windows(spans, standing, background=background, fraction=fraction, top=1)
        cut_left = stretch.first > begin and span.start <= spans[0, 1]
        cut_right = stretch.stop < end and span.end >= spans[-1, 0]
        if not (cut_left or cut_right):
            break
        margin *= 2
        first = max(begin, stretch.first - margin) if cut_left else stretch.first
        stop = min(end, stretch.stop + margin) if cut_right else stretch.stop
        stretch = Stretch(stretch.video, first, windows.read(np.arange(first, stop)) @ asked.rows.T)
        standing = asked.standing(stretch.scores)
    return stretch, standing


def _video_background(windows: Windows, asked: Asked, stretch: Stretch, standing: ndarray, prior: float) -> float:
    """Return what an irrelevant window of the stretch's video stands; of a large index, by some windows all over it."""
    begin, end = (int(bound) for bound in windows.times.offsets[stretch.video : stretch.video + 2])
    if (stretch.first, stretch.stop) == (begin, end):
        return shrunk_background(standing, prior)
    some = np.unique(np.linspace(begin, end - 1, min(_SOME, end - begin)).round().astype(np.int64))
    known = asked.standing(windows.read(some) @ asked.rows.T)
    return shrunk_background(known, prior, weight=20.0 * len(some) / (end - begin))


def _found(
    one: _Candidate, windows: Windows, asked: Asked, chosen: Mapping[str, str] | None, label: str
) -> FoundMoment:
    content_id = windows.times.video_ids[one.video]
    return FoundMoment(
        file=windows.times.paths[one.video] if chosen is None else chosen[content_id],
        span=one.span,
        score=one.score,
        standing=one.standing,
        confidence=asked.calibration.confidence(one.standing),
        content_id=content_id,
        label=label,
    )


def _place_of(windows: Windows, video: str | os.PathLike[str]) -> int:
    """Return the number of a video; of files with equal content only the first has one, and it is theirs too."""
    path = str(Path(video).expanduser().resolve())
    content = next((row.video_id for row in windows.times.rows if row.path == path), None)
    if content is None:
        raise SearchError(
            "the index does not hold this video. Add its folder: playhead index <bundle> <folder>.", path=path
        )
    return windows.times.video_ids.index(content)
