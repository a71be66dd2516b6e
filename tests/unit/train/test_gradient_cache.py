"""Encoding in parts gives the gradient of one graph over the same parts, dropout, neighbours and bf16 included."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from playhead.errors import RecipeError
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.tasks.state_change import StateChange
from playhead.tasks.video_text import VideoText
from playhead.train.config import Train
from playhead.train.evaluate import autocast
from playhead.train.gradient_cache import cached_backward, require_splitting
from playhead.train.loop import step_seed
from playhead.train.parallel import World, in_fp32, spread
from playhead.types import ClipTextBatch, Tokens
from playhead.video.transforms import Preprocess

VIDEO = SpaceTimeConfig(
    image_size=8, patch_size=4, width=8, depth=1, heads=2, num_frames=2, time_init="zero_output"
)  # fmt: skip
TEXT = DistilBertConfig(vocab_size=20, dim=8, n_layers=1, n_heads=2, hidden_dim=16, max_positions=8, dropout=0.4)
TASK = VideoText(videos=Path("."), pairs=Path("e.csv"), preprocess=Preprocess(num_frames=2, image_size=8))
SEED_OF = partial(step_seed, 3, 7, 0)
ROWS = 10  # five pairs, then their five neighbours


def make_model():
    torch.manual_seed(0)
    return Frozen(FrozenConfig(video=VIDEO, text=TEXT, shared_dim=6)).train()


def make_batch():
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(1, 20, (ROWS, 5), generator=generator)
    return ClipTextBatch(
        video=torch.randint(0, 256, (ROWS, 2, 3, 8, 8), generator=generator, dtype=torch.uint8),
        text=Tokens(words, torch.arange(5) < torch.arange(ROWS)[:, None] % 4 + 2),
        nouns=torch.rand(ROWS, 4, generator=generator) < 0.4,
        verbs=torch.rand(ROWS, 3, generator=generator) < 0.4,
        names=tuple(f"clip {row}" for row in range(ROWS)),
    )


def one_graph(micro_batch, precision):
    """Record all parts at once, with the dropout that the parts have."""
    model, batch = make_model(), make_batch()
    found = []
    for number, first in enumerate(range(0, ROWS, micro_batch)):
        part = slice(first, first + micro_batch)
        rows = ClipTextBatch(
            batch.video[part],
            Tokens(batch.text.ids[part], batch.text.mask[part]),
            batch.nouns[part],
            batch.verbs[part],
            batch.names[part],
        )
        torch.manual_seed(SEED_OF(number))
        with autocast(torch.device("cpu"), precision):
            found.append(TASK.encode(model, rows))
    loss = TASK.loss(in_fp32({name: torch.cat([rows[name] for rows in found]) for name in found[0]}))
    loss.total.backward()
    return loss.total.detach(), {name: p.grad for name, p in model.named_parameters()}


def in_parts(micro_batch, precision="fp32", task=TASK):
    model, world = make_model(), World()
    settings = Train(global_batch=5, steps=1, micro_batch=micro_batch, precision=precision)
    own, loss = cached_backward(spread(model, settings, world), task, make_batch(), settings, world, SEED_OF)
    return own, loss.total.detach(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("micro_batch", [1, 4, 10, 64])
def test_the_gradient_is_that_of_one_graph_over_the_parts(micro_batch, precision):
    loss, gradients = one_graph(micro_batch, precision)
    own, found_loss, found = in_parts(micro_batch, precision)
    assert len(own["video"]) == ROWS
    assert_close(found_loss, loss, atol=0, rtol=1e-6)
    # In bf16 a sum of parts is rounded by autocast's cast of the weights, once per part here and once there.
    tolerance = {"atol": 1e-7, "rtol": 1e-5} if precision == "fp32" else {"atol": 2e-3, "rtol": 2e-2}
    assert any(gradient is not None and gradient.abs().max() > 1e-4 for gradient in gradients.values())
    assert_close(found, gradients, **tolerance)


def test_dropout_is_on_and_drawn_anew_in_each_part():
    losses = {micro_batch: float(in_parts(micro_batch)[1]) for micro_batch in (1, 4, 10)}
    assert len(set(losses.values())) == 3
    assert losses[10] == float(in_parts(64)[1])


def test_the_rows_come_in_the_order_of_the_batch():
    own = in_parts(3)[0]
    assert torch.equal(own["nouns"], make_batch().nouns)
    assert torch.equal(own["verbs"], make_batch().verbs)


def test_no_part_is_larger_than_asked_and_gradients_are_recorded_for_one_at_a_time():
    sizes = []

    class Watched(VideoText):
        def encode(self, model, batch):
            sizes.append((len(batch.names), torch.is_grad_enabled()))
            return super().encode(model, batch)

    in_parts(4, task=Watched(videos=Path("."), pairs=Path("e.csv"), preprocess=TASK.preprocess))
    assert sizes == [(4, False), (4, False), (2, False), (4, True), (4, True), (2, True)]


def test_a_task_that_cannot_split_is_refused_by_name():
    whole = StateChange(videos=Path("."), annotations=Path("."))
    with pytest.raises(RecipeError, match=r"train\.micro_batch is set, but StateChange cannot split a batch"):
        require_splitting(whole)
    assert require_splitting(TASK) is TASK
