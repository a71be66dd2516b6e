"""Gathered over ranks, EgoNCE has the released code's value, and its gradient is the true one.

Golden arrays: the released loss and gather under DDP on gloo ranks, and the same loss on the whole batch without.
The released gather's gradients are the true ones over the number of ranks (`ddp_grad` = `full_batch_grad` / ranks).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

GOLDEN = Path(os.environ.get("PLAYHEAD_GOLDEN", Path(__file__).parents[1] / "golden"))
CASES = sorted(path for path in GOLDEN.rglob("*distributed*.npz"))
RANK_SCRIPT = Path(__file__).parent / "egovlp_rank.py"


def test_there_are_cases():
    assert CASES, f"no *distributed*.npz under {GOLDEN}"


@pytest.fixture(scope="module", params=CASES, ids=lambda path: path.stem)
def case_and_found(request, tmp_path_factory):
    """Each case with what its own number of ranks computes, through DDP and through FSDP2."""
    folder = tmp_path_factory.mktemp("ranks")
    case = np.load(request.param)
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={int(case['world_size'])}",
    ]
    command = [*launch, str(RANK_SCRIPT), str(request.param), str(folder)]
    subprocess.run(command, check=True, timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return case, [json.loads(path.read_text()) for path in sorted(folder.glob("rank*.json"))]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_loss_and_gradient_are_those_of_the_whole_batch(case_and_found, parallel):
    case, found = case_and_found
    assert len(found) == int(case["world_size"])
    for rank in found:
        assert rank[parallel]["loss"] == pytest.approx(float(case["full_batch_loss"]), abs=1e-5)
        for name in ("t.weight", "t.bias", "v.weight", "v.bias"):
            expected = torch.from_numpy(case[f"full_batch_grad/{name}"])
            gradient = torch.tensor(rank[parallel]["grad"][name])
            torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=2e-6)  # fp32 sums over a batch of rows


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_the_released_gradient_is_ours_over_the_number_of_ranks(case_and_found, parallel):
    case, found = case_and_found
    ours = torch.tensor(found[0][parallel]["grad"]["v.weight"])
    released = torch.from_numpy(case["ddp_grad/v.weight"])
    torch.testing.assert_close(ours / int(case["world_size"]), released, rtol=1e-4, atol=2e-6)
