"""The sources of a pretraining made ready: converted to tables, their media counted, before any GPU waits for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from playhead.errors import RecipeError
from playhead.recipes.base import Recipe
from playhead.tasks.mixture import Mixture
from playhead.tasks.video_text import CaptionSamples, EgoClipSamples, SourceSamples, VideoText


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """One source: how many samples an epoch of it has, and by reason what was left out of its file."""

    name: str
    pairs: Path
    num_samples: int
    left_out: Mapping[str, int]

    @property
    def reasons(self) -> str:
        """What was left out, in words."""
        told = (f"{count:,} {reason.replace('_', ' ')}" for reason, count in sorted(self.left_out.items()))
        return ", ".join(told) or "nothing"


def prepare_sources(recipe: Recipe) -> list[SourceReport]:
    """Open every source that a recipe learns from, as training would, and tell what is in it.

    Raises:
        RecipeError: the recipe learns from no pairs of clips and texts.
        AnnotationError: a file is not as its layout says, or media are missing.
    """
    task = recipe.task
    if isinstance(task, Mixture):
        sources = list(zip(task.names, task.sources, strict=True))
    elif isinstance(task, VideoText):
        sources = [(task.kind, task)]
    else:
        raise RecipeError(
            f"{type(task).__name__} learns from no pairs of clips and texts; there is nothing to prepare."
        )
    return [_report(name, source) for name, source in sources]


def _report(name: str, source: VideoText) -> SourceReport:
    samples = source.samples("train")
    return SourceReport(name=name, pairs=source.pairs, num_samples=len(samples), left_out=_left_out(samples))


def _left_out(samples: EgoClipSamples | CaptionSamples | SourceSamples) -> dict[str, int]:
    if isinstance(samples, CaptionSamples):
        return {}
    if isinstance(samples, EgoClipSamples):
        return samples.table.dropped
    source, left_out = samples.source, dict(samples.source.table.dropped)
    if source.present is not None:
        total = source.table.num_files if source.is_by_video else len(source.table)
        left_out["not_on_this_disk"] = total - len(np.load(source.present, mmap_mode="r"))
    return left_out
