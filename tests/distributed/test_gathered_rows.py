"""Rows of all ranks come together, and the gradient of their loss is the true one."""

import torch
import torch.distributed as dist
from toy_run import launch

from playhead.train.parallel import gather_rows, setup, teardown

ROWS = torch.arange(15.0).reshape(5, 3) / 10
SHARES = {0: slice(0, 2), 1: slice(2, 5)}  # unequal on purpose


def loss_of(rows):
    return torch.logsumexp(rows["x"] @ rows["x"].T, dim=1).mean() + (rows["x"][:, 0] * rows["tag"]).sum()


def gather_on_two_ranks():
    world = setup()
    weight = torch.eye(3, requires_grad=True)
    mine = ROWS[SHARES[world.rank]]
    tag = torch.arange(5)[SHARES[world.rank]] > 1
    rows = gather_rows({"x": mine @ weight, "tag": tag})
    loss_of(rows).backward()
    assert weight.grad is not None
    dist.all_reduce(weight.grad)
    teardown()
    true_gradient = weight.grad / world.size  # as DDP averages
    return rows["x"].tolist(), rows["tag"].tolist(), true_gradient.tolist()


def test_unequal_shares_come_together_in_rank_order_with_the_true_gradient():
    weight = torch.eye(3, requires_grad=True)
    loss_of({"x": ROWS @ weight, "tag": torch.arange(5) > 1}).backward()
    for rows, tag, gradient in launch(gather_on_two_ranks, ranks=2):
        assert rows == ROWS.tolist()
        assert tag == [False, False, True, True, True]
        torch.testing.assert_close(torch.tensor(gradient), weight.grad)


def gather_misfits():
    world = setup()
    try:
        gather_rows({"x": torch.zeros(2, 3 + world.rank)})
    finally:
        teardown()


def test_rows_of_different_width_are_an_error_on_every_rank_and_no_hang():
    for answer in launch(gather_misfits, ranks=2):
        assert isinstance(answer, ValueError)
        assert "rows 'x' have [3, 4] values each" in str(answer)


def test_alone_rows_are_returned_as_they_are():
    rows = {"x": torch.ones(2)}
    assert gather_rows(rows) is rows
