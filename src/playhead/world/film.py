"""From frames to a file: H.264 in MP4, written under another name first, so that a finished name is a finished film."""

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import UInt8

from playhead.world.config import WorldConfig

TAG = "comment"  # the entry of the file's metadata that holds what it was made of

# The same pixels with whichever vector instructions the machine has.
EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


def write_film(path: Path, frames: Iterable[UInt8[np.ndarray, "H W 4"]], config: WorldConfig, made_of: str) -> None:
    """Encode RGBA frames; `made_of` is kept in the file's metadata. The same frames give the same file."""
    height, width = config.size
    half_done = path.with_name(f".{path.name}.part")
    options = {
        "preset": config.preset,
        "crf": str(config.crf),
        "g": str(config.gop),
        "bf": str(config.b_frames),
        # With macroblock trees x264's vector code reads beyond small pictures: equal frames then give unequal files.
        "x264-params": "mbtree=0",
        "threads": "1",  # x264 with several threads is neither faster at this size nor the same on every machine
    }
    with av.open(half_done, "w", format="mp4") as film:
        film.metadata[TAG] = made_of
        stream = film.add_stream("libx264", rate=config.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        to_yuv = VideoReformatter()  # kept, since setting one up takes longer than a frame
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgba")
            frame = to_yuv.reformat(frame, format="yuv420p", interpolation=EXACT, threads=1)
            frame.pts, frame.time_base = number, Fraction(1, config.fps)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    os.replace(half_done, path)


def read_made_of(path: Path) -> str | None:
    """Return what a finished film was made of; None where there is no readable film of this kind."""
    if not path.exists():
        return None
    try:
        with av.open(path) as film:
            return film.metadata.get(TAG)
    except FFmpegError:
        return None
