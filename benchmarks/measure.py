"""One ratio of a benchmark: how it is printed, and how `python -m benchmarks` hears of it.

A script calls `report` once for each ratio; run by itself it only prints. A goal is "at least", or with `at_most` a
limit. What is no ratio (seconds, MiB, recall) names its unit.
"""

import json
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

MEASURE_FILE = "PLAYHEAD_MEASURE_FILE"  # where a script run by `python -m benchmarks` leaves its ratios, line by line


@dataclass(frozen=True, slots=True)
class Ratio:
    """A measured ratio (the median of its repeats) with the least and the greatest, and what it should be."""

    name: str
    ratio: float
    goal: float | None
    spread: tuple[float, float]
    command: str
    at_most: bool = False
    unit: str = "x"

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def to_plain(self) -> dict[str, Any]:
        """Return it as an entry of `latest.json`."""
        return {**asdict(self), "spread": list(self.spread), "met": self.met}

    def line(self) -> str:
        """Return it as it is printed."""
        name = self.name.partition("/")[2]
        value = f"{_short(self.ratio)} {self.unit} [{_short(self.spread[0])} .. {_short(self.spread[1])}]"
        if self.goal is None:
            return f"{name:<64} {value}"
        sign = "<=" if self.at_most else ">="
        return f"{name:<64} {value}   goal {sign} {self.goal:g}: {'met' if self.met else 'NOT MET'}"


def report(
    name: str, ratios: Sequence[float], goal: float | None = None, *, at_most: bool = False, unit: str = "x"
) -> Ratio:
    """Print the median of `ratios`, one per repeat, with spread and goal; under `python -m benchmarks` also keep it."""
    script, arguments = Path(sys.argv[0]).stem, sys.argv[1:]
    low, middle, high = (_rounded(value) for value in (min(ratios), statistics.median(ratios), max(ratios)))
    command = shlex.join(["python", "-m", f"benchmarks.{script}", *arguments])
    found = Ratio(f"{script}/{name}", middle, goal, (low, high), command, at_most, unit)
    print(found.line(), flush=True)
    if path := os.environ.get(MEASURE_FILE):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(found.to_plain()) + "\n")
    return found


def machine() -> str:
    """Return the processor (and GPU), its memory and the versions, in one line."""
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [f"{os.cpu_count()} cores of {_processor()}", f"{gibibytes:.0f} GiB"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"Python {platform.python_version()}", f"torch {torch.__version__}"])


def peak_mib() -> float:
    """Return the peak of this process's memory so far, in MiB; `getrusage` would begin with that of its parent."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    told = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    family = f"family {told['cpu family']} model {told['model']}" if "cpu family" in told else platform.machine()
    flags = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in told.get("flags", "").split()]
    return f"{told.get('model name', 'unknown')} ({', '.join([family, *flags])})"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _short(value: float) -> str:
    return f"{value:.2f}" if 0.1 <= abs(value) < 100 else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
