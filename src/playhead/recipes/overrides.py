"""One recipe, many settings: a field of a recipe by its dotted path, and grids of them."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

from playhead.errors import RecipeError
from playhead.recipes.base import Recipe
from playhead.recipes.serialize import from_plain, to_plain

Setting = tuple[str, Any]
"""A dotted path and its value: ("optim.lr", 1e-4)."""


def with_settings(recipe: Recipe, settings: Sequence[Setting]) -> Recipe:
    """Return the recipe with other values in the fields named.

    Raises:
        RecipeError: there is no such field, or the value is not of its type; named by its path.
    """
    plain = to_plain(recipe)
    for path, value in settings:
        *above, last = path.split(".")
        place, found = plain, []
        while above and isinstance(place.get(above[0]), dict):
            found.append(above.pop(0))
            place = place[found[-1]]
        if above or last not in place:
            fields = ", ".join(name for name in place if name != "kind_of_settings")
            raise RecipeError(f"this recipe has no field {path!r}; at {'.'.join(found) or 'its top'} it has {fields}.")
        place[last] = value
    return from_plain(Recipe, plain)


def read_grid(axes: Sequence[str]) -> list[tuple[Setting, ...]]:
    """Return every combination of axes such as "optim.lr=1e-4,5e-5", the last axis varying fastest.

    Values are JSON where they can be (numbers, true, null, lists) and words otherwise.

    Raises:
        RecipeError: an axis is not of this form, or two name the same field.
    """
    values: dict[str, list[Any]] = {}
    for axis in axes:
        path, sign, text = axis.partition("=")
        if not sign or not path or not text:
            raise RecipeError(f"grid axis {axis!r} is not of the form field=value,value such as optim.lr=1e-4,5e-5.")
        if path in values:
            raise RecipeError(f"two grid axes name {path!r}; give all its values in one.")
        values[path] = [_value(word) for word in _split(text)]
    return [tuple(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]


def _split(text: str) -> list[str]:
    """Split at the commas outside of brackets."""
    words, depth = [""], 0
    for sign in text:
        depth += (sign in "[{") - (sign in "]}")
        if sign == "," and depth == 0:
            words.append("")
        else:
            words[-1] += sign
    return words


def _value(word: str) -> Any:
    try:
        return json.loads(word)
    except json.JSONDecodeError:
        return word
