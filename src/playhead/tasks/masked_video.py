"""Masked video modelling: hide most of a clip, encode the rest, tell the pixels of what was hidden.

A video takes this road: `MaskedVideoSamples.read` chooses the frames of one clip and reads them once, then cuts and
masks them `repeats` times; `collate` stacks all; `encode` gives one loss per clip, `loss` their mean.

Source: VideoMAE (Tong et al., 2022), section 3; VideoMAE V2 (Wang et al., 2023), section 3.3, for repeats.
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from playhead.data.action_videos import Missing
from playhead.data.masking import MaskKind, draw_mask, token_order
from playhead.data.video_lists import UnlabelledVideo, find_videos
from playhead.errors import DecodeError, RecipeError
from playhead.models.videomae import VideoMAE
from playhead.objectives.masked_video import masked_video_losses, pixel_targets
from playhead.types import Loss
from playhead.video.decode import DecoderCache
from playhead.video.pretraining_views import SCALES, draw_start, multi_scale_crop, stride_frames
from playhead.video.source import VideoInfo
from playhead.video.transforms import Preprocess, normalize
from playhead.video.tubes import take_tubes, tube_grid

FOLDER_FPS = 30.0  # images of a folder have numbers and no times; any rate shows each once


@dataclass(frozen=True, slots=True)
class MaskedClip:
    """One crop of a clip as uint8 frames, and which of its tokens are hidden."""

    frames: UInt8[Tensor, "T C S S"]
    hidden: Bool[np.ndarray, " N"]
    name: str


@dataclass(frozen=True, slots=True)
class MaskedVideoBatch:
    """Clips, row by row, and the numbers of their visible and hidden tokens."""

    video: UInt8[Tensor, "B T C S S"]
    visible: Int64[Tensor, "B V"]
    hidden: Int64[Tensor, "B M"]
    names: tuple[str, ...]

    def to(self, device: torch.device | str) -> "MaskedVideoBatch":
        """Return the same batch on `device`."""
        move = {name: getattr(self, name).to(device, non_blocking=True) for name in ("video", "visible", "hidden")}
        return replace(self, **move)


@dataclass(frozen=True)
class MaskedVideoSamples:
    """The videos of one split; with `varied` clips and crops are drawn, otherwise they are the middle ones."""

    videos: tuple[UnlabelledVideo, ...]
    task: "MaskedVideo"
    cache: DecoderCache
    varied: bool

    def __len__(self) -> int:
        return len(self.videos)

    def read(self, index: int, seed: int) -> tuple[MaskedClip, ...]:
        """Return one clip of a video in `repeats` crops, each with a mask of its own; if not varied, in one.

        Raises:
            DecodeError: the video is missing or broken, or ends before the stretch that is asked for.
        """
        video, task, generator = self.videos[index], self.task, np.random.default_rng(seed)
        frames = self._decode(video, generator)
        clips = []
        for _ in range(task.repeats if self.varied else 1):
            crop = self._crop(frames, generator)
            clips.append(MaskedClip(crop, draw_mask(task.mask, task.grid, task.mask_ratio, generator), video.name))
        return tuple(clips)

    def _decode(self, video: UnlabelledVideo, generator: np.random.Generator) -> UInt8[Tensor, "T C H W"]:
        source = self.cache.get(video.path)
        first, length = _stretch(video, source.info)
        num_frames, stride = self.task.preprocess.num_frames, self.task.stride_of(video.name)
        start = draw_start(length, num_frames, stride, generator)
        if not self.varied:
            start = max(0, length - num_frames * stride) // 2
        numbers = first + stride_frames(length, num_frames, stride, start)
        times = (numbers + 0.5) / source.info.fps  # the middle of a frame, which no rounding takes for its neighbour
        # The number of frames is the container's word, which may be one too many.
        return source.frames_at(times, size=self.task.preprocess.decode_size, on_short="repeat_last").frames

    def _crop(self, frames: UInt8[Tensor, "T C H W"], generator: np.random.Generator) -> UInt8[Tensor, "T C S S"]:
        preprocess = self.task.preprocess
        if self.varied:
            return multi_scale_crop(frames, generator, preprocess.image_size, self.task.scales)
        return multi_scale_crop(preprocess.center_crop(frames), generator, preprocess.image_size, (1.0,))


def _stretch(video: UnlabelledVideo, info: VideoInfo) -> tuple[int, int]:
    """Return the first frame of the stretch that counts, and how many there are."""
    if video.span is None:
        return 0, max(1, info.num_frames)
    if video.span.start >= info.duration:
        raise DecodeError(
            f"{video.name!r} is to begin here, but the video ends at {info.duration:.2f} s; is it the listed video?",
            path=video.path,
            time=video.span.start,
        )
    seconds = min(video.span.end, info.duration) - video.span.start
    return math.floor(video.span.start * info.fps), max(1, round(seconds * info.fps))


@dataclass(frozen=True, kw_only=True)
class MaskedVideo:
    """Fill in what is hidden of videos, which need no labels.

    With `val_listing` it measures itself: "masked_video/error" is the mean squared error of the middle clips of
    "masked_video/clips" videos; where targets are normalised, telling the mean colour of every hidden tube gives 1.

    Raises:
        RecipeError: a setting is out of its range, or the mask hides nothing or everything.
    """

    videos: Path
    """Folder of the videos."""
    listing: Path | None = None
    """Which of them to learn from: a list, a csv file, or an official file of Kinetics (`data/video_lists.py`); unset
    takes every video file below the folder."""
    val_listing: Path | None = None
    """Which of them to measure on; unset measures nothing."""
    missing: Missing = "error"
    """Whether listed videos that are not there are an error or are left out."""
    preprocess: Preprocess = field(default_factory=lambda: Preprocess(num_frames=16))
    """Frames per clip, sizes and normalisation."""
    patch_size: int = 16
    """Side of a patch in pixels, as in the model."""
    tubelet: int = 2
    """Frames of a tube, as in the model."""
    stride: int = 4
    """Frames of the video from one frame of a clip to the next."""
    strides: tuple[tuple[str, int], ...] = ()
    """Other strides: (part of a video's name, stride); the first that fits counts."""
    mask: MaskKind = "tube"
    """Hide the same places at all times, or tokens anywhere ("random")."""
    mask_ratio: float = 0.9
    """Share of the tokens that is hidden; VideoMAE, section 4.2."""
    normalize_targets: bool = True
    """Ask for each tube's pixels with mean 0 and deviation 1 in each channel, or for the pixels themselves."""
    repeats: int = 1
    """Crops and masks of each clip that is read; a step then has so many times `train.global_batch` clips."""
    scales: tuple[float, ...] = SCALES
    """Sides of the random crops, in short sides of the picture."""
    open_videos: int = 8
    """Videos that each worker keeps open between clips."""

    def __post_init__(self):
        for name in ("patch_size", "tubelet", "stride", "repeats", "open_videos"):
            _require(getattr(self, name) >= 1, f"task.{name} must be at least 1, got {getattr(self, name)}.")
        _require(all(stride >= 1 for _, stride in self.strides), f"task.strides must be at least 1: {self.strides}.")
        fits = bool(self.scales) and all(0 < scale <= 1 for scale in self.scales)
        _require(fits, f"task.scales must lie in (0, 1], got {self.scales}.")
        size, frames = self.preprocess.image_size, self.preprocess.num_frames
        _require(
            size % self.patch_size == 0 and frames % self.tubelet == 0,
            f"clips of {frames} frames of {size} pixels do not divide into tubes of {self.tubelet} frames of "
            f"{self.patch_size} pixels; change task.preprocess, task.patch_size or task.tubelet.",
        )
        try:
            draw_mask(self.mask, self.grid, self.mask_ratio, np.random.default_rng(0))
        except ValueError as error:
            raise RecipeError(f"task.mask_ratio: {error}") from error

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens of a clip in time, in rows and in columns."""
        side = self.preprocess.image_size // self.patch_size
        return self.preprocess.num_frames // self.tubelet, side, side

    def stride_of(self, name: str) -> int:
        """Return the stride of a video by its name."""
        return next((stride for part, stride in self.strides if part in name), self.stride)

    def samples(self, split: str) -> MaskedVideoSamples:
        """Return the videos of "train", varied, or of "val".

        Raises:
            AnnotationError: the list cannot be read, or videos are missing.
            RecipeError: there is no such split.
        """
        if split not in ("train", "val") or (split == "val" and self.val_listing is None):
            raise RecipeError(f"no split {split!r}; there is 'train', and with task.val_listing 'val'.")
        varied = split == "train"
        videos = find_videos(self.videos, self.listing if varied else self.val_listing, self.missing)
        return MaskedVideoSamples(videos, self, DecoderCache(capacity=self.open_videos, fps=FOLDER_FPS), varied)

    def collate(self, samples: list[tuple[MaskedClip, ...]]) -> MaskedVideoBatch:
        """Stack all clips, those of one video one after the other."""
        clips = [clip for sample in samples for clip in sample]
        visible, hidden = token_order(torch.from_numpy(np.stack([clip.hidden for clip in clips])))
        video = torch.stack([clip.frames for clip in clips])
        return MaskedVideoBatch(video, visible, hidden, tuple(clip.name for clip in clips))

    def split(self, batch: MaskedVideoBatch, size: int) -> list[MaskedVideoBatch]:
        """Return the batch in parts of `size` rows (the last may have fewer), in its order."""
        parts = [slice(first, first + size) for first in range(0, len(batch.names), size)]
        return [
            MaskedVideoBatch(batch.video[part], batch.visible[part], batch.hidden[part], batch.names[part])
            for part in parts
        ]

    def encode(self, model: VideoMAE, batch: MaskedVideoBatch) -> dict[str, Tensor]:
        """Return the mean squared error of each clip."""
        return {"loss": self.losses(model, batch)}

    def losses(self, model: VideoMAE, batch: MaskedVideoBatch) -> Float[Tensor, " B"]:
        """Return the mean squared error of each clip; only what is hidden is looked at for its targets."""
        tubes = take_tubes(tube_grid(batch.video, self.tubelet, self.patch_size).movedim(4, -1), batch.hidden)
        targets = pixel_targets(tubes, normalized=self.normalize_targets)  # first: what it takes is free again then
        video = normalize(batch.video, self.preprocess.mean, self.preprocess.std)
        return masked_video_losses(model(video, batch.visible, batch.hidden), targets)

    def loss(self, rows: dict[str, Tensor]) -> Loss:
        """Return the mean over the global batch."""
        mean = rows["loss"].mean()
        return Loss(mean, {"masked_video": float(mean.detach())})

    def answer(self, model: VideoMAE, batch: MaskedVideoBatch) -> list[float]:
        """Return the mean squared error of each clip."""
        return self.losses(model, batch).tolist()

    def score(self, answers: list[float], split: str) -> dict[str, float]:
        """Return the mean over all clips of a split, and their number."""
        return {"masked_video/error": float(np.mean(answers)), "masked_video/clips": float(len(answers))}


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise RecipeError(problem)
