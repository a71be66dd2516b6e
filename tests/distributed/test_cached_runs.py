"""Batches encoded in parts, and losses in blocks: the same run as without, over ranks, and after a kill."""

import signal
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
import torch.distributed as dist
from toy_run import OPTIM, TRAIN, ToyBatch, ToyModel, ToySamples, ToyTask, everything, launch, train_toy

from playhead.errors import RecipeError, TrainingError
from playhead.objectives.blockwise import blockwise_info_nce
from playhead.train.gradient_cache import cached_backward
from playhead.train.loop import step_seed
from playhead.train.parallel import gather_rows, setup, spread, teardown, whole
from playhead.types import Loss

IN_PARTS = replace(TRAIN, micro_batch=1)
WITHOUT_CHANCE = {"dropout": 0.0, "optim": replace(OPTIM, eps=1e-6)}


@dataclass(frozen=True)
class SplitToy(ToyTask):
    """The toy, which says how its batches split, and whose loss comes in blocks of three rows."""

    def split(self, batch, size):
        parts = [slice(first, first + size) for first in range(0, len(batch.names), size)]
        return [ToyBatch(batch.video[part], batch.text[part], batch.names[part]) for part in parts]

    def loss(self, rows):
        total = blockwise_info_nce(rows["video"], rows["text"], temperature=0.1, block_rows=3).loss
        return Loss(total, {"contrast": float(total.detach())})


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    """One rank, whole batches, a dense loss."""
    run_dir = tmp_path_factory.mktemp("plain")
    launch(train_toy, run_dir, **WITHOUT_CHANCE)
    return everything(run_dir)


@pytest.mark.parametrize(("parallel", "ranks"), [("auto", 1), ("ddp", 2), ("fsdp", 2)])
def test_parts_and_blocks_learn_what_whole_batches_and_dense_losses_learn(plain_run, tmp_path, parallel, ranks):
    settings = replace(IN_PARTS, parallel=parallel)
    answers = launch(train_toy, tmp_path, settings, ranks=ranks, task=SplitToy(), **WITHOUT_CHANCE)
    assert all(answer == answers[0] and answer.step == TRAIN.steps for answer in answers)
    found = everything(tmp_path)
    # As in test_ranks_agree: sums in another order, passed on by Adam. Averages and clipping are part of the run.
    for name, tensor in plain_run["tensors"].items():
        torch.testing.assert_close(found["tensors"][name], tensor, rtol=1e-4, atol=1e-5, msg=lambda text: text)
    for one, other in zip(found["log"], plain_run["log"], strict=True):
        assert one.get("loss", 0.0) == pytest.approx(other.get("loss", 0.0), rel=1e-4)
        assert one.get("grad_norm", 0.0) == pytest.approx(other.get("grad_norm", 0.0), rel=1e-4)


def own_batch(world):
    samples = [ToySamples(22).read(index, seed=index) for index in range(world.rank * 5, world.rank * 5 + 5)]
    return SplitToy().collate(samples)


def gradients_on_two_ranks(parallel):
    """Return the gradients of the cached step, and of its twin: one graph, summed over ranks by hand; with dropout."""
    world, task = setup(), SplitToy()
    seed_of = partial(step_seed, 3, 0, world.rank)
    settings = replace(TRAIN, global_batch=10, micro_batch=2, parallel=parallel)
    torch.manual_seed(1)
    model = ToyModel(dropout=0.4)
    cached_backward(spread(model, settings, world), task, own_batch(world), settings, world, seed_of)
    found = {name: whole(p.grad).tolist() for name, p in model.named_parameters() if p.grad is not None}

    torch.manual_seed(1)
    twin, rows = ToyModel(dropout=0.4), []
    for number, part in enumerate(task.split(own_batch(world), 2)):
        torch.manual_seed(seed_of(number))
        rows.append(task.encode(twin, part))
    task.loss(gather_rows({name: torch.cat([part[name] for part in rows]) for name in rows[0]})).total.backward()
    learning = {name: p.grad for name, p in twin.named_parameters() if p.grad is not None}
    for gradient in learning.values():
        dist.all_reduce(gradient)
    teardown()
    return found, {name: (gradient / world.size).tolist() for name, gradient in learning.items()}


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_with_dropout_the_gradient_on_two_ranks_is_that_of_one_graph(parallel):
    answers = launch(gradients_on_two_ranks, parallel, ranks=2)
    assert answers[0][0] == answers[1][0]
    for found, expected in answers:
        assert found.keys() >= expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(torch.tensor(found[name]), torch.tensor(gradient), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_in_parts_that_was_killed_goes_on_bit_identically(tmp_path, ranks):
    launch(train_toy, tmp_path / "unbroken", IN_PARTS, ranks=ranks, task=SplitToy())
    encodings = 2 * TRAIN.global_batch // ranks  # of a step and rank
    killed = SplitToy(signal_at=(5 * encodings - 1, signal.SIGKILL))  # in the second half of the fifth step
    answers = launch(train_toy, tmp_path / "killed", IN_PARTS, ranks=ranks, task=killed)
    assert -signal.SIGKILL in answers
    launch(train_toy, tmp_path / "killed", IN_PARTS, ranks=ranks, task=SplitToy())
    found, expected = everything(tmp_path / "killed"), everything(tmp_path / "unbroken")
    assert (found["progress"], found["log"]) == (expected["progress"], expected["log"])
    assert all(torch.equal(found["tensors"][name], tensor) for name, tensor in expected["tensors"].items())


def test_one_part_is_the_plain_step_to_the_last_bit_dropout_included(tmp_path):
    launch(train_toy, tmp_path / "plain", task=SplitToy())
    launch(train_toy, tmp_path / "parts", replace(TRAIN, micro_batch=4), task=SplitToy())
    found, expected = everything(tmp_path / "parts"), everything(tmp_path / "plain")
    assert found["log"] == expected["log"]
    assert all(torch.equal(found["tensors"][name], tensor) for name, tensor in expected["tensors"].items())


def test_a_sample_that_is_not_a_number_is_named_among_all_parts(tmp_path):
    answers = launch(train_toy, tmp_path, IN_PARTS, ranks=2, task=SplitToy(not_a_number=17))
    assert all(isinstance(answer, TrainingError) and "not finite: pair 17." in str(answer) for answer in answers)


def test_a_task_that_cannot_split_is_refused_before_anything_is_written(tmp_path):
    [answer] = launch(train_toy, tmp_path / "run", IN_PARTS)
    assert isinstance(answer, RecipeError)
    assert "ToyTask cannot split a batch" in str(answer)
    assert not (tmp_path / "run").exists()
