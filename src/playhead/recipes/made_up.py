"""Samples of noise, of a recipe's real sizes: what a step costs can be measured where its data is not.

Pixels, features and labels are random; texts have the length of narrations, clips of features the length and the number
of segments that Ego4D's have.
"""

from functools import singledispatch
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from playhead.data.feature_files import ClipFeatures, FeatureSet
from playhead.data.masking import draw_mask
from playhead.data.queries import ClipQuery, QueryClip
from playhead.data.segments import SegmentClip
from playhead.data.state_change import StateChangeClip
from playhead.errors import RecipeError
from playhead.models.point_pyramid import PointPyramidConfig
from playhead.models.tan2d import Tan2dConfig
from playhead.models.vsgn import VSGNConfig
from playhead.models.vslnet import VSLNetConfig
from playhead.recipes.base import Model, Recipe
from playhead.tasks.language_query import LanguageQuery
from playhead.tasks.localization_samples import LocalizationSample
from playhead.tasks.masked_video import MaskedClip, MaskedVideo
from playhead.tasks.mixture import Mixture
from playhead.tasks.query_samples import Asked, Looking, QuerySample
from playhead.tasks.recognition import Recognition
from playhead.tasks.recognition_samples import TrainingSample
from playhead.tasks.state_change import StateChange, StateChangeSample
from playhead.tasks.temporal_localization import TemporalLocalization
from playhead.tasks.video_text import ClipTextSample, VideoText
from playhead.types import Span
from playhead.video.transforms import Preprocess

NARRATION = "#C C picks up the red cup from the wooden table with the left hand and puts it into the sink slowly"
NOUNS, VERBS = 582, 118  # EgoClip's taxonomy
CLIP_SECONDS = 480.0  # an NLQ or MQ clip of Ego4D
SEGMENTS = 9  # an MQ clip of the training split has 13,559 / 1,486
QUERY_WORDS = 10


def made_up_samples(recipe: Recipe, count: int, source: int = 0) -> list[Any]:
    """Return so many training samples for `recipe.task.collate`; of a mixture, of its source number `source`.

    Raises:
        RecipeError: there are no made-up samples for this task.
    """
    return [_sample(recipe.task, recipe.model, source, np.random.default_rng((source, i))) for i in range(count)]


@singledispatch
def _sample(task: Any, model: Model, source: int, generator: np.random.Generator) -> Any:
    raise RecipeError(f"{type(task).__name__} is a task for which no samples can be made up.")


@_sample.register
def _(task: VideoText, model: Model, source: int, generator: np.random.Generator) -> tuple[ClipTextSample, ...]:
    sizes = (NOUNS, VERBS) if task.kind == "egoclip" else (0, 0)

    def one() -> ClipTextSample:
        nouns, verbs = (np.arange(size) == generator.integers(max(1, size)) for size in sizes)
        return ClipTextSample(_pixels(task.preprocess, generator), NARRATION, nouns, verbs, "a clip of noise")

    return tuple(one() for _ in range(1 if task.neighbour_within is None else 2))


@_sample.register
def _(task: Mixture, model: Model, source: int, generator: np.random.Generator) -> tuple[int, Any]:
    return source, _sample(task.sources[source], model, source, generator)


@_sample.register
def _(task: MaskedVideo, model: Model, source: int, generator: np.random.Generator) -> tuple[MaskedClip, ...]:
    pixels = _pixels(task.preprocess, generator)
    masks = [draw_mask(task.mask, task.grid, task.mask_ratio, generator) for _ in range(task.repeats)]
    return tuple(MaskedClip(pixels, mask, "a clip of noise") for mask in masks)


@_sample.register
def _(task: Recognition, model: Model, source: int, generator: np.random.Generator) -> TrainingSample:
    views = torch.stack([_pixels(task.preprocess, generator) for _ in range(task.repeats)])
    seeds = tuple(generator.integers(2**31, size=task.repeats).tolist())
    return TrainingSample(views, seeds, 0, "a clip of noise")


@_sample.register
def _(task: StateChange, model: Model, source: int, generator: np.random.Generator) -> StateChangeSample:
    clip = StateChangeClip("noise", "noise", Span(0.0, 8.0), 0, 240, True, 120)
    frames = task.preprocess.num_frames
    places = np.linspace(0, 239, frames).astype(np.int64)
    return StateChangeSample(_pixels(task.preprocess, generator), places, 1, frames // 2, clip)


@_sample.register
def _(task: LanguageQuery, model: Model, source: int, generator: np.random.Generator) -> QuerySample:
    video_width, text_width = _query_widths(model)
    duration = CLIP_SECONDS if task.window is None else task.window
    found = _features(task.features, video_width, duration, generator)
    truth = (duration / 4, duration / 2)
    query = ClipQuery("noise", "noise", 0, "?", Span(*truth), *truth)
    asked = Asked(QueryClip("noise", "noise", 0.0, duration, duration, (query,)), query, truth)
    looking = Looking(task.head, task.window, task.window_stride, task.short_spans == "released")
    words = generator.standard_normal((QUERY_WORDS, text_width), dtype=np.float32)
    return QuerySample(asked, looking.windows(found, duration, only=0), (truth,), words)


@_sample.register
def _(task: TemporalLocalization, model: Model, source: int, generator: np.random.Generator) -> LocalizationSample:
    assert isinstance(model, VSGNConfig | PointPyramidConfig)  # MODELS_OF
    width = model.feature_dim if isinstance(model, VSGNConfig) else sum(model.input_widths)
    found = _features(task.features, width, CLIP_SECONDS, generator)
    starts = np.sort(generator.uniform(0, CLIP_SECONDS - 20, SEGMENTS))
    spans = np.stack([starts, starts + 9.0], axis=1)
    classes = generator.integers(model.num_classes, size=SEGMENTS)
    piece = task.head.training_piece(found, spans, classes, seed=int(generator.integers(2**31)))
    names = tuple(map(str, range(model.num_classes)))
    clip = SegmentClip("noise", "noise", 0.0, CLIP_SECONDS, (), "train")
    return LocalizationSample(clip, CLIP_SECONDS, (piece,), names)


def _pixels(preprocess: Preprocess, generator: np.random.Generator) -> UInt8[Tensor, "T C S S"]:
    size = preprocess.image_size
    return torch.from_numpy(generator.integers(0, 256, (preprocess.num_frames, 3, size, size), dtype=np.uint8))


def _features(features: FeatureSet, width: int, seconds: float, generator: np.random.Generator) -> ClipFeatures:
    rows = max(1, round(seconds / features.time.step))
    return ClipFeatures(generator.standard_normal((rows, width), dtype=np.float32), features.time)


def _query_widths(model: Model) -> tuple[int, int]:
    if isinstance(model, PointPyramidConfig):
        assert model.text_width is not None  # LanguageQuery needs it
        return sum(model.input_widths), model.text_width
    assert isinstance(model, VSLNetConfig | Tan2dConfig)  # MODELS_OF
    return model.video_dim, model.text_dim
