"""How fast language queries are scored, and that the numbers are those of the definition written as loops.

Synthetic answers of a real size: 4,000 queries, five windows each, a few missing, a few truths of no length. Both sides
end with recall at three thresholds for k = 1, 3, 5 and with the mean IoU. "evaluator" begins with windows and truths
side by side, "with names" with answers as they were read, so that finding the truth of each by its three names is part
of it. The loops go over plain Python numbers, which is faster than the released code's small arrays.

    python -m benchmarks.nlq_evaluator
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.measure import report
from playhead.data.queries import ClipQuery, QueryClip, QueryClips
from playhead.data.query_answers import QueryAnswer, pair_answers
from playhead.metrics.recall import QueryRecall, query_recall

KS, THRESHOLDS = (1, 3, 5), (0.3, 0.5, 0.01)
QUERIES_PER_CLIP = 12  # about 4,000 queries of 330 clips in the validation split
REPEATS = 15
GOAL = 8.0  # of the evaluator itself

Window = Sequence[float]
Scores = tuple[list[list[float]], float]


def make_answers(num_queries: int, num_windows: int, seed: int = 0) -> tuple[QueryClips, list[QueryAnswer]]:
    """Return queries with their truths, and shuffled answers to 97 % of them."""
    draws = np.random.default_rng(seed)
    starts = draws.uniform(0, 450, num_queries)
    ends = starts + draws.exponential(8, num_queries) * (draws.random(num_queries) > 0.09)
    windows = np.stack([starts, ends], axis=1)[:, None] + draws.normal(0, 4, (num_queries, num_windows, 2))
    windows.sort(axis=2)
    clips, answers = [], []
    for first, last in pairwise([*range(0, num_queries, QUERIES_PER_CLIP), num_queries]):
        clip_id, annotation_id = (bytes(draws.bytes(16)).hex() for _ in range(2))
        queries = tuple(
            ClipQuery(f"{clip_id}/{annotation_id}/{n - first}", annotation_id, n - first, "?", None, *ends_of)
            for n, ends_of in ((n, (float(starts[n]), float(ends[n]))) for n in range(first, last))
        )
        clips.append(QueryClip("v", clip_id, 0.0, 480.0, 480.0, queries))
        answers += [QueryAnswer(clip_id, annotation_id, n - first, windows[n]) for n in range(first, last)]
    given = [answers[place] for place in draws.permutation(num_queries)[: round(0.97 * num_queries)]]
    return QueryClips(tuple(clips), "1", "", {}, {}), given


def iou(window: Window, truth: Window) -> float:
    shared = max(0.0, min(window[1], truth[1]) - max(window[0], truth[0]))
    hull = max(window[1], truth[1]) - min(window[0], truth[0])
    return shared / hull if hull > 0 else 0.0


def score_by_loops(windows: Sequence[Sequence[Window]], truths: Sequence[Window]) -> Scores:
    """Return recalls by threshold and k and the mean IoU, as they are defined; no window is a miss."""
    hits = [[0] * len(KS) for _ in THRESHOLDS]
    total = 0.0
    for answer, truth in zip(windows, truths, strict=True):
        ious = [iou(window, truth) for window in answer]
        for row, threshold in enumerate(THRESHOLDS):
            for column, k in enumerate(KS):
                hits[row][column] += any(value > threshold for value in ious[:k])
        total += ious[0] if ious else 0.0
    return [[number / len(truths) for number in row] for row in hits], total / len(truths)


def records_by_loops(results: Sequence[dict[str, Any]], clips: QueryClips) -> Scores:
    """Find the windows of each query by the three names of a submission's record, then score them."""
    given = {(one["clip_uid"], one["annotation_uid"], one["query_idx"]): one["predicted_times"] for one in results}
    windows, truths = [], []
    for clip in clips:
        for query in clip.queries:
            windows.append(given.get((clip.clip_id, query.annotation_id, query.index), []))
            truths.append((query.raw_start, query.raw_end))
    return score_by_loops(windows, truths)


def difference(found: QueryRecall, expected: Scores) -> float:
    return max(float(np.abs(found.recall - np.array(expected[0])).max()), abs(found.mean_iou - expected[1]))


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(name: str, ours: Callable[[], QueryRecall], loops: Callable[[], Scores]) -> None:
    """Run both in turn; print their medians, median, least and greatest ratio, and the largest difference."""
    gap = difference(ours(), loops())
    runs = [(seconds(ours), seconds(loops)) for _ in range(REPEATS)]
    fast, slow = (statistics.median(side) * 1e3 for side in zip(*runs, strict=True))
    ratios = sorted(other / one for one, other in runs)
    print(f"{name:14} {fast:8.2f} ms   loops {slow:8.2f} ms   max difference {gap:.1e}")
    report(f"loops / {name}", ratios, GOAL if name == "evaluator" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=4000)
    parser.add_argument("--windows", type=int, default=5)
    sizes = parser.parse_args()
    clips, answers = make_answers(sizes.queries, sizes.windows)
    names = ("clip_uid", "annotation_uid", "query_idx", "predicted_times")
    results = [
        dict(zip(names, (one.clip_id, one.annotation_id, one.index, one.windows.tolist()), strict=True))
        for one in answers
    ]
    paired = pair_answers(answers, clips)
    windows = [[pair for pair in row if pair[0] == pair[0]] for row in paired.windows.tolist()]
    truths = paired.truths.tolist()

    def score(found) -> QueryRecall:
        return query_recall(found.windows, found.truths, found.submitted, ks=KS, thresholds=THRESHOLDS)

    print(f"{sizes.queries:,} queries, {len(answers):,} answered with {sizes.windows} windows each")
    compare("evaluator", lambda: score(paired), lambda: score_by_loops(windows, truths))
    compare("with names", lambda: score(pair_answers(answers, clips)), lambda: records_by_loops(results, clips))


if __name__ == "__main__":
    main()
