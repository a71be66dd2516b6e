"""Which frames and which box of a video masked pretraining sees.

Multi-scale crops are a box of one of a few sizes at one of thirteen places, scaled to a square. Unlike the crops of
`transforms.augment` they are never small and never mirrored; beside masks, this is variation enough.

Source: VideoMAE's pretraining data set, after Temporal Segment Networks (Wang et al., 2016), section 3.3.
"""

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Int64, UInt8
from torch import Tensor

SCALES = (1.0, 0.875, 0.75, 0.66)
"""Sides of a box, in short sides of the picture; of height and width, two that are neighbours here or the same."""

_QUARTERS = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3))
"""Where a box may lie, in quarters of the room to the right of it and below."""


def stride_frames(length: int, num_frames: int, stride: int, start: int) -> Int64[np.ndarray, " T"]:
    """Return every `stride`-th frame from `start` on; where the video ends, the last of them again and again.

    As published, a step never reaches the very last frame of the video.

    Raises:
        ValueError: a count is below 1, or `start` is no frame of the video.
    """
    if min(length, num_frames, stride) < 1 or not 0 <= start < length:
        raise ValueError(f"no clip of {num_frames} frames {stride} apart from frame {start} of {length}.")
    last = max(0, (length - 2 - start) // stride)
    return start + stride * np.minimum(np.arange(num_frames, dtype=np.int64), last)


def draw_start(length: int, num_frames: int, stride: int, generator: np.random.Generator) -> int:
    """Draw the first frame of a clip that fits into the video; 0 where none does."""
    return int(generator.integers(max(1, length - num_frames * stride + 1)))


def crop_sizes(width: int, height: int, image_size: int, scales: Sequence[float] = SCALES) -> list[tuple[int, int]]:
    """Return the (width, height) of the boxes that may be cut from a picture, from the largest to the smallest.

    A side within 3 pixels of `image_size` is `image_size`, so that nothing is scaled by almost nothing.
    """
    short = min(width, height)
    sides = [max(1, int(short * scale)) for scale in scales]
    sides = [image_size if abs(side - image_size) < 3 else side for side in sides]
    places = range(len(sides))
    return [(sides[wide], sides[high]) for high in places for wide in places if abs(wide - high) <= 1]


def crop_offsets(width: int, height: int, box_width: int, box_height: int) -> list[tuple[int, int]]:
    """Return the (left, top) of the thirteen places of a box: the corners, the middles and the quarters.

    A side that does not divide by four leaves up to three pixels at its far end that no box reaches, as published.
    """
    right, down = (width - box_width) // 4, (height - box_height) // 4
    return [(across * right, along * down) for across, along in _QUARTERS]


def multi_scale_crop(
    video: UInt8[Tensor, "T C H W"], generator: np.random.Generator, image_size: int, scales: Sequence[float] = SCALES
) -> UInt8[Tensor, "T C S S"]:
    """Return one random box of all frames alike, scaled to `image_size`, bilinear with antialiasing as Pillow does."""
    height, width = video.shape[-2:]
    sizes = [(wide, high) for wide, high in crop_sizes(width, height, image_size, scales) if high <= height]
    sizes = [(wide, high) for wide, high in sizes if wide <= width]
    box_width, box_height = sizes[int(generator.integers(len(sizes)))]
    offsets = crop_offsets(width, height, box_width, box_height)
    left, top = offsets[int(generator.integers(len(offsets)))]
    box = video[..., top : top + box_height, left : left + box_width]
    if (box_width, box_height) == (image_size, image_size):
        return box.contiguous()
    size = (image_size, image_size)
    return F.interpolate(box, size, mode="bilinear", align_corners=False, antialias=True)
