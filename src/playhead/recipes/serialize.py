"""A recipe as JSON and back: every field by name, so that a run can be read, compared and run again from its folder."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

from playhead.errors import RecipeError

_KIND = "kind_of_settings"  # names the class where a field's type is a union of several settings classes


def to_plain(value: Any) -> Any:
    """Return dataclasses as dicts, paths as strings, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {_KIND: type(value).__name__, **fields}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def from_plain(kind: Any, value: Any, where: str = "recipe") -> Any:
    """Build `kind` from what `to_plain` gave.

    Raises:
        RecipeError: a field is unknown, missing or of another type; the message names it by its dotted path.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _settings(kind, value, where)
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise RecipeError(f"{where} is {value!r}; it must be one of {', '.join(map(repr, arguments))}.")
        return value
    if origin is tuple:
        items = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        if not isinstance(value, list) or len(items) != len(value):
            raise RecipeError(f"{where} must be a list of {len(items)} values, got {value!r}.")
        return tuple(from_plain(item, v, f"{where}[{i}]") for i, (item, v) in enumerate(zip(items, value, strict=True)))
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Any or (
        isinstance(kind, type) and isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
    ):
        return value
    raise RecipeError(f"{where} must be {getattr(kind, '__name__', kind)}, got {value!r}.")


def _settings(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise RecipeError(f"{where} must hold the fields of {kind.__name__}, got {value!r}.")
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind) if f.init]
    given = {key: item for key, item in value.items() if key != _KIND}
    if unknown := sorted(given.keys() - set(names)):
        raise RecipeError(f"{where} has no field {unknown[0]!r}; its fields are {', '.join(names)}.")
    fields = {name: from_plain(hints[name], item, f"{where}.{name}") for name, item in given.items()}
    try:
        return kind(**fields)
    except TypeError as error:  # a required field is missing
        raise RecipeError(f"{where}: {error}.") from error
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from error


def _one_of(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None:
        if type(None) in choices:
            return None
        raise RecipeError(f"{where} may not be null.")
    rest = [choice for choice in choices if choice is not type(None)]
    if isinstance(value, dict) and _KIND in value and len(rest) > 1:
        named = [choice for choice in rest if getattr(choice, "__name__", "") == value[_KIND]]
        if not named:
            known = ", ".join(getattr(choice, "__name__", str(choice)) for choice in rest)
            raise RecipeError(f"{where} names settings {value[_KIND]!r}; it must be one of {known}.")
        rest = named
    problems = []
    for choice in rest:
        try:
            return from_plain(choice, value, where)
        except RecipeError as error:
            problems.append(error)
    raise problems[0]
