from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from playhead.train.evaluate import evaluate


@dataclass(frozen=True)
class Numbers:
    def __len__(self) -> int:
        return 3

    def read(self, index: int, seed: int) -> float:
        return float(index)


@dataclass(frozen=True)
class NumberBatch:
    values: torch.Tensor
    names: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> "NumberBatch":
        return self


class AskTheMode:
    """Answers whether the model was in training mode when asked."""

    def samples(self, split: str) -> Numbers:
        return Numbers()

    def collate(self, samples: list[Any]) -> NumberBatch:
        return NumberBatch(torch.tensor(samples))

    def answer(self, model: nn.Module, batch: NumberBatch) -> list[bool]:
        return [model.training] * len(batch.values)

    def score(self, answers: list[bool], split: str) -> dict[str, float]:
        return {"asked_in_training_mode": float(any(answers))}


@pytest.mark.parametrize("is_training", [True, False])
def test_a_model_is_measured_in_eval_mode_and_left_as_it_came(is_training):
    model = nn.Dropout().train(is_training)
    assert evaluate(model, AskTheMode(), "val")["asked_in_training_mode"] == 0.0
    assert model.training is is_training
