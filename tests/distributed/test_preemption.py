"""SIGTERM, whenever it comes and to whichever rank, saves what is done; a run that goes on is as if it never came."""

import signal
from dataclasses import replace

import pytest
from faults import FaultyTask, faulty, first_step_with, is_alive, steps_saved, train_and_interrupt_save
from test_kill_and_resume import assert_same
from toy_run import TRAIN, ToyTask, everything, launch, train_toy


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What one and two ranks leave behind when nothing happens to them."""
    found = {}
    for ranks in (1, 2):
        run_dir = tmp_path_factory.mktemp("unbroken")
        launch(train_toy, run_dir, ranks=ranks)
        found[ranks] = everything(run_dir)
    return found


def assert_stopped(answers, step):
    assert [(answer.step, answer.interrupted) for answer in answers] == [(step, True)] * len(answers)


def assert_goes_on(run_dir, ranks, unbroken):
    launch(train_toy, run_dir, ranks=ranks)
    assert_same(everything(run_dir), unbroken[ranks])


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (2, 0), (1, 1)])
def test_while_it_waits_for_data_it_waits_no_longer(unbroken, tmp_path, ranks, workers):
    readers = tmp_path / "readers"
    readers.mkdir()
    task = faulty(terminating=(4,), readers=readers)  # on one rank, which then waits for longer than a test may take
    answers = launch(train_toy, tmp_path / "run", replace(TRAIN, workers=workers), ranks=ranks, task=task)
    done = first_step_with(4) - 1
    if workers == 0:
        assert_stopped(answers, done)
    else:  # the worker is some steps ahead
        assert answers[0].interrupted
        assert answers[0].step <= done
    assert not any(is_alive(int(path.name)) for path in readers.iterdir())
    assert_goes_on(tmp_path / "run", ranks, unbroken)


@pytest.mark.parametrize("ranks", [1, 2])
def test_in_an_evaluation_it_is_left_and_made_up_for(unbroken, tmp_path, ranks):
    watch = FaultyTask(sigterm_in_answer=3, signal_rank=ranks - 1)  # two batches each time
    answers = launch(train_toy, tmp_path, ranks=ranks, watch=watch)
    assert_stopped(answers, 10)  # the second evaluation
    assert everything(tmp_path)["progress"]["owes_evaluation"]
    assert_goes_on(tmp_path, ranks, unbroken)


def test_in_the_last_evaluation_the_best_model_is_handed_out_later(unbroken, tmp_path):
    handed = tmp_path / "handed"
    options = {"on_best": HandOut(handed), "watch": FaultyTask(sigterm_in_answer=5)}
    assert_stopped(launch(train_toy, tmp_path / "run", **options), TRAIN.steps)
    before = handed.read_text().split()
    launch(train_toy, tmp_path / "run", on_best=HandOut(handed))
    assert_same(everything(tmp_path / "run"), unbroken[1])
    assert len(handed.read_text().split()) == len(before) + 1


class HandOut:
    """Writes down each model that is handed out."""

    def __init__(self, path):
        self.path = path

    def __call__(self, model, metrics):
        with self.path.open("a") as file:
            file.write(f"{metrics['similarity']}\n")


@pytest.mark.parametrize("function", ["_begin", "_write_synced", "_finish", "prune"])
def test_while_a_checkpoint_is_written_it_is_finished(unbroken, tmp_path, function):
    answers = launch(train_and_interrupt_save, tmp_path, function, 2)
    assert_stopped(answers, 5)  # the second that is saved is the best at 5
    assert -1 not in steps_saved(tmp_path)
    assert_goes_on(tmp_path, 1, unbroken)


@pytest.mark.parametrize("ranks", [1, 2])
def test_in_the_first_step_that_step_is_saved(unbroken, tmp_path, ranks):
    task = ToyTask(signal_at=(1, signal.SIGTERM), signal_rank=ranks - 1)
    assert_stopped(launch(train_toy, tmp_path, ranks=ranks, task=task), 1)
    assert steps_saved(tmp_path) == [1]
    assert_goes_on(tmp_path, ranks, unbroken)


def test_before_the_first_step_there_is_nothing_to_save(unbroken, tmp_path):
    answers = launch(train_toy, tmp_path, task=faulty(terminating=tuple(range(22))))
    assert_stopped(answers, 0)
    assert not (tmp_path / "checkpoints").exists()
    assert_goes_on(tmp_path, 1, unbroken)
