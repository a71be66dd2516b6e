"""A checkpoint that cannot be written leaves the one before it, and nothing else; a run goes on once there is room."""

import errno
import os
import signal

import pytest
from faults import FaultyTask, steps_saved, train_and_die_in_rmtree, train_and_fail_in, train_on_full_disk
from test_kill_and_resume import assert_same
from toy_run import TRAIN, everything, launch, train_toy

from playhead.errors import TrainingError
from playhead.train.checkpoint import latest

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What a run leaves behind when nothing happens to it."""
    run_dir = tmp_path_factory.mktemp("unbroken")
    launch(train_toy, run_dir)
    return everything(run_dir)


@pytest.mark.parametrize(("ranks", "hit"), [(1, 0), (2, 0), (2, 1)])
def test_a_disk_that_takes_no_more_ends_all_ranks_and_keeps_the_checkpoint_before(tmp_path, ranks, hit):
    task = FaultyTask(full_at=(5, 20_000), signal_rank=hit)
    answers = launch(train_on_full_disk, tmp_path, ranks=ranks, task=task)
    assert len({str(answer) for answer in answers}) == 1
    assert isinstance(answers[0], TrainingError)
    assert "a checkpoint cannot be written: File too large. It needs " in str(answers[0])
    assert " GiB are free; the last one, step_00000003, is untouched. Make room" in str(answers[0])
    assert steps_saved(tmp_path) == [3]
    assert launch(train_toy, tmp_path, ranks=ranks)[0].step == TRAIN.steps


@pytest.mark.parametrize(("function", "number"), [("_write_synced", 2), ("_sync_folder", 3)])
def test_a_disk_full_at_the_last_files_of_a_checkpoint_does_the_same(unbroken, tmp_path, function, number):
    [answer] = launch(train_and_fail_in, tmp_path, function, FULL, number)  # in the checkpoint of step 5, the second
    assert isinstance(answer, TrainingError)
    assert "a checkpoint cannot be written: No space left on device." in str(answer)
    assert steps_saved(tmp_path) == [3]
    launch(train_toy, tmp_path)
    assert_same(everything(tmp_path), unbroken)


def test_the_first_checkpoint_that_cannot_be_written_leaves_an_empty_folder(tmp_path):
    [answer] = launch(train_on_full_disk, tmp_path, task=FaultyTask(full_at=(1, 2_000)))
    assert "there is no older one" in str(answer)
    assert steps_saved(tmp_path) == []
    assert latest(tmp_path) is None


def test_a_run_killed_between_renaming_and_deleting_an_old_checkpoint_keeps_the_newest_and_the_best(unbroken, tmp_path):
    [answer] = launch(train_and_die_in_rmtree, tmp_path)
    assert answer == -signal.SIGKILL
    newest = latest(tmp_path)
    assert newest is not None
    assert newest.name == "step_00000006"
    assert sorted(steps_saved(tmp_path)) == [-1, 5, 6]  # 3 was being deleted; 5 is the best
    launch(train_toy, tmp_path)
    assert_same(everything(tmp_path), unbroken)


def test_a_log_that_cannot_be_written_is_an_error_in_one_line(tmp_path):
    [answer] = launch(train_on_full_disk, tmp_path, task=FaultyTask(full_at=(2, 600)))
    assert isinstance(answer, TrainingError)
    assert (
        str(answer) == f"{tmp_path / 'log.jsonl'}: the log cannot be written (File too large); make room and start "
        "the same command again."
    )
