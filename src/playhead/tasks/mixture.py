"""Contrastive pretraining on several sources at once: CC3M's pictures and WebVid's clips, for example.

Sources whose clips have unequal numbers of frames do not stack, and a batch of one source has its own kind of easy
negatives. So either each step belongs to one source, in turn, or all sources have as many frames and share each batch.

Source: Frozen in Time (Bain et al., 2021), whose trainer takes a batch of each source in turn, pictures as one frame;
InternVideo, which alternates videos and images. Both give every source as many steps, whatever its size.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from playhead.data.mixture import Batches, MixedSamples
from playhead.errors import RecipeError
from playhead.tasks.video_text import ClipTextSample, VideoText
from playhead.types import ClipTextBatch, DualEncoder, Loss
from playhead.video.transforms import Preprocess

MixedSample = tuple[int, tuple[ClipTextSample, ...]]
BLOCK_ROWS = 1024  # of the matrix that the figures of each source are taken from


@dataclass(frozen=True, slots=True)
class MixedBatch:
    """Clips and texts, and which source each row is of; `task` is the source whose settings they are encoded with."""

    clips: ClipTextBatch
    sources: Int[Tensor, " R"]
    task: int

    @property
    def names(self) -> tuple[str, ...]:
        """Where each row came from."""
        return self.clips.names

    def to(self, device: torch.device | str) -> "MixedBatch":
        """Return the same batch on `device`."""
        return replace(self, clips=self.clips.to(device), sources=self.sources.to(device, non_blocking=True))


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Learn from several sources, each with settings of its own.

    Logged are each source's loss, accuracy and number of clips, as "webvid/info_nce" and so on; with a source a step,
    those of its last step.

    Raises:
        RecipeError: fewer than two sources, weights that do not fit them, or settings that must be equal and are not.
    """

    sources: tuple[VideoText, ...]
    """What is mixed."""
    weights: tuple[float, ...] | None = None
    """Share of each source, of any sum; by its number of samples if unset. (1.0, 1.0) is Frozen in Time's."""
    batches: Batches = "one_source"
    """"one_source": every step belongs to one source, in turn. "all_sources": every batch has rows of all, which then
    need equal numbers of frames (a picture is repeated) and InfoNCE."""

    def __post_init__(self):
        if len(self.sources) < 2:
            raise RecipeError("a mixture needs at least two sources; give a single one as the task itself.")
        if self.weights is not None and len(self.weights) != len(self.sources):
            raise RecipeError(f"{len(self.weights)} weights for {len(self.sources)} sources; give one per source.")
        if self.weights is not None and not all(0 < weight < float("inf") for weight in self.weights):
            raise RecipeError(
                f"weights must be above 0, got {self.weights}; leave out a source that is to get nothing."
            )
        first, *others = self.sources
        for name, other in zip(self.names[1:], others, strict=True):
            for setting, one, two, advice in _must_agree(first, other, self.batches):
                problem = f"task.sources disagree on {setting}: {one!r} in {self.names[0]}, {two!r} in {name}."
                raise RecipeError(f"{problem} {advice}")
        if self.batches == "all_sources" and (first.loss_name, first.neighbour_within) != ("info_nce", None):
            raise RecipeError(
                "batches='all_sources' mixes rows that have actions with rows that have none; set "
                "loss_name='info_nce' and neighbour_within=None in every source, or batches='one_source'."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each source: its kind, numbered from the second of that kind on."""
        seen: Counter[str] = Counter()
        names = []
        for source in self.sources:
            seen[source.kind] += 1
            names.append(source.kind if seen[source.kind] == 1 else f"{source.kind}_{seen[source.kind]}")
        return tuple(names)

    @property
    def preprocess(self) -> Preprocess:
        """What the model that is learnt wants to see: as the source with the most frames."""
        return max((source.preprocess for source in self.sources), key=lambda preprocess: preprocess.num_frames)

    @property
    def tokenizer(self) -> str:
        """Vocabulary of the text tower."""
        return self.sources[0].tokenizer

    def samples(self, split: str) -> MixedSamples:
        """Return the training pairs of all sources."""
        parts = tuple(source.samples(split) for source in self.sources)
        return MixedSamples(self.names, parts, self.weights, self.batches)

    def collate(self, samples: list[MixedSample]) -> MixedBatch:
        """Stack all anchors, then all their neighbours."""
        task, pairs = samples[0][0], [pair for _, pair in samples]
        if self.batches == "all_sources":
            task, pairs = 0, [tuple(map(_without_tags, pair)) for pair in pairs]
        clips = self.sources[task].collate(pairs)
        sources = torch.tensor([source for source, _ in samples])
        return MixedBatch(clips, sources.repeat(len(clips.names) // len(samples)), task)

    def split(self, batch: MixedBatch, size: int) -> list[MixedBatch]:
        """Return the batch in parts of `size` rows (the last may have fewer), in its order."""
        clips = self.sources[batch.task].split(batch.clips, size)
        return [MixedBatch(*part, batch.task) for part in zip(clips, batch.sources.split(size), strict=True)]

    def encode(self, model: DualEncoder, batch: MixedBatch) -> dict[str, Tensor]:
        """Return the rows of the batch's source, and which source each is of."""
        return {**self.sources[batch.task].encode(model, batch.clips), "source": batch.sources}

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return the loss of the source whose step it is, or of the rows of all sources together."""
        sources = rows["source"]
        own = {name: tensor for name, tensor in rows.items() if name != "source"}
        if self.batches == "one_source":
            source = int(sources[0])
            loss = self.sources[source].loss(own)
            parts = loss.parts | {"clips": float(len(sources))}
            return Loss(loss.total, {f"{self.names[source]}/{key}": value for key, value in parts.items()})
        loss = self.sources[0].loss(own)
        figures = row_figures(own["video"].float(), own["text"].float(), self.sources[0].temperature)
        parts = dict(loss.parts)
        for number, name in enumerate(self.names):
            is_own = sources == number
            parts[f"{name}/clips"] = float(is_own.sum())
            if is_own.any():
                named = zip(("info_nce", "accuracy"), figures, strict=True)
                parts |= {f"{name}/{key}": float(values[is_own].mean()) for key, values in named}
        return Loss(loss.total, parts)


@torch.no_grad()
def row_figures(
    video: Float[Tensor, "N E"], text: Float[Tensor, "N E"], temperature: float
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Return of each row its part of InfoNCE, both directions added, and whether its clip is nearest to its text.

    The mean of the first is InfoNCE of all rows, that of the second its accuracy.
    """
    losses = [torch.zeros(0, device=video.device)]
    hits = [torch.zeros(0, device=video.device)]
    for at in range(0, len(video), BLOCK_ROWS):
        own = slice(at, at + BLOCK_ROWS)
        true = (video[own] * text[own]).sum(dim=1) / temperature
        to_text, to_video = video[own] @ text.T, text[own] @ video.T
        both = (to_text / temperature).logsumexp(dim=1) + (to_video / temperature).logsumexp(dim=1)
        losses.append(both - 2 * true)
        hits.append((to_text.argmax(dim=1) == torch.arange(at, at + len(true), device=video.device)).float())
    return torch.cat(losses), torch.cat(hits)


def _must_agree(first: VideoText, other: VideoText, batches: Batches) -> Iterator[tuple[str, Any, Any, str]]:
    """Yield the settings that must be equal and are not, with both values and what to do."""
    sizes = [replace(task.preprocess, num_frames=1) for task in (first, other)]
    compared = [
        ("preprocess", *sizes, "All but the number of frames must be equal."),
        ("tokenizer", first.tokenizer, other.tokenizer, "One text tower reads all texts."),
    ]
    if batches == "all_sources":
        frames = first.preprocess.num_frames, other.preprocess.num_frames
        compared += [
            ("preprocess.num_frames", *frames, "Repeat pictures by raising it, or set batches='one_source'."),
            ("max_words", first.max_words, other.max_words, "One batch holds all texts."),
            ("loss_name", first.loss_name, other.loss_name, "One batch has one loss."),
            ("temperature", first.temperature, other.temperature, "One batch has one loss."),
            ("loss_form", first.loss_form, other.loss_form, "One batch has one loss."),
        ]
    return (setting for setting in compared if setting[1] != setting[2])


def _without_tags(sample: ClipTextSample) -> ClipTextSample:
    none = torch.zeros(0, dtype=torch.bool).numpy()
    return replace(sample, nouns=none, verbs=none)
