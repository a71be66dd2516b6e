"""Small clips of two classes: a bright bar goes to the right or to the left, which no single frame tells."""

from pathlib import Path

import av
import numpy as np

FPS = 10


def write_frames(path: Path, frames: np.ndarray, pix_fmt: str = "yuv420p") -> None:
    """Write frames "T H W 3" of uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "5", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def write_image(path: Path, picture: np.ndarray) -> None:
    """Write a picture "H W 3" of uint8 as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width, encoder.pix_fmt, encoder.framerate = *picture.shape[:2], "rgb24", 1
    packets = [*encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")), *encoder.encode()]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))


def bar(to_right: bool, start: int = 0, length: int = 12, height: int = 32, width: int = 48) -> np.ndarray:
    """Return frames in which a bar of 8 pixels moves 4 pixels from one to the next."""
    frames = np.full((length, height, width, 3), 30, dtype=np.uint8)
    for place in range(length):
        left = (start + 4 * place) % width
        frames[place, :, left : left + 8] = 220
    return frames if to_right else frames[::-1].copy()


def make_clips(root: Path, each: int = 4) -> Path:
    """Write `each` clips of the classes "forth" and "back", one folder each."""
    for number in range(each):
        for name, to_right in (("forth", True), ("back", False)):
            write_frames(root / name / f"{number}.mp4", bar(to_right, start=7 * number))
    return root
