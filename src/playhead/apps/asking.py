"""Many questions to one index, and how often the answer is among the first: recall against chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from playhead.types import Moment, Query, Span

HIT_IOU = 0.3  # the lower threshold of Ego4D's natural language queries


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One question in words, its true spans over all indexed videos, and the moments that search returned."""

    text: str
    truth: tuple[tuple[str, Span], ...]
    moments: tuple[Moment, ...] = ()

    def is_hit(self, moment: Moment) -> bool:
        """Tell whether a moment overlaps a true span of its video by an IoU of at least `HIT_IOU`."""
        return any(moment.video_id == video and moment.span.iou(span) >= HIT_IOU for video, span in self.truth)

    @property
    def is_found(self) -> bool:
        """Tell whether any of the moments is a hit."""
        return any(self.is_hit(moment) for moment in self.moments)


def group_by_text(queries: Sequence[Query], paths: Mapping[str, str]) -> list[Asked]:
    """Return each distinct question once, with the spans of all videos that answer it; files replace video ids."""
    truth: dict[str, list[tuple[str, Span]]] = {}
    for query in queries:
        if query.span is not None:
            truth.setdefault(query.text, []).append((paths[query.video_id], query.span))
    return [Asked(text=text, truth=tuple(spans)) for text, spans in truth.items()]


def chance_recall(
    asked: Sequence[Asked], durations: Mapping[str, float], top: int, draws: int = 200, seed: int = 0
) -> float:
    """Return the recall of `top` moments drawn at random, each as long as a moment that search returned.

    `durations` are the seconds of each indexed file; a file is drawn by its length. Each question gets `draws`.
    """
    generator = np.random.default_rng(seed)
    files, lengths = list(durations), np.array(list(durations.values()))
    found = []
    for question in asked:
        widths = [moment.span.duration for moment in question.moments] or [1.0]
        for _ in range(draws):
            moments = []
            for width in generator.choice(widths, size=top):
                place = generator.choice(len(files), p=lengths / lengths.sum())
                start = generator.uniform(0, max(lengths[place] - width, 1e-3))
                moments.append(Moment(files[place], Span(float(start), float(start + width)), 0.0))
            found.append(any(question.is_hit(moment) for moment in moments))
    return float(np.mean(found)) if found else 0.0
