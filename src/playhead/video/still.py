"""A single picture: a photograph or a drawing. Read as a video, it is one frame on which nothing moves."""

import os
from contextlib import closing

import av
import torch
from av import VideoFrame
from av.error import FFmpegError
from jaxtyping import UInt8
from torch import Tensor

from playhead.errors import DecodeError
from playhead.video.now_reading import now_reading
from playhead.video.pixels import Scaler
from playhead.video.source import Size

STILL_FORMATS = ("image2", "gif", "apng", "webp", "ico")
"""What FFmpeg calls the files of pictures, beside its `png_pipe`, `jpeg_pipe` and the like."""


def read_still(path: str | os.PathLike[str], size: Size = None) -> UInt8[Tensor, "C H W"]:
    """Return a picture as displayed, in RGB; of an animation the first frame. Alpha is dropped, see `Scaler`.

    What the file is follows from its content: downloaders of pictures often leave the suffix away.

    Raises:
        DecodeError: there is no such file, or it is no picture.
    """
    frame = decode_still(path)
    return torch.from_numpy(Scaler(size, frame).picture(frame))


def decode_still(path: str | os.PathLike[str]) -> VideoFrame:
    """Return the picture of a file as it was stored.

    Raises:
        DecodeError: it cannot be decoded as an image.
    """
    now_reading(os.fspath(path))
    options = {"pattern_type": "none", "protocol_whitelist": "file"}  # "%d" in a name is no pattern of names
    try:
        with closing(av.open(os.path.abspath(path), options=options)) as container:
            kind = container.format.name
            if kind not in STILL_FORMATS and not kind.endswith("_pipe"):
                raise DecodeError(f"is no image but of the format {kind.split(',')[0]!r}.", path=path)
            container.streams.video[0].thread_type = "NONE"
            return next(container.decode(video=0))
    except (FFmpegError, StopIteration, IndexError) as error:
        raise DecodeError(f"cannot be decoded as an image ({error}).", path=path) from error
