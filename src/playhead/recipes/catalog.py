"""Every recipe by name, and the way to one's own: "mylab.runs:egoclip_small"."""

import importlib
import inspect
from collections.abc import Callable

from playhead.errors import RecipeError
from playhead.recipes.base import Recipe
from playhead.recipes.egovlp import egoclip, egoclip_info_nce, egoclip_released
from playhead.recipes.small import captions_small, world_ego_nce, world_info_nce

RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (egoclip, egoclip_info_nce, egoclip_released, world_ego_nce, world_info_nce, captions_small)
}


def find_recipe(name: str) -> Recipe:
    """Return a recipe of this package by its name, or anyone's as "module:function".

    Raises:
        RecipeError: there is none of that name, or the function does not return a Recipe.
    """
    if name in RECIPES:
        return RECIPES[name]()
    if ":" not in name:
        raise RecipeError(f"no recipe {name!r}; there are {', '.join(RECIPES)}, or give your own as module:function.")
    module, _, function = name.partition(":")
    try:
        recipe = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"recipe {name!r} cannot be imported: {error}.") from error
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{name} returned {type(recipe).__name__}, not a Recipe.")
    return recipe


def first_line(recipe: Callable[[], Recipe]) -> str:
    """Return what a recipe says of itself, in one line."""
    return (inspect.getdoc(recipe) or "").partition("\n")[0]
