"""Detected moments: the file that the MQ challenge takes and the one its evaluator reads, checked against the clips.

    {"version": "1.0", "challenge": "ego4d_moment_queries",              the challenge's
     "detect_results":   {clip: [{"label": ..., "score": 0.91, "segment": [1.5, 4.0]}, ...], ...},
     "retrieve_results": {clip: [...], ...}}
    {"version": "EGO4D", "results": {clip: [...]}, "external_data": {}}  the evaluator's, and ActivityNet's

Times are seconds of the clip. mAP is of the detections, in any order; Recall@kx is of the retrieved, the best first.

Axis letters: M detections of a clip.

Source: Ego4D, episodic memory, MQ; ActivityNet's evaluation server.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from playhead.data.border import FilePath, brief, problem_lines, read_json, take, write_whole
from playhead.data.segments import SegmentClip
from playhead.errors import AnnotationError
from playhead.types import Moment, Span

CHALLENGE, VERSION = "ego4d_moment_queries", "1.0"
RESULTS_VERSION = "EGO4D"  # what the released code writes into the evaluator's files
ONE_FRAME = 1 / 30  # seconds
PROBLEMS = ("missing", "unknown", "duplicate", "out_of_range", "unknown_label")


@dataclass(frozen=True, slots=True, eq=False)
class ClipMoments:
    """The detections of one clip, row by row, in seconds of the clip; a higher score is better.

    A span may have no length, since files round.
    """

    labels: tuple[str, ...]
    scores: Float64[ndarray, " M"]
    spans: Float64[ndarray, "M 2"]

    def __len__(self) -> int:
        return len(self.labels)

    def as_moments(self, video_id: str) -> list[Moment]:
        """Return those that have a length, as everything that asks and shows takes them."""
        rows = zip(self.labels, self.scores.tolist(), self.spans.tolist(), strict=True)
        return [Moment(video_id, Span(start, end), score, label) for label, score, (start, end) in rows if end > start]


ByClip = Mapping[str, ClipMoments]


@dataclass(frozen=True, slots=True, eq=False)
class MomentAnswers:
    """Detections by clip, in the order of the file; `retrieved` is None where a file has but one list."""

    detected: ByClip
    retrieved: ByClip | None = None

    @property
    def for_recall(self) -> ByClip:
        """The list that recall is measured on."""
        return self.detected if self.retrieved is None else self.retrieved


def read_moment_answers(path: FilePath) -> MomentAnswers:
    """Read either file; which one it is its keys say. Whether it fits the clips is for `check_moments` to say.

    Raises:
        AnnotationError: neither layout, no clip at all, or a number is not finite; names clip and detection.
    """
    content = read_json(path)
    keys = ("detect_results", "retrieve_results") if "detect_results" in _object(content, path) else ("results",)
    if content.get("challenge", CHALLENGE) != CHALLENGE:
        problem = f"answers to {brief(content['challenge'])}, not to {CHALLENGE!r}; give the file of this challenge."
        raise AnnotationError(problem, path=path)
    lists = [_read_list(take(content, key, dict, path, "file"), key, path) for key in keys]
    return MomentAnswers(*lists)


def write_moment_submission(path: FilePath, answers: MomentAnswers) -> None:
    """Write the file that the challenge takes; without a `retrieved` list, the detected one stands in both places.

    Raises:
        AnnotationError: a number is not finite, or the folder cannot be written.
    """
    detected, retrieved = (_records(by_clip, path) for by_clip in (answers.detected, answers.for_recall))
    head = {"version": VERSION, "challenge": CHALLENGE}
    with write_whole(path) as file:
        json.dump({**head, "detect_results": detected, "retrieve_results": retrieved}, file)


def write_moment_results(path: FilePath, detected: ByClip, version: str = RESULTS_VERSION) -> None:
    """Write one list of detections as the evaluators of Ego4D and ActivityNet read it.

    Raises:
        AnnotationError: as `write_moment_submission`.
    """
    records = _records(detected, path)
    with write_whole(path) as file:
        json.dump({"version": version, "results": records, "external_data": {}}, file)


@dataclass(frozen=True, slots=True)
class MomentCheck:
    """What is wrong with answers: for each of `PROBLEMS`, the clips or detections that have it, told in words."""

    clips: int
    answered: int
    problems: dict[str, tuple[str, ...]]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.problems.values())

    def lines(self, most: int = 8) -> list[str]:
        """Return one line per problem found, each naming up to `most` places."""
        return problem_lines(self.problems, most)


def check_moments(
    answers: MomentAnswers, clips: Sequence[SegmentClip], labels: Collection[str], *, tolerance: float = ONE_FRAME
) -> MomentCheck:
    """Hold answers against the clips that are asked about and the names of the classes.

    A clip is "missing" where either list has no entry, not even an empty one, for it, and "unknown" where only the list
    has it. A detection is "out_of_range" if it ends before it starts, begins before its clip or ends more than
    `tolerance` seconds after it, and a "duplicate" if a list has its clip, label and times twice.
    """
    known, names = {clip.clip_id: clip for clip in clips}, frozenset(labels)
    found: dict[str, list[str]] = {kind: [] for kind in PROBLEMS}
    lists = {"detect": answers.detected} | ({} if answers.retrieved is None else {"retrieve": answers.retrieved})
    for kind, by_clip in lists.items():
        found["missing"] += [f"{clip_id} in {kind}" for clip_id in known if clip_id not in by_clip]
        for clip_id, moments in by_clip.items():
            if clip_id not in known:
                found["unknown"].append(f"{clip_id} in {kind}")
                continue
            for problem, row, told in _problems_of(moments, known[clip_id], names, tolerance):
                found[problem].append(f"{clip_id} {kind} {row + 1}{told}")
    answered = sum(all(clip_id in by_clip for by_clip in lists.values()) for clip_id in known)
    return MomentCheck(len(known), answered, {kind: tuple(places) for kind, places in found.items()})


def _problems_of(
    moments: ClipMoments, clip: SegmentClip, names: frozenset[str], tolerance: float
) -> Iterator[tuple[str, int, str]]:
    """Yield (kind of problem, row, more about it)."""
    last = math.inf if clip.duration is None else clip.duration + tolerance
    seen: set[tuple[str, float, float]] = set()
    for row, (label, (start, end)) in enumerate(zip(moments.labels, moments.spans.tolist(), strict=True)):
        if label not in names:
            yield "unknown_label", row, f" {label!r}"
        if not 0 <= start <= end <= last:
            yield "out_of_range", row, f" [{start:g}, {end:g}]"
        if (label, start, end) in seen:
            yield "duplicate", row, ""
        seen.add((label, start, end))


def require_sound_moments(check: MomentCheck, path: FilePath, but: Sequence[str] = ()) -> None:
    """Check that nothing is wrong with the answers in `path`, except the problems named in `but`.

    Raises:
        AnnotationError: something is; names each problem with its first places.
    """
    problems = {kind: found for kind, found in check.problems.items() if kind not in but}
    wrong = MomentCheck(check.clips, check.answered, problems)
    if not wrong.is_sound:
        told = f"answers to {check.answered} of {check.clips} clips are not as the challenge takes them"
        raise AnnotationError(f"{told}: {'; '.join(wrong.lines(3))}.", path=path)


def _object(content: Any, path: FilePath) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise AnnotationError(f"'results' or 'detect_results' by clip needed, found {brief(content)}.", path=path)
    return content


def _read_list(by_clip: dict[str, Any], key: str, path: FilePath) -> ByClip:
    if not by_clip:
        raise AnnotationError(f"{key!r} is empty: no clip is answered; give the file of a finished run.", path=path)
    read = {}
    for clip_id in by_clip:
        where = f"{key}, clip {clip_id!r}"
        rows = [
            _row(record, path, f"{where}, detection {number}")
            for number, record in enumerate(take(by_clip, clip_id, list, path, where), start=1)
        ]
        numbers = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 3)
        read[clip_id] = ClipMoments(tuple(row[0] for row in rows), numbers[:, 0], numbers[:, 1:])
    return read


def _row(record: Any, path: FilePath, where: str) -> tuple[str, float, float, float]:
    label, score = take(record, "label", str, path, where), take(record, "score", float, path, where)
    ends = take(record, "segment", list, path, where)
    if len(ends) != 2:
        raise AnnotationError(f"{where}: 'segment' is a start and an end, found {brief(ends)}; correct it.", path=path)
    start, end = (take({"segment": end}, "segment", float, path, where) for end in ends)
    return label, score, start, end


def _records(by_clip: ByClip, path: FilePath) -> dict[str, list[dict[str, Any]]]:
    records = {}
    for clip_id, moments in by_clip.items():
        if not (np.isfinite(moments.scores).all() and np.isfinite(moments.spans).all()):
            raise AnnotationError(f"clip {clip_id!r} has a number that is not finite; nothing written.", path=path)
        rows = zip(moments.labels, moments.scores.tolist(), moments.spans.tolist(), strict=True)
        records[clip_id] = [{"label": label, "score": score, "segment": span} for label, score, span in rows]
    return records
