"""How captions of HowTo100M's size are taken: conversion of the JSON file, opening, a random row, memory.

A synthetic `caption.json` is written to a temporary folder. The plain form, `json.load`, which holds every caption as
Python objects as the released loaders do, is measured on the same file in a process of its own.

    python -m benchmarks.caption_table --rows 2000000
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from playhead.data.caption_table import CaptionTable
from playhead.data.howto100m import HowTo100M

ROWS_PER_VIDEO = 110  # 136 million captions of 1.24 million videos
REPEATS = 7
LOAD = (
    "import json, resource, sys\ncaptions = json.load(open(sys.argv[1]))\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
)
OPEN = (
    "import resource, sys\nfrom playhead.data.caption_table import CaptionTable\n"
    "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    "if len(sys.argv) > 1:\n    table = CaptionTable.open(sys.argv[1])\n"
    "    for row in range(0, len(table), len(table) // 1000): table[row]\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
)


def write_file(path: Path, num_rows: int, seed: int = 0) -> None:
    """Write videos one after the other, with captions of about five words."""
    generator = np.random.default_rng(seed)
    words = np.array(["".join(letters) for letters in generator.choice(list("abcdefghij"), (500, 6))])
    starts = [4.0 * number for number in range(ROWS_PER_VIDEO)]
    ends = [start + 5.17 for start in starts]
    with open(path, "w", encoding="utf-8") as file:
        for number in range(max(1, num_rows // ROWS_PER_VIDEO)):
            texts = [" ".join(row) for row in generator.choice(words, (ROWS_PER_VIDEO, 5))]
            captions = json.dumps({"start": starts, "end": ends, "text": texts})
            file.write(f'{"{" if number == 0 else ", "}"v{number:010d}": {captions}')
        file.write("}")


def peak_of(code: str, *arguments: Path) -> float:
    """Return the most memory that a process of its own used, in GB."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return int(done.stdout) * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help="captions of the synthetic file")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "caption.json"
        write_file(path, rows)
        start = time.perf_counter()
        table = CaptionTable.convert(HowTo100M(path), Path(folder) / "table")
        seconds, megabytes = time.perf_counter() - start, path.stat().st_size / 1e6
        print(f"{len(table):,} captions of {table.num_files:,} videos, JSON of {megabytes:.0f} MB")
        print(f"{'conversion':28} {seconds:10.1f} s    ({len(table) / seconds:,.0f} captions/s)")
        print(f"{'peak memory of conversion':28} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:10.2f} GB")
        loaded = peak_of(LOAD, path)
        opened = max(0.0, peak_of(OPEN, table.folder) - peak_of(OPEN))
        print(f"{'json.load, memory':28} {loaded:10.2f} GB")
        print(f"{'table open, memory':28} {opened:10.2f} GB   (with a thousand rows read)")
        places = np.random.default_rng(1).integers(len(table), size=20_000).tolist()
        openings, reads = [], []
        for _ in range(REPEATS):
            start = time.perf_counter()
            table = CaptionTable.open(table.folder)
            openings.append(time.perf_counter() - start)
            start = time.perf_counter()
            for place in places:
                table[place]
            reads.append((time.perf_counter() - start) / len(places))
        for name, values, scale, unit in (("opening", openings, 1e3, "ms"), ("random row", reads, 1e6, "us")):
            low, high = min(values) * scale, max(values) * scale
            print(f"{name:28} {statistics.median(values) * scale:10.1f} {unit}   ({low:.1f} .. {high:.1f})")


if __name__ == "__main__":
    main()
