"""EgoNCE forward and backward: in blocks of rows against the plain form of the published code, in one run, in turn.

The plain form is dense: three matrices of cosines (clips to texts, nouns to nouns, verbs to verbs), a mask, softmax
over rows and over columns, the log of their masked sums, and autograd. All forms start from rows that are not yet of
unit length and from multi-hot tags, so that finding the positives counts. Tags are drawn by Zipf's law over 582 nouns
(one to three per row) and 118 verbs (one).

Times are of one processor and one thread; a ratio is the median over the rounds, with least and greatest. Memory is the
peak of a process of its own, above what it held with its rows and tags made. "medium" is train.matmul="medium" (see
there: on CPUs with AMX it is bf16), "bf16" is loss_form="blockwise_bf16".

    python -m benchmarks.ego_nce [--rows 512 2048 8192] [--rounds 5] [--most-rows 65536]
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from benchmarks.measure import machine, peak_mib, report
from playhead.objectives.action_lists import action_lists
from playhead.objectives.blockwise import blockwise_ego_nce
from playhead.objectives.ego_nce import action_positives, ego_nce

WIDTH, NOUNS, VERBS, TEMPERATURE = 256, 582, 118, 0.05
GOALS = {512: 1.0, 8192: 3.5}  # plain / blockwise in fp32
MEMORY_GOAL, MEMORY_ROWS, MOST_MIB = 5.0, 8192, 2000.0


class Pairs(NamedTuple):
    """A batch: rows before they are normalised, and multi-hot tags."""

    video: Tensor
    text: Tensor
    nouns: Tensor
    verbs: Tensor


def make_pairs(rows: int, seed: int = 0) -> Pairs:
    """Clips and texts that know each other a little, as in the middle of training."""
    generator = torch.Generator().manual_seed(seed)
    video, noise = torch.randn(2, rows, WIDTH, generator=generator)
    nouns, verbs = draw_tags(rows, NOUNS, 3, generator), draw_tags(rows, VERBS, 1, generator)
    return Pairs(video, video + 3 * noise, nouns, verbs)


def draw_tags(rows: int, tags: int, most: int, generator: torch.Generator) -> Tensor:
    """Draw one to `most` tags per row by Zipf's law."""
    weights = 1 / torch.arange(1, tags + 1, dtype=torch.float64)
    found = torch.zeros(rows, tags, dtype=torch.bool)
    counts = torch.randint(1, most + 1, (rows,), generator=generator)
    for place in range(most):
        drawn = torch.multinomial(weights, rows, replacement=True, generator=generator)
        found[torch.arange(rows), drawn] |= place < counts
    return found


def cosines(one: Tensor, other: Tensor) -> Tensor:
    one = one / one.norm(dim=1, keepdim=True).clamp(min=1e-8)
    return one @ (other / other.norm(dim=1, keepdim=True).clamp(min=1e-8)).T


def plain(pairs: Pairs) -> Tensor:
    """The published form."""
    similar = cosines(pairs.video, pairs.text) / TEMPERATURE
    nouns, verbs = pairs.nouns.float(), pairs.verbs.float()
    mask = cosines(verbs, verbs) * cosines(nouns, nouns) + torch.eye(len(nouns)) > 0
    to_texts, to_clips = similar.softmax(dim=1), similar.T.softmax(dim=1)
    return -(to_texts * mask).sum(dim=1).log().mean() - (to_clips * mask).sum(dim=1).log().mean()


def dense(pairs: Pairs) -> Tensor:
    """The package's own dense form."""
    positives = action_positives(pairs.nouns, pairs.verbs)
    return ego_nce(F.normalize(pairs.video, dim=1), F.normalize(pairs.text, dim=1), positives, temperature=TEMPERATURE)


def in_blocks(pairs: Pairs, bf16: bool = False) -> Tensor:
    video, text = F.normalize(pairs.video, dim=1), F.normalize(pairs.text, dim=1)
    lists = action_lists(pairs.nouns, pairs.verbs)
    return blockwise_ego_nce(video, text, lists, temperature=TEMPERATURE, bf16_products=bf16).loss


def in_blocks_medium(pairs: Pairs) -> Tensor:
    torch.set_float32_matmul_precision("medium")
    return in_blocks(pairs)


FORMS: dict[str, Callable[[Pairs], Tensor]] = {
    "plain": plain,
    "dense": dense,
    "blockwise": in_blocks,
    "blockwise, medium": in_blocks_medium,
    "blockwise, bf16": lambda pairs: in_blocks(pairs, bf16=True),
}


