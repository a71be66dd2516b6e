"""Finds the recorded arrays of the grounding heads: in the folder named by PLAYHEAD_GOLDEN, or else in tests/golden.

A case is a stem, as in `vslnet/egovlp_text`, with `.json` (settings and numbers), `.weights.safetensors`,
`.inputs.safetensors`, `.outputs.safetensors` and `.grads.json` beside each other. Families are told by the name of
the folder: `find_cases("vslnet")`. Every size is read from the files of a case, so that sets of other sizes, seeds and
names are tested as they are.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(os.environ.get("PLAYHEAD_GOLDEN") or Path(__file__).parents[1] / "golden")


def find_files(pattern: str) -> list[Path]:
    """Return the files anywhere below the golden folder that match, as `**/nms1d/cases.json`."""
    return sorted(GOLDEN.rglob(pattern))


FAMILIES = ("actionformer", "tan2d", "vsgn", "vslnet")


def find_cases(family: str) -> list[Path]:
    """Return the stems of a family's cases: paths without ending, to give to the readers below."""
    ending = ".weights.safetensors"
    cases = [path.with_name(path.name.removesuffix(ending)) for path in find_files(f"*{ending}")]
    return [case for case in cases if family_of(case) == family]


def family_of(case: Path) -> str | None:
    """Return the family that the nearest folder above a case is named after; the golden folder itself may be it."""
    named = (family for folder in case.parents for family in FAMILIES if family in folder.name)
    return next(named, None)


def case_name(case: Path) -> str:
    return case.relative_to(GOLDEN).as_posix()


def as_parameters(cases: list[Path]) -> list:
    """Return what `pytest.mark.parametrize("case", ...)` takes, each case under its name."""
    return [pytest.param(case, id=case_name(case)) for case in cases]


def beside(case: Path, ending: str) -> Path:
    """Return the file of a case: `beside(case, ".grads.json")`. Names may hold dots, so nothing is cut off."""
    return case.with_name(case.name + ending)


def read_settings(case: Path) -> dict[str, Any]:
    return json.loads(beside(case, ".json").read_text())


def read_arrays(case: Path, kind: str) -> dict[str, Tensor]:
    """Return the tensors of a case; `kind` is "weights", "inputs" or "outputs"."""
    return load_file(beside(case, f".{kind}.safetensors"))


def read_digests(case: Path) -> dict[str, dict]:
    """Return the digests of d(total loss) / d(parameter), by the reference's names."""
    return json.loads(beside(case, ".grads.json").read_text())


def assert_output(ours: Tensor, recorded: Tensor) -> None:
    """Compare activations and losses: 1e-5 absolute, 1e-4 relative."""
    torch.testing.assert_close(ours, recorded, atol=1e-5, rtol=1e-4)


NOUGHT = 1e-6  # a gradient that is zero by its formula (an attention's key bias, say) holds rounding of this size


def assert_digest(gradient: Tensor | None, digest: dict, name: str = "") -> None:
    """Compare a parameter's gradient with its digest: shape, sum, abs_sum, l2, first and last 6 values.

    All to 1e-4 relative: the signed sum relative to the sum of sizes, since what cancels leaves only rounding, and
    single values relative to the largest of those recorded, or to the mean size. None counts as zero.
    """
    if gradient is None:
        gradient = torch.zeros(digest["shape"])
    assert list(gradient.shape) == digest["shape"], name
    flat = gradient.detach().double().flatten().numpy()
    recorded = np.array([*digest["head"], *digest["tail"]])
    mean_size, largest = digest["abs_sum"] / len(flat), np.abs(recorded).max()
    if max(mean_size, largest) < NOUGHT:
        assert np.abs(flat).max() < 10 * NOUGHT, f"{name}: recorded as zero, but found {np.abs(flat).max()}"
        return
    ends = np.concatenate([flat[: len(digest["head"])], flat[len(flat) - len(digest["tail"]) :]])
    np.testing.assert_allclose(ends, recorded, rtol=1e-4, atol=1e-4 * max(mean_size, largest), err_msg=name)
    sizes = np.abs(flat)
    assert flat.sum() == pytest.approx(digest["sum"], abs=1e-4 * digest["abs_sum"]), name
    assert sizes.sum() == pytest.approx(digest["abs_sum"], rel=1e-4), name
    assert np.sqrt((flat**2).sum()) == pytest.approx(digest["l2"], rel=1e-4), name
