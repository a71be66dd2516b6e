import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from playhead.models import layers
from playhead.models.headwise_attention import LONG, attend_by_head
from playhead.models.layers import attend


def some(queries=7, keys=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, 3, queries, 4), (2, 3, keys, 4), (2, 3, keys, 4))
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]


def test_it_is_softmax_attention_in_double_precision_gradient_included():
    ours, theirs = some(), some()
    seen, expected = attend_by_head(*ours), F.scaled_dot_product_attention(*theirs)
    assert_close(seen, expected)
    weight = torch.randn(seen.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (seen * weight).sum().backward()
    (expected * weight).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        assert_close(one.grad, other.grad)
    assert torch.autograd.gradcheck(attend_by_head, some(4, 3))


def test_heads_that_lie_apart_in_memory_are_read_as_they_are():
    packed = torch.randn(2, 6, 3, 2, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
    assert_close(attend_by_head(query, key, value), F.scaled_dot_product_attention(query, key, value))


@pytest.mark.parametrize(
    ("queries", "keys", "kind", "wanted"),
    [
        (LONG, LONG, torch.bfloat16, True),
        (1, LONG, torch.bfloat16, False),
        (LONG - 1, LONG, torch.bfloat16, False),
        (LONG, LONG, torch.float32, False),
    ],
)
def test_attend_takes_it_for_long_sequences_in_half_precision(monkeypatch, queries, keys, kind, wanted):
    taken = []
    monkeypatch.setattr(layers, "attend_by_head", lambda *given: taken.append(1) or attend_by_head(*given))
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, count, 8, generator=generator).to(kind) for count in (queries, keys, keys))
    seen = attend(query, key, value)
    assert bool(taken) == wanted
    exact = F.scaled_dot_product_attention(query.double(), key.double(), value.double())
    assert_close(seen.double(), exact, atol=3e-3, rtol=3e-2)
    mask = torch.ones(1, 1, queries, keys, dtype=torch.bool)
    assert_close(attend(query, key, value, mask).double(), exact, atol=3e-3, rtol=3e-2)
    assert len(taken) == wanted  # never with a mask
