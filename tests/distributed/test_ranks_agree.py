"""How a run is spread over ranks does not change what is learnt."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from toy_run import OPTIM, TRAIN, WIDTH, ToyModel, ToyTask, everything, launch, train_toy

from playhead.errors import RecipeError
from playhead.train.parallel import setup, spread, teardown

# fp32 sums in another order differ by some 1e-7 of their size, and Adam, which divides a gradient by its own size,
# passes that on to the weights about as it is. A gradient that is off by the number of ranks would double `grad_norm`.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
WITHOUT_CHANCE = {"dropout": 0.0, "optim": replace(OPTIM, eps=1e-6)}


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("one")
    launch(train_toy, run_dir, **WITHOUT_CHANCE)
    return everything(run_dir)


def assert_close_runs(found, expected):
    for name, tensor in expected["tensors"].items():
        torch.testing.assert_close(
            found["tensors"][name], tensor, **CLOSE, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert len(found["log"]) == len(expected["log"])
    for one, other in zip(found["log"], expected["log"], strict=True):
        assert (one.keys(), one["step"]) == (other.keys(), other["step"])
        for key in ("lr", "loss", "grad_norm"):
            assert one.get(key, 0.0) == pytest.approx(other.get(key, 0.0), rel=1e-4), (one["step"], key)
        assert one.get("metrics", {}) == pytest.approx(other.get("metrics", {}), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_equal_one(one_rank, tmp_path, parallel):
    answers = launch(train_toy, tmp_path, replace(TRAIN, parallel=parallel), ranks=2, **WITHOUT_CHANCE)
    assert answers[0] == answers[1]
    assert_close_runs(everything(tmp_path), one_rank)


def on_nodes(ranks_of_a_node, *arguments, **options):
    """Train the toy as torchrun would start it on nodes of so many ranks."""
    ranks, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    node, local = divmod(rank, ranks_of_a_node)
    size = min(ranks_of_a_node, ranks - node * ranks_of_a_node)
    os.environ |= {"LOCAL_WORLD_SIZE": str(size), "LOCAL_RANK": str(local)}
    return train_toy(*arguments, **options)


@pytest.mark.parametrize(("ranks_of_a_node", "ranks"), [(2, 4), (1, 2)])
def test_nodes_that_shard_inside_and_copy_between_equal_one_rank(one_rank, tmp_path, ranks_of_a_node, ranks):
    settings = replace(TRAIN, parallel="hsdp")
    answers = launch(on_nodes, ranks_of_a_node, tmp_path, settings, ranks=ranks, **WITHOUT_CHANCE)
    assert all(answer == answers[0] for answer in answers)
    assert_close_runs(everything(tmp_path), one_rank)


def test_nodes_of_unequal_size_are_refused_on_every_rank(tmp_path):
    for answer in launch(on_nodes, 2, tmp_path, replace(TRAIN, parallel="hsdp", global_batch=6), ranks=3):
        assert isinstance(answer, RecipeError)
        assert "rank 0: 0 of 2, rank 1: 1 of 2, rank 2: 0 of 1" in str(answer)


def weights_of_a_node(folder):
    world, model = setup(), ToyModel(0.0)
    os.environ |= {"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": str(world.rank % 2)}
    spread(model, replace(TRAIN, parallel="hsdp"), world)
    weight = model.video.head.weight
    torch.save(weight.to_local(), folder / f"{world.rank}.pt")
    grid = (weight.device_mesh.mesh_dim_names, tuple(weight.device_mesh.shape))
    teardown()
    return grid


def test_a_node_holds_all_weights_once(tmp_path):
    grids = launch(weights_of_a_node, tmp_path, ranks=4)
    assert grids == [(("replicate", "shard"), (2, 2))] * 4
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(4)]
    assert [part.shape for part in parts] == [(2, WIDTH)] * 4  # of 4 rows
    assert torch.equal(torch.cat(parts[:2]), torch.cat(parts[2:]))
    assert not torch.equal(parts[0], parts[1])


def test_a_checkpoint_goes_on_in_another_number_of_ranks_and_another_kind(one_rank, tmp_path):
    def stopped_in(update):
        return ToyTask(signal_at=(update, signal.SIGTERM))

    fsdp, alone = replace(TRAIN, parallel="fsdp"), replace(TRAIN, parallel="none")
    hsdp = replace(TRAIN, parallel="hsdp")
    assert launch(train_toy, tmp_path, fsdp, ranks=2, task=stopped_in(4), **WITHOUT_CHANCE)[0].step == 4
    assert launch(train_toy, tmp_path, alone, ranks=1, task=stopped_in(3), **WITHOUT_CHANCE)[0].step == 7
    assert launch(train_toy, tmp_path, TRAIN, ranks=2, task=stopped_in(2), **WITHOUT_CHANCE)[0].step == 9
    assert launch(on_nodes, 2, tmp_path, hsdp, ranks=4, task=stopped_in(2), **WITHOUT_CHANCE)[0].step == 11
    assert launch(train_toy, tmp_path, fsdp, ranks=2, **WITHOUT_CHANCE)[0].step == TRAIN.steps
    assert_close_runs(everything(tmp_path), one_rank)


def train_and_hand_out(run_dir, settings):
    os.environ |= {"LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}  # each rank is a node, where that matters

    def hand_out(model, metrics):
        torch.save({"weights": model.state_dict(), "metrics": metrics}, run_dir.parent / f"{run_dir.name}.pt")

    return train_toy(run_dir, settings, on_best=hand_out)


@pytest.mark.parametrize(("parallel", "ranks"), [("auto", 1), ("fsdp", 2), ("hsdp", 2)])
def test_the_best_model_is_handed_out_whole_and_averaged(tmp_path, parallel, ranks):
    result = launch(train_and_hand_out, tmp_path / "run", replace(TRAIN, parallel=parallel), ranks=ranks)[0]
    handed = torch.load(tmp_path / "run.pt", weights_only=True)
    assert result.best_step == TRAIN.steps  # the toy only gets better, so the last checkpoint holds the same
    assert handed["metrics"] == result.metrics
    tensors = everything(tmp_path / "run")["tensors"]
    assert {f"ema/{name}" for name in handed["weights"]} == {name for name in tensors if name.startswith("ema/")}
    assert all(torch.equal(tensor, tensors[f"ema/{name}"]) for name, tensor in handed["weights"].items())


@pytest.mark.parametrize(("parallel", "ranks"), [("none", 2), ("fsdp", 1), ("hsdp", 1)])
def test_a_kind_that_does_not_fit_the_ranks_is_refused(tmp_path, parallel, ranks):
    answers = launch(train_toy, tmp_path, replace(TRAIN, parallel=parallel), ranks=ranks)
    assert all(isinstance(answer, RecipeError) and "train.parallel" in str(answer) for answer in answers)
