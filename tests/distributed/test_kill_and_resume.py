"""A run that was killed and goes on is bit-identical to one that was not: weights, optimiser, average, log, best."""

import signal
from dataclasses import replace

import pytest
import torch
from toy_run import TRAIN, ToyTask, everything, launch, train_toy

from playhead.train.checkpoint import latest


def assert_same(found, expected):
    assert found["progress"] == expected["progress"]
    assert found["log"] == expected["log"]
    assert found["folders"] == expected["folders"]
    assert found["tensors"].keys() == expected["tensors"].keys()
    different = [
        name for name, tensor in expected["tensors"].items() if not torch.equal(found["tensors"][name], tensor)
    ]
    assert different == []


def kill(run_dir, settings=TRAIN, ranks=1, **options):
    """Run until SIGKILL comes; every rank must end, one by it."""
    answers = launch(train_toy, run_dir, settings, ranks=ranks, **options)
    assert -signal.SIGKILL in answers
    assert not any(isinstance(answer, TimeoutError) for answer in answers)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What one and two ranks leave behind when nothing happens to them."""
    found = {}
    for ranks in (1, 2):
        run_dir = tmp_path_factory.mktemp("unbroken")
        assert all(answer.step == TRAIN.steps for answer in launch(train_toy, run_dir, ranks=ranks))
        found[ranks] = everything(run_dir)
    return found


def test_a_run_killed_in_every_step_is_bit_identical_to_an_unbroken_one(unbroken, tmp_path):
    for step in range(1, TRAIN.steps + 1):
        newest = latest(tmp_path)
        saved = 0 if newest is None else int(newest.name.removeprefix("step_"))
        kill(tmp_path, task=ToyTask(signal_at=(step - saved, signal.SIGKILL)))
    [result] = launch(train_toy, tmp_path)
    assert_same(everything(tmp_path), unbroken[1])
    assert result.best == unbroken[1]["progress"]["best"]


@pytest.mark.parametrize("function", ["save_tensors", "_write_synced", "_sync_folder", "prune"])
def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(unbroken, tmp_path, function):
    kill(tmp_path, task=ToyTask(signal_at=(6, signal.SIGKILL)))
    kill(tmp_path, killed_in=function)
    launch(train_toy, tmp_path)
    assert_same(everything(tmp_path), unbroken[1])


def test_two_ranks_of_which_one_is_killed_go_on_bit_identically(unbroken, tmp_path):
    kill(tmp_path, ranks=2, task=ToyTask(signal_at=(6, signal.SIGKILL), signal_rank=1))
    kill(tmp_path, ranks=2, killed_in="_write_synced")
    launch(train_toy, tmp_path, ranks=2)
    assert_same(everything(tmp_path), unbroken[2])


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_number_of_workers_changes_nothing_even_within_a_run(unbroken, tmp_path, ranks):
    kill(tmp_path, replace(TRAIN, workers=3 - ranks), ranks=ranks, task=ToyTask(signal_at=(6, signal.SIGKILL)))
    launch(train_toy, tmp_path, ranks=ranks)
    assert_same(everything(tmp_path), unbroken[ranks])


def test_sigterm_on_one_rank_finishes_the_step_on_all_and_saves_it(unbroken, tmp_path):
    answers = launch(train_toy, tmp_path, ranks=2, task=ToyTask(signal_at=(5, signal.SIGTERM), signal_rank=1))
    assert [(answer.step, answer.interrupted) for answer in answers] == [(5, True), (5, True)]
    assert (tmp_path / "checkpoints" / "step_00000005").is_dir()
    launch(train_toy, tmp_path, ranks=2)
    assert_same(everything(tmp_path), unbroken[2])


def test_a_finished_run_is_not_run_again(tmp_path):
    [first] = launch(train_toy, tmp_path)
    before = everything(tmp_path)
    [second] = launch(train_toy, tmp_path)
    assert second == first
    assert_same(everything(tmp_path), before)
