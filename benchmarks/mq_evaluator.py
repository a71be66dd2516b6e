"""How fast moments are scored: Ego4D's MQ mAP over all detections of a validation split at once, and by loops.

Segments and detections are made up, in the numbers of MQ's validation split by default (521 clips, 4,296 segments, 110
classes, 50,000 detections). "definition" is average precision written down as it is defined: for each class and
threshold, for each detection by falling score, for each segment. "indexed loops" are the same loops, but look segments
up by clip and class and compute each IoU once. "per detection" is the shape of the released code: one numpy call per
detection and clip, as its pandas groups make them, but without pandas. All run alternately in this one process and on
one thread; seconds are of the processor, so that what else runs on the machine counts little.

    python -m benchmarks mq_evaluator
    python -m benchmarks.mq_evaluator --detections 50000 --repeats 7
"""

import argparse
import statistics
import time
from collections import defaultdict

import numpy as np

from benchmarks.measure import report
from playhead.metrics.average_precision import (
    CONVENTIONS,
    FoundSegments,
    TrueSegments,
    average_precision,
    pair_iou,
    recall_at_kx,
)

Row = tuple[int, int, float, float]  # clip, class, start, end


def made_up(num_clips: int, num_segments: int, num_classes: int, num_detections: int, seed: int = 0):
    """Return segments of uneven classes and detections, of which a third are segments moved a little."""
    draws = np.random.default_rng(seed)
    weights = 1 / np.arange(1, num_classes + 1)
    clips = np.sort(draws.integers(num_clips, size=num_segments))
    classes = draws.choice(num_classes, size=num_segments, p=weights / weights.sum())
    starts = draws.uniform(0, 470, size=num_segments)
    spans = np.stack([starts, starts + draws.lognormal(2.2, 1.2, size=num_segments)], axis=1)
    truths = TrueSegments(clips, classes, spans)

    near = draws.integers(num_segments, size=num_detections)
    moved = spans[near] + draws.normal(0, 0.25, size=(num_detections, 2)) * np.diff(spans[near])
    starts = draws.uniform(0, 470, size=num_detections)
    random = np.stack([starts, starts + draws.lognormal(2.2, 1.2, size=num_detections)], axis=1)
    is_near = draws.random(num_detections) < 1 / 3
    found = np.sort(np.where(is_near[:, None], moved, random), axis=1)
    labels = np.where(is_near | (draws.random(num_detections) < 0.3), classes[near], draws.integers(num_classes))
    scores = np.round(draws.beta(1, 4, size=num_detections) + 0.2 * is_near, 6)
    order = np.lexsort((-scores, clips[near]))
    return truths, FoundSegments(clips[near][order], labels[order], found[order], scores[order])


def iou(a: Row, b: Row) -> float:
    shared = max(0.0, min(a[3], b[3]) - max(a[2], b[2]))
    return shared / ((a[3] - a[2]) + (b[3] - b[2]) - shared)


def precision_area(hits: list[bool], num_truths: int) -> float:
    """Return the area under precision over recall of ranked detections, precision made non-increasing."""
    precisions, found = [], 0
    for rank, hit in enumerate(hits, start=1):
        found += hit
        precisions.append(found / rank)
    area, best = 0.0, 0.0
    for hit, precision in zip(reversed(hits), reversed(precisions), strict=True):
        best = max(best, precision)
        area += best * hit / num_truths
    return area


def definition(truths: list[Row], detections: list[tuple[Row, float]], thresholds: tuple[float, ...]) -> list:
    table = []
    for kind in sorted({truth[1] for truth in truths}):
        own = [truth for truth in truths if truth[1] == kind]
        ranked = sorted((d for d in detections if d[0][1] == kind), key=lambda d: -d[1])
        areas = []
        for threshold in thresholds:
            taken, hits = set(), []
            for detection, _ in ranked:
                best, best_iou = None, threshold
                for place, truth in enumerate(own):
                    if truth[0] != detection[0] or place in taken:
                        continue
                    overlap = iou(detection, truth)
                    if overlap > best_iou or (best is None and overlap == best_iou):
                        best, best_iou = place, overlap
                hits.append(best is not None)
                taken.add(best)
            areas.append(precision_area(hits, len(own)))
        table.append(areas)
    return table


