"""The log has each step once, whatever happened."""

import json

import torch

from playhead.train.log import RunLog, read_log
from playhead.train.speed import SpeedReport
from playhead.types import Loss

SPEED = SpeedReport(clips_per_second=12.5, data_wait=0.25, mfu=None)


def log_step(log, step):
    log.step(step, 1, Loss(torch.tensor(2.0), {"ego_nce": 2.0}), 1e-3, 0.5, SPEED)


def test_a_resumed_log_drops_the_lines_after_its_checkpoint_and_a_line_cut_short(tmp_path):
    with RunLog(tmp_path, first_step=0, total_steps=9) as log:
        for step in (1, 2, 3):
            log_step(log, step)
        log.metrics(3, {"intra": 41.0})
        log_step(log, 4)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    with RunLog(tmp_path, first_step=3, total_steps=9) as log:
        log_step(log, 4)
    assert [record["step"] for record in read_log(tmp_path)] == [1, 2, 3, 3, 4]
    assert read_log(tmp_path)[3]["metrics"] == {"intra": 41.0}


def test_an_evaluation_that_is_made_again_is_dropped(tmp_path):
    with RunLog(tmp_path, first_step=0, total_steps=9) as log:
        for step in (1, 2):
            log_step(log, step)
            log.metrics(step, {"intra": 41.0})
    with RunLog(tmp_path, first_step=2, total_steps=9, owes_evaluation=True):
        pass
    assert [(record["step"], "metrics" in record) for record in read_log(tmp_path)] == [
        (1, False),
        (1, True),
        (2, False),
    ]


def test_a_line_has_what_a_curve_needs(tmp_path):
    with RunLog(tmp_path, first_step=0, total_steps=9) as log:
        log_step(log, 1)
    [record] = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert (record["loss"], record["parts"], record["lr"], record["grad_norm"]) == (2.0, {"ego_nce": 2.0}, 1e-3, 0.5)
    assert (record["clips_per_second"], record["data_wait"], record["mfu"]) == (12.5, 0.25, None)
    assert record["memory_gib"] > 0


def test_a_quiet_rank_writes_nothing(tmp_path):
    with RunLog(tmp_path / "run", first_step=0, total_steps=9, tensorboard=True, quiet=True) as log:
        log_step(log, 1)
        log.metrics(1, {"intra": 41.0})
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunLog(tmp_path, first_step=0, total_steps=9, tensorboard=True) as log:
        log_step(log, 1)
        log.metrics(1, {"egomcq/intra": 41.0})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("egomcq/intra")] == [(1, 41.0)]
    assert events.Scalars("loss")[0].value == 2.0
