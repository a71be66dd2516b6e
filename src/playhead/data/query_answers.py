"""Answers to language queries: the file that the NLQ challenge takes, checked against the queries it answers.

    {"version": "1.0", "challenge": "ego4d_nlq_challenge",
     "results": [{"clip_uid": ..., "annotation_uid": ..., "query_idx": 3, "predicted_times": [[1.5, 4.0], ...]}, ...]}

Times are seconds of the clip, the best window first.

Axis letters: Q queries, K windows of an answer.

Source: Ego4D, episodic memory, NLQ baseline.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from playhead.data.border import FilePath, brief, problem_lines, read_json, take, write_whole
from playhead.data.queries import ClipQuery, QueryClip, QueryClips
from playhead.data.query_rules import ONE_FRAME
from playhead.errors import AnnotationError

CHALLENGE, VERSION = "ego4d_nlq_challenge", "1.0"
MOST_WINDOWS = 5  # of an answer; the challenge looks at no more
PROBLEMS = ("missing", "duplicate", "unknown", "out_of_range", "no_window", "too_many_windows")


@dataclass(frozen=True, slots=True, eq=False)
class QueryAnswer:
    """The windows that answer one query in seconds of its clip, best first, with their scores where known.

    `query_id` is that of `ClipQuery`, made of the three names.
    """

    clip_id: str
    annotation_id: str
    index: int
    windows: Float64[ndarray, "K 2"]
    scores: Float64[ndarray, " K"] | None = None
    query_id: str = field(init=False)

    def __post_init__(self):
        # Made once: checking and pairing ask for it many times, and a real file has thousands of answers.
        object.__setattr__(self, "query_id", f"{self.clip_id}/{self.annotation_id}/{self.index}")


def write_answers(path: FilePath, answers: Iterable[QueryAnswer]) -> None:
    """Write the file that the challenge takes, which has no place for scores.

    Raises:
        AnnotationError: a time is not finite, or the folder cannot be written.
    """
    results = []
    for answer in answers:
        if not np.isfinite(answer.windows).all():
            raise AnnotationError(
                f"query {answer.query_id!r} has a time that is not finite; nothing written.", path=path
            )
        results.append(
            {
                "clip_uid": answer.clip_id,
                "annotation_uid": answer.annotation_id,
                "query_idx": answer.index,
                "predicted_times": answer.windows.tolist(),
            }
        )
    with write_whole(path) as file:
        json.dump({"version": VERSION, "challenge": CHALLENGE, "results": results}, file)


def read_answers(path: FilePath) -> list[QueryAnswer]:
    """Read a file of answers in its order; whether they fit the queries is for `check_answers` to say.

    Raises:
        AnnotationError: not this layout; names the answer.
    """
    content = read_json(path)
    results = take(content, "results", list, path, "file")
    if content.get("challenge", CHALLENGE) != CHALLENGE:
        problem = f"answers to {brief(content['challenge'])}, not to {CHALLENGE!r}; give the file of this challenge."
        raise AnnotationError(problem, path=path)
    answers = []
    for number, record in enumerate(results):
        where = f"answer number {number}"
        clip_id, annotation_id = (take(record, key, str, path, where) for key in ("clip_uid", "annotation_uid"))
        windows = take(record, "predicted_times", list, path, where)
        if not all(map(_is_window, windows)):
            needed = f"{where}: 'predicted_times' must be a list of [start, end] in seconds"
            raise AnnotationError(f"{needed}, found {brief(windows)}; correct it.", path=path)
        times = np.array(windows, dtype=np.float64).reshape(-1, 2)
        answers.append(QueryAnswer(clip_id, annotation_id, take(record, "query_idx", int, path, where), times))
    return answers


def _is_window(window: Any) -> bool:
    """Whether it is two numbers; which, is for `check_answers` to judge."""
    return (
        isinstance(window, list)
        and len(window) == 2
        and all(isinstance(time, float) or (type(time) is int and abs(time) < 2**53) for time in window)
    )


@dataclass(frozen=True, slots=True)
class AnswerCheck:
    """What is wrong with a set of answers: for each of `PROBLEMS`, the queries that have it, told in words."""

    queries: int
    answers: int
    problems: dict[str, tuple[str, ...]]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.problems.values())

    def lines(self, most: int = 8) -> list[str]:
        """Return one line per problem found, each naming up to `most` queries."""
        return problem_lines(self.problems, most)


def check_answers(
    answers: Sequence[QueryAnswer], clips: QueryClips, *, most_windows: int = MOST_WINDOWS, tolerance: float = ONE_FRAME
) -> AnswerCheck:
    """Hold answers against the queries of `clips`, one answer for each query.

    "unknown" answers name no query of the file, or one without a text. A window is "out_of_range" if it is not finite,
    ends before it starts, begins before the clip or ends more than `tolerance` seconds after it.
    """
    known = {query.query_id: clip for clip, query in _asked(clips)}
    counts = Counter(answer.query_id for answer in answers)
    found: dict[str, list[str]] = {kind: [] for kind in PROBLEMS}
    found["missing"] = [query_id for query_id in known if query_id not in counts]
    found["duplicate"] = [f"{query_id} {count} times" for query_id, count in counts.items() if count > 1]
    for answer in answers:
        clip = known.get(answer.query_id)
        if clip is None:
            found["unknown"].append(answer.query_id)
            continue
        starts, ends = answer.windows.T
        inside = (starts >= 0) & (starts <= ends) & (ends <= clip.duration + tolerance)  # NaN is never inside
        found["out_of_range"] += [
            f"{answer.query_id} window {place} [{starts[place]:g}, {ends[place]:g}] of {clip.duration:g} s"
            for place in np.flatnonzero(~inside)
        ]
        if len(starts) == 0:
            found["no_window"].append(answer.query_id)
        if len(starts) > most_windows:
            found["too_many_windows"].append(f"{answer.query_id} {len(starts)}")
    return AnswerCheck(len(known), len(answers), {kind: tuple(names) for kind, names in found.items()})


def require_sound(check: AnswerCheck, path: FilePath, but: Sequence[str] = ()) -> None:
    """Check that nothing is wrong with the answers in `path`, except the problems named in `but`.

    Raises:
        AnnotationError: something is; names each problem with its first queries.
    """
    wrong = AnswerCheck(
        check.queries, check.answers, {kind: found for kind, found in check.problems.items() if kind not in but}
    )
    if not wrong.is_sound:
        told = f"{check.answers} answers to {check.queries} queries are not as the challenge takes them"
        raise AnnotationError(f"{told}: {'; '.join(wrong.lines(3))}.", path=path)


@dataclass(frozen=True, slots=True)
class PairedAnswers:
    """Windows beside the truths they are scored against, NaN where there is no window; `num_queries` were asked."""

    windows: Float64[ndarray, "Q K 2"]
    truths: Float64[ndarray, "Q 2"]
    submitted: Bool[ndarray, " Q"]
    num_queries: int


def pair_answers(answers: Sequence[QueryAnswer], clips: QueryClips, *, as_submitted: bool = False) -> PairedAnswers:
    """Lay answers beside the file's own times of the queries, one row for each query in file order.

    `as_submitted` gives what the official evaluation sees: one row per answer in the order of `answers`, a query that
    is answered twice counts twice, and none is missed. Read `clips` by the rules `RELEASED`: those of training leave
    queries out.

    Raises:
        AnnotationError: an answer is to no query of the file or (unless `as_submitted`) to one that was answered
            before, or the file has no times to score against; names it.
    """
    queries = [query for clip in clips for query in clip.queries]
    place = {query.query_id: row for row, query in enumerate(queries)}
    found = [place.get(answer.query_id) for answer in answers]
    if None in found:
        unknown = answers[found.index(None)].query_id
        raise AnnotationError(f"there is an answer to {unknown!r}, but no such query; is it the right split?")
    rows, windows = np.array(found, dtype=np.int64), [answer.windows for answer in answers]
    asked = np.array([query.text != "" for query in queries], dtype=bool)
    truths, num_queries = _truths(queries), int(asked.sum())
    if as_submitted:
        each = np.arange(len(rows))
        return PairedAnswers(_padded(windows, each, len(rows)), truths[rows], each >= 0, num_queries)
    submitted = np.bincount(rows, minlength=len(queries))
    if (submitted > 1).any():
        twice = queries[int(submitted.argmax())].query_id
        raise AnnotationError(f"query {twice!r} is answered twice; keep one answer.")
    if (submitted[~asked] > 0).any():
        blank = queries[int((~asked & (submitted > 0)).argmax())].query_id
        raise AnnotationError(f"there is an answer to {blank!r}, which has no text; leave it out.")
    padded = _padded(windows, rows, len(queries))
    return PairedAnswers(padded[asked], truths[asked], submitted[asked] > 0, num_queries)


def _truths(queries: Sequence[ClipQuery]) -> Float64[ndarray, "Q 2"]:
    """Return the file's own times of all queries."""
    starts, ends = [query.raw_start for query in queries], [query.raw_end for query in queries]
    if None in starts or None in ends:
        blank = next(query.query_id for query in queries if query.raw_start is None or query.raw_end is None)
        raise AnnotationError(f"query {blank!r} has no answer in the file to be scored against: a test split?")
    return np.stack([np.array(times, dtype=np.float64) for times in (starts, ends)], axis=1)


def _padded(windows: Sequence[ndarray], rows: ndarray, num_rows: int) -> Float64[ndarray, "Q K 2"]:
    """Lay windows[i] into row rows[i], from the left; the rest is NaN."""
    lengths = np.fromiter(map(len, windows), dtype=np.int64, count=len(windows))
    padded = np.full((num_rows, int(lengths.max(initial=0)), 2), np.nan)
    if len(windows):
        given = np.arange(padded.shape[1]) < lengths[:, None]
        in_order = np.full((len(windows), padded.shape[1], 2), np.nan)
        in_order[given] = np.concatenate(windows)
        padded[rows] = in_order
    return padded


def _asked(clips: Iterable[QueryClip]) -> Iterator[tuple[QueryClip, ClipQuery]]:
    """Yield the queries that have a text, each with its clip."""
    return ((clip, query) for clip in clips for query in clip.queries if query.text)
