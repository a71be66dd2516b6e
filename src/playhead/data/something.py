"""The official files of Something-Something.

v2: `train.json`, `validation.json`: `[{"id", "label", "template": "Pushing [something] from left to right", ...}]`,
`test.json` with ids only, and `labels.json`: `{"Pushing something from left to right": "93"}`. Templates hold brackets
that the labels do not. Videos are `{id}.webm`.

v1: `something-something-v1-train.csv`: `id;label`, and `something-something-v1-labels.csv`, one class per line. Videos
are folders `{id}/00001.jpg, ...` of 12 frames per second.

Other releases name their files with a prefix ("something-something-v2-train.json"), which the reader does not mind.
"""

import csv
import io
import re
from pathlib import Path

from playhead.data.action_videos import ListedVideo, Place, class_numbers, require_unique
from playhead.data.border import read_json, read_text, take
from playhead.errors import AnnotationError

V1_FPS = 12.0
"""Frames per second of v1's folders."""

BRACKETS = re.compile(r"[\[\]]")


def read_something_labels(path: Path) -> list[str]:
    """Return the class names of `labels.json` (v2) or of the labels' csv file (v1), in the order of their numbers.

    Raises:
        AnnotationError: the file cannot be read, or its numbers are not 0, 1, 2, ...
    """
    if path.suffix != ".json":
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        class_numbers(names, path)
        return names
    content = read_json(path)
    by_number: dict[int, str] = {}
    for name in content if isinstance(content, dict) else ():
        number = take(content, name, str, path, "labels")
        if not number.isdigit() or int(number) in by_number:
            raise AnnotationError(f"class {name!r} has the number {number!r}; each needs one of its own.", path=path)
        by_number[int(number)] = name
    count = len(by_number)
    if sorted(by_number) != list(range(count)) or not count:
        raise AnnotationError(f"its {count} numbers are not 0..{count - 1}; is the file complete?", path=path)
    return [by_number[number] for number in range(count)]


def read_something(path: Path) -> list[ListedVideo]:
    """Return the rows of a split of v2 (json) or v1 (csv); the class is the template without its brackets.

    Raises:
        AnnotationError: the file cannot be read, a row does not fit, or a video stands there twice.
    """
    listed = _read_v2(path) if path.suffix == ".json" else _read_v1(path)
    if not listed:
        raise AnnotationError("holds no videos.", path=path)
    require_unique(listed, path)
    return listed


def _read_v2(path: Path) -> list[ListedVideo]:
    content, listed = read_json(path), []
    if not isinstance(content, list):
        raise AnnotationError('a list of videos is needed, [{"id": ..., "template": ...}].', path=path)
    for row, entry in enumerate(content, start=1):
        name = take(entry, "id", str, path, f"entry {row}")
        label = None
        if "template" in entry:
            label = BRACKETS.sub("", take(entry, "template", str, path, f"entry {row}, video {name!r}"))
        listed.append(ListedVideo((Place(name),), label, row))
    return listed


def _read_v1(path: Path) -> list[ListedVideo]:
    listed = []
    reader = csv.reader(io.StringIO(read_text(path)), delimiter=";")
    for values in reader:
        if not values:
            continue
        if len(values) > 2 or not values[0].strip().isdigit():
            raise AnnotationError(
                f"a row is 'id;label', found {len(values)} values that begin with {values[0]!r}.",
                path=path,
                row=reader.line_num,
            )
        label = values[1].strip() if len(values) == 2 else None
        listed.append(ListedVideo((Place(values[0].strip()),), label, reader.line_num))
    return listed
