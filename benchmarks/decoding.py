"""How fast frames are read, against the least work that could give them; every ratio from one run.

Random clips: `Decoder.frames_at` against opening the file and seeking once per frame, and against bare PyAV that seeks
once, decodes to the last frame wanted and scales those wanted. Dense reading: `Decoder.stream` against bare decoding.
Without a file, a 60 s video (340x256, H.264, groups of 250 frames) is written first. Each number is the median of
the repeats, with the least and the greatest in brackets.

    python -m benchmarks.decoding [--video FILE] [--clips 30] [--repeats 3]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np

from benchmarks.measure import machine, report
from playhead.video.decode import Decoder

NUM_FRAMES = 4
SHORT_SIDE = 256


def write_video(path: Path, seconds: int = 60, fps: int = 30) -> None:
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8), np.ones((16, 16, 1), dtype=np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
        for number in range(seconds * fps):
            top, left = (number // 2) % 384, int(300 + 280 * np.sin(number / 90))
            view = np.ascontiguousarray(scene[top : top + 256, left : left + 340])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())


def naive_clip(path: Path, times: Sequence[float]) -> None:
    """Open and seek for every frame, as a reader of single frames does."""
    for moment in times:
        bare_clip(path, [moment])


def bare_clip(path: Path, times: Sequence[float]) -> None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        container.seek(int(times[0] / stream.time_base), stream=stream)
        wanted = list(times)
        for frame in container.decode(stream):
            while wanted and frame.time + 0.5 / 30 >= wanted[0]:
                wanted.pop(0)
                frame.reformat(width=340, height=256, format="rgb24", threads=1).to_ndarray()
            if not wanted:
                return


def bare_stream(path: Path) -> None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for _ in container.decode(stream):
            pass


def read_dense(path: Path, fps: float | None) -> None:
    with Decoder(path) as decoder:
        for _ in decoder.stream(fps=fps, size=SHORT_SIDE):
            pass


def measure_in_turn(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return process seconds of each, repeat by repeat."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.process_time()
            work()
            seconds[name].append(time.process_time() - start)
    return seconds


def show(seconds: dict[str, list[float]], per: int) -> None:
    for name, found in seconds.items():
        middle, low, high = (1000 * value / per for value in (statistics.median(found), min(found), max(found)))
        print(f"{name:<44} {middle:8.2f} ms [{low:.2f}, {high:.2f}]")


def ratios(above: list[float], below: list[float]) -> list[float]:
    return [one / other for one, other in zip(above, below, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.video or Path(folder) / "bench.mp4"
        if arguments.video is None:
            write_video(path)
        compare(path, arguments.clips, arguments.repeats)


def compare(path: Path, num_clips: int, repeats: int) -> None:
    decoder = Decoder(path)
    starts = np.random.default_rng(0).uniform(0, decoder.info.duration - 1.1, num_clips)
    clips = [[start + (k + 0.5) / NUM_FRAMES for k in range(NUM_FRAMES)] for start in starts]

    def all_clips(read: Callable[[Sequence[float]], object]) -> Callable[[], object]:
        return lambda: [read(clip) for clip in clips]

    def opened(clip: Sequence[float]) -> None:
        with Decoder(path) as fresh:
            fresh.frames_at(clip, size=SHORT_SIDE)

    print(f"{num_clips} random clips of {NUM_FRAMES} frames in 1 s; CPU per clip")
    works = {
        "bare PyAV, one seek": all_clips(lambda clip: bare_clip(path, clip)),
        "Decoder, kept open": all_clips(lambda clip: decoder.frames_at(clip, size=SHORT_SIDE)),
        "Decoder, opened per clip": all_clips(opened),
        "naive: open and seek per frame": all_clips(lambda clip: naive_clip(path, clip)),
    }
    found = measure_in_turn(works, repeats)
    show(found, num_clips)
    bare, kept, _, naive = found.values()
    report("naive / Decoder, kept open", ratios(naive, kept))
    report("Decoder, kept open / bare PyAV with one seek", ratios(kept, bare))
    print("the whole video in order; CPU in all")
    works = {
        "bare decoding, no scaling": lambda: bare_stream(path),
        "Decoder.stream(fps=7.48)": lambda: read_dense(path, 7.48),
        "Decoder.stream(), every frame": lambda: read_dense(path, None),
    }
    found = measure_in_turn(works, repeats)
    show(found, 1)
    floor, dense, every = found.values()
    report("Decoder.stream(fps=7.48) / bare decoding", ratios(dense, floor), 1.15, at_most=True)
    report("Decoder.stream(), every frame / bare decoding", ratios(every, floor))
    decoder.close()


if __name__ == "__main__":
    main()
