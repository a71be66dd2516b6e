"""What a recipe would cost before it is run: time, GPU hours, disk, memory, and cores that decode, from a few steps.

counts of samples      the recipe's files, or what is asked for, or what is published
clips per second       a few real steps of the real model on noise, on this machine's device
decoding               random clips of given videos, of the recipe's own, or of one made up
-> project()           a product of all these, and nothing else
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from playhead.apps.plan_decoding import DecodingCost, measure_decoding
from playhead.apps.plan_sizes import published_size
from playhead.data.loading import order_of
from playhead.errors import PlayheadError, RecipeError
from playhead.recipes.base import Init, Recipe, build_model
from playhead.recipes.made_up import made_up_samples
from playhead.tasks.mixture import Mixture
from playhead.train.config import Train
from playhead.train.rehearse import rehearse
from playhead.weights.bundle import KINDS, TASK_KINDS

GIB, GB = 2**30, 1e9
BYTES_OF_STATE = 16  # of a parameter: itself, its gradient and AdamW's two means, in 32 bit
NOT_COUNTED = (
    "Not counted: evaluations, checkpoints, talk between GPUs, and the loss of a batch larger than the measured."
)


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """What is known already; the rest is measured, counted or looked up.

    Raises:
        RecipeError: a number is out of its range.
    """

    gpus: int = 1
    """Devices that share the work."""
    samples: int | None = None
    """Training samples of an epoch; by default those of the recipe's files, or the published number."""
    clips_per_second: float | None = None
    """Clips that one device trains on in a second; measured here by default."""
    decode_ms: float | None = None
    """Milliseconds of one core to decode the clip of one sample; measured here by default."""
    videos: tuple[Path, ...] = ()
    """Videos to measure the decoding of; by default the recipe's own, or one made up."""
    hours: float | None = None
    """Hours of video; published for some data sets."""
    mbit: float | None = None
    """Mbit/s of the videos (`playhead transcode` writes about one of 256 pixels); by default of those measured."""
    batch: int | None = None
    """Samples of a measured step; 2 on a CPU and at most 64 on a GPU by default."""
    steps: int = 3
    """Steps that are measured, after one to warm up."""

    def __post_init__(self):
        for name in ("gpus", "samples", "clips_per_second", "decode_ms", "hours", "mbit", "batch", "steps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise RecipeError(f"--{name.replace('_', '-')} must be above 0, got {value}.")


@dataclass(frozen=True, slots=True)
class Speed:
    """Clips per second of one device, the bytes that a step of `clips` took there, and how they were found."""

    clips_per_second: float
    told: str
    clips: int = 0
    peak_bytes: int | None = None
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Projection:
    """What a run costs; hours by the wall on all devices together. None of what is not known."""

    clips: int
    hours: float
    gpu_hours: float
    decoder_cores: float | None
    video_gigabytes: float | None
    checkpoint_gigabytes: float
    state_gibibytes: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A projection with all that it rests on."""

    recipe: str
    samples: int | None
    samples_told: str
    steps: int
    global_batch: int
    clips_per_sample: int
    parameters: int
    gpus: int
    speed: Speed
    decoding: DecodingCost | None
    hours: float | None
    mbit: float | None
    projection: Projection

    def lines(self) -> list[tuple[str, str]]:
        """Tell it: what, and in words."""
        cost, speed = self.projection, self.speed
        lines = [
            ("samples", self.samples_told),
            ("run", f"{self.steps:,} steps of {self.global_batch:,} samples, {cost.clips:,} clips"),
            ("speed", f"{speed.clips_per_second:,.3g} clips/s on one device ({speed.told})"),
        ]
        lines += [("warning", speed.warning)] if speed.warning else []
        devices = f"{self.gpus} device{'s' if self.gpus > 1 else ''}"
        lines.append(("time", f"{_duration(cost.hours)} on {devices}: {cost.gpu_hours:,.4g} GPU hours"))
        lines.append(("decoding", self._decoding()))
        lines.append(("disk", f"{self._videos()}; checkpoints {cost.checkpoint_gigabytes:,.3g} GB"))
        lines.append(("memory", self._memory()))
        return [*lines, ("", NOT_COUNTED)]

    def _decoding(self) -> str:
        cores = self.projection.decoder_cores
        if self.decoding is None or cores is None:
            return "none: the recipe reads features"
        return f"{self.decoding.told}; {cores:,.3g} cores feed {self.gpus} of these devices"

    def _videos(self) -> str:
        size = self.projection.video_gigabytes
        if self.decoding is None:
            return "features instead of videos"
        if size is None:
            return "videos unknown (give --hours and --mbit)"
        if self.hours is None or self.mbit is None:
            return f"videos {size:,.4g} GB, as they lie there"
        whose = "" if self.decoding.mbit_told == "" else f" {self.decoding.mbit_told}"
        return f"videos {size:,.4g} GB ({self.hours:,.4g} h at {self.mbit:.3g} Mbit/s{whose})"

    def _memory(self) -> str:
        state = self.projection.state_gibibytes
        told = f"{self.parameters:,} parameters, {state:.3g} GiB with gradient and AdamW's means"
        if self.speed.peak_bytes is None:
            return told
        return f"{told}; {self.speed.peak_bytes / GIB:.3g} GiB at the peak of a step of {self.speed.clips} clips"


def plan(recipe: Recipe, name: str, settings: PlanSettings) -> Plan:
    """Return what a recipe would cost; `name` is its name in the catalog, for what is published of its data.

    Raises:
        RecipeError: the number of samples is not known, or does not fill a batch.
        PlayheadError: a file that is there cannot be read.
    """
    per_rank = recipe.train.per_rank(settings.gpus)
    samples, told, steps_per_epoch = _count(recipe, name, settings.samples)
    steps = recipe.train.total_steps(steps_per_epoch)
    with torch.device("meta"):
        networks = dict((*KINDS.values(), *TASK_KINDS.values()))
        parameters = sum(parameter.numel() for parameter in networks[type(recipe.model)](recipe.model).parameters())
    decoding = measure_decoding(recipe, settings.videos, settings.decode_ms)
    clips_per_sample = len(_batch(recipe, 1, 0).names)
    speed = _speed(recipe, settings, per_rank)
    known = published_size(name)
    hours = settings.hours or (known.hours if known else None)
    mbit = settings.mbit or (decoding.mbit if decoding else None)
    if decoding and settings.mbit:
        decoding = replace(decoding, mbit_told="")
    there = decoding.bytes_there if decoding and settings.hours is None else None
    if there is not None:
        hours = mbit = None
    projection = project(
        steps=steps,
        train=recipe.train,
        clips_per_sample=clips_per_sample,
        clips_per_second=speed.clips_per_second,
        gpus=settings.gpus,
        decode_ms=decoding.milliseconds if decoding else None,
        video_bytes=there if there is not None else video_bytes(hours, mbit),
        parameters=parameters,
    )
    return Plan(
        recipe=name,
        samples=samples,
        samples_told=told,
        steps=steps,
        global_batch=recipe.train.global_batch,
        clips_per_sample=clips_per_sample,
        parameters=parameters,
        gpus=settings.gpus,
        speed=speed,
        decoding=decoding,
        hours=hours,
        mbit=mbit,
        projection=projection,
    )


def project(
    *,
    steps: int,
    train: Train,
    clips_per_sample: int,
    clips_per_second: float,
    gpus: int,
    decode_ms: float | None,
    video_bytes: float | None,
    parameters: int,
) -> Projection:
    """Multiply it out: `decode_ms` are those of one core for one sample, `clips_per_second` those of one GPU."""
    clips = steps * train.global_batch * clips_per_sample
    gpu_hours = clips / clips_per_second / 3600
    samples_per_second = clips_per_second * gpus / clips_per_sample
    copies = 3 if train.ema_decay is None else 4  # the weights, AdamW's two means, and their average
    kept = train.keep_last + 2  # the best, and the one being written
    return Projection(
        clips=clips,
        hours=gpu_hours / gpus,
        gpu_hours=gpu_hours,
        decoder_cores=None if decode_ms is None else samples_per_second * decode_ms / 1000,
        video_gigabytes=None if video_bytes is None else video_bytes / GB,
        checkpoint_gigabytes=4 * copies * kept * parameters / GB,
        state_gibibytes=BYTES_OF_STATE * parameters / GIB,
    )


def video_bytes(hours: float | None, mbit: float | None) -> float | None:
    """Return the size of so many hours at so many Mbit/s; None if one is not known."""
    return None if hours is None or mbit is None else hours * 3600 * mbit * 1e6 / 8


def _count(recipe: Recipe, name: str, asked: int | None) -> tuple[int | None, str, int]:
    """Return the samples, how they are known, and the steps of an epoch."""
    batch = recipe.train.global_batch
    if asked is not None:
        return asked, f"{asked:,} as asked", _steps(asked, batch)
    try:
        samples = recipe.task.samples("train")
    except PlayheadError as error:
        if error.path is None or Path(error.path).exists():
            raise  # the file is there, and something is wrong with it
        absent = error.path
    else:
        order = order_of(samples, batch, recipe.train.seed)
        return len(samples), f"{len(samples):,} in the recipe's files", order.steps_per_epoch
    known = published_size(name)
    if known is not None:
        return known.samples, f"{known.samples:,} published ({known.source})", _steps(known.samples, batch)
    if recipe.train.steps is not None:
        return None, "unknown, but the number of steps is set", 1
    raise RecipeError("the number of samples is not known, for this is not there; give --samples.", path=absent)


def _steps(samples: int, batch: int) -> int:
    if samples < batch:
        raise RecipeError(f"{samples:,} samples do not fill one batch of train.global_batch {batch:,}.")
    return samples // batch


def _batch(recipe: Recipe, count: int, source: int) -> Any:
    return recipe.task.collate(made_up_samples(recipe, count, source))


def _speed(recipe: Recipe, settings: PlanSettings, per_rank: int) -> Speed:
    if settings.clips_per_second is not None:
        return Speed(settings.clips_per_second, "as asked")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    count = settings.batch or min(per_rank, 64 if device.type == "cuda" else 2)
    sources = len(recipe.task.sources) if isinstance(recipe.task, Mixture) else 1
    batches = [_batch(recipe, count, source) for source in range(sources)]
    model = build_model(replace(recipe, init=Init()))
    steps = max(settings.steps, sources)
    cost = rehearse(model, recipe.task, batches, recipe.optim, recipe.train, steps, device)
    clips = sum(len(batches[place % sources].names) for place in range(steps))
    rows = len(batches[0].names)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    told = f"measured: {steps} steps of {rows} clips of noise in {recipe.train.precision}, {where}"
    warning = ""
    if device.type == "cpu":
        warning = "a CPU was measured, not a GPU; run this where the GPU is, or give --clips-per-second."
    return Speed(clips / sum(cost.seconds), told, rows, cost.peak_bytes, warning)


def _duration(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:,.3g} days"
    if hours >= 1:
        return f"{hours:.3g} hours"
    return f"{hours * 60:.3g} minutes" if hours >= 1 / 60 else f"{hours * 3600:.2g} seconds"
