"""How fast a run is: clips per second, waiting for data, and the share of the machine's arithmetic it uses (MFU)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True, slots=True)
class SpeedReport:
    """Means since the last report. `data_wait` and `mfu` are shares of 1; `mfu` is None where it is not known."""

    clips_per_second: float
    data_wait: float
    mfu: float | None


class Speed:
    """A stopwatch of the training loop.

    `mfu` is the arithmetic of a step, counted once while the first step runs (matrix products, convolutions and fused
    attention; recomputed blocks count), over the time it took and over `peak`. Without `peak` there is no mfu.
    """

    def __init__(self, clips_per_step: int, peak: float | None):
        self.clips_per_step, self.peak = clips_per_step, peak
        self.flops_per_step: int | None = None
        self._start, self._waited, self._steps = time.perf_counter(), 0.0, 0

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Count the time inside as waiting."""
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    @contextmanager
    def counting_flops(self) -> Iterator[None]:
        """Count the arithmetic inside, the first time only."""
        if self.peak is None or self.flops_per_step is not None:
            yield
            return
        with _FlopCount() as count:
            yield
        self.flops_per_step = count.total

    def step_done(self) -> None:
        """Count one step."""
        self._steps += 1

    def report(self) -> SpeedReport:
        """Return the means since the last call and begin anew."""
        now = time.perf_counter()
        elapsed = max(now - self._start, 1e-9)
        mfu = None
        if self.peak is not None and self.flops_per_step:
            mfu = self._steps * self.flops_per_step / elapsed / self.peak
        found = SpeedReport(self._steps * self.clips_per_step / elapsed, self._waited / elapsed, mfu)
        self._start, self._waited, self._steps = now, 0.0, 0
        return found


def measured_peak(device: torch.device, precision: str) -> float:
    """Return what one large matrix product reaches, in operations per second: the best of three, a tenth of a second.

    A measured peak is what this machine, its threads and its library allow, so mfu compares runs on one machine.
    """
    size = 8192 if device.type == "cuda" else 768
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.ones(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(3):
        _synchronize(device)
        start = time.perf_counter()
        torch.matmul(a, a)
        _synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _FlopCount(TorchDispatchMode):
    """Adds up the operations that torch's own table knows; unlike its FlopCounterMode it tracks no modules."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=found)
        return found
