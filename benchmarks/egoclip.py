"""How fast EgoClip's table is, and how little memory its workers take: opening, a random row, a neighbour in time.

A synthetic file in the published layout (3,847,723 rows there) is written to a temporary folder. The released code
finds a neighbour by comparing a segment name with those of all rows; its twin here compares whole numbers in numpy,
which is faster than its comparison of texts, so the ratio printed is a lower bound. Times are of the processor; those
in microseconds are, in each repeat, of the fastest of twenty stretches, as whatever else runs only adds to them.

Memory is that of worker processes, started as training starts them, which have all seen rows of every page; what
several share is counted once (the kernel's proportional set size), the process they come from included.

    python -m benchmarks.egoclip [--rows 4000000]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measure import machine, peak_mib, report
from playhead.data.egoclip_csv import COLUMNS
from playhead.data.egoclip_table import EgoClip
from playhead.data.workers import worker_context

ROWS_PER_VIDEO = 480  # 3,847,723 rows of about 8,000 videos
VERBS, NOUNS = 118, 582
REPEATS = 7
STRETCHES = 20  # of acts in a repeat; the fastest counts
WORKERS = 8
EVERY = 30  # rows from one that a worker reads to the next: closer than a page of any column


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


def seconds_each(act: Callable[[int], object], places: np.ndarray) -> float:
    """Return the mean seconds of one act."""
    start = time.process_time()
    for place in places:
        act(int(place))
    return (time.process_time() - start) / len(places)


def measure_rows(table: EgoClip) -> None:
    """Print the time of a random row, of a neighbour by both rules, of both together, and of the full scan."""
    generator = np.random.default_rng(1)
    videos = np.repeat(np.arange(len(table.video_ids)), [len(table.rows_of(video)) for video in table.video_ids])
    bins = pa.ipc.open_file(pa.memory_map(str(table.path))).read_all()["narration_time"].to_numpy() // 60.0

    def scan(place: int) -> int:
        rows = np.flatnonzero((videos == videos[place]) & (bins == bins[place]))
        return int(rows[generator.integers(len(rows))])

    binned = "released_bins"

    def draw_both(place: int) -> None:
        table[place], table[table.draw_neighbour(place, generator)]

    acts = {
        "random row": (table.__getitem__, 20_000),
        "row and its neighbour within 60 s": (draw_both, 20_000),
        "neighbour within 60 s": (lambda place: table.draw_neighbour(place, generator), 20_000),
        "neighbour in released bins": (lambda place: table.draw_neighbour(place, generator, 60.0, binned), 20_000),
        "neighbour by a full scan": (scan, 20),
    }
    micros: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(REPEATS):  # in turn
        for name, (act, number) in acts.items():
            parts = generator.integers(len(table), size=(STRETCHES, number // STRETCHES))
            micros[name].append(1e6 * min(seconds_each(act, part) for part in parts))
    for name, found in micros.items():
        print(f"{name:36} {statistics.median(found):10.1f} us   ({min(found):.1f} .. {max(found):.1f})")
    report("row and its neighbour", micros["row and its neighbour within 60 s"], 20, at_most=True, unit="us")
    for rule in ("within 60 s", "in released bins"):
        scans, own = micros["neighbour by a full scan"], micros[f"neighbour {rule}"]
        report(f"full scan / neighbour {rule}", [slow / fast for slow, fast in zip(scans, own, strict=True)])


def see_all(path: Path, seen, leave) -> None:
    """Be a worker: open the table, read rows of every page, say so, and stay."""
    table = EgoClip.open(path)
    for place in range(0, len(table), EVERY):
        table[place]
    seen.release()
    leave.wait()


def memory_of(path: Path, workers: int) -> float:
    """Return the MiB of so many workers and of the server they come from, each page counted once."""
    table = EgoClip.open(path)
    context = worker_context(table)
    del table  # what this process maps too would count for the workers by a part only
    seen, leave = context.Semaphore(0), context.Event()
    processes = [context.Process(target=see_all, args=(path, seen, leave)) for _ in range(workers)]
    for process in processes:
        process.start()
    for _ in processes:
        seen.acquire()
    status = Path(f"/proc/{processes[0].pid}/status").read_text()
    [server] = [line.split()[1] for line in status.splitlines() if line.startswith("PPid")]
    kibibytes = 0
    for pid in (server, *(process.pid for process in processes)):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kibibytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    leave.set()
    for process in processes:
        process.join()
    return kibibytes / 1024


def compare_memory(path: Path) -> None:
    one, many = memory_of(path, 1), memory_of(path, WORKERS)
    print(f"memory of one worker {one:.0f} MiB, of {WORKERS} together {many:.0f} MiB")
    report(f"memory of {WORKERS} workers / of one", [many / one], 1.3, at_most=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000, help="rows of the synthetic file")
    rows = parser.parse_args().rows
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "egoclip.csv"
        write_file(path, rows)
        start = time.perf_counter()
        table = EgoClip.open(path)
        convert = time.perf_counter() - start
        megabytes = path.stat().st_size / 1e6
        print(f"{len(table):,} rows of {len(table.video_ids):,} videos, csv of {megabytes:.0f} MB")
        print(f"{'conversion':36} {convert:10.1f} s    ({megabytes / convert:.0f} MB/s, {rows / convert:,.0f} rows/s)")
        print(f"{'peak memory so far':36} {peak_mib():10.0f} MiB")
        opened = [seconds_each(lambda _: EgoClip.open(path), np.zeros(1)) for _ in range(REPEATS)]
        report(f"open {rows / 1e6:g} M rows", opened, 2.0, at_most=True, unit="s")
        measure_rows(table)
        del table
        compare_memory(path)


if __name__ == "__main__":
    main()
