"""How a run is spread over ranks does not change what is learnt."""

import signal
from dataclasses import replace

import pytest
import torch
from toy_run import OPTIM, TRAIN, ToyTask, everything, launch, train_toy

from playhead.errors import RecipeError

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


def test_a_checkpoint_goes_on_in_another_number_of_ranks_and_another_kind(one_rank, tmp_path):
    def stopped_in(update):
        return ToyTask(signal_at=(update, signal.SIGTERM))

    fsdp, alone = replace(TRAIN, parallel="fsdp"), replace(TRAIN, parallel="none")
    assert launch(train_toy, tmp_path, fsdp, ranks=2, task=stopped_in(4), **WITHOUT_CHANCE)[0].step == 4
    assert launch(train_toy, tmp_path, alone, ranks=1, task=stopped_in(3), **WITHOUT_CHANCE)[0].step == 7
    assert launch(train_toy, tmp_path, TRAIN, ranks=2, task=stopped_in(2), **WITHOUT_CHANCE)[0].step == 9
    assert launch(train_toy, tmp_path, fsdp, ranks=2, **WITHOUT_CHANCE)[0].step == TRAIN.steps
    assert_close_runs(everything(tmp_path), one_rank)


def train_and_hand_out(run_dir, settings):
    def hand_out(model, metrics):
        torch.save({"weights": model.state_dict(), "metrics": metrics}, run_dir.parent / f"{run_dir.name}.pt")

    return train_toy(run_dir, settings, on_best=hand_out)


@pytest.mark.parametrize(("parallel", "ranks"), [("auto", 1), ("fsdp", 2)])
def test_the_best_model_is_handed_out_whole_and_averaged(tmp_path, parallel, ranks):
    result = launch(train_and_hand_out, tmp_path / "run", replace(TRAIN, parallel=parallel), ranks=ranks)[0]
    handed = torch.load(tmp_path / "run.pt", weights_only=True)
    assert result.best_step == TRAIN.steps  # the toy only gets better, so the last checkpoint holds the same
    assert handed["metrics"] == result.metrics
    tensors = everything(tmp_path / "run")["tensors"]
    assert {f"ema/{name}" for name in handed["weights"]} == {name for name in tensors if name.startswith("ema/")}
    assert all(torch.equal(tensor, tensors[f"ema/{name}"]) for name, tensor in handed["weights"].items())


@pytest.mark.parametrize(("parallel", "ranks"), [("none", 2), ("fsdp", 1)])
def test_a_kind_that_does_not_fit_the_ranks_is_refused(tmp_path, parallel, ranks):
    answers = launch(train_toy, tmp_path, replace(TRAIN, parallel=parallel), ranks=ranks)
    assert all(isinstance(answer, RecipeError) and "train.parallel" in str(answer) for answer in answers)