def step(form: str, pairs: Pairs) -> tuple[float, float, Tensor]:
    """Return the processor's seconds of forward and backward, the loss, and the gradient of both sides."""
    video, text = (rows.detach().clone().requires_grad_() for rows in (pairs.video, pairs.text))
    start = time.process_time()
    loss = FORMS[form](Pairs(video, text, pairs.nouns, pairs.verbs))
    loss.backward()
    seconds = time.process_time() - start
    torch.set_float32_matmul_precision("highest")
    return seconds, float(loss.detach()), torch.cat([leaf.grad for leaf in (video, text) if leaf.grad is not None])


def measure_times(rows: int, rounds: int) -> None:
    """Print the forms' times in turn, and their ratios to the plain one."""
    pairs, repeats = make_pairs(rows), max(1, 2048 // rows)
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for turn in range(rounds + 1):
        for form in FORMS:
            taken = min(step(form, pairs)[0] for _ in range(repeats))
            if turn:  # the first warms up
                seconds[form].append(taken)
    print(f"{rows:,} rows")
    for form, taken in seconds.items():
        ratios = sorted(slow / fast for slow, fast in zip(seconds["plain"], taken, strict=True))
        print(f"  {form:20}{statistics.median(taken) * 1e3:10.1f} ms")
        if form != "plain":
            goal = GOALS.get(rows) if form.startswith("blockwise") else None
            report(f"{rows:,} rows, plain / {form}", ratios, goal)


def measure_differences(rows: int) -> None:
    """Print how far each form is from the dense one in float64."""
    pairs = make_pairs(rows)
    exact = Pairs(pairs.video.double(), pairs.text.double(), pairs.nouns, pairs.verbs)
    _, loss, gradient = step("dense", exact)
    share = float(action_positives(pairs.nouns, pairs.verbs).float().mean())
    print(f"{rows:,} rows, {share:.2%} of all pairs positive; to float64:")
    for form in FORMS:
        _, found, found_gradient = step(form, pairs)
        relative = float((found_gradient - gradient).norm() / gradient.norm())
        print(f"  {form:20} loss {found - loss:+.1e} of {loss:.3f}   gradient {relative:.1e} of its length")


def show_memory(form: str, rows: int) -> None:
    """Print what a process holds with its pairs made, and its peak during one step."""
    step(form, make_pairs(16))  # libraries are loaded
    pairs = make_pairs(rows)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far, of drawing tags, is forgotten
    before = peak_mib()
    start = time.perf_counter()
    step(form, pairs)
    print(before, peak_mib(), time.perf_counter() - start)


def measured_memory(form: str, rows: int) -> tuple[float, float, float]:
    """Return MiB before, MiB at the peak and seconds of one step, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ego_nce", "--memory-of", form, "--rows", str(rows)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(found[0]), float(found[1]), float(found[2])


def measure_memory(rows: int) -> None:
    """Print peaks and their ratio."""
    extra = {}
    for form in ("plain", "dense", "blockwise"):
        before, peak, _ = measured_memory(form, rows)
        extra[form] = peak - before
        print(f"  {form:20}{peak:10.0f} MiB at the peak, {extra[form]:8.0f} above rows and tags")
    report(f"memory of {rows:,} rows, plain / blockwise", [extra["plain"] / extra["blockwise"]], MEMORY_GOAL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[512, 2048, 8192], help="sizes of the batch")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of measurement")
    parser.add_argument(
        "--most-rows", type=int, default=65536, help="32k pairs with neighbours: memory only; 0 leaves it"
    )
    parser.add_argument("--memory-of", choices=tuple(FORMS), help="measure one form in this process")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.memory_of:
        show_memory(asked.memory_of, asked.rows[0])
        return
    print(f"EgoNCE of {WIDTH}-wide rows, forward and backward, one thread; {machine()}")
    measure_differences(min(2048, max(asked.rows)))
    for rows in asked.rows:
        measure_times(rows, asked.rounds)
    if MEMORY_ROWS in asked.rows:
        print(f"memory of {MEMORY_ROWS:,} rows")
        measure_memory(MEMORY_ROWS)
    if asked.most_rows:
        before, peak, seconds = measured_memory("blockwise", asked.most_rows)
        where = f"{peak:.0f} MiB at the peak, {peak - before:.0f} above rows and tags; {seconds:.0f} s"
        print(f"{asked.most_rows:,} rows, blockwise: {where}")
        report(f"memory of {asked.most_rows:,} rows, blockwise", [peak], MOST_MIB, at_most=True, unit="MiB")


if __name__ == "__main__":
    main()
