"""Kinetics-710: the union of Kinetics-400, -600 and -700, and how a classifier's rows go from one class set to another.

The three sets share most of their videos and classes, under names that changed over the years, and a training video of
one is now and then a validation video of another. `merge_kinetics` keeps each video once, under the name that
Kinetics-710 gives its class, and none for training that any of the three validates or tests with.

The order of the classes is OpenGVLab's, in which the classifiers of VideoMAE v2, InternVideo and UniFormerV2 are
published. mmaction2 has an order of its own (alphabetical), and three of its names differ; the two do not mix.

Source: InternVideo (Wang et al., 2022), section on supervised post-pretraining; UniFormerV2, appendix. Which videos
were merged is published by a link only, so numbers may differ from the published 658k and 67k.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Literal

from playhead.data.kinetics import KineticsRow
from playhead.errors import AnnotationError

ClassSet = Literal["k400", "k600", "k700", "k710"]
SETS: tuple[ClassSet, ...] = ("k400", "k600", "k700", "k710")

WITHOUT_ROW = frozenset({"chopping vegetables"})
"""Classes of official files that the published order does not have: this one of Kinetics-600. Left out in merging."""


@dataclass(frozen=True)
class Kinetics710:
    """The merged lists, and what was left out and why: reason -> number of rows."""

    train: tuple[KineticsRow, ...]
    val: tuple[KineticsRow, ...]
    left_out: Mapping[str, int]


@functools.cache
def _packaged() -> dict:
    text = resources.files("playhead.data").joinpath("class_names/kinetics710.json").read_text(encoding="utf-8")
    return json.loads(text)


def published_classes(name: ClassSet) -> tuple[str, ...]:
    """Return the class names of a set in the published order.

    "k400" is not alphabetical in Kinetics-710, and "k600" and "k700" have an order of their own as well; each holds
    Kinetics-710's name of every class.
    """
    names = _packaged()["k710"]
    return tuple(names) if name == "k710" else tuple(names[row] for row in _packaged()[name])


def current_name(name: str) -> str:
    """Return what Kinetics-710 calls a class; an unknown name is returned as it is.

    Two of Kinetics-400's names are read otherwise by the published `head[:400]` maps: they take "hugging" for "hugging
    baby" and "opening bottle" for "opening wine bottle", which the table of renamed classes contradicts. Here the table
    counts, also for "throwing ball", where it is not a class of its own.
    """
    classes = _packaged()["k710"]
    if name in classes:
        return name
    return _packaged()["renamed"].get(name, name)


def head_rows(source: Sequence[str], target: Sequence[str]) -> list[int | None]:
    """Return, for each class of `target`, the row of a classifier over `source` that tells it; None if there is none.

    A class is found by its name, or else by the name that Kinetics-710 gives it.
    """
    exact = {name: row for row, name in enumerate(source)}
    current = {current_name(name): row for row, name in reversed(list(enumerate(source)))}
    return [exact.get(name, current.get(current_name(name))) for name in target]


def merge_kinetics(sets: Mapping[str, Mapping[str, Sequence[KineticsRow]]]) -> Kinetics710:
    """Return Kinetics-710 from the rows of its sets: `sets[name][split]`, splits "train", "val" and (if known) "test".

    The sets go from the oldest to the newest; of a video in several the newest row counts, since classes were split and
    relabelled over time. A video that any set validates or tests with is no training video, and one that any tests with
    is no validation video of another set.

    Raises:
        AnnotationError: a set lacks "train" or "val", or a row has no class, or one that Kinetics-710 does not know.
    """
    known = frozenset(_packaged()["k710"])
    for name, splits in sets.items():
        if lacking := [split for split in ("train", "val") if not splits.get(split)]:
            raise AnnotationError(f"{name} has no rows of {lacking[0]!r}; the merged set needs both of each.")
    held_out = {
        split: {row.youtube_id for one in sets.values() for row in one.get(split, ())} for split in ("val", "test")
    }
    counts: dict[str, int] = {}
    train = _newest(sets, "train", known, counts)
    val = _newest(sets, "val", known, counts)
    train = _without(train, held_out["val"], "training videos that another set validates with", counts)
    train = _without(train, held_out["test"], "training videos that another set tests with", counts)
    val = _without(val, held_out["test"], "validation videos that another set tests with", counts)
    return Kinetics710(tuple(train.values()), tuple(val.values()), counts)


def _newest(
    sets: Mapping[str, Mapping[str, Sequence[KineticsRow]]], split: str, known: frozenset[str], counts: dict[str, int]
) -> dict[str, KineticsRow]:
    """Return one row per video, in the order in which the videos are first seen."""
    rows: dict[str, KineticsRow] = {}
    for name, splits in sets.items():
        for row in splits[split]:
            label = current_name(row.label or "")
            if label in WITHOUT_ROW:
                key = f"{split} rows of the class {label!r}, which the published order lacks"
                counts[key] = counts.get(key, 0) + 1
                continue
            if label not in known:
                raise AnnotationError(
                    f"{name}, {split}: class {row.label!r} is none of Kinetics-710; is this the official file?",
                    row=row.row,
                )
            other = rows.get(row.youtube_id)
            if other is not None:
                key = f"{split} rows of videos that stand there already"
                counts[key] = counts.get(key, 0) + 1
                if other.label != label:
                    key = f"{split} videos whose class changed, the newest taken"
                    counts[key] = counts.get(key, 0) + 1
            rows[row.youtube_id] = replace(row, label=label)
    return rows


def _without(
    rows: dict[str, KineticsRow], ids: set[str], reason: str, counts: dict[str, int]
) -> dict[str, KineticsRow]:
    kept = {name: row for name, row in rows.items() if name not in ids}
    if len(kept) < len(rows):
        counts[reason] = len(rows) - len(kept)
    return kept
