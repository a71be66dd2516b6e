import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import TypeCheckError
from torch.testing import assert_close

from playhead.objectives.ego_nce import action_positives, ego_nce
from playhead.objectives.info_nce import info_nce


def unit_rows(count, width, seed):
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(rows, dim=1)


def some_positives(count):
    drawn = torch.rand(count, count, generator=torch.Generator().manual_seed(3)) < 0.3
    return drawn | torch.eye(count, dtype=torch.bool)


def ego_nce_row_by_row(video, text, positives, temperature):
    """Equations 1 and 2, term by term."""
    total, count = 0.0, len(video)
    for i in range(count):
        to_texts = [math.exp(float(video[i] @ text[k]) / temperature) for k in range(count)]
        to_clips = [math.exp(float(text[i] @ video[k]) / temperature) for k in range(count)]
        total -= math.log(sum(to_texts[k] for k in range(count) if positives[i, k]) / sum(to_texts)) / count
        total -= math.log(sum(to_clips[k] for k in range(count) if positives[k, i]) / sum(to_clips)) / count
    return total


def test_ego_nce_is_the_two_equations_also_for_a_one_sided_mask():
    video, text, positives = unit_rows(7, 5, 0), unit_rows(7, 5, 1), some_positives(7)
    assert not torch.equal(positives, positives.T)
    loss = ego_nce(video, text, positives, temperature=0.1)
    assert loss.item() == pytest.approx(ego_nce_row_by_row(video, text, positives, 0.1), rel=1e-12)


def test_ego_nce_is_info_nce_when_no_two_narrations_share_an_action():
    video, text = unit_rows(8, 16, 0), unit_rows(8, 16, 1)
    assert_close(ego_nce(video, text, torch.eye(8, dtype=torch.bool)), info_nce(video, text))


def test_ego_nce_is_zero_when_all_narrations_tell_one_action():
    loss = ego_nce(unit_rows(5, 4, 0), unit_rows(5, 4, 1), torch.ones(5, 5, dtype=torch.bool))
    assert_close(loss, torch.zeros((), dtype=torch.float64), atol=1e-12, rtol=0)


def test_the_order_of_the_pairs_does_not_matter():
    video, text, positives = unit_rows(9, 6, 0), unit_rows(9, 6, 1), some_positives(9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(4))
    shuffled = ego_nce(video[order], text[order], positives[order][:, order])
    assert_close(shuffled, ego_nce(video, text, positives))


def test_gradients_are_those_of_finite_differences():
    video, text = unit_rows(4, 3, 0).requires_grad_(), unit_rows(4, 3, 1).requires_grad_()
    positives = some_positives(4)
    assert torch.autograd.gradcheck(lambda v, t: ego_nce(v, t, positives), (video, text))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rows_in_half_precision_do_not_underflow_where_a_softmax_would(dtype):
    video = torch.eye(2, dtype=dtype).requires_grad_()
    text = torch.eye(2, dtype=dtype).flip(0)  # every pair as wrong as can be: exp(-1 / 0.01) is 0 in half precision
    loss = ego_nce(video, text, torch.eye(2, dtype=torch.bool), temperature=0.01)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(200, rel=1e-5)
    assert video.grad is not None
    assert video.grad.abs().max() > 1


def test_autocast_does_not_lower_the_precision_of_the_loss():
    video, text, positives = unit_rows(6, 32, 0).float(), unit_rows(6, 32, 1).float(), some_positives(6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = ego_nce(video, text, positives)
    assert_close(low, ego_nce(video, text, positives), atol=0, rtol=0)


def test_a_row_that_is_not_its_own_positive_is_named():
    positives = torch.eye(4, dtype=torch.bool)
    positives[2, 2] = False
    with pytest.raises(ValueError, match="row 2 of `positives` is not its own positive"):
        ego_nce(unit_rows(4, 3, 0), unit_rows(4, 3, 1), positives)


def test_a_temperature_of_zero_is_refused():
    rows = unit_rows(2, 3, 0)
    with pytest.raises(ValueError, match="`temperature` must be above zero"):
        ego_nce(rows, rows, torch.eye(2, dtype=torch.bool), temperature=0.0)
    with pytest.raises(ValueError, match="`temperature` must be above zero"):
        info_nce(rows, rows, temperature=-1.0)


# "cut onion", "cut carrot", "peel onion, cut it", and a narration without tags
NOUNS = torch.tensor([[1, 0], [0, 1], [1, 0], [0, 0]], dtype=torch.bool)
VERBS = torch.tensor([[1, 0], [1, 0], [1, 1], [0, 0]], dtype=torch.bool)


@pytest.mark.parametrize(
    ("share", "pairs"),
    [("noun_and_verb", {(0, 2)}), ("noun", {(0, 2)}), ("verb", {(0, 1), (0, 2), (1, 2)})],
)
def test_positives_share_a_noun_and_a_verb_or_the_one_named(share, pairs):
    positives = action_positives(NOUNS, VERBS, share)
    assert torch.equal(positives, positives.T)
    assert positives.diagonal().all()
    assert {(i, k) for i, k in positives.nonzero().tolist() if i < k} == pairs


def test_another_word_for_what_is_shared_is_refused():
    word: Any = "nouns"
    with pytest.raises((ValueError, TypeCheckError), match="share"):
        action_positives(NOUNS, VERBS, word)
