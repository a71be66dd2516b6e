"""Natural language queries (NLQ): when does the video answer this question? Learnt from precomputed features.

    query + clip -> windows of features (data/query_windows) -> a network's grid (tasks/query_heads) -> its loss
                                                             -> candidates of all windows -> suppression -> 5 answers

Source: Ego4D (Grauman et al., 2022), episodic memory; EgoVLP (Lin et al., 2022), Table 1.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from playhead.data.border import FilePath
from playhead.data.feature_files import ClipFeatures, FeatureSet
from playhead.data.queries import ClipQuery, QueryClip, QueryClips, read_query_clips
from playhead.data.query_answers import MOST_WINDOWS, QueryAnswer, pair_answers
from playhead.data.query_rules import RELEASED, SpanRules
from playhead.data.query_windows import ShortSpans, training_truth
from playhead.data.text_features import TextFeatures
from playhead.decoding.nms import Detections, Suppression, suppress
from playhead.errors import AnnotationError, RecipeError
from playhead.metrics.recall import Convention, QueryRecall, query_recall
from playhead.tasks.query_heads import PointPyramidHead, Tan2dHead, VSLNetHead
from playhead.tasks.query_samples import (
    Asked,
    Looking,
    QueryBatch,
    QuerySample,
    QuerySamples,
    WindowCache,
    collate_queries,
)
from playhead.types import Loss, Span

logger = logging.getLogger(__name__)

SCORED = replace(RELEASED, not_finite="error")  # every query counts as it stands in the file, if it is a time at all


@dataclass(frozen=True, kw_only=True)
class LanguageQuery:
    """Learn to answer queries, and score "nlq/R1@0.3" and the like, in percent of all queries of the split.

    Beside them stand "nlq/mIoU" (percent), "nlq/queries", "nlq/coverage" (the share that was answered) and
    "nlq/version" (of the annotation file, where it has a number).

    Raises:
        RecipeError: settings contradict each other.
    """

    train_queries: Path | None = None
    """Annotation file to learn from, of release 1 or 2."""
    val_queries: Path | None = None
    """Annotation file of the split "val"."""
    test_queries: Path | None = None
    """Annotation file of the split "test"; Ego4D's has no answers, and can be answered but not scored."""
    features: FeatureSet
    """Features of the clips or of their videos."""
    text: Path
    """Folder of the queries' text features, one row per token."""
    head: VSLNetHead | Tan2dHead | PointPyramidHead
    """How the network learns and answers; it must be the model's."""
    window: float | None = None
    """Seconds of a window that the network looks at; unset looks at whole clips."""
    window_stride: float | None = None
    """Seconds from one window to the next; unset is half a window."""
    negatives: float = 0.0
    """Share of training samples that show a window without the answer, where a clip has one."""
    short_spans: ShortSpans = "widen"
    """Answers within one row of features: make them one row long, leave the query out of training, or "released": all
    answers are rounded down to rows, and VSLNet learns that these are in the first one."""
    rules: SpanRules = field(default_factory=SpanRules)
    """What becomes of faulty answers in training; all of them are scored, as the challenge does."""
    without_features: Literal["error", "leave_out"] = "error"
    """What to do with clips that have no features; left out, their queries count as missed."""
    cache_megabytes: float = 256.0
    """Memory in which each worker holds windows that are averaged already."""
    suppression: Suppression = field(default_factory=lambda: Suppression(method="none", per_class=False))
    """How the candidates of all windows become answers."""
    top: int = MOST_WINDOWS
    """Answers kept of each query; the challenge scores five."""
    ks: tuple[int, ...] = (1, 5)
    """Numbers of answers among which the right one may be."""
    thresholds: tuple[float, ...] = (0.3, 0.5)
    """IoU that a right answer exceeds."""
    convention: Convention = "sound"
    """"official" averages over the queries that were answered; "sound" counts the others as misses."""

    def __post_init__(self):
        if self.window is None and (self.window_stride is not None or self.negatives):
            raise RecipeError("window_stride and negatives need windows; set window.")
        stride = self.window if self.window_stride is None else self.window_stride
        if self.window is not None and not 0 < (stride or 0) <= self.window:
            raise RecipeError(f"windows of {self.window} s every {stride} s: needs 0 < window_stride <= window.")
        if not 0 <= self.negatives < 1:
            raise RecipeError(f"negatives must lie in [0, 1), got {self.negatives}.")
        if self.top < 1 or not self.ks or min(self.ks) < 1 or not self.thresholds:
            raise RecipeError(f"top and ks must be at least 1, and a threshold is needed: {self.top}, {self.ks}.")

    def queries_of(self, split: str) -> Path:
        """Return the annotation file of a split.

        Raises:
            RecipeError: it is not set.
        """
        path = {"train": self.train_queries, "val": self.val_queries, "test": self.test_queries}.get(split)
        if path is None:
            raise RecipeError(f"split {split!r} of the queries asked for; set task.{split}_queries.")
        return path

    def samples(self, split: str) -> QuerySamples:
        """Return the queries of a split; those of "train" have a truth each, and are read with one window.

        Raises:
            RecipeError: the split has no file.
            AnnotationError: the file, or the folder of text features, is not as it must be, or no query is left.
        """
        path, training = self.queries_of(split), split == "train"
        clips = self._with_features(read_query_clips(path, self.rules if training else SCORED), split)
        asked = self._learnable(clips) if training else _without_truths(clips)
        if not asked:
            raise AnnotationError(f"no query of it is left for split {split!r}; see the settings.", path=path)
        text, cache = TextFeatures.open(self.text), WindowCache(self.cache_megabytes)
        for one in asked:
            text.of(one.query.text)  # an error now, not after an epoch
        return QuerySamples(tuple(asked), self.features, text, self._looking, training, self.negatives, cache)

    def collate(self, samples: list[QuerySample]) -> QueryBatch:
        """Lay the windows of all samples one below the other, with the head's labels in training."""
        training = all(sample.asked.truth is not None for sample in samples)
        return collate_queries(samples, self._looking, training=training)

    def encode(self, model: Any, batch: QueryBatch) -> dict[str, Tensor]:
        """Return what each sample loses."""
        return self.head.encode(model, batch)

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return the loss of the global batch."""
        return self.head.loss(rows)

    @torch.no_grad()
    def answer(self, model: Any, batch: QueryBatch) -> list[QueryAnswer]:
        """Return the best windows of each query, those of all its windows taken together.

        Raises:
            RecipeError: the batch is of training samples, which show the window with the answer alone.
        """
        if batch.labels and self.window is not None:
            raise RecipeError("samples of split 'train' give their answers away; name their file as val_queries.")
        proposed, owners = self.head.propose(model, batch), batch.sample_of.tolist()
        answers = []
        for number, asked in enumerate(batch.asked):
            own = [found for found, owner in zip(proposed, owners, strict=True) if owner == number]
            best, query = self._best(own, asked.clip.duration), asked.query
            answers.append(QueryAnswer(asked.clip.clip_id, query.annotation_id, query.index, best.spans, best.scores))
        return answers

    def ground(
        self, model: Any, found: ClipFeatures, words: Float32[np.ndarray, "L E"], duration: float
    ) -> list[tuple[Span, float]]:
        """Return the answers to one query about a clip or video of `duration` seconds with their scores, best first.

        The features are those the model was trained on, at its time base; `words` one row per token.
        """
        asked = Asked(QueryClip("", "", 0.0, duration, duration, ()), ClipQuery("", "", 0, "", None, None, None), None)
        windows = self._looking.windows(found, duration)
        sample = QuerySample(asked, windows, (None,) * len(windows), words)
        device = next(model.parameters()).device
        (answer,) = self.answer(model, self.collate([sample]).to(device))
        assert answer.scores is not None, "answers of a model have scores"
        return [
            (Span(*ends), score) for ends, score in zip(answer.windows.tolist(), answer.scores.tolist(), strict=True)
        ]

    def score(self, answers: Sequence[QueryAnswer], split: str) -> dict[str, float]:
        """Return recall and mean IoU over the split's queries; see the class for the names."""
        path = self.queries_of(split)
        found = score_queries(answers, path, ks=self.ks, thresholds=self.thresholds, convention=self.convention)
        scores = {f"nlq/{name}": float(value) for name, value in found.named().items()}
        number = re.search(r"\d+(\.\d+)?", found.version)
        return scores if number is None else scores | {"nlq/version": float(number[0])}

    @property
    def _looking(self) -> Looking:
        return Looking(self.head, self.window, self.window_stride, self.short_spans == "released")

    def _with_features(self, clips: QueryClips, split: str) -> QueryClips:
        """Tell what was left out or changed, and leave out clips without features, if so set."""
        for what, counts in (("left out", clips.skipped), ("given another span", clips.changed)):
            if counts:
                told = ", ".join(f"{number} {fault}" for fault, number in counts.items())
                logger.info("split %s: queries %s: %s", split, what, told)
        kept = tuple(clip for clip in clips if self.features.has(clip.video_id, clip.clip_id))
        if len(kept) < len(clips):
            first = next(clip for clip in clips if clip not in kept)
            lost = clips.num_queries - sum(len(clip.queries) for clip in kept)
            told = f"{len(clips) - len(kept)} of {len(clips)} clips, with {lost} queries, have no features"
            if self.without_features == "error":
                named = f"the first is clip {first.clip_id!r} of video {first.video_id!r}"
                remedy = "extract them, or set without_features='leave_out'"
                raise AnnotationError(f"{told}; {named}; {remedy}.", path=self.features.folders[0])
            logger.warning("split %s: %s", split, told)
        return replace(clips, items=kept)

    def _learnable(self, clips: QueryClips) -> list[Asked]:
        """Return the queries that have something to learn, with it."""
        rate = self.features.time.fps / self.features.time.stride
        asked = []
        for clip in clips:
            bare = replace(clip, queries=())
            for query in clip.queries:
                truth = training_truth(query, self.short_spans, rate, clip.duration)
                asked += [] if truth is None else [Asked(bare, query, truth)]
        if lost := clips.num_queries - len(asked):
            logger.info("split train: %d queries left out, short_spans=%r", lost, self.short_spans)
        return asked

    def _best(self, found: Sequence[Detections], duration: float) -> Detections:
        """Return the best of the candidates of all windows, cut to the clip."""
        spans = np.concatenate([one.spans for one in found]).astype(np.float64).clip(0.0, duration)
        scores = np.concatenate([one.scores for one in found]).astype(np.float64)
        order = np.argsort(-scores, kind="stable")
        order = order[spans[order, 1] > spans[order, 0]]
        candidates = Detections(spans[order], scores[order], np.zeros(len(order), dtype=np.int64))
        kept = suppress(candidates, replace(self.suppression, top=self.top))
        return kept.take(np.arange(min(self.top, len(kept))))  # suppression "none" cuts nothing


