"""Every recipe by name, and the way to one's own: "mylab.runs:egoclip_small"."""

import importlib
import inspect
from collections.abc import Callable

from playhead.errors import RecipeError
from playhead.recipes import egovlp, episodic_memory, hands_and_objects, internvideo, recognition, small, third_person
from playhead.recipes.base import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        egovlp.egoclip,
        egovlp.egoclip_info_nce,
        egovlp.egoclip_released,
        egovlp.egoclip_fast,
        third_person.webvid_cc3m,
        third_person.howto100m,
        episodic_memory.nlq_tan2d_slowfast,
        episodic_memory.nlq_vslnet_slowfast,
        episodic_memory.nlq_vslnet_howto100m,
        episodic_memory.nlq_vslnet_cc3m_webvid2m,
        episodic_memory.nlq_vslnet_egoclip,
        episodic_memory.nlq_vslnet_egoclip_egonce,
        episodic_memory.nlq_point_pyramid_egoclip_egonce,
        episodic_memory.mq_vsgn_slowfast,
        episodic_memory.mq_vsgn_howto100m,
        episodic_memory.mq_vsgn_cc3m_webvid2m,
        episodic_memory.mq_vsgn_egoclip,
        episodic_memory.mq_vsgn_egoclip_egonce,
        episodic_memory.mq_actionformer_egoclip_egonce,
        hands_and_objects.state_change_lstm,
        hands_and_objects.state_change_i3d,
        hands_and_objects.oscc_frozen,
        hands_and_objects.oscc_howto100m,
        hands_and_objects.oscc_cc3m_webvid2m,
        hands_and_objects.oscc_egoclip,
        hands_and_objects.oscc_egoclip_egonce,
        hands_and_objects.pnr_frozen,
        hands_and_objects.pnr_howto100m,
        hands_and_objects.pnr_cc3m_webvid2m,
        hands_and_objects.pnr_egoclip,
        hands_and_objects.pnr_egoclip_egonce,
        internvideo.videomae_base,
        internvideo.videomae_large,
        internvideo.videomae_huge,
        recognition.videomae_k400_base,
        recognition.videomae_k400_large,
        recognition.videomae_k400_huge,
        recognition.videomae_ssv2_base,
        recognition.videomae_ssv2_huge,
        recognition.k710_postpretrain,
        recognition.k710_to_k400,
        recognition.k710_to_k600,
        recognition.k710_to_k700,
        recognition.recognition,
        recognition.recognition_linear_probe,
        recognition.recognition_attentive_probe,
        small.world_ego_nce,
        small.world_info_nce,
        small.world_nlq,
        small.world_mq,
        small.world_state_change,
        small.world_videomae,
        small.world_recognition,
        small.captions_small,
    )
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
