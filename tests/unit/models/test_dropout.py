import pytest
import torch
from torch.testing import assert_close

from playhead.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.01, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_share_asked_for_is_dropped_and_the_rest_scaled_by_it(p, dtype):
    torch.manual_seed(0)
    dropped = Dropout(p)(torch.ones(1001, 999, dtype=dtype))
    assert dropped.dtype == dtype
    assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=0.003)  # six standard deviations at 1/2
    kept = dropped[dropped != 0]
    assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=1e-2 if dtype == torch.bfloat16 else 1e-3, atol=0)


def test_values_are_dropped_one_by_one():
    torch.manual_seed(0)
    gone = (Dropout(0.3)(torch.ones(400_000)) == 0).float() - 0.3
    for distance in (1, 2, 3, 4, 5, 8):  # four values come from one random word
        assert (gone[distance:] * gone[:-distance]).mean().abs().item() < 0.002


def test_the_gradient_goes_where_the_values_went():
    torch.manual_seed(0)
    values = torch.randn(50, 3, requires_grad=True)
    dropped = Dropout(0.4)(values)
    dropped.sum().backward()
    assert values.grad is not None
    assert_close(values.grad * values, dropped)


def test_the_seed_decides():
    layer, values = Dropout(0.2), torch.ones(1000)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(layer(values))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_nothing_is_dropped_in_use_or_at_zero():
    values = torch.randn(7, 5)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0)(values) is values


def test_any_shape_passes():
    for shape in ((), (1,), (0, 4), (3, 1, 2), (5, 7)):
        assert Dropout(0.5)(torch.ones(shape)).shape == shape
    assert Dropout(0.5)(torch.ones(4, 6).T).shape == (6, 4)


@pytest.mark.parametrize("p", [-0.1, 1.0, 2.0])
def test_impossible_shares_are_refused(p):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        Dropout(p)
