import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from playhead.objectives.info_nce import info_nce


def unit_rows(count, width, seed):
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


def test_info_nce_is_two_cross_entropies_against_the_own_row():
    video, text, own = unit_rows(6, 5, 0), unit_rows(6, 5, 1), torch.arange(6)
    logits = video @ text.T / 0.07
    expected = F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)
    assert_close(info_nce(video, text, temperature=0.07), expected)


def test_info_nce_of_one_pair_is_zero():
    assert info_nce(unit_rows(1, 5, 0), unit_rows(1, 5, 1)).item() == 0


def test_info_nce_does_not_prefer_a_side():
    video, text = unit_rows(6, 5, 0), unit_rows(6, 5, 1)
    assert_close(info_nce(video, text), info_nce(text, video))
