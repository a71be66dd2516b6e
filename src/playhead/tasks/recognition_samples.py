"""Reading the clips of action recognition: one random clip for training, in several views; all clips for testing."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from playhead.data.action_videos import ActionVideo
from playhead.errors import DecodeError
from playhead.video.augment_policy import RandAugment, rand_augment
from playhead.video.decode import DecoderCache
from playhead.video.source import OnShort, VideoSource
from playhead.video.transforms import Augment, Preprocess, augment
from playhead.video.views import Sampling, clip_frames, count_frames, view_frames


@dataclass(frozen=True, kw_only=True)
class ClipRule:
    """Which frames of a video make a clip."""

    sampling: Sampling = "dense"
    """Frames at an even distance in a window ("dense", Kinetics), or one of each equal part of the whole video
    ("segments", Something-Something)."""
    stride: int = 4
    """Frames from one to the next of a dense clip."""
    fps: float | None = None
    """Frames per second by which a stride counts; unset counts the video's own frames, as published."""
    short: OnShort = "repeat_last"
    """A video with fewer frames than a clip needs: its last frame again, as published, or an error."""

    def __post_init__(self):
        if self.stride < 1:
            raise ValueError(f"clip.stride needs to be at least 1, got {self.stride}.")
        if self.fps is not None and not self.fps > 0:
            raise ValueError(f"clip.fps must be above 0, got {self.fps}; leave it unset for the video's own.")


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """One clip of a video in `R` random views, each with the seed that its erasing is drawn from."""

    views: UInt8[Tensor, "R T C S S"]
    seeds: tuple[int, ...]
    label: int
    name: str


@dataclass(frozen=True, slots=True)
class TestSample:
    """The frames of a video that its clips need, each read once, which make each clip, and how many squares of each."""

    frames: UInt8[Tensor, "F C H W"]
    clips: Int64[Tensor, "V T"]
    crops: int
    label: int
    name: str

    __test__ = False  # pytest takes classes with this name for tests


@dataclass(frozen=True, slots=True)
class _Extent:
    """The frames of a video that count: `length` of them at `fps`, the first at `start` seconds."""

    start: float
    fps: float
    length: int

    def times(self, frames: np.ndarray) -> list[float]:
        return (self.start + (frames + 0.5) / self.fps).tolist()  # in the middle of a frame, where rounding is harmless


@dataclass(frozen=True)
class VideoReader:
    """Reads frames of listed videos by their numbers; sent to a worker it starts with no open files."""

    rule: ClipRule
    num_frames: int
    cache: DecoderCache

    def open(self, video: ActionVideo) -> tuple[VideoSource, _Extent]:
        """Return the source of a video and the stretch of it that counts.

        Raises:
            DecodeError: it cannot be read, ends before the stretch begins, is shorter than a clip and may not be, or
                holds fewer images than its list says.
        """
        source = self.cache.get(video.path)
        info, span = source.info, video.span
        if video.num_frames is not None and video.num_frames > info.num_frames:
            raise DecodeError(
                f"the list says {video.num_frames} frames, but {info.num_frames} are there; fetch it again or correct "
                "the list.",
                path=video.path,
            )
        fps = self.rule.fps or info.fps
        if span is None:
            own = video.num_frames or info.num_frames
            length = own if self.rule.fps is None else count_frames(own / info.fps, fps)
            extent = _Extent(0.0, fps, length)
        else:
            if span.start >= info.duration:
                raise DecodeError(
                    f"a clip begins here, but the video ends at {info.duration:.2f} s; is it the listed video?",
                    path=video.path,
                    time=span.start,
                )
            extent = _Extent(span.start, fps, count_frames(min(span.end, info.duration) - span.start, fps))
        self._check_length(video, extent)
        return source, extent

    def _check_length(self, video: ActionVideo, extent: _Extent) -> None:
        dense = self.rule.sampling == "dense"
        needed = (self.num_frames - 1) * self.rule.stride + 1 if dense else self.num_frames
        if self.rule.short == "error" and extent.length < needed:
            raise DecodeError(
                f"{video.key!r} has {extent.length} frames, a clip needs {needed}; leave it out, or set "
                "clip.short='repeat_last'.",
                path=video.path,
            )


