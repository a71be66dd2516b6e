"""What stops a run stops it on all ranks, says why, and leaves the last checkpoint sound."""

import json
import math
from dataclasses import replace

import pytest
import torch
from toy_run import OPTIM, TRAIN, ToyTask, launch, train_toy

from playhead.data.loading import EpochOrder
from playhead.errors import DecodeError, RecipeError, TrainingError
from playhead.train.checkpoint import latest
from playhead.train.log import read_log


def first_step_with(index):
    """Return the step (from 1) in which the toy reads a sample, found by walking through the order of the data."""
    order = EpochOrder(ToyTask().num_samples, TRAIN.global_batch, TRAIN.seed)
    return next(step + 1 for step in range(TRAIN.steps) if index in order(step)[1])


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_sample_that_is_not_a_number_stops_all_ranks_before_the_update_and_is_named(tmp_path, ranks):
    step = first_step_with(17)
    answers = launch(train_toy, tmp_path, ranks=ranks, task=ToyTask(not_a_number=17))
    assert len({str(answer) for answer in answers}) == 1
    assert isinstance(answers[0], TrainingError)
    assert f"step {step}: the loss is nan" in str(answers[0])
    assert "not finite: pair 17." in str(answers[0])
    assert [record["step"] for record in read_log(tmp_path) if "loss" in record] == list(range(1, step))


def test_a_gradient_that_overflows_names_the_samples_of_the_step(tmp_path):
    [answer] = launch(train_toy, tmp_path, optim=replace(OPTIM, lr=1e38, min_lr=0.0, warmup_steps=0))
    assert isinstance(answer, TrainingError)
    assert "step 2: the loss is" in str(answer)
    assert "pair " in str(answer)


def test_an_unreadable_sample_keeps_its_class_and_tells_its_index_from_a_worker_too(tmp_path):
    for workers in (0, 1):
        [answer] = launch(train_toy, tmp_path / str(workers), replace(TRAIN, workers=workers), task=ToyTask(broken=17))
        assert type(answer) is DecodeError
        assert str(answer) == "toy.mp4, at 1.50 s: has no frame. (sample 17)"
        assert math.isclose(answer.time, 1.5)


def test_another_recipe_or_model_in_the_same_folder_is_refused(tmp_path):
    short = replace(TRAIN, steps=2, workers=0)
    launch(train_toy, tmp_path, short)
    with pytest.raises(TrainingError, match=r"begun with train\.seed = 3, now it is 4"):
        train_toy(tmp_path, replace(short, seed=4))
    with pytest.raises(TrainingError, match=r"begun with optim\.lr = 0\.02, now it is 0\.01"):
        train_toy(tmp_path, short, optim=replace(OPTIM, lr=0.01))
    with pytest.raises(TrainingError, match=r"ema.* is absent in the checkpoint|train\.ema_decay"):
        train_toy(tmp_path, replace(short, ema_decay=None))


def test_a_checkpoint_older_than_a_setting_is_taken_for_its_default_and_for_no_other_value(tmp_path):
    short = replace(TRAIN, steps=2, workers=0)
    launch(train_toy, tmp_path, short)
    path = tmp_path / "checkpoints" / "step_00000002" / "progress.json"
    progress = json.loads(path.read_text())
    del progress["settings"]["optim.step_epochs"], progress["settings"]["optim.gamma"], progress["settings"]["optim.lr"]
    path.write_text(json.dumps({**progress, "settings": {**progress["settings"], "optim.lr": 0.02}}))
    with pytest.raises(TrainingError, match=r"begun with optim\.gamma = 0\.1, now it is 0\.5"):
        train_toy(tmp_path, short, optim=replace(OPTIM, gamma=0.5))
    assert train_toy(tmp_path, short).step == 2

    path.write_text(json.dumps(progress))  # a learning rate has no default
    with pytest.raises(TrainingError, match=r"begun with optim\.lr = None, now it is 0\.02"):
        train_toy(tmp_path, short)


def test_a_metric_that_does_not_exist_is_named_with_those_that_do(tmp_path):
    settings = replace(TRAIN, steps=1, keep_best="egomcq/intra")
    with pytest.raises(RecipeError, match=r"'egomcq/intra' asked for, but what is measured is answers, similarity"):
        train_toy(tmp_path, settings)
    assert latest(tmp_path) is None


def test_a_global_batch_must_divide_by_the_ranks(tmp_path):
    for answer in launch(train_toy, tmp_path, replace(TRAIN, global_batch=5), ranks=2):
        assert isinstance(answer, RecipeError)
        assert "train.global_batch 5 does not divide by 2 ranks" in str(answer)


def test_recomputed_blocks_and_bf16_change_the_run_only_by_rounding(tmp_path):
    plain = replace(TRAIN, steps=3, ema_decay=None)
    results = {}
    for name, settings in {
        "plain": plain,
        "recomputed": replace(plain, checkpoint_activations=True),
        "bf16": replace(plain, precision="bf16"),
    }.items():
        train_toy(tmp_path / name, settings)
        results[name] = [record["loss"] for record in read_log(tmp_path / name) if "loss" in record]
    assert results["recomputed"] == results["plain"]  # dropout is replayed, so not even the last bit differs
    assert results["bf16"] != results["plain"]
    assert results["bf16"][0] == pytest.approx(results["plain"][0], rel=0.05)  # unit rows in bf16, logits up to 10


def test_settings_of_torch_are_as_before_after_a_run(tmp_path):
    before = torch.get_float32_matmul_precision(), torch.get_num_threads()
    train_toy(tmp_path, replace(TRAIN, steps=1, matmul="medium", threads=2))
    assert (torch.get_float32_matmul_precision(), torch.get_num_threads()) == before
