"""Accuracy and errors of state changes, and the loss of the key frame, against EgoVLP's recorded ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from egovlp_cases import case_name, find_cases

from playhead.metrics.key_frame import (
    key_frame_errors,
    mean_key_frame_error,
    official_frames,
    state_change_accuracy,
)
from playhead.models.state_change import StateChangeOutput
from playhead.tasks.state_change import StateChange, StateChangeBatch

CASES = [pytest.param(case, id=case_name(case)) for case in find_cases("**/*f_oscc_pnr*.npz")]
LOSSES = [pytest.param(case, id=case_name(case)) for case in find_cases("**/*c_losses*.npz")]


def test_there_is_a_case():
    assert CASES
    assert LOSSES


@pytest.mark.parametrize("case", CASES)
def test_accuracy_in_percent(case):
    recorded = np.load(case)
    told = recorded["oscc_logits"].argmax(axis=1) == 1
    accuracy = state_change_accuracy(told, recorded["oscc_state"] == 1)
    assert accuracy == pytest.approx(float(recorded["oscc_accuracy"]), abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_error_in_seconds_over_clips_with_a_change_and_over_all(case):
    recorded = np.load(case)
    logits = recorded["pnr_logits"]
    start, end, pnr = (recorded[f"parent_{name}_frame"] for name in ("start", "end", "pnr"))
    errors = key_frame_errors(official_frames(logits.argmax(axis=1), start, end, logits.shape[1]), pnr, recorded["fps"])
    changed = recorded["state"] == 1
    assert mean_key_frame_error(errors, changed) == pytest.approx(float(recorded["pnr_error_sec"]), abs=1e-9)
    everywhere = np.ones_like(changed)
    expected = float(recorded["pnr_error_sec_all_positive"])
    assert mean_key_frame_error(errors, everywhere) == pytest.approx(expected, abs=1e-9)


class Recorded(torch.nn.Module):
    """A model that says what was recorded."""

    def __init__(self, state, key_frame):
        super().__init__()
        self.output = StateChangeOutput(state, key_frame)

    def forward(self, video):
        return self.output


def batch_of(state, slot) -> StateChangeBatch:
    count = len(state)
    return StateChangeBatch(
        video=torch.zeros(count, 1, 3, 2, 2, dtype=torch.uint8),
        places=torch.zeros(count, 1, dtype=torch.int64),
        lengths=torch.ones(count, dtype=torch.int64),
        state=state,
        slot=slot,
        names=tuple(map(str, range(count))),
    )


@pytest.mark.parametrize("case", LOSSES)
def test_the_loss_of_the_key_frame(case):
    recorded = np.load(case)
    logits, labels = torch.from_numpy(recorded["pnr_logits"]), torch.from_numpy(recorded["pnr_hard_labels"])
    task = StateChange(videos=Path(), annotations=Path(), kind="pnr")
    batch = batch_of(torch.ones(len(logits), dtype=torch.int64), labels.argmax(dim=1))
    loss = task.loss(task.encode(Recorded(None, logits), batch))
    assert loss.total.item() == pytest.approx(float(recorded["pnr_loss"]), abs=1e-5)


@pytest.mark.parametrize("case", LOSSES)
def test_the_loss_of_the_state(case):
    recorded = np.load(case)
    logits, labels = torch.from_numpy(recorded["ce_logits"]), torch.from_numpy(recorded["ce_target"]).long()
    task = StateChange(videos=Path(), annotations=Path(), kind="oscc")
    loss = task.loss(task.encode(Recorded(logits, None), batch_of(labels, torch.full_like(labels, -1))))
    assert loss.total.item() == pytest.approx(float(recorded["ce_loss"]), abs=1e-5)