@dataclass(frozen=True)
class TrainingClips:
    """The videos of the training split, each read as one random clip."""

    videos: tuple[ActionVideo, ...]
    reader: VideoReader
    decode_size: int
    image_size: int
    augment: Augment
    policy: RandAugment | None
    repeats: int

    def __len__(self) -> int:
        return len(self.videos)

    def read(self, index: int, seed: int) -> TrainingSample:
        """Return one clip of the video, decoded once, in `repeats` random views.

        Raises:
            DecodeError: see `VideoReader.open`; or a frame is broken.
        """
        video, generator = self.videos[index], np.random.default_rng(seed)
        source, extent = self.reader.open(video)
        rule = self.reader.rule
        frames = clip_frames(rule.sampling, extent.length, self.reader.num_frames, rule.stride, generator)
        clip = source.frames_at(extent.times(frames), size=self.decode_size, on_short="repeat_last").frames
        seeds = tuple(generator.integers(2**31, size=self.repeats).tolist())
        views = torch.stack([self._view(clip, one) for one in seeds])
        return TrainingSample(views, seeds, video.label, video.key)

    def _view(self, clip: UInt8[Tensor, "T C H W"], seed: int) -> UInt8[Tensor, "T C S S"]:
        if self.policy is not None:
            clip = rand_augment(clip, seed, self.policy)
        return augment(clip[None], [seed], self.augment, self.image_size)[0]


@dataclass(frozen=True)
class TestClips:
    """The videos of a split that is measured, each read as `num_clips` clips spread over it."""

    videos: tuple[ActionVideo, ...]
    reader: VideoReader
    preprocess: Preprocess
    num_clips: int
    num_crops: int

    __test__ = False  # pytest takes classes with this name for tests

    def __len__(self) -> int:
        return len(self.videos)

    def read(self, index: int, seed: int) -> TestSample:
        """Return the frames of all clips of a video, each frame decoded once, whole and at the decoder's size.

        Raises:
            DecodeError: see `VideoReader.open`; or a frame is broken.
        """
        video = self.videos[index]
        source, extent = self.reader.open(video)
        clips = np.stack(self._clips(extent.length))
        needed, places = np.unique(clips, return_inverse=True)
        size = self.preprocess.decode_size
        frames = source.frames_at(extent.times(needed), size=size, on_short="repeat_last").frames
        shown = torch.from_numpy(places.reshape(clips.shape))
        return TestSample(frames, shown, self.num_crops, video.label, video.key)

    def _clips(self, length: int) -> list[Int64[np.ndarray, " T"]]:
        rule, num_frames = self.reader.rule, self.reader.num_frames
        if self.num_clips == 1:
            return [clip_frames(rule.sampling, length, num_frames, rule.stride)]
        return view_frames(rule.sampling, length, num_frames, rule.stride, self.num_clips)


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Views, row by row; the views of one video follow each other. `seed` is what the batch's mixing is drawn from."""

    video: UInt8[Tensor, "B T C S S"]
    labels: Int64[Tensor, " B"]
    seeds: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def seed(self) -> int:
        """The seed of what is drawn once for all clips."""
        return self.seeds[0]

    def to(self, device: torch.device | str) -> "TrainingBatch":
        """Return the same batch on `device`."""
        move = {name: getattr(self, name).to(device, non_blocking=True) for name in ("video", "labels")}
        return replace(self, **move)


@dataclass(frozen=True, slots=True)
class TestBatch:
    """Whole videos, whose pictures may differ in size; labels are -1 where they are not known."""

    frames: tuple[UInt8[Tensor, "_ C _ _"], ...]
    clips: tuple[Int64[Tensor, "V T"], ...]
    crops: tuple[int, ...]
    labels: tuple[int, ...]
    names: tuple[str, ...]

    __test__ = False  # pytest takes classes with this name for tests

    def to(self, device: torch.device | str) -> "TestBatch":
        """Return the same batch on `device`."""
        return replace(
            self,
            frames=tuple(one.to(device, non_blocking=True) for one in self.frames),
            clips=tuple(one.to(device, non_blocking=True) for one in self.clips),
        )


def collate_training(samples: list[TrainingSample]) -> TrainingBatch:
    """Stack the views of all samples."""
    return TrainingBatch(
        video=torch.cat([sample.views for sample in samples]),
        labels=torch.tensor([sample.label for sample in samples for _ in sample.seeds]),
        seeds=tuple(seed for sample in samples for seed in sample.seeds),
        names=tuple(sample.name for sample in samples for _ in sample.seeds),
    )


def collate_test(samples: list[TestSample]) -> TestBatch:
    """Put videos beside each other."""
    return TestBatch(
        frames=tuple(sample.frames for sample in samples),
        clips=tuple(sample.clips for sample in samples),
        crops=tuple(sample.crops for sample in samples),
        labels=tuple(sample.label for sample in samples),
        names=tuple(sample.name for sample in samples),
    )
