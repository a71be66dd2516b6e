"""Frozen on a CUDA device: equal to the CPU in fp32, near it in bf16, and the same when compiled."""

import pytest
import torch
from torch.testing import assert_close

from playhead.models.frozen import Frozen, frozen_tiny
from playhead.objectives.ego_nce import ego_nce
from playhead.text import load_tokenizer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; `make gpu-check` runs this there"),
]


@pytest.fixture
def pair():
    torch.manual_seed(0)
    model = Frozen(frozen_tiny()).eval()
    for parameter in model.parameters():  # the time attention starts as nothing; make it count
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    video = torch.randn(6, 4, 3, 64, 64)
    text = load_tokenizer("bert-base-uncased")([f"#C C picks up cup number {i}" for i in range(6)])
    return model, video, text


def rows_and_gradient(model, video, text, device, bf16=False):
    model = model.to(device)
    model.zero_grad(set_to_none=True)
    with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=bf16):
        rows = model.encode_video(video.to(device)), model.encode_text(text.to(device))
    positives = torch.eye(6, dtype=torch.bool, device=device)
    ego_nce(rows[0].float(), rows[1].float(), positives).backward()
    return rows[0].detach().cpu(), model.video.patch_embedding.weight.grad.detach().cpu().clone()


def test_fp32_equals_the_cpu(pair):
    rows, gradient = rows_and_gradient(*pair, "cpu")
    gpu_rows, gpu_gradient = rows_and_gradient(*pair, "cuda")
    assert_close(gpu_rows, rows, atol=2e-5, rtol=1e-4)
    assert (gpu_gradient - gradient).norm() <= 2e-3 * gradient.norm()


def test_bf16_is_near_fp32(pair):
    rows, gradient = rows_and_gradient(*pair, "cuda")
    half_rows, half_gradient = rows_and_gradient(*pair, "cuda", bf16=True)
    assert (half_rows * rows).sum(dim=1).min() > 0.995  # unit rows: their cosine
    assert (half_gradient - gradient).norm() <= 0.1 * gradient.norm()


def test_the_video_tower_compiles(pair):
    model, video, _ = pair
    model, video = model.cuda(), video.cuda()
    with torch.no_grad():
        assert_close(torch.compile(model.video)(video), model.video(video), atol=1e-4, rtol=1e-3)
