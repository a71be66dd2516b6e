"""An evaluation over ranks answers every sample once, whatever the counts."""

from dataclasses import dataclass

import pytest
import torch
from toy_run import ToyModel, ToySamples, ToyTask, launch

from playhead.train.evaluate import evaluate, gather_answers
from playhead.train.parallel import setup, teardown


@dataclass(frozen=True)
class Named(ToyTask):
    """Answers are names, and the score counts them."""

    def samples(self, split):
        return ToySamples(self.num_samples)

    def score(self, answers, split):
        return {"answers": len(answers), "different": len({name for name, _ in answers})}


def evaluated(counts):
    world, model, found = setup(), ToyModel(dropout=0.5), []
    for num_samples, batch_size in counts:
        task = Named(num_samples=num_samples)
        answers = gather_answers(model, task, "val", world=world, batch_size=batch_size)
        metrics = evaluate(model, task, "val", world=world, batch_size=batch_size)
        found.append(([name for name, _ in answers], metrics, model.training))
    teardown()
    return found


def test_odd_counts_give_no_answer_twice_and_none_too_few():
    counts = ((1, 2), (2, 4), (7, 2), (9, 4))
    for rank in launch(evaluated, counts, ranks=2):
        for (num_samples, _), (names, metrics, is_training) in zip(counts, rank, strict=True):
            assert names == [f"pair {i}" for i in range(num_samples)]
            assert metrics == {"answers": num_samples, "different": num_samples}
            assert is_training


def test_the_values_do_not_depend_on_batch_size_and_dropout_is_off():
    torch.manual_seed(0)
    model, task = ToyModel(dropout=0.5), Named(num_samples=5)
    one_by_one = gather_answers(model, task, "val", batch_size=1)
    at_once = gather_answers(model, task, "val", batch_size=5)
    assert [value for _, value in one_by_one] == pytest.approx([value for _, value in at_once], abs=1e-6)
