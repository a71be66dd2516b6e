"""How fast soft-NMS over all classes at once is, against two loops: 2,000 candidates in each of 110 classes.

    python -m benchmarks.soft_nms --classes 110 --candidates 2000

The plain loop is the definition (and the released code, which compiles it): for every class, every pick, every other
candidate. The loop of array operations does one numpy operation over all others per pick. Both loops' time is a sum
over classes: the plain one runs for `--loop-classes` of them, and its time is scaled to all. Each form is asked for
all survivors, and for the best 2,000 of the video, which is what ActionFormer keeps and what lets most classes stop
early; a loop must run to its end before it can cut.

Times are of one processor, in turn: ratio of the medians, and in brackets the smallest and largest ratio of the rounds.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy import ndarray

from benchmarks.measure import report
from playhead.decoding.nms import LENGTH_ROOM, soft_nms

SIGMA, MIN_SCORE, TOP = 0.9, 0.001, 2000  # ActionFormer's on Ego4D
ROUNDS = 5

Kept = tuple[ndarray, ndarray]


def make_candidates(classes: int, candidates: int, seed: int = 0) -> tuple[ndarray, ndarray, ndarray]:
    """Spans in an 8-minute clip with Ego4D's lengths (median 9 s, a long tail), and mostly low scores."""
    generator = np.random.default_rng(seed)
    number = classes * candidates
    centers, lengths = generator.uniform(0, 480, number), np.exp(generator.normal(math.log(9), 1.2, number))
    spans = np.stack([centers - lengths / 2, centers + lengths / 2], axis=1).clip(0, 480).astype(np.float32)
    scores = generator.beta(0.6, 6, number).astype(np.float32)
    return spans, scores, np.repeat(np.arange(classes), candidates)


def plain_loop(spans: ndarray, scores: ndarray) -> Kept:
    """One class by the definition, in plain numbers."""
    starts, ends = spans[:, 0].tolist(), spans[:, 1].tolist()
    left, now = list(range(len(scores))), scores.tolist()
    numbers, kept = [], []
    while left:
        best = left[0]
        for number in left:
            if now[number] > now[best]:
                best = number
        numbers.append(best)
        kept.append(now[best])
        rest = []
        for number in left:
            if number == best:
                continue
            shared = max(0.0, min(ends[number], ends[best]) - max(starts[number], starts[best]))
            lengths = (ends[number] - starts[number] + LENGTH_ROOM) + (ends[best] - starts[best] + LENGTH_ROOM)
            overlap = shared / (lengths - shared)
            now[number] *= math.exp(-overlap * overlap / SIGMA)
            if now[number] >= MIN_SCORE:
                rest.append(number)
        left = rest
    return np.array(numbers), np.array(kept)


def array_loop(spans: ndarray, scores: ndarray) -> Kept:
    """One class, one array operation per pick."""
    starts, ends, numbers = spans[:, 0], spans[:, 1], np.arange(len(scores))
    lengths = ends - starts + np.float32(LENGTH_ROOM)
    picked, kept = [], []
    while len(scores):
        best = scores.argmax()
        picked.append(numbers[best])
        kept.append(scores[best])
        shared = np.maximum(np.minimum(ends, ends[best]) - np.maximum(starts, starts[best]), 0)
        overlaps = shared / (lengths + lengths[best] - shared)
        scores = scores * np.exp(-overlaps * overlaps / SIGMA)
        stays = scores >= MIN_SCORE
        stays[best] = False
        starts, ends, lengths = starts[stays], ends[stays], lengths[stays]
        scores, numbers = scores[stays], numbers[stays]
    return np.array(picked), np.array(kept)


def over_classes(loop: Callable[..., Kept], spans: ndarray, scores: ndarray, labels: ndarray, classes: int) -> Kept:
    """Run a loop class by class and put the answers together, best first."""
    found = []
    for label in range(classes):
        of_class = np.flatnonzero(labels == label)
        numbers, kept = loop(spans[of_class], scores[of_class])
        found.append((of_class[numbers], kept))
    numbers, kept = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((numbers, -kept))
    return numbers[order], kept[order]


def timed(act: Callable[[], Kept]) -> tuple[float, Kept]:
    start = time.process_time()
    answer = act()
    return time.process_time() - start, answer


def difference(ours: Kept, theirs: Kept) -> str:
    """Say whether the same spans are kept, and how far their scores are apart."""
    mine, others = ({int(n): float(s) for n, s in zip(*kept, strict=True)} for kept in (ours, theirs))
    worst = max(abs(mine[number] - others[number]) for number in set(mine) & set(others))
    return f"max difference {worst:.1e}, kept by only one of the two: {len(set(mine) ^ set(others))} of {len(others):,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=110, help="classes")
    parser.add_argument("--candidates", type=int, default=2000, help="candidates of each class")
    parser.add_argument("--loop-classes", type=int, default=2, help="classes that the plain loop runs for")
    asked = parser.parse_args()
    spans, scores, labels = make_candidates(asked.classes, asked.candidates)
    few = min(asked.loop_classes, asked.classes)

    def ours(top: int | None) -> Kept:
        return soft_nms(spans, scores, labels, sigma=SIGMA, min_score=MIN_SCORE, top=top)

    forms: dict[str, Callable[[], Kept]] = {
        "all": lambda: ours(None),
        "top": lambda: ours(TOP),
        "arrays": lambda: over_classes(array_loop, spans, scores, labels, asked.classes),
        "plain": lambda: over_classes(plain_loop, spans, scores, labels, few),
    }
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    answers: dict[str, Kept] = {}
    for _ in range(ROUNDS):
        for name, act in forms.items():
            took, answers[name] = timed(act)
            seconds[name].append(took * (asked.classes / few if name == "plain" else 1))
    show(asked, few, seconds)
    numbers, kept = answers["all"]
    of_few = labels[numbers] < few
    print("to the plain loop:", difference((numbers[of_few], kept[of_few]), answers["plain"]))
    print("to the loop of array operations:", difference(answers["all"], answers["arrays"]))
    best = answers["arrays"][0][:TOP], answers["arrays"][1][:TOP]
    print(f"the best {TOP:,}:", difference(answers["top"], best))


def show(asked: argparse.Namespace, few: int, seconds: dict[str, list[float]]) -> None:
    """Print medians and ratios with their spread."""
    print(f"{asked.candidates:,} candidates in each of {asked.classes} classes")
    for name, title in (
        ("plain", f"plain loop (of {few} classes, scaled)"),
        ("arrays", "loop of array operations"),
        ("all", "soft_nms, all survivors"),
        ("top", f"soft_nms, the best {TOP:,}"),
    ):
        low, middle, high = (1e3 * pick(seconds[name]) for pick in (min, statistics.median, max))
        print(f"{title:52}{middle:12,.1f} ms   ({low:,.1f} .. {high:,.1f})")
    for loop, title in (("plain", "plain loop"), ("arrays", "loop of array operations")):
        for form, what in (("all", "all survivors"), ("top", f"the best {TOP:,}")):
            each = [slow / fast for slow, fast in zip(seconds[loop], seconds[form], strict=True)]
            report(f"{title} / soft_nms, {what}", each)


if __name__ == "__main__":
    main()
