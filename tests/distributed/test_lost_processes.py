"""A reader that stalls, a worker or a rank that is killed: the run ends on all ranks and says why, or goes on."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from faults import FaultySamples, FaultyTask, faulty, first_step_with, is_alive, quarantine, steps_saved
from toy_run import TRAIN, ToyTask, everything, launch, train_toy

from playhead.errors import DecodeError, TrainingError
from playhead.train.log import read_log

STEP = first_step_with(4)
SECONDS = 3.0  # no other sample takes so long, on however busy a machine
SHORT = replace(TRAIN, steps=STEP + 1, evaluate_every=STEP + 1)
WATCHED = replace(SHORT, workers=1, sample_timeout=SECONDS)


@pytest.fixture
def readers(tmp_path):
    """The folder in which every process leaves its number that reads samples."""
    folder = tmp_path / "readers"
    folder.mkdir()
    return folder


def assert_none_left(readers):
    workers = [int(path.name) for path in readers.iterdir()]
    assert workers
    assert not any(map(is_alive, workers))


@pytest.fixture(scope="module")
def with_unreadable(tmp_path_factory):
    """What a run leaves behind in which sample 4 cannot be read."""
    run_dir = tmp_path_factory.mktemp("unreadable")
    launch(train_toy, run_dir, replace(SHORT, max_broken=1), ranks=2, task=faulty(unreadable=(4,)))
    return everything(run_dir)


def test_a_decoder_that_stalls_ends_the_run_and_names_its_file(tmp_path, readers):
    pipe = tmp_path / "video.mp4"
    os.mkfifo(pipe)  # opening it waits for someone who writes, in FFmpeg's own code
    task = faulty(stalling=(4,), pipe=pipe, readers=readers)
    [answer] = launch(train_toy, tmp_path / "run", WATCHED, task=task)
    assert type(answer) is DecodeError
    assert str(answer).startswith(f"{pipe}: nothing came within 3 s, the train.sample_timeout (sample 4); ")
    assert steps_saved(tmp_path / "run")[-1] == STEP - 1
    assert_none_left(readers)


def test_a_sample_that_stalls_is_replaced_as_an_unreadable_one_is(with_unreadable, tmp_path, readers):
    task = faulty(stalling=(4,), readers=readers)
    answers = launch(train_toy, tmp_path, replace(WATCHED, max_broken=1), ranks=2, task=task)
    assert [answer.step for answer in answers] == [SHORT.steps] * 2
    found = everything(tmp_path)
    assert found["progress"] == with_unreadable["progress"]
    assert all(torch.equal(found["tensors"][name], tensor) for name, tensor in with_unreadable["tensors"].items())
    [line] = quarantine(tmp_path)
    assert (line["sample"], line["step"]) == (4, STEP)
    assert "nothing came within 3 s" in line["error"]
    assert_none_left(readers)


def test_a_stall_in_the_evaluation_ends_the_run(tmp_path, readers):
    watch = FaultyTask(faults=FaultySamples(7, stalling=(6,), readers=readers), evaluates_faults=True)
    settings = replace(WATCHED, steps=2, evaluate_every=1)
    [answer] = launch(train_toy, tmp_path / "run", settings, watch=watch)
    assert "nothing came within 3 s, the train.sample_timeout (sample 6)" in str(answer)
    assert_none_left(readers)


def test_a_killed_worker_ends_all_ranks_after_saving_and_names_its_sample(tmp_path, readers):
    answers = launch(
        train_toy, tmp_path / "run", replace(SHORT, workers=1), ranks=2, task=faulty(deadly=(4,), readers=readers)
    )
    for answer in answers:
        assert isinstance(answer, TrainingError)
        assert "(SIGKILL) while it read sample 4. " in str(answer)
        assert "lower train.workers" in str(answer)
    done = read_log(tmp_path / "run")[-1]["step"]
    assert 0 < done < STEP  # the worker read ahead, and what it had not sent yet is lost with it
    assert steps_saved(tmp_path / "run")[-1] == done
    assert_none_left(readers)
    assert launch(train_toy, tmp_path / "run", SHORT)[0].step == SHORT.steps


def test_a_rank_that_loses_another_ends_and_names_the_last_checkpoint(tmp_path):
    task = ToyTask(signal_at=(5, signal.SIGKILL), signal_rank=1)
    survivor, killed = launch(train_toy, tmp_path, ranks=2, task=task)
    assert killed == -signal.SIGKILL
    assert isinstance(survivor, TrainingError)
    assert "rank 0 lost another of the 2 ranks" in str(survivor)
    assert "The last checkpoint, step_00000003, is complete; start the same command again" in str(survivor)
    assert steps_saved(tmp_path) == [3]
    assert [answer.step for answer in launch(train_toy, tmp_path, ranks=2)] == [TRAIN.steps] * 2
