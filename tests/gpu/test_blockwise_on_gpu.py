"""The blockwise loss on a CUDA device: equal to the dense one in float64 on the CPU."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from playhead.objectives.action_lists import action_lists
from playhead.objectives.blockwise import blockwise_ego_nce
from playhead.objectives.ego_nce import action_positives, ego_nce

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; `make gpu-check` runs this there"),
]


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 2e-6), (True, 2e-2)])
@pytest.mark.parametrize("block_rows", [None, 100])
def test_loss_and_gradient_are_those_of_the_cpu(block_rows, bf16, tolerance):
    generator = torch.Generator().manual_seed(0)
    video, text = F.normalize(torch.randn(2, 700, 64, generator=generator, dtype=torch.float64), dim=2)
    nouns, verbs = torch.rand(2, 700, 12, generator=generator) < 0.1
    video.requires_grad_()
    expected = ego_nce(video, text, action_positives(nouns, verbs))
    expected.backward()

    rows = video.detach().float().cuda().requires_grad_()
    lists = action_lists(nouns.cuda(), verbs.cuda())
    found = blockwise_ego_nce(rows, text.float().cuda(), lists, block_rows=block_rows, bf16_products=bf16).loss
    found.backward()
    assert rows.grad is not None
    assert video.grad is not None
    assert_close(found.detach().cpu().double(), expected.detach(), rtol=tolerance, atol=0)
    assert (rows.grad.cpu().double() - video.grad).norm() <= tolerance * video.grad.norm()
