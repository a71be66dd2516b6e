import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from playhead.objectives.max_margin import adaptive_max_margin, max_margin


def unit_rows(count, width, seed):
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


def hinges_one_by_one(video, text, margins, keep_diagonal):
    cosines = (video @ text.T).tolist()
    terms = []
    for i in range(len(video)):
        for j in range(len(video)):
            if i != j or keep_diagonal:
                terms.append(max(0.0, margins[i] - cosines[i][i] + cosines[i][j]))
                terms.append(max(0.0, margins[i] - cosines[i][i] + cosines[j][i]))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("keep_diagonal", [False, True])
def test_max_margin_is_the_mean_of_its_hinges(keep_diagonal):
    video, text = unit_rows(6, 5, 0), unit_rows(6, 5, 1)
    expected = hinges_one_by_one(video, text, [0.3] * 6, keep_diagonal)
    loss = max_margin(video, text, margin=0.3, keep_diagonal=keep_diagonal)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("keep_diagonal", [False, True])
def test_adaptive_max_margin_scales_the_margin_of_each_pair(keep_diagonal):
    video, text = unit_rows(6, 5, 0), unit_rows(6, 5, 1)
    weights = torch.linspace(0.1, 1, 6, dtype=torch.float64)
    expected = hinges_one_by_one(video, text, [0.4 * weight for weight in weights.tolist()], keep_diagonal)
    loss = adaptive_max_margin(video, text, weights, margin=0.4, keep_diagonal=keep_diagonal)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_pairs_that_win_by_the_margin_cost_nothing_and_pull_nothing():
    rows = torch.eye(3, dtype=torch.float64).requires_grad_()
    loss = max_margin(rows, torch.eye(3, dtype=torch.float64), margin=0.9)
    loss.backward()
    assert loss.item() == 0
    assert_close(rows.grad, torch.zeros(3, 3, dtype=torch.float64))


@pytest.mark.parametrize("loss", [max_margin, lambda v, t: adaptive_max_margin(v, t, torch.ones(1))])
def test_a_single_pair_is_refused(loss):
    with pytest.raises(ValueError, match="one pair has no other"):
        loss(unit_rows(1, 5, 0), unit_rows(1, 5, 1))
