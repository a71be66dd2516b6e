"""How fast an index answers, how well, and what it costs: 100,000 windows scored one by one, a million approximately.

Windows are synthetic: films of 600 windows of 256 numbers whose vectors wander around one of 2,000 scenes. Queries lie
near windows, as texts that fit do. Building and asking run in processes of their own, so that memory is theirs alone.
What a query takes is told without the text (`search`), for the ten nearest windows alone (`database`), and for encoding
a text with a tower of DistilBERT's size (`text`).

    python -m benchmarks.search --windows 100000 1000000

Goals: 100,000 windows, text included, p95 <= 150 ms on 2 cores; a million, p95 <= 300 ms, the database alone 50 ms, at
recall@10 >= 0.99; built in less than 120 s; less than 1.5 GB beside the model; opened in less than 3 s.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from playhead.apps import neighbours
from playhead.apps.index import VideoIndex
from playhead.apps.place import find_place
from playhead.apps.request import Request
from playhead.apps.search import ask
from playhead.apps.store import IndexSettings, IndexStore, VideoRow
from playhead.models.distilbert import DistilBert, DistilBertConfig
from playhead.text import load_tokenizer

WIDTH, FILM, SCENES, QUERIES, TOP = 256, 600, 2000, 200, 10
NOISE, WALK = 0.7, 0.12
AWAY = 0.1  # so a query and the window it was made of have a cosine of about 0.5, as a text and its clip have


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def films(number: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield the vectors of one film after the other, `number` windows in all."""
    scenes = np.random.default_rng(0).standard_normal((SCENES, WIDTH)).astype(np.float32)
    generator = np.random.default_rng([seed, 1])
    while number > 0:
        count = min(FILM, number)
        scene = np.repeat(generator.integers(SCENES, size=-(-count // 20)), 20)[:count]  # a scene lasts 20 windows
        walk = np.cumsum(generator.standard_normal((count, WIDTH)).astype(np.float32) * WALK, axis=0)
        noise = generator.standard_normal((count, WIDTH)).astype(np.float32) * NOISE
        yield unit(scenes[scene] + noise + walk)
        number -= count


def make_queries(number: int) -> np.ndarray:
    """Return queries near windows of the index, and away from them as a text is from the clip that it tells."""
    generator = np.random.default_rng(5)
    chosen = [film[generator.integers(len(film))] for film in films(min(number, QUERIES * FILM))]
    chosen = [chosen[place % len(chosen)] for place in range(QUERIES)]
    return unit(np.stack(chosen) + AWAY * generator.standard_normal((QUERIES, WIDTH)))


def peak() -> float:
    """Return the most memory that this process has had, in GB; unlike `getrusage`, without that of its parent."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1e6


def build(folder: Path, number: int) -> dict[str, object]:
    """Write an index of `number` windows, and note for each query the ten windows that are really nearest."""
    place = find_place(folder)
    place.make()
    store = IndexStore.create(place, IndexSettings(model="bench", width=WIDTH, num_frames=4, fps=4.0, stride=4))
    queries = make_queries(number)
    best, names = np.full((QUERIES, TOP), -2.0, np.float32), np.zeros((QUERIES, TOP), np.int64)
    rows, first, writing = [], 0, 0.0
    for count, film in enumerate(films(number)):
        starts = np.arange(len(film), dtype=np.float64)
        began = time.perf_counter()
        store.add_windows(f"{count:032d}", np.stack([starts, starts + 1], axis=1), film)
        writing += time.perf_counter() - began
        row = VideoRow(f"/films/{count:06d}.mp4", f"{count:032d}", "/films", 1, 1, "done", duration=float(len(film)))
        rows.append(row)
        scores = np.concatenate([best, queries @ film.T], axis=1)
        places = np.concatenate([names, np.tile(first + np.arange(len(film)), (QUERIES, 1))], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
        best, names = np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)
        first += len(film)
    store.put_videos(rows, are_new=True)
    np.savez(folder.parent / "truth.npz", queries=queries, names=names)
    store.compact()
    began = time.perf_counter()
    store.keep_neighbours()
    return {"write_s": writing, "build_s": time.perf_counter() - began, "build_gb": peak()}


def measure(folder: Path) -> dict[str, object]:
    """Open the index, ask every query, and compare with the truth."""
    truth = np.load(folder.parent / "truth.npz")
    queries, names = truth["queries"], truth["names"]
    before, began = peak(), time.perf_counter()
    index = VideoIndex.open(folder)
    unrelated = np.random.default_rng(9).standard_normal((64, WIDTH))
    rows = {str(place): query for place, query in enumerate(queries)}

    def encode(texts: list[str]) -> np.ndarray:
        known = [rows[text] if text in rows else unrelated[hash(text) % 64] for text in texts]
        return unit(np.stack(known)) if known else np.zeros((0, WIDTH), np.float32)

    model = SimpleNamespace(bundle=SimpleNamespace(identity="bench"), wording=str, encode_text=encode)
    windows, _ = index.searchable(model)
    opened = time.perf_counter() - began
    search, database, hits = [], [], 0
    for place, query in enumerate(queries):
        with timed(search):
            ask(index, model, Request.of(str(place)), TOP)
        began, worked = time.perf_counter(), time.process_time()
        if windows.is_exact:
            found = np.argpartition(-(windows.vectors @ query), TOP)[:TOP]
        else:
            ((row_ids, _),) = neighbours.nearest(index.store().windows, query[None], TOP)
            found = windows._numbers(row_ids)
        database.append((time.perf_counter() - began, time.process_time() - worked))
        hits += len(np.intersect1d(found, names[place]))
    told = {"recall": hits / names.size, "open_s": opened, "gb": peak() - before, "exact": windows.is_exact}
    return told | {"search": spread(search), "database": spread(database)}


def extend(folder: Path, number: int) -> dict[str, object]:
    """Add so many windows as let the approximate index be extended, and time that."""
    store = IndexStore.open(find_place(folder))
    for count, film in enumerate(films(int(1.1 * number * neighbours.UNINDEXED) + 2 * FILM, seed=7)):
        starts = np.arange(len(film), dtype=np.float64)
        store.add_windows(f"new{count:029d}", np.stack([starts, starts + 1], axis=1), film)
        row = VideoRow(f"/new/{count:06d}.mp4", f"new{count:029d}", "/new", 1, 1, "done", duration=float(len(film)))
        store.put_videos([row], are_new=True)
    began = time.perf_counter()
    store.compact()  # joins the small files, and takes their rows into the approximate index on the way
    store.keep_neighbours()
    covered = store.coverage()
    return {"extend_s": time.perf_counter() - began, "unindexed": covered.unindexed}


def encode_texts() -> tuple[float, float, float]:
    """Return what encoding one text with a tower of DistilBERT's size takes; see `spread`."""
    torch.manual_seed(0)
    tower, words = DistilBert(DistilBertConfig()).eval(), load_tokenizer("bert-base-uncased")
    seconds = []
    with torch.inference_mode():
        for place in range(60):
            with timed(seconds):
                tower(words([f"#C C puts the lid number {place} on the pot with the left hand"]))
    return spread(seconds[10:])


@contextmanager
def timed(into: list[tuple[float, float]]) -> Iterator[None]:
    """Add the seconds that a block takes, on the clock and of the processor."""
    began, worked = time.perf_counter(), time.process_time()
    yield
    into.append((time.perf_counter() - began, time.process_time() - worked))


def spread(seconds: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Return median and 95th percentile on the clock, and the median of the processor's time, in ms."""
    clock, worked = np.array(seconds).T * 1e3
    return float(np.median(clock)), float(np.percentile(clock, 95)), float(np.median(worked))


def apart(*arguments: object) -> dict:
    """Run one step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.search", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of the index")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step, folder = arguments.step[0], Path(arguments.step[1])
        number = arguments.windows[0]
        steps = {"build": lambda: build(folder, number), "measure": lambda: measure(folder)}
        print(json.dumps((steps | {"extend": lambda: extend(folder, number)})[step]()))
        return
    median, high, worked = encode_texts()
    print(f"{'text':24} {median:8.1f} ms   p95 {high:.1f} ms, {worked:.1f} ms of the processor")
    for number in arguments.windows:
        root = Path(tempfile.mkdtemp())
        try:
            report(root / "index", number, high)
        finally:
            shutil.rmtree(root)


def report(folder: Path, number: int, text: float) -> None:
    """Build, ask and extend one index, and print what it took."""
    built = apart("--windows", number, "--step", "build", folder)
    print(f"{number:,} windows of {WIDTH}: written in {built['write_s']:.1f} s", flush=True)
    print(f"{'approximate index':24} {built['build_s']:8.1f} s    {built['build_gb']:.2f} GB at most")
    told = apart("--windows", number, "--step", "measure", folder)
    kind = "every window scored" if told["exact"] else "approximate"
    print(f"{'opened':24} {told['open_s']:8.1f} s    {told['gb']:.2f} GB, {kind}")
    for name in ("search", "database"):
        median, high, worked = told[name]
        rest = f"; with the text {high + text:.1f} ms" if name == "search" else ""
        print(f"{name:24} {median:8.1f} ms   p95 {high:.1f} ms, {worked:.1f} ms of the processor{rest}")
    print(f"{'recall@10':24} {told['recall']:8.3f}", flush=True)
    if not told["exact"]:
        added = apart("--windows", number, "--step", "extend", folder)
        again = apart("--windows", number, "--step", "measure", folder)
        print(f"{'extended':24} {added['extend_s']:8.1f} s    {added['unindexed']:,} windows left out of it")
        print(f"{'recall@10 after it':24} {again['recall']:8.3f}", flush=True)


if __name__ == "__main__":
    main()
