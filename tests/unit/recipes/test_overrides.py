import pytest

from playhead.errors import RecipeError
from playhead.recipes.overrides import read_grid, with_settings
from playhead.recipes.small import world_ego_nce


def test_a_setting_changes_its_field_and_nothing_else():
    recipe = world_ego_nce()
    other = with_settings(recipe, [("optim.lr", 0.5), ("task.loss_name", "info_nce"), ("train.epochs", None)])
    assert (other.optim.lr, other.task.loss_name) == (0.5, "info_nce")
    assert with_settings(other, [("optim.lr", recipe.optim.lr), ("task.loss_name", "ego_nce")]) == recipe


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (("optim.learning_rate", 1.0), r"no field 'optim.learning_rate'; at optim it has lr, betas"),
        (("optimizer.lr", 1.0), "no field 'optimizer.lr'"),
        (("optim.lr", "fast"), r"recipe\.optim\.lr must be float"),
        (("optim.lr.x", 1.0), "no field 'optim.lr.x'"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(setting, said):
    with pytest.raises(RecipeError, match=said):
        with_settings(world_ego_nce(), [setting])


def test_a_grid_is_every_combination_with_the_last_axis_fastest():
    grid = read_grid(["optim.lr=1e-4,5e-5", "task.loss_name=info_nce", "optim.betas=[0.9,0.98],[0.9,0.999]"])
    assert [[value for _, value in settings] for settings in grid] == [
        [1e-4, "info_nce", [0.9, 0.98]],
        [1e-4, "info_nce", [0.9, 0.999]],
        [5e-5, "info_nce", [0.9, 0.98]],
        [5e-5, "info_nce", [0.9, 0.999]],
    ]


@pytest.mark.parametrize(
    ("axes", "said"), [(["optim.lr"], "not of the form"), (["=1"], "not of the form"), (["a=1", "a=2"], "'a'")]
)
def test_an_axis_of_another_form_is_refused(axes, said):
    with pytest.raises(RecipeError, match=said):
        read_grid(axes)
