"""Which modules are units, and what cannot be unwrapped."""

import pytest
from torch import nn

from playhead.train.parallel import Step, blocks_of, unwrapped


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))

    def blocks(self):
        return list(self.layers)


class Whole(nn.Module):
    """Lists its towers' blocks itself too, and has a part whose attribute `blocks` is no method."""

    def __init__(self):
        super().__init__()
        self.video, self.text, self.other = Tower(), Tower(), nn.Module()
        self.other.blocks = nn.ModuleList([nn.Linear(1, 1)])

    def blocks(self):
        return [*self.video.blocks(), *self.text.blocks()]


def test_blocks_of_all_towers_are_found_once():
    model = Whole()
    assert blocks_of(model) == [*model.video.layers, *model.text.layers]
    assert blocks_of(nn.Linear(1, 1)) == []


def test_a_step_runs_any_work_on_the_model():
    model = nn.Linear(1, 1)
    assert Step(model)(lambda given, batch: (given is model, batch), "batch") == (True, "batch")
    assert isinstance(unwrapped(Step(model)), Step)
    with pytest.raises(ValueError, match="got Linear"):
        unwrapped(model)
