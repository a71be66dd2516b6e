"""ActivityNet 1.3 and HACS as classification, and Moments in Time.

ActivityNet's file and HACS Segments' are alike: `{"database": {id: {"subset", "duration", "annotations": [{"segment":
[start, end], "label"}]}}}`. For training a video is cut at its annotated segments; in validation it is one sample as a
whole, whose class is that of its segments. Files are `v_{id}.mp4` or `{id}.mp4`.

Source of that convention: InternVideo's recipes. Moments in Time: `trainingSet.csv`, `validationSet.csv` with rows
`class/file.mp4,class,votes,votes`, and `moments_categories.txt` with rows `class,number`.
"""

import csv
import io
from pathlib import Path
from typing import Any

from playhead.data.action_videos import ListedVideo, Place, class_numbers, require_unique
from playhead.data.border import brief, read_json, read_text, take
from playhead.errors import AnnotationError
from playhead.types import Span

SUBSETS = {"train": "training", "val": "validation", "test": "testing"}


def read_activitynet(path: Path, split: str) -> tuple[list[ListedVideo], list[str]]:
    """Return the segments ("train") or whole videos (else) of a split, and all class names in alphabetical order.

    Raises:
        AnnotationError: the file is not of this layout, a segment is empty, the split holds nothing, or a video that is
            to be told as a whole has segments of two classes.
    """
    content = read_json(path)
    database = take(content, "database", dict, path, "file")
    names = sorted(
        {take(one, "label", str, path, name) for name in database for one in _annotations(database, name, path)}
    )
    listed = []
    for row, name in enumerate(database, start=1):
        if take(database[name], "subset", str, path, f"video {name!r}") != SUBSETS[split]:
            continue
        if split == "train":
            for one in _annotations(database, name, path):
                listed.append(ListedVideo(_places(name, _segment(one, name, path)), one["label"], row))
            continue
        labels = {one["label"] for one in _annotations(database, name, path)}
        if len(labels) > 1:
            told = " and ".join(sorted(map(repr, labels)))
            raise AnnotationError(f"video {name!r} shows {told}; one class per video is needed here.", path=path)
        if split == "val" and not labels:
            raise AnnotationError(f"video {name!r} has no class to measure on.", path=path)
        listed.append(ListedVideo(_places(name, None), labels.pop() if labels else None, row))
    if not listed:
        raise AnnotationError(f"holds no video of the subset {SUBSETS[split]!r}.", path=path)
    require_unique(listed, path, allow_repeats=True)
    return listed, names


def _annotations(database: dict[str, Any], name: str, path: Path) -> list[Any]:
    entry = database[name]
    return take(entry, "annotations", list, path, f"video {name!r}") if "annotations" in entry else []


def _segment(annotation: Any, name: str, path: Path) -> Span:
    ends = take(annotation, "segment", list, path, f"video {name!r}")
    try:
        start, end = map(float, ends)
        return Span(max(0.0, start), end)
    except (TypeError, ValueError) as error:
        raise AnnotationError(
            f"video {name!r}: segment {brief(ends)} is no [start, end): {error}", path=path
        ) from error


def _places(name: str, span: Span | None) -> tuple[Place, ...]:
    bare = name.removeprefix("v_")
    return Place(f"v_{bare}", span), Place(bare, span)


def read_moments_in_time(path: Path, categories: Path) -> tuple[list[ListedVideo], list[str]]:
    """Return the rows of `trainingSet.csv` or `validationSet.csv`, and the names of `moments_categories.txt`.

    Raises:
        AnnotationError: a file cannot be read, or a row does not fit.
    """
    names: dict[int, str] = {}
    for row, line in enumerate(read_text(categories).splitlines(), start=1):
        name, _, number = line.strip().rpartition(",")
        if line.strip() and (not number.isdigit() or int(number) in names):
            raise AnnotationError(f"a line is 'class,number', found {brief(line)}.", path=categories, row=row)
        if line.strip():
            names[int(number)] = name
    if sorted(names) != list(range(len(names))):
        raise AnnotationError(f"its numbers are not 0..{len(names) - 1}; is it complete?", path=categories)
    listed, reader = [], csv.reader(io.StringIO(read_text(path)))
    for values in reader:
        if not values:
            continue
        label, slash, _ = values[0].partition("/")
        if not slash:
            raise AnnotationError(f"'class/file.mp4' needed, found {brief(values[0])}.", path=path, row=reader.line_num)
        listed.append(ListedVideo((Place(values[0]),), label, reader.line_num))
    require_unique(listed, path)
    classes = [names[number] for number in range(len(names))]
    class_numbers(classes, categories)
    return listed, classes
