import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import pytest

from playhead.errors import RecipeError
from playhead.recipes.base import Init, Recipe, build_model, read_recipe, write_recipe
from playhead.recipes.catalog import RECIPES, find_recipe, first_line
from playhead.recipes.egovlp import egoclip, egoclip_released
from playhead.recipes.serialize import from_plain, to_plain
from playhead.recipes.small import toy, world_ego_nce


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_survives_json(name):
    recipe = RECIPES[name]()
    assert from_plain(Recipe, json.loads(json.dumps(to_plain(recipe)))) == recipe


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_says_what_it_does_and_shrinks(name):
    recipe = RECIPES[name]()
    assert first_line(RECIPES[name]).endswith(".")
    small = toy(recipe)
    assert small.train.steps == 2
    assert small.optim == recipe.optim and type(small.task) is type(recipe.task)
    assert type(small.model) is type(recipe.model) and small.train.keep_best == recipe.train.keep_best


def test_egoclip_states_the_paper_settings():
    """EgoVLP report, section 3.1."""
    recipe = egoclip()
    assert (recipe.train.global_batch, recipe.train.epochs, recipe.optim.lr) == (512, 10, 3e-5)
    assert (recipe.task.temperature, recipe.model.shared_dim, recipe.task.preprocess.num_frames) == (0.05, 256, 4)
    assert (recipe.task.preprocess.image_size, recipe.model.video.width) == (224, 768)


def test_the_released_recipe_has_its_hidden_rate_and_no_neighbours():
    recipe = egoclip_released()
    assert recipe.optim.schedule == "egovlp_released"
    assert recipe.task.neighbour_within is None
    assert recipe.model.video.num_frames == 16


def test_an_unknown_field_is_named_with_its_path():
    plain = to_plain(world_ego_nce())
    plain["optim"]["learning_rate"] = 1.0
    with pytest.raises(RecipeError, match=r"recipe\.optim has no field 'learning_rate'"):
        from_plain(Recipe, plain)


def test_a_value_of_the_wrong_type_is_named_with_its_path():
    plain = to_plain(world_ego_nce())
    plain["train"]["global_batch"] = "many"
    with pytest.raises(RecipeError, match=r"recipe\.train\.global_batch"):
        from_plain(Recipe, plain)


def test_a_word_outside_the_choice_is_named_with_the_choice():
    plain = to_plain(world_ego_nce())
    plain["task"]["loss_name"] = "ego"
    with pytest.raises(RecipeError, match=r"recipe\.task\.loss_name is 'ego'; it must be one of 'ego_nce', 'info_nce'"):
        from_plain(Recipe, plain)


def test_a_folder_is_bound_to_its_recipe(tmp_path):
    recipe = world_ego_nce()
    other = replace(recipe, optim=replace(recipe.optim, lr=2.0))
    write_recipe(other, tmp_path)  # began and failed: no checkpoint binds the folder yet
    write_recipe(recipe, tmp_path)
    checkpoint = tmp_path / "checkpoints" / "step_00000001"
    checkpoint.mkdir(parents=True)
    for name in ("progress.json", ".metadata"):
        (checkpoint / name).touch()
    write_recipe(recipe, tmp_path)
    with pytest.raises(RecipeError, match=r"recipe\.optim\.lr was .* now 2\.0"):
        write_recipe(other, tmp_path)
    assert read_recipe(tmp_path / "recipe.json") == recipe
    write_recipe(replace(recipe, train=replace(recipe.train, workers=7)), tmp_path)  # another machine, the same run


def test_a_task_takes_only_networks_that_can_learn_it():
    recipe = find_recipe("nlq_vslnet_egoclip")
    with pytest.raises(RecipeError, match="LanguageQuery cannot train a VSGNConfig; it trains VSLNetConfig"):
        replace(recipe, model=find_recipe("mq_vsgn_egoclip").model)
    with pytest.raises(RecipeError, match="measures itself"):
        replace(recipe, watch=world_ego_nce().watch)


def test_starting_weights_that_a_model_cannot_take_are_refused(tmp_path):
    recipe = toy(find_recipe("world_nlq"))
    with pytest.raises(RecipeError, match=r"init\.vit is of no use to a VSLNet"):
        build_model(replace(recipe, init=Init(vit=tmp_path)))


def test_a_file_that_is_no_recipe_is_refused(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text("{")
    with pytest.raises(RecipeError, match="cannot be read as a recipe"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_frames": 8}, "places in time"),
        ({"image_size": 32}, "must be equal"),
    ],
)
def test_model_and_clips_must_fit(change, said):
    recipe = world_ego_nce()
    task = replace(recipe.task, preprocess=replace(recipe.task.preprocess, **change))
    with pytest.raises(RecipeError, match=said):
        replace(recipe, task=task)


def test_captions_have_no_actions():
    task = world_ego_nce().task
    with pytest.raises(RecipeError, match="info_nce"):
        replace(task, kind="captions")


def test_a_recipe_of_ones_own_is_found_by_module_and_name(tmp_path, monkeypatch):
    (tmp_path / "mylab_runs.py").write_text(
        "from playhead.recipes.small import world_ego_nce\n\ndef mine():\n    return world_ego_nce()\n\nnumber = int\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert find_recipe("mylab_runs:mine") == world_ego_nce()
    with pytest.raises(RecipeError, match="not a Recipe"):
        find_recipe("mylab_runs:number")


def test_every_field_of_a_recipe_is_documented():
    """The command line shows these lines; a field without one would be a riddle there."""

    def undocumented(kind: type) -> list[str]:
        source = Path(__import__("sys").modules[kind.__module__].__file__).read_text()
        names = [field.name for field in dataclasses.fields(kind) if field.init]
        body = source[source.index(f"\nclass {kind.__name__}:") :]
        missing = []
        for name in names:
            after = body[body.index(f"\n    {name}:") + 1 :].split('\n    """', 1)
            if len(after) < 2 or "\n    def " in after[0] or "\n\n" in after[0]:
                missing.append(f"{kind.__name__}.{name}")
        return missing

    def parts(value):
        if dataclasses.is_dataclass(value):
            yield type(value)
            for field in dataclasses.fields(value):
                yield from parts(getattr(value, field.name))

    kinds = {kind for recipe in RECIPES.values() for kind in parts(recipe())}
    assert [name for kind in kinds for name in undocumented(kind)] == []