def _without_truths(clips: QueryClips) -> list[Asked]:
    pairs = [(replace(clip, queries=()), clip.queries) for clip in clips]
    return [Asked(clip, query, None) for clip, queries in pairs for query in queries]


def score_queries(
    answers: Sequence[QueryAnswer],
    queries: FilePath,
    *,
    ks: Sequence[int] = (1, 5),
    thresholds: Sequence[float] = (0.3, 0.5),
    convention: Convention = "sound",
) -> QueryRecall:
    """Score answers against an annotation file, all its queries with the times that stand there.

    Raises:
        AnnotationError: an answer is to no query of the file, or to one that was answered before ("sound"), or the
            file has no answers to score against.
    """
    official = convention == "official"
    # The official evaluation also scores what it never asks: queries without a text, if they are answered.
    clips = read_query_clips(queries, replace(RELEASED, no_text="keep") if official else SCORED)
    if clips.num_queries == 0 or (official and len(answers) == 0):
        raise AnnotationError(f"{len(answers)} answers to {clips.num_queries} queries leave no mean.", path=queries)
    paired = pair_answers(answers, clips, as_submitted=official)
    return query_recall(
        paired.windows,
        paired.truths,
        paired.submitted,
        ks=ks,
        thresholds=thresholds,
        convention=convention,
        num_queries=paired.num_queries,
        version=clips.version,
    )
