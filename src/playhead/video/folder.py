"""A folder of numbered images, read like a video."""

import math
import os
import re
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from playhead.errors import DecodeError
from playhead.types import Clip
from playhead.video.pixels import Scaler, read_orientation
from playhead.video.source import TOLERANCE, OnShort, Size, Times, VideoInfo
from playhead.video.still import decode_still

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")


class FrameFolder:
    """Images of one size, numbered without gaps by the last number in their names, shown at `fps`.

    Image k, counted from 0 whatever its number, is on screen in [k / fps, (k + 1) / fps).

    Raises:
        ValueError: `fps` is not above zero.
        DecodeError: not a folder, no images, a number is missing or doubled, or the first image cannot be decoded.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float):
        if not fps > 0:
            raise ValueError(f"fps needs to be above zero, got {fps}.")
        self._path, self._fps = os.fspath(path), fps
        self._images = _list_images(self._path)
        self._first = decode_still(self._images[0])
        self._scalers: dict[Size, Scaler] = {}

    @property
    def info(self) -> VideoInfo:
        """What is known of the folder; the size is that of its first image."""
        frame, orientation = self._first, read_orientation(self._first)
        height, width = (frame.width, frame.height) if orientation.transposed else (frame.height, frame.width)
        return VideoInfo(
            path=self._path,
            duration=len(self._images) / self._fps,
            width=width,
            height=height,
            fps=self._fps,
            num_frames=len(self._images),
            codec=os.path.splitext(self._images[0])[1].lstrip(".").lower(),
            rotation=orientation.rotation,
            mirrored=orientation.mirrored,
        )

    def __enter__(self) -> "FrameFolder":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: no image stays open."""

    def frames_at(self, times: Times, size: Size = None, on_short: OnShort = "error") -> Clip:
        """Return the image on screen at each of `times`, in their order; see `Decoder.frames_at`."""
        if not len(times):
            raise ValueError("times is empty; ask for at least one.")
        places = [self._place(float(time), on_short) for time in times]
        pictures = {place: self._picture(place, size) for place in sorted(set(places))}
        decoded = torch.tensor([place / self._fps for place in places], dtype=torch.float64)
        return Clip(torch.from_numpy(np.stack([pictures[place] for place in places])), decoded)

    def stream(
        self, fps: float | None = None, start: float = 0.0, end: float | None = None, size: Size = None
    ) -> Iterator[tuple[float, UInt8[Tensor, "C H W"]]]:
        """Read forward from `start` up to `end`, which is excluded; see `Decoder.stream`."""
        if fps is not None and not fps > 0:
            raise ValueError(f"fps needs to be above zero, got {fps}.")
        end = self.info.duration if end is None else min(end, self.info.duration)
        first = start if fps is not None else self._place(start, "repeat_last") / self._fps
        if start >= end:
            return
        for step in range(max(0, math.ceil((end - TOLERANCE - first) * (fps or self._fps)))):
            place = self._place(first + step / (fps or self._fps), "error")
            yield place / self._fps, torch.from_numpy(self._picture(place, size))

    def _place(self, time: float, on_short: OnShort) -> int:
        if not math.isfinite(time) or time < -TOLERANCE:
            raise DecodeError(f"a frame at {time} s was asked for; times count from the first, 0 s.", path=self._path)
        place, last = max(0, math.floor((time + TOLERANCE) * self._fps)), len(self._images) - 1
        duration = len(self._images) / self._fps
        if place > last and on_short == "error" and time > duration + TOLERANCE:
            raise DecodeError(
                f"asked for a frame, but the folder's {last + 1} images at {self._fps:g} fps end at {duration:.2f} s; "
                "shorten the annotation or read with on_short='repeat_last'.",
                path=self._path,
                time=time,
            )
        return min(place, last)

    def _picture(self, place: int, size: Size) -> UInt8[np.ndarray, "C H W"]:
        path = self._images[place]
        frame = self._first if place == 0 else decode_still(path)
        scaler = self._scalers.setdefault(size, Scaler(size, self._first))
        if (frame.width, frame.height) != (self._first.width, self._first.height):
            raise DecodeError(
                f"is {frame.width}x{frame.height}, but the folder's first image is "
                f"{self._first.width}x{self._first.height}; give all images one size.",
                path=path,
            )
        return scaler.picture(frame)


def _list_images(folder: str) -> list[str]:
    """Return the paths of the images in `folder`, in the order of their numbers."""
    if not os.path.isdir(folder):
        raise DecodeError("is not a folder.", path=folder)
    numbered: dict[int, str] = {}
    for name in sorted(os.listdir(folder)):
        stem, ending = os.path.splitext(name)
        if ending.lower() not in IMAGE_ENDINGS or name.startswith("."):
            continue
        numbers = re.findall(r"\d+", stem)
        if not numbers:
            raise DecodeError(f"the image {name!r} has no number; rename or remove it.", path=folder)
        if int(numbers[-1]) in numbered:
            other = os.path.basename(numbered[int(numbers[-1])])
            raise DecodeError(f"the images {other!r} and {name!r} have the same number; remove one.", path=folder)
        numbered[int(numbers[-1])] = os.path.join(folder, name)
    if not numbered:
        raise DecodeError(f"holds no images ({', '.join(IMAGE_ENDINGS)}).", path=folder)
    missing = next((number for number in range(min(numbered), max(numbered)) if number not in numbered), None)
    if missing is not None:
        raise DecodeError(
            f"the images are numbered {min(numbered)} to {max(numbered)}, but {missing} is missing; restore it.",
            path=folder,
        )
    return [numbered[number] for number in sorted(numbered)]
