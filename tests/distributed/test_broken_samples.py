"""A sample that cannot be read stops all ranks, or is replaced, named and counted: the same however a run is cut up."""

import signal
from dataclasses import replace

import pytest
import torch
from faults import FaultySamples, FaultyTask, faulty, first_step_with, quarantine, steps_saved
from toy_run import OPTIM, TRAIN, everything, launch, train_toy

from playhead.data.loading import EpochOrder, sample_seed
from playhead.data.reading import replacement
from playhead.errors import DecodeError, TrainingError
from playhead.train.log import read_log

BROKEN = (17, 4)
ALLOWING = replace(TRAIN, max_broken=2)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What a run leaves behind that was never cut, with two broken samples."""
    run_dir = tmp_path_factory.mktemp("whole")
    launch(train_toy, run_dir, ALLOWING, task=faulty(unreadable=BROKEN))
    return everything(run_dir), quarantine(run_dir)


def assert_same(run_dir, expected):
    found = everything(run_dir)
    assert found["progress"] == expected[0]["progress"]
    assert found["log"] == expected[0]["log"]
    assert all(torch.equal(found["tensors"][name], tensor) for name, tensor in expected[0]["tensors"].items())
    assert quarantine(run_dir) == expected[1]


def test_each_broken_sample_is_named_once_with_where_it_was_first_needed(unbroken):
    found, lines = unbroken
    order = EpochOrder(22, TRAIN.global_batch, TRAIN.seed)
    for line in lines:
        step = first_step_with(line["sample"])
        seed = sample_seed(TRAIN.seed, order(step - 1)[0], line["sample"])
        assert (line["step"], line["epoch"]) == (step, order(step - 1)[0] + 1)
        assert line["path"] == f"{line['sample']}.mp4"
        assert line["error"] == f"{line['sample']}.mp4, at 1.50 s: has no frame."
        assert line["replaced_by"] == replacement(seed, 0, 22)[0]
    assert [line["sample"] for line in lines] == sorted(BROKEN, key=first_step_with)
    seen = [index for step in range(TRAIN.steps) for index in order(step)[1] if index in BROKEN]
    assert len(seen) > len(BROKEN)  # some came again in a later epoch and were not counted again
    assert found["progress"]["broken"] == sorted(BROKEN)
    firsts = sorted(map(first_step_with, BROKEN))
    for record in found["log"]:
        if "loss" in record:
            assert record["broken"] == sum(first <= record["step"] for first in firsts)


def test_a_run_killed_with_broken_samples_goes_on_bit_identically(unbroken, tmp_path):
    for updates in (2, 5, 4):
        task = faulty(unreadable=BROKEN)
        launch(train_toy, tmp_path, ALLOWING, task=replace(task, signal_at=(updates, signal.SIGKILL)))
    launch(train_toy, tmp_path, ALLOWING, task=faulty(unreadable=BROKEN))
    assert_same(tmp_path, unbroken)


def test_workers_change_nothing_where_samples_are_broken(unbroken, tmp_path):
    launch(train_toy, tmp_path, replace(ALLOWING, workers=1), task=faulty(unreadable=BROKEN))
    assert_same(tmp_path, unbroken)


def test_two_ranks_replace_as_one_does(tmp_path):
    without_chance = {"dropout": 0.0, "optim": replace(OPTIM, eps=1e-6), "task": faulty(unreadable=BROKEN)}
    logs = []
    for ranks in (1, 2):
        answers = launch(train_toy, tmp_path / str(ranks), ALLOWING, ranks=ranks, **without_chance)
        assert all(answer.step == TRAIN.steps for answer in answers)
        logs.append([record["loss"] for record in read_log(tmp_path / str(ranks)) if "loss" in record])
    assert logs[1] == pytest.approx(logs[0], rel=1e-4)  # as in test_ranks_agree.py
    assert quarantine(tmp_path / "2") == quarantine(tmp_path / "1")


@pytest.mark.parametrize("max_broken", [1, 0.05])
def test_one_too_many_stops_all_ranks_at_the_same_step_and_is_saved(unbroken, tmp_path, max_broken):
    last = max(map(first_step_with, BROKEN))
    settings = replace(TRAIN, max_broken=max_broken)
    answers = launch(train_toy, tmp_path, settings, ranks=2, task=faulty(unreadable=BROKEN))
    assert [type(answer) for answer in answers] == [TrainingError] * 2
    assert str(answers[0]) == str(answers[1])
    assert f"step {last}: 2 of 22 samples are broken, train.max_broken allows 1" in str(answers[0])
    assert str(tmp_path / "quarantine.jsonl") in str(answers[0])
    assert steps_saved(tmp_path)[-1] == last - 1
    assert [line["sample"] for line in quarantine(tmp_path)] == [line["sample"] for line in unbroken[1]]


def test_the_limit_counts_over_resumes_and_raised_it_lets_the_run_go_on(unbroken, tmp_path):
    strict, task = replace(TRAIN, max_broken=1), faulty(unreadable=BROKEN)
    first, last = sorted(map(first_step_with, BROKEN))
    assert first < last
    [stopped] = launch(train_toy, tmp_path, strict, task=replace(task, signal_at=(last - 1, signal.SIGTERM)))
    assert (stopped.step, stopped.interrupted) == (last - 1, True)
    for _ in range(2):  # trying again changes nothing
        [answer] = launch(train_toy, tmp_path, strict, task=task)
        assert f"step {last}: 2 of 22 samples are broken" in str(answer)
    launch(train_toy, tmp_path, ALLOWING, task=task)
    assert_same(tmp_path, unbroken)


def test_without_a_limit_the_first_broken_sample_stops_both_ranks_with_its_own_error(tmp_path):
    answers = launch(train_toy, tmp_path, ranks=2, task=faulty(unreadable=(4,)))
    for answer in answers:
        assert type(answer) is DecodeError
        assert str(answer) == "4.mp4, at 1.50 s: has no frame. (sample 4)"
    assert steps_saved(tmp_path)[-1] == first_step_with(4) - 1 > 0
    assert quarantine(tmp_path) == []


def test_a_fault_of_the_program_on_one_rank_is_told_to_the_other(tmp_path):
    task = FaultyTask(faults=FaultySamples(22, stalling=(4,), pipe=42))  # which is no path
    answers = launch(train_toy, tmp_path, ranks=2, task=task)
    assert {type(answer) for answer in answers} == {TypeError, TrainingError}
    [told] = [str(answer) for answer in answers if isinstance(answer, TrainingError)]
    assert "failed (TypeError: " in told
    assert steps_saved(tmp_path)[-1] == first_step_with(4) - 1 > 0


def test_a_broken_sample_of_the_evaluation_stops_all_ranks_and_is_not_replaced(tmp_path):
    watch = FaultyTask(faults=FaultySamples(7, unreadable=(6,)))
    watch = replace(watch, evaluates_faults=True)
    answers = launch(train_toy, tmp_path, ALLOWING, ranks=2, watch=watch)
    assert [str(answer) for answer in answers] == ["6.mp4, at 1.50 s: has no frame. (sample 6)"] * 2
    assert steps_saved(tmp_path) == [3]
