"""Arithmetic is counted as by hand, once."""

import pytest
import torch
from torch import nn

from playhead.train.speed import Speed, measured_peak


def test_a_linear_layer_and_its_backward_cost_six_operations_per_weight_and_row():
    layer, rows = nn.Linear(8, 16, bias=False), torch.randn(4, 8, requires_grad=True)
    speed = Speed(clips_per_step=4, peak=1e9)
    with speed.counting_flops():
        layer(rows).sum().backward()
    assert speed.flops_per_step == 6 * 4 * 8 * 16  # forward, gradient of the input, gradient of the weight; 2 each
    with speed.counting_flops():
        layer(rows)
    assert speed.flops_per_step == 6 * 4 * 8 * 16


def test_shares_lie_between_none_and_all_and_a_report_begins_anew():
    speed = Speed(clips_per_step=4, peak=1e15)
    with speed.waiting_for_data(), speed.counting_flops():
        torch.ones(64, 64) @ torch.ones(64, 64)
    speed.step_done()
    report = speed.report()
    assert report.clips_per_second > 0
    assert 0 < report.data_wait <= 1
    assert report.mfu is not None
    assert 0 < report.mfu < 1
    assert speed.report().clips_per_second == 0


def test_without_a_peak_there_is_no_mfu():
    speed = Speed(clips_per_step=4, peak=None)
    with speed.counting_flops():
        torch.ones(2, 2) @ torch.ones(2, 2)
    speed.step_done()
    assert speed.report().mfu is None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_peak_is_measured(precision):
    assert measured_peak(torch.device("cpu"), precision) > 1e8  # any machine since 2000