def indexed_loops(truths: list[Row], detections: list[tuple[Row, float]], thresholds: tuple[float, ...]) -> list:
    own, number = defaultdict(list), defaultdict(int)
    for truth in truths:
        own[truth[:2]].append(truth)
        number[truth[1]] += 1
    ranked = defaultdict(list)
    for detection, score in detections:
        if detection[1] in number:
            overlaps = [(iou(detection, truth), place) for place, truth in enumerate(own.get(detection[:2], ()))]
            ranked[detection[1]].append((score, detection[:2], sorted(overlaps, key=lambda pair: -pair[0])))
    table = []
    for kind in sorted(number):
        ranked[kind].sort(key=lambda entry: -entry[0])
        areas = []
        for threshold in thresholds:
            taken, hits = set(), []
            for _, group, overlaps in ranked[kind]:
                best = next((p for o, p in overlaps if o >= threshold and (group, p) not in taken), None)
                hits.append(best is not None)
                taken.add((group, best))
            areas.append(precision_area(hits, number[kind]))
        table.append(areas)
    return table


def per_detection(truths: TrueSegments, detections: FoundSegments, thresholds: tuple[float, ...]) -> np.ndarray:
    kinds = np.unique(truths.classes)
    table = np.zeros((len(kinds), len(thresholds)))
    for row, kind in enumerate(kinds):
        spans, clips = truths.spans[truths.classes == kind], truths.clips[truths.classes == kind]
        places = {clip: np.flatnonzero(clips == clip) for clip in np.unique(clips)}
        own = np.flatnonzero(detections.classes == kind)
        own = own[np.argsort(-detections.scores[own], kind="stable")]
        taken = np.zeros((len(thresholds), len(spans)), dtype=bool)
        hits = np.zeros((len(thresholds), len(own)), dtype=bool)
        for rank, detection in enumerate(own):
            place = places.get(detections.clips[detection])
            if place is None:
                continue
            mine = np.broadcast_to(detections.spans[detection], (len(place), 2))
            overlap = pair_iou(mine, spans[place])
            order = np.argsort(-overlap, kind="stable")
            for t, threshold in enumerate(thresholds):
                for j in order:
                    if overlap[j] < threshold:
                        break
                    if not taken[t, place[j]]:
                        taken[t, place[j]] = hits[t, rank] = True
                        break
        found = np.cumsum(hits, axis=1)
        precision = found / np.arange(1, len(own) + 1)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        table[row] = (precision * hits).sum(axis=1) / len(spans)
    return table


def timed(act) -> tuple[float, object]:
    start = time.process_time()
    result = act()
    return time.process_time() - start, result


def rows_of(columns: TrueSegments | FoundSegments) -> list[Row]:
    return [
        (int(clip), int(kind), float(start), float(end))
        for clip, kind, (start, end) in zip(columns.clips, columns.classes, columns.spans, strict=True)
    ]


def spread(values: list[float], unit: str, digits: int) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):10.{digits}f} {unit}   ({low:.{digits}f} .. {high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detections", type=int, default=50_000, help="detections in all")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, alternating")
    options = parser.parse_args()
    truths, detections = made_up(521, 4296, 110, options.detections)
    official = CONVENTIONS["official"]
    thresholds, rows = official.thresholds, rows_of(truths)
    listed = list(zip(rows_of(detections), detections.scores.tolist(), strict=True))
    ways = {
        "at once": lambda: average_precision(truths, detections, thresholds)[1].T,
        "definition": lambda: definition(rows, listed, thresholds),
        "indexed loops": lambda: indexed_loops(rows, listed, thresholds),
        "per detection": lambda: per_detection(truths, detections, thresholds),
    }
    ways["at once"]()  # numpy's first call of each function is slow
    milliseconds: dict[str, list[float]] = {name: [] for name in ways}
    tables = {}
    for _ in range(options.repeats):
        for name, act in ways.items():
            # The fast one is run often between the slow ones, so that its median is not one lucky run.
            runs = [timed(act) for _ in range(9 if name == "at once" else 1)]
            milliseconds[name].append(1e3 * statistics.median(run[0] for run in runs))
            tables[name] = np.asarray(runs[-1][1])
    print(f"{len(detections):,} detections, {len(truths):,} segments, {len(tables['at once'])} classes, 5 thresholds")
    print(f"mAP {100 * tables['at once'].mean():.4f} %")
    for name, values in milliseconds.items():
        print(f"{name:26} {spread(values, 'ms', 2)}")
    for name in list(ways)[1:]:
        ratios = [slow / fast for slow, fast in zip(milliseconds[name], milliseconds["at once"], strict=True)]
        apart = np.abs(tables[name] - tables["at once"]).max()
        report(f"{name} / at once", ratios, 100.0 if name == "per detection" and len(detections) >= 50_000 else None)
        print(f"    largest difference of an AP {apart:.1e}")
    sizes = (official.recall_thresholds, official.recall_ks)
    recall = [1e3 * timed(lambda: recall_at_kx(truths, detections, *sizes, order="file"))[0] for _ in range(9)]
    print(f"{'Recall@kx':26} {spread(recall, 'ms', 2)}")


if __name__ == "__main__":
    main()
