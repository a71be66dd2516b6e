import pytest
import torch
from torch.testing import assert_close

from playhead.models.banded_attention import banded_attention


def rows(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole_attention(query, key, value, mask, window, relative=None):
    """The definition on the full S x S table."""
    half, steps = window // 2, query.shape[2]
    distance = torch.arange(steps) - torch.arange(steps)[:, None]
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    if relative is not None:
        scores = scores + relative[:, (distance + half).clamp(0, 2 * half)]
    seen = (distance.abs() <= half) & mask[:, None, None, :]
    return scores.masked_fill(~seen, float("-inf")).softmax(dim=-1).nan_to_num() @ value


@pytest.mark.parametrize("window", [1, 3, 4, 5, 9, 19, 64, 201])
@pytest.mark.parametrize("steps", [1, 7, 31, 32, 33, 100])
@pytest.mark.parametrize("with_relative", [False, True])
def test_it_is_plain_attention_under_a_band(window, steps, with_relative):
    query, key, value = (rows(2, 3, steps, 4, seed=seed) for seed in range(3))
    mask = torch.arange(steps) < torch.tensor([[steps], [max(1, steps - 9)]])
    relative = rows(3, 2 * (window // 2) + 1, seed=3) if with_relative else None
    expected = whole_attention(query, key, value, mask, window, relative)
    ours = banded_attention(query, key, value, mask, window, relative)
    assert_close(ours[mask[:, None].expand(-1, 3, -1)], expected[mask[:, None].expand(-1, 3, -1)])


def test_gradients_are_those_of_plain_attention():
    mask = torch.arange(50) < torch.tensor([[50], [20]])
    given = [rows(2, 3, 50, 4, seed=seed) for seed in range(3)] + [rows(3, 9, seed=3)]
    found = []
    for attention in (whole_attention, banded_attention):
        query, key, value, relative = (tensor.clone().requires_grad_() for tensor in given)
        out = attention(query, key, value, mask, 9, relative) * mask[:, None, :, None]
        out.square().sum().backward()
        found.append([query.grad, key.grad, value.grad, relative.grad])
    for plain, banded in zip(*found, strict=True):
        assert_close(banded, plain)


def test_a_step_that_sees_nothing_gives_finite_numbers_and_gradients():
    query, key, value = (rows(1, 1, 40, 4, seed=seed).requires_grad_() for seed in range(3))
    out = banded_attention(query, key, value, torch.zeros(1, 40, dtype=torch.bool), 5)
    out.sum().backward()
    assert out.isfinite().all()
    assert all(given.grad.isfinite().all() for given in (query, key, value))


def test_no_table_of_all_steps_by_all_steps_is_made():
    steps, largest = 100_000, 0  # a table of them would take 10 GB as single bytes

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.untyped_storage().nbytes())
            return out

    part = torch.zeros(1, 1, steps, 4)
    with Watch():
        banded_attention(part, part, part, torch.ones(1, steps, dtype=torch.bool), 9)
    assert largest <= 200 * 4 * steps


def test_a_table_of_distances_of_another_window_is_an_error():
    part = rows(1, 2, 6, 4)
    with pytest.raises(ValueError, match="places"):
        banded_attention(part, part, part, torch.ones(1, 6, dtype=torch.bool), 5, rows(2, 9))
