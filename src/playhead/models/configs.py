"""Model settings to and from plain dictionaries, as they lie in a bundle's `config.json`."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def known_fields(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` as keyword arguments of the dataclass `kind`; lists become tuples, as JSON has no tuples.

    A field that is not given keeps its default, so that a bundle outlives a new setting.

    Raises:
        ValueError: `values` names a setting that `kind` does not have.
    """
    known = {field.name for field in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{kind.__name__} has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def require_positive(settings: object, *names: str) -> None:
    """Check that the named settings are above zero.

    Raises:
        ValueError: one is not.
    """
    for name in names:
        value = getattr(settings, name)
        if value <= 0:
            raise ValueError(f"{type(settings).__name__}: {name} must be above zero, got {value}.")
