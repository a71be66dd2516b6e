"""Where annotation files enter and leave: what every reader checks, and files that are complete or absent."""

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

from playhead.errors import AnnotationError

FilePath = str | os.PathLike[str]
Kind = TypeVar("Kind")
BLANKS = re.compile(r"[ \t\n\r]*")
KIND_NAMES = {float: "a finite number", int: "an integer", str: "a text", list: "a list", dict: "an object"}


def read_text(path: FilePath) -> str:
    """Return the text of a UTF-8 file.

    Raises:
        AnnotationError: it cannot be opened, or is not UTF-8; names the line.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise AnnotationError(f"the file cannot be read ({error.strerror}); check the path.", path=path) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise AnnotationError(
            "UTF-8 is needed, and this is none; save the file as UTF-8.", path=path, row=row
        ) from error


def read_json(path: FilePath) -> Any:
    """Return what a JSON file holds.

    Raises:
        AnnotationError: it cannot be read, is not UTF-8, is cut off or no JSON, or an object names a key twice.
    """
    with _json_errors(path):
        return json.loads(read_text(path), object_pairs_hook=lambda pairs: _unique(pairs, path))


def stream_members(path: FilePath, wrapper: str) -> Iterator[tuple[str, Any]]:
    """Yield the members of a JSON file's object one by one, so that a file of gigabytes needs no more than its text.

    Where the file's first keys include `wrapper`, it is the members of that object that are yielded.

    Raises:
        AnnotationError: as `read_json`; members before the fault have been yielded by then.
    """
    text = read_text(path)
    with _json_errors(path):
        at, wrapped = _expect(text, 0, "{"), f'"{wrapper}"' in text[:4096]
        end = yield from _members(text, at, path, wrapper if wrapped else None)
        if _skip_blanks(text, end) != len(text):
            raise json.JSONDecodeError("Extra data", text, end)


def _members(text: str, at: int, path: FilePath, wrapper: str | None):
    """Yield the members from `at`, just behind an opening brace; return where the object ends."""
    decoder = json.JSONDecoder(object_pairs_hook=lambda pairs: _unique(pairs, path))
    seen: set[str] = set()
    at = _skip_blanks(text, at)
    if text.startswith("}", at):
        return at + 1
    while True:
        key, at = decoder.raw_decode(text, _skip_blanks(text, at))
        if not isinstance(key, str):
            raise json.JSONDecodeError("Expecting a key in double quotes", text, at)
        if key in seen:
            raise AnnotationError(f"{key!r} stands here twice; keep one.", path=path, row=text.count("\n", 0, at) + 1)
        seen.add(key)
        at = _skip_blanks(text, _expect(text, at, ":"))
        if key == wrapper:
            at = yield from _members(text, _expect(text, at, "{"), path, None)
        else:
            value, at = decoder.raw_decode(text, at)
            if wrapper is None:
                yield key, value
        at = _skip_blanks(text, at)
        if text.startswith("}", at):
            return at + 1
        at = _expect(text, at, ",")


def _skip_blanks(text: str, at: int) -> int:
    blanks = BLANKS.match(text, at)
    assert blanks is not None  # it matches nothing, too
    return blanks.end()


def _expect(text: str, at: int, sign: str) -> int:
    at = _skip_blanks(text, at)
    if not text.startswith(sign, at):
        raise json.JSONDecodeError(f"Expecting {sign!r}", text, at)
    return at + 1


@contextmanager
def _json_errors(path: FilePath):
    try:
        yield
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip())
        problem = (
            "the JSON ends too early; is the file complete?" if cut else f"no JSON ({error.msg}); repair this line."
        )
        raise AnnotationError(problem, path=path, row=error.lineno) from error
    except (RecursionError, ValueError) as error:  # nested too deep, or a number of thousands of digits
        raise AnnotationError(f"no annotation file ({error}); check what it is.", path=path) from error


def _unique(pairs: list[tuple[str, Any]], path: FilePath) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise AnnotationError(f"an object names {twice!r} twice; keep one.", path=path)
    return record


def take(record: Any, key: str, kind: type[Kind], path: FilePath, where: str) -> Kind:
    """Return `record[key]`, which must be of `kind`; `where` names the record in messages ("video 'a', narration 3").

    Numbers asked for as float may be written as integers; they must be finite. A bool is no number.

    Raises:
        AnnotationError: `record` is no object, has no such key, or the value is of another kind.
    """
    if not isinstance(record, dict):
        raise AnnotationError(f"{where}: an object with {key!r} needed, found {brief(record)}.", path=path)
    if key not in record:
        found = ", ".join(map(repr, list(record)[:8])) or "nothing"
        raise AnnotationError(f"{where}: {key!r} is missing, found {found}; is this the layout named?", path=path)
    value = record[key]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float and number and abs(value) <= sys.float_info.max:
        return kind(value)
    if isinstance(value, kind) and not isinstance(value, (bool, float)):
        return value
    problem = f"{where}: {key!r} must be {KIND_NAMES[kind]}, found {brief(value)}; correct the file."
    raise AnnotationError(problem, path=path)


def take_time(record: Any, key: str, path: FilePath, where: str) -> float:
    """Return `record[key]`, seconds that must be finite and not negative.

    Raises:
        AnnotationError: as `take`, or the time is negative.
    """
    seconds = take(record, key, float, path, where)
    if seconds < 0:
        raise AnnotationError(f"{where}: {key!r} is {seconds} s; times start at 0, correct the file.", path=path)
    return seconds


def brief(value: Any) -> str:
    """Return a value as it may stand in a message: on one line, cut short."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def problem_lines(problems: Mapping[str, Sequence[str]], most: int) -> list[str]:
    """Return one line per kind of problem that was found, naming up to `most` of the places that have it."""
    return [
        f"{kind.replace('_', ' ')}: {len(found)} ({', '.join(found[:most])}{', ...' if len(found) > most else ''})"
        for kind, found in problems.items()
        if found
    ]


@contextmanager
def write_whole(path: FilePath) -> Iterator[TextIO]:
    """Open a UTF-8 text file that takes the place of `path` when all is written, and never a part of it.

    Raises:
        AnnotationError: its folder does not exist or cannot be written.
    """
    with temporary_beside(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def temporary_beside(path: FilePath) -> Iterator[Path]:
    """Give the path of a new file in the folder of `path`, and rename it to `path` if the block ends well.

    Raises:
        AnnotationError: its folder does not exist or cannot be written.
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        problem = f"cannot be written ({error.strerror}); make the folder, or write to another."
        raise AnnotationError(problem, path=path) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes it private; other users read it too
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
