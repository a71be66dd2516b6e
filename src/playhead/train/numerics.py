"""How torch computes during a run, and a check that it computes as was meant."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from playhead.train.config import Train

logger = logging.getLogger(__name__)

ROUGH = 1e-4  # relative error of a product: about 3e-7 in fp32, 3e-3 in bf16


@contextmanager
def computing_as(settings: Train) -> Iterator[None]:
    """Set precision of products, threads and determinism for this run only, and warn where fp32 is not fp32."""
    before = torch.get_float32_matmul_precision(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_float32_matmul_precision(settings.matmul)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may choose by timing
        torch.use_deterministic_algorithms(True)
    try:
        if settings.matmul != "highest" and not torch.cuda.is_available():  # on GPUs it is known to be rougher
            _warn_if_rough(settings)
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.set_num_threads(before[1])
        torch.use_deterministic_algorithms(before[2])


def product_error(device: torch.device | str = "cpu") -> float:
    """Return the relative error of a product of two float32 matrices as torch now computes it, against float64."""
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 256, 256, generator=generator)
    exact = one.double() @ other.double()
    found = (one.to(device) @ other.to(device)).cpu().double()
    return float((found - exact).norm() / exact.norm())


def _warn_if_rough(settings: Train) -> None:
    error = product_error()
    if error > ROUGH:
        logger.warning(
            "train.matmul=%r: products of float32 have a relative error of %.0e on this processor; set it to 'highest' "
            "for float32 as such.",
            settings.matmul,
            error,
        )
