import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from playhead.errors import RecipeError
from playhead.models.videomae import VideoMAEClassifierConfig, VideoMAEEncoderConfig
from playhead.recipes.base import Init, build_model, open_task, run
from playhead.recipes.catalog import find_recipe
from playhead.recipes.learnable import check_labels, fit_classes
from playhead.recipes.recognition import recognition
from playhead.recipes.small import toy
from playhead.tasks.recognition_samples import ClipRule
from playhead.train.evaluate import evaluate
from playhead.video.transforms import Augment, Preprocess
from playhead.weights.bundle import load_task_bundle
from playhead.world.world import WorldConfig, make_world

sys.path.append(str(Path(__file__).parents[1] / "tasks"))
from action_clips import make_clips

NAMES = (
    "videomae_k400_base",
    "videomae_ssv2_huge",
    "k710_postpretrain",
    "k710_to_k600",
    "recognition",
    "recognition_linear_probe",
    "recognition_attentive_probe",
    "world_recognition",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    config = WorldConfig(
        train_videos=2, val_videos=1, test_videos=1, seconds=40.0, scene_seconds=20.0, size=(48, 64), fps=10
    )
    return make_world(tmp_path_factory.mktemp("world"), config, workers=1).root


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"), each=6)


def own(clips, **task):
    """The recipe for videos of one's own, on clips of 32 pixels and with a network that learns in seconds."""
    recipe = recognition()
    encoder = VideoMAEEncoderConfig(image_size=32, patch_size=8, num_frames=4, width=32, depth=2, heads=2)
    small = replace(
        recipe.task,
        root=clips,
        preprocess=Preprocess(num_frames=4, image_size=32, resize=32),
        clip=ClipRule(stride=2),
        decode_size=32,
        policy=None,
        erase=None,
        augment=Augment(scale=(0.9, 1.0), flip=0.0),
        **task,
    )
    return replace(
        recipe,
        model=VideoMAEClassifierConfig(encoder=encoder, num_classes=2, head_scale=1.0),
        task=small,
        optim=replace(recipe.optim, lr=2e-3, warmup_epochs=0, warmup_steps=5, layer_decay=0.9),
        train=replace(recipe.train, global_batch=8, epochs=None, steps=2, workers=0, save_every=1, evaluate_every=2),
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_toy_of_each_recipe_takes_two_steps_and_is_measured_in_many_views(world, tmp_path, name):
    result = run(toy(find_recipe(name), world), tmp_path)
    assert result.step == 2 and 0 <= result.metrics["recognition/top1"] <= 100
    model, task = open_task(tmp_path / "bundle")
    assert model.config.num_classes == 14
    scores = evaluate(model, task, "test", batch_size=4)
    assert scores["recognition/videos"] == result.metrics["recognition/videos"]


def test_a_run_with_layer_decay_that_goes_on_equals_one_that_was_not_stopped(clips, tmp_path):
    recipe = own(clips, overfit_steps=0)
    run(recipe, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "step_00000002")
    shutil.rmtree(tmp_path / "resumed" / "bundle")
    run(recipe, tmp_path / "resumed")
    whole, resumed = (load_task_bundle(tmp_path / name / "bundle").model.state_dict() for name in ("whole", "resumed"))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


def test_the_model_gets_as_many_classes_as_the_data_only_if_asked(clips):
    recipe = own(clips)
    wrong = replace(recipe.model, num_classes=7)
    assert fit_classes(wrong, recipe.task).num_classes == 2
    with pytest.raises(RecipeError, match=r"the data has 2 classes, the model 7; set model.num_classes to 2"):
        fit_classes(wrong, replace(recipe.task, fit_classes=False))


def test_a_batch_with_right_labels_is_learnt_by_heart(clips, caplog):
    recipe = own(clips, overfit_steps=80)
    with caplog.at_level(logging.INFO):
        found = check_labels(build_model(recipe), recipe.task, recipe.optim, seed=0)
    assert found.wrong == () and found.steps < 80 and "learnt by heart" in caplog.text


def test_the_same_clip_under_two_labels_is_not_learnt_and_is_named(tmp_path, caplog):
    make_clips(tmp_path, each=2)
    for number in range(2):
        (tmp_path / "back" / f"{number}.mp4").write_bytes((tmp_path / "forth" / f"{number}.mp4").read_bytes())
    recipe = own(tmp_path, overfit_steps=8)
    with caplog.at_level(logging.WARNING), pytest.raises(RecipeError, match=r"still told wrong after 8 steps .* is '"):
        check_labels(build_model(recipe), recipe.task, recipe.optim, seed=0)
    assert "are the same file, but of the classes" in caplog.text


def test_a_bundle_notes_its_classes_and_starts_a_classifier_of_others(clips, tmp_path):
    recipe = own(clips, overfit_steps=0)
    run(recipe, tmp_path)
    assert load_task_bundle(tmp_path / "bundle").provenance["classes"] == ["back", "forth"]
    again = build_model(replace(recipe, init=Init(videomae=tmp_path / "bundle")))
    assert torch.equal(again.head.weight, load_task_bundle(tmp_path / "bundle").model.head.weight)


def test_clips_and_model_must_have_one_size(clips):
    recipe = own(clips)
    with pytest.raises(RecipeError, match="frames of 32 pixels"):
        replace(recipe, task=replace(recipe.task, preprocess=replace(recipe.task.preprocess, num_frames=8)))
    with pytest.raises(RecipeError, match="give both"):
        Init(head_classes="k710")
