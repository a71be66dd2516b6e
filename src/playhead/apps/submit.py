"""Submission files of the four challenges: written from a bundle, and held against the annotation file before upload.

A file is written beside its place first and moved there only if nothing is wrong with it.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from playhead.apps.heads import Challenge
from playhead.data.border import temporary_beside
from playhead.data.moment_answers import (
    check_moments,
    read_moment_answers,
    require_sound_moments,
    write_moment_submission,
)
from playhead.data.queries import read_query_clips
from playhead.data.query_answers import check_answers, read_answers, require_sound, write_answers
from playhead.data.query_rules import RELEASED
from playhead.data.segments import class_names, read_segments
from playhead.data.state_change import read_state_changes
from playhead.data.state_change_answers import check_answers as check_state_changes
from playhead.data.state_change_answers import write_oscc, write_pnr
from playhead.errors import RecipeError
from playhead.recipes.base import open_task
from playhead.tasks.language_query import LanguageQuery
from playhead.tasks.state_change import StateChange
from playhead.tasks.temporal_localization import TemporalLocalization
from playhead.train.evaluate import gather_answers

Task = LanguageQuery | TemporalLocalization | StateChange


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of a task lie, where that is elsewhere than in training; None leaves a place as it was."""

    annotations: Path | None = None
    """Annotation file of the split; for OSCC and PNR the folder that holds it."""
    features: tuple[Path, ...] | None = None
    """Folders of the clips' features (NLQ, MQ)."""
    text: Path | None = None
    """Folder of the queries' text features (NLQ)."""
    videos: Path | None = None
    """Folder of the videos (OSCC, PNR)."""


def submit(
    challenge: Challenge,
    bundle: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    split: str = "test",
    places: Places | None = None,
    batch_size: int = 16,
    workers: int = 0,
) -> int:
    """Answer a split with a bundle, check the answers, write the file for the server; return the number of answers.

    Raises:
        RecipeError: the bundle is of another challenge.
        AnnotationError: a file is missing or broken, or the answers are not what the challenge takes.
    """
    model, task = open_task(Path(bundle))
    asked = _of_challenge(task, challenge, bundle)
    asked = _moved(asked, split, places or Places())
    answers = gather_answers(model, asked, split, batch_size=batch_size, workers=workers)
    with temporary_beside(out) as draft:
        _write(asked, challenge, answers, draft)
        check_submission(challenge, draft, _annotations(asked, split), classes=_classes(asked))
    return len(answers)


def check_submission(
    challenge: Challenge, path: Path, annotations: Path, *, classes: tuple[str, ...] | None = None
) -> None:
    """Hold a submission file against the annotation file of its split.

    `classes` are the names that MQ may answer; by default those that the annotation file has.

    Raises:
        AnnotationError: items are missing, doubled, unknown or out of range; names the kinds and the first of each.
    """
    if challenge == "nlq":
        require_sound(check_answers(read_answers(path), read_query_clips(annotations, RELEASED)), path)
    elif challenge == "mq":
        clips = read_segments(annotations)
        require_sound_moments(check_moments(read_moment_answers(path), clips, classes or class_names(clips)), path)
    else:
        check_state_changes(path, read_state_changes(annotations), challenge)


def _of_challenge(task: Any, challenge: Challenge, bundle: str | os.PathLike[str]) -> Task:
    kinds = {"nlq": LanguageQuery, "mq": TemporalLocalization, "oscc": StateChange, "pnr": StateChange}
    if not isinstance(task, kinds[challenge]):
        raise RecipeError(f"{challenge} asked for, but this bundle answers {type(task).__name__}.", path=bundle)
    if isinstance(task, StateChange) and task.kind not in (challenge, "both"):
        raise RecipeError(f"{challenge} asked for, but this bundle answers {task.kind}.", path=bundle)
    return task


def _moved(task: Task, split: str, places: Places) -> Task:
    if isinstance(task, StateChange):
        return replace(task, videos=places.videos or task.videos, annotations=places.annotations or task.annotations)
    features = replace(task.features, folders=places.features or task.features.folders)
    if isinstance(task, LanguageQuery):
        asked = {} if places.annotations is None else {f"{split}_queries": places.annotations}
        return replace(task, features=features, text=places.text or task.text, **asked)
    asked = {} if places.annotations is None else {f"{split}_segments": places.annotations}
    return replace(task, features=features, **asked)


def _annotations(task: Task, split: str) -> Path:
    if isinstance(task, StateChange):
        return task.file_of(split)
    if isinstance(task, LanguageQuery):
        return task.queries_of(split)
    path = {"train": task.train_segments, "val": task.val_segments, "test": task.test_segments}[split]
    assert path is not None  # the split was answered
    return path


def _classes(task: Task) -> tuple[str, ...] | None:
    return task.class_names() if isinstance(task, TemporalLocalization) else None


def _write(task: Task, challenge: Challenge, answers: list[Any], path: Path) -> None:
    if isinstance(task, LanguageQuery):
        write_answers(path, answers)
    elif isinstance(task, TemporalLocalization):
        write_moment_submission(path, task.submission(answers))
    else:
        changes, moments = task.submission(answers)
        if challenge == "oscc":
            write_oscc(path, changes)
        else:
            write_pnr(path, moments)
