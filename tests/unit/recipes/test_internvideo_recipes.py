from dataclasses import replace

import pytest
import torch

from playhead.errors import RecipeError
from playhead.models.videomae import VideoMAE
from playhead.recipes.base import Init, build_model
from playhead.recipes.catalog import find_recipe
from playhead.recipes.internvideo import videomae_base, videomae_huge, videomae_large
from playhead.recipes.small import toy
from playhead.weights.bundle import save_task_bundle


@pytest.mark.parametrize(
    ("recipe", "batch", "lr", "min_lr", "epochs", "warmup_epochs", "repeats", "decoder_depth"),
    [
        (videomae_base, 32 * 64, 1.5e-4 * 8, 1e-5 * 8, 801, 40, 1, 4),
        (videomae_large, 48 * 24, 1.5e-4 * 4.5, 1e-5 * 4.5, 801, 40, 1, 12),
        (videomae_huge, 64 * 6, 1e-3 * 1.5, 5e-5 * 1.5, 301, 15, 4, 8),
    ],
)
def test_the_recipes_state_the_settings_of_the_scripts(
    recipe, batch, lr, min_lr, epochs, warmup_epochs, repeats, decoder_depth
):
    """InternVideo, Pretrain/VideoMAE/scripts: GPUs x clips, base rates times batch / 256, epochs and warm-up."""
    stated = recipe()
    assert (stated.train.global_batch, stated.train.epochs) == (batch, epochs)
    assert (stated.optim.lr, stated.optim.min_lr) == (pytest.approx(lr), pytest.approx(min_lr))
    assert (stated.optim.warmup_start, stated.optim.warmup_epochs) == (0, warmup_epochs)
    assert (stated.optim.betas, stated.optim.weight_decay, stated.optim.clip_norm) == ((0.9, 0.95), 0.05, None)
    assert (stated.task.repeats, stated.model.decoder_depth) == (repeats, decoder_depth)
    assert (stated.task.mask, stated.task.mask_ratio, stated.task.stride) == ("tube", 0.9, 4)
    assert stated.task.stride_of("SomethingV2/1") == 2
    assert stated.model.encoder.drop_path == 0 and stated.task.preprocess.num_frames == 16


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patch_size": 32}, r"task.patch_size is 32, model.encoder.patch_size 16"),
        ({"tubelet": 4}, r"task.tubelet is 4, model.encoder.tubelet 2"),
    ],
)
def test_model_and_tubes_must_fit(changes, said):
    recipe = videomae_base()
    with pytest.raises(RecipeError, match=said):
        replace(recipe, task=replace(recipe.task, **changes))


def test_clips_of_another_size_than_the_models_are_refused():
    recipe = videomae_base()
    preprocess = replace(recipe.task.preprocess, num_frames=8)
    with pytest.raises(RecipeError, match="must be equal"):
        replace(recipe, task=replace(recipe.task, preprocess=preprocess))


def test_nothing_is_watched_without_a_list_to_measure_on():
    assert videomae_base().watched is None
    world = find_recipe("world_videomae")
    assert world.watched == world.task
    with pytest.raises(RecipeError, match="watches nothing"):
        replace(videomae_base(), train=replace(videomae_base().train, keep_best="-masked_video/error"))


def test_a_pretraining_goes_on_from_another(tmp_path):
    recipe = toy(videomae_base())
    torch.manual_seed(1)
    start = VideoMAE(recipe.model)
    save_task_bundle(tmp_path / "bundle", start, {}, {})
    for init in (Init(videomae=tmp_path / "bundle"), Init(bundle=tmp_path / "bundle")):
        model = build_model(replace(recipe, init=init))
        torch.testing.assert_close(model.state_dict(), start.state_dict(), atol=0, rtol=0)
