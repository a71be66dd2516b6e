"""Reading the clips of a task: from a video id and a span to uint8 frames of one size, so that clips can be stacked."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from playhead.errors import DecodeError
from playhead.types import ClipRef, Span, View
from playhead.video.chunk_files import is_chunked
from playhead.video.decode import DecoderCache
from playhead.video.sampling import segment_times, uniform_times
from playhead.video.still import read_still
from playhead.video.transforms import Augment, Preprocess, augment, cut_view

SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi")


@dataclass(frozen=True)
class ClipReader:
    """Reads clips of the videos of one folder; sent to a worker it starts with no open files."""

    videos: Path
    preprocess: Preprocess
    cache: DecoderCache = field(default_factory=DecoderCache, compare=False)

    def read_uniform(self, ref: ClipRef) -> UInt8[Tensor, "T C H W"]:
        """Return the mid-point frames of equal intervals of the span, centre-cropped to a square: as in evaluation."""
        times = uniform_times(ref.span, self.preprocess.num_frames)
        return self.preprocess.center_crop(self._frames(ref, times))

    def read_random(
        self, ref: ClipRef, settings: Augment, seed: int, *, cut_only: bool = False
    ) -> tuple[UInt8[Tensor, "T C H W"], View | None]:
        """Return one frame drawn from each equal interval of the span, with one random view of all: as in training.

        With `cut_only` the view is cut out, but not resized, flipped or jittered: what is left to do is returned too.
        """
        times = segment_times(ref.span, self.preprocess.num_frames, np.random.default_rng(seed))
        return self._varied(self._frames(ref, times), settings, seed, cut_only)

    def read_random_still(
        self, name: str, settings: Augment, seed: int, *, cut_only: bool = False
    ) -> tuple[UInt8[Tensor, "T C H W"], View | None]:
        """Return a picture as a clip of equal frames, with one random view of all, as `read_random` does."""
        picture = read_still(self.videos / name, size=self.preprocess.decode_size)
        frames = picture.expand(self.preprocess.num_frames, *picture.shape)
        return self._varied(frames, settings, seed, cut_only)

    def _varied(
        self, frames: UInt8[Tensor, "T C H W"], settings: Augment, seed: int, cut_only: bool
    ) -> tuple[UInt8[Tensor, "T C Hb Wb"], View | None]:
        if cut_only:
            return cut_view(frames, seed, settings)
        return augment(frames[None], [seed], settings, self.preprocess.image_size)[0], None

    def _frames(self, ref: ClipRef, times: np.ndarray) -> UInt8[Tensor, "T C H W"]:
        path = self.find(ref.video_id)
        source = self.cache.get(path)
        if ref.span.start >= source.info.duration:
            raise DecodeError(
                f"a clip begins here, but the video ends at {source.info.duration:.2f} s; is it the annotated video?",
                path=path,
                time=ref.span.start,
            )
        # A window may reach a little past the end (annotators round); the last real frame is what one would see there.
        return source.frames_at(times, size=self.preprocess.decode_size, on_short="repeat_last").frames

    def whole(self, video_id: str) -> ClipRef:
        """Return a whole video as one clip."""
        return ClipRef(video_id, Span(0.0, max(self.cache.get(self.find(video_id)).info.duration, 0.01)))

    def find(self, video_id: str) -> Path:
        """Return the file of a video, or the folder of its chunks; its id is the name, with or without suffix.

        Raises:
            DecodeError: nothing of that name, with any known suffix, lies in the folder.
        """
        paths = [self.videos / f"{video_id}{suffix}" for suffix in ("", *SUFFIXES)]
        for path in paths:
            if path.is_file():
                return path
        for path in paths:
            if is_chunked(path):
                return path
        raise DecodeError(
            f"no video {video_id!r} with a suffix of {', '.join(SUFFIXES)} lies in this folder; check its path.",
            path=self.videos,
        )
