"""How fast EgoClip's table is: conversion of the csv file, a random row, a neighbour in time.

A synthetic file in the published layout, of the published size by default, is written to a temporary folder. The
released code finds a neighbour by comparing a segment name with those of all rows; its twin here compares whole numbers
in numpy, which is faster than its comparison of texts, so the ratio printed is a lower bound.

    python benchmarks/egoclip.py --rows 300000
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from playhead.data.egoclip_csv import COLUMNS
from playhead.data.egoclip_table import EgoClip

ROWS_PER_VIDEO = 480  # 3,847,723 rows of about 8,000 videos
VERBS, NOUNS = 118, 582
REPEATS = 7


def write_file(path: Path, num_rows: int, seed: int = 0) -> None:
    """Write videos one after the other, each with two annotators' narrations."""
    generator = np.random.default_rng(seed)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\t".join(COLUMNS) + "\n")
        row = 0
        while row < num_rows:
            number = min(ROWS_PER_VIDEO, num_rows - row)
            video = "-".join(f"{part:08x}" for part in generator.integers(2**32, size=4))
            duration = number * 2.75
            for source, count in ((1, number - number // 2), (2, number // 2)):
                times = np.sort(generator.uniform(0, duration, count))
                tags = generator.integers([VERBS, NOUNS, NOUNS], size=(count, 3))
                lines = [
                    f"{row + k}\t{video}\t{duration}\tnarration_pass_{source}\t{k}\t"
                    f"{t:.6f}\t{t - 0.5:.6f}\t{t + 0.5:.6f}\t"
                    f"#C C picks thing {noun} from place {other} with the right hand\t[{verb}]\t[{noun}, {other}]\n"
                    for k, (t, (verb, noun, other)) in enumerate(zip(times, tags, strict=True))
                ]
                file.writelines(lines)
                row += count


def spread(measure: Callable[[], float]) -> tuple[float, float, float]:
    """Return median, minimum and maximum of repeated measurements."""
    values = [measure() for _ in range(REPEATS)]
    return statistics.median(values), min(values), max(values)


def seconds_each(act: Callable[[int], object], places: np.ndarray) -> float:
    """Return the mean seconds of one act."""
    start = time.perf_counter()
    for place in places:
        act(int(place))
    return (time.perf_counter() - start) / len(places)


def measure_rows(table: EgoClip) -> None:
    """Print the time of a random row and of a neighbour by both rules, and of the full scan."""
    generator = np.random.default_rng(1)
    videos = np.repeat(np.arange(len(table.video_ids)), [len(table.rows_of(video)) for video in table.video_ids])
    bins = pa.ipc.open_file(pa.memory_map(str(table.path))).read_all()["narration_time"].to_numpy() // 60.0

    def scan(place: int) -> int:
        rows = np.flatnonzero((videos == videos[place]) & (bins == bins[place]))
        return int(rows[generator.integers(len(rows))])

    def timed(act: Callable[[int], object], number: int) -> tuple[float, float, float]:
        return spread(lambda: seconds_each(act, generator.integers(len(table), size=number)))

    row = timed(table.__getitem__, 20_000)
    within = timed(lambda place: table.draw_neighbour(place, generator), 20_000)
    binned = timed(lambda place: table.draw_neighbour(place, generator, rule="released_bins"), 20_000)
    scanned = timed(scan, 40)
    for name, (median, low, high) in (
        ("random row", row),
        ("neighbour within 60 s", within),
        ("neighbour in released bins", binned),
        ("neighbour by a full scan", scanned),
    ):
        print(f"{name:28} {median * 1e6:10.1f} us   ({low * 1e6:.1f} .. {high * 1e6:.1f})")
    for name, (median, low, high) in (("within 60 s", within), ("released bins", binned)):
        ratio = f"{scanned[0] / median:10.0f} x    ({scanned[1] / high:.0f} .. {scanned[2] / low:.0f})"
        print(f"{'full scan / ' + name:28} {ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3_850_000, help="rows of the synthetic file")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "egoclip.csv"
        write_file(path, rows)
        start = time.perf_counter()
        table = EgoClip.open(path)
        convert = time.perf_counter() - start
        reopen, low, high = spread(lambda: seconds_each(lambda _: EgoClip.open(path), np.zeros(1)))
        megabytes = path.stat().st_size / 1e6
        print(f"{len(table):,} rows of {len(table.video_ids):,} videos, csv of {megabytes:.0f} MB")
        print(f"{'conversion':28} {convert:10.1f} s    ({megabytes / convert:.0f} MB/s, {rows / convert:,.0f} rows/s)")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{'peak memory so far':28} {peak:10.2f} GB")
        print(f"{'opening again':28} {reopen * 1e3:10.1f} ms   ({low * 1e3:.1f} .. {high * 1e3:.1f})")
        measure_rows(table)


if __name__ == "__main__":
    main()
