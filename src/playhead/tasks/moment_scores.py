"""Detected moments against annotated ones: from names and lists to the numbers that are reported."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from playhead.data.moment_answers import ByClip, MomentAnswers
from playhead.data.segments import SegmentClip, class_names
from playhead.errors import AnnotationError
from playhead.metrics.average_precision import CONVENTIONS, Convention, FoundSegments, TrueSegments, score_segments

MOST_NAMES = 5  # clips that an error names


@dataclass(frozen=True, slots=True)
class MomentTables:
    """Clips and classes as numbers, as the metrics want them; class k is `names[k]`."""

    truths: TrueSegments
    detected: FoundSegments
    retrieved: FoundSegments
    names: tuple[str, ...]


def moment_tables(answers: MomentAnswers, clips: Sequence[SegmentClip]) -> MomentTables:
    """Number clips and classes, those of the annotation first; labels that it does not have are class -1."""
    names = class_names(clips)
    class_of = {name: number for number, name in enumerate(names)}
    clip_of = {clip.clip_id: number for number, clip in enumerate(clips)}
    for clip_id in [*answers.detected, *answers.for_recall]:
        clip_of.setdefault(clip_id, len(clip_of))
    rows = [(clip_of[clip.clip_id], class_of[s.label], s.start, s.end) for clip in clips for s in clip.segments]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    truths = TrueSegments(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:])
    found = _found(answers.detected, clip_of, class_of)
    retrieved = found if answers.retrieved is None else _found(answers.retrieved, clip_of, class_of)
    return MomentTables(truths, found, retrieved, names)


def _found(by_clip: ByClip, clip_of: dict[str, int], class_of: dict[str, int]) -> FoundSegments:
    lengths = [len(moments) for moments in by_clip.values()]
    clips = np.repeat(np.array([clip_of[clip_id] for clip_id in by_clip], dtype=np.int64), lengths)
    classes = [class_of.get(label, -1) for moments in by_clip.values() for label in moments.labels]
    return FoundSegments(
        clips,
        np.array(classes, dtype=np.int64),
        np.concatenate([np.empty((0, 2)), *(moments.spans for moments in by_clip.values())]),
        np.concatenate([np.empty(0), *(moments.scores for moments in by_clip.values())]),
    )


def score_moments(
    answers: MomentAnswers,
    clips: Sequence[SegmentClip],
    convention: str | Convention = "official",
    *,
    name: str = "mq",
    on_missing: Literal["error", "count"] = "error",
    leave_out: Collection[str] = (),
) -> dict[str, float]:
    """Return "mq/mAP", "mq/mAP@0.5", "mq/R1x@0.5" and the like in percent, and how much they are of.

    "mq/clips" and "mq/segments" were asked for, and "mq/coverage" is the share of the clips that was answered;
    "mq/unknown_clips" were answered but not asked for: by every convention their detections are false.

    Args:
        answers: detections by clip.
        clips: the annotation.
        convention: a name of `CONVENTIONS`, or settings of one's own.
        name: what the keys begin with.
        on_missing: a clip without answer is an error, as in the official evaluation, or counts as nothing found.
        leave_out: clips that are not judged, as ActivityNet's videos that are no longer to be had.

    Raises:
        AnnotationError: no clip has a segment, as in a test split, or a clip is missing.
        ValueError: no convention of this name.
    """
    if isinstance(convention, str):
        if convention not in CONVENTIONS:
            raise ValueError(f"`convention` must be one of {', '.join(CONVENTIONS)}, got {convention!r}.")
        convention = CONVENTIONS[convention]
    out = frozenset(leave_out)
    clips, answers = [clip for clip in clips if clip.clip_id not in out], _without(answers, out)
    if not any(clip.segments for clip in clips):
        raise AnnotationError("no clip has a segment to be found, as in a test split; score another subset.")
    missing = [c.clip_id for c in clips if c.clip_id not in answers.detected or c.clip_id not in answers.for_recall]
    if missing and on_missing == "error":
        told = f"{', '.join(missing[:MOST_NAMES])}{', ...' if len(missing) > MOST_NAMES else ''}"
        raise AnnotationError(f"{len(missing)} of {len(clips)} clips have no answer: {told}; answer them all.")
    tables = moment_tables(answers, clips)
    found = score_segments(tables.truths, tables.detected, convention, retrieved=tables.retrieved)
    scores = {key: 100 * value for key, value in found.by_name.items()}
    asked = {clip.clip_id for clip in clips}
    counts = {
        "clips": len(clips),
        "segments": len(tables.truths),
        "coverage": 1 - len(missing) / len(clips),
        "unknown_clips": len({*answers.detected, *answers.for_recall} - asked),
    }
    return {f"{name}/{key}": float(value) for key, value in (scores | counts).items()}


def _without(answers: MomentAnswers, clip_ids: frozenset[str]) -> MomentAnswers:
    detected, retrieved = (
        {clip_id: moments for clip_id, moments in by_clip.items() if clip_id not in clip_ids}
        for by_clip in (answers.detected, answers.for_recall)
    )
    return MomentAnswers(detected, None if answers.retrieved is None else retrieved)
