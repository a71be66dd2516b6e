import math

import pytest
import torch
from torch.testing import assert_close

from playhead.models.layers import Mlp, attend


def rows(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def attend_one_by_one(query, key, value, mask):
    """The definition, with a loop for every axis."""
    out = torch.zeros_like(query)
    for b, h, q in torch.cartesian_prod(*(torch.arange(size) for size in query.shape[:3])).tolist():
        seen = [k for k in range(key.shape[2]) if mask[b, k]]
        scores = [math.exp(float(query[b, h, q] @ key[b, h, k]) / math.sqrt(query.shape[3])) for k in seen]
        for k, score in zip(seen, scores, strict=True):
            out[b, h, q] += score / sum(scores) * value[b, h, k]
    return out


def test_attend_is_the_softmax_mean_of_the_keys_that_are_not_masked():
    query, key, value = rows(2, 3, 4, 5), rows(2, 3, 6, 5, seed=1), rows(2, 3, 6, 5, seed=2)
    mask = torch.tensor([[True] * 6, [True, False, True, True, False, False]])
    expected = attend_one_by_one(query, key, value, mask)
    assert_close(attend(query, key, value, mask[:, None, None, :]), expected)


def test_attend_in_bf16_on_a_cpu_is_the_same_to_bf16_accuracy():
    query, key, value = (rows(2, 3, 6, 8, seed=seed) for seed in range(3))
    mask = torch.tensor([[True] * 6, [True] * 2 + [False] * 4])[:, None, None, :]
    low = attend(query.bfloat16(), key.bfloat16(), value.bfloat16(), mask)
    assert low.dtype == torch.bfloat16
    assert_close(low.double(), attend(query, key, value, mask), atol=3e-2, rtol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_query_that_may_see_nothing_gives_finite_numbers_and_gradients(dtype):
    query, key, value = (rows(1, 1, 2, 4, seed=seed).to(dtype).requires_grad_() for seed in range(3))
    out = attend(query, key, value, torch.zeros(1, 1, 1, 2, dtype=torch.bool))
    out.sum().backward()
    assert out.isfinite().all()
    assert all(given.grad is not None and given.grad.isfinite().all() for given in (query, key, value))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropped_attention_weights_keep_their_mean(dtype):
    query, key = torch.zeros(1, 1, 200, 4, dtype=dtype), torch.zeros(1, 1, 100, 4, dtype=dtype)
    value = torch.ones(1, 1, 100, 4, dtype=dtype)
    torch.manual_seed(0)
    out = attend(query, key, value, dropout=0.5).double()
    assert out.std() > 0.05
    assert out.mean().item() == pytest.approx(1, abs=0.05)


def test_the_perceptron_uses_the_exact_gelu():
    mlp = Mlp(3, 3).double()
    for layer in (mlp.up, mlp.down):
        torch.nn.init.eye_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    tokens = rows(4, 3)
    assert_close(mlp(tokens), tokens * (1 + torch.erf(tokens / math.sqrt(2))) / 2)
