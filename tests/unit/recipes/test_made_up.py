import pytest
import torch

from playhead.recipes.base import build_model
from playhead.recipes.catalog import RECIPES, find_recipe
from playhead.recipes.made_up import NARRATION, made_up_samples
from playhead.recipes.small import toy
from playhead.text import load_tokenizer

KINDS = (
    *("egoclip", "webvid_cc3m", "nlq_tan2d_slowfast", "nlq_vslnet_egoclip", "nlq_point_pyramid_egoclip_egonce"),
    *("mq_vsgn_egoclip", "mq_actionformer_egoclip_egonce", "state_change_lstm", "state_change_i3d", "pnr_egoclip"),
    *("videomae_huge", "videomae_k400_base", "recognition_attentive_probe"),
)
"""One recipe of each task and network."""


@pytest.mark.parametrize("name", KINDS)
def test_a_step_can_be_made_of_made_up_samples(name):
    recipe = toy(find_recipe(name))
    model = build_model(recipe).train()
    batch = recipe.task.collate(made_up_samples(recipe, 2))
    loss = recipe.task.loss(recipe.task.encode(model, batch)).total
    loss.backward()
    assert torch.isfinite(loss)
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_made_up_samples_have_the_recipes_own_sizes():
    recipe = RECIPES["egoclip"]()
    batch = recipe.task.collate(made_up_samples(recipe, 3))
    assert batch.video.shape == (6, 4, 3, 224, 224)  # three pairs and their neighbours
    assert (batch.nouns.shape[1], batch.verbs.shape[1]) == (582, 118)
    assert batch.nouns.any(dim=1).all()


def test_a_made_up_narration_is_of_a_usual_length():
    assert 20 <= load_tokenizer("bert-base-uncased")([NARRATION]).ids.shape[1] <= 30


def test_sources_of_a_mixture_are_told_apart():
    recipe = RECIPES["webvid_cc3m"]()
    pictures, clips = (recipe.task.collate(made_up_samples(recipe, 2, source)) for source in (0, 1))
    assert pictures.clips.video.shape[1] == 1 and clips.clips.video.shape[1] == 4
