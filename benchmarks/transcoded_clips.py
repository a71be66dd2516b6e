"""How much faster clips are read from transcoded videos; every ratio of one run, as CPU time of one thread.

The source is a video of 1280x720, written here unless a file is named: views that wander over scenes, with cuts and a
sensor's noise, so that no prediction is perfect. Of it are made: the 256-pixel file that the published code makes
(x264's own settings: keyframes up to 250 frames apart, B-frames), and what `playhead transcode` makes by default,
whole and in chunks of 15 s.

* A random clip: 4 frames of 1 s as uint8 RGB of the file's size. The plain published way opens the file for each clip
  and seeks once for every frame with OpenCV, where that is installed (opencv-python-headless; it is no dependency).
  Its twin in PyAV, which has less to do, opens and seeks for every frame. Ours is `frames_at` of a source kept open, as
  in training, or opened for the clip.
* Dense reading: `stream(fps=7.48)` against decoding the file and nothing else.

All variants are measured in turn, `--repeats` times; a ratio is the median over the repeats, with least and greatest.

    python -m benchmarks.transcoded_clips [--video FILE] [--clips 20] [--repeats 5]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

from benchmarks.measure import machine, peak_mib, report
from playhead.apps.transcode_video import Job, TranscodeSettings, size_of, transcode_video
from playhead.video.decode import open_video
from playhead.video.source import VideoSource

try:
    import cv2
except ImportError:
    cv2 = None

NUM_FRAMES = 4
CLIP_SECONDS = 1.0
SHORT_SIDE = 256
FEATURE_FPS = 7.48
CHUNK_SECONDS = 15


def write_source(path: Path, seconds: int = 45, fps: int = 30) -> None:
    """Write a view that wanders over a scene, cuts to another every 15 s, and has a sensor's noise."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 4, (8, 720, 1280, 1)).astype(np.int16)
    scene = np.zeros((1440, 2160, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(seconds * fps):
            if number % (15 * fps) == 0:
                tiles = rng.integers(20, 235, (60, 90, 3), dtype=np.uint8)
                scene = np.kron(tiles, np.ones((24, 24, 1), dtype=np.uint8))
            top, left = int(360 + 350 * np.sin(number / 70)), int(440 + 430 * np.sin(number / 110))
            view = scene[top : top + 720, left : left + 1280] + noise[number % 8]
            picture = np.ascontiguousarray(view.clip(0, 255).astype(np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def write_published(source: Path, path: Path) -> None:
    """Scale to a height of 256 and encode with x264's own settings, as EgoVLP's video_resize.py has ffmpeg do."""
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        video = read.streams.video[0]
        height, width = video.codec_context.height, video.codec_context.width
        stream = written.add_stream("libx264", rate=video.average_rate or Fraction(30))
        stream.width, stream.height = SHORT_SIDE * width // height // 2 * 2, SHORT_SIDE
        stream.pix_fmt = "yuv420p"
        for frame in read.decode(video):
            small = frame.reformat(stream.width, stream.height, "yuv420p", interpolation="BICUBIC")
            small.pict_type = 0
            written.mux(stream.encode(small))
        written.mux(stream.encode())


def transcode(source: Path, folder: Path, chunk_seconds: int | None = None) -> Path:
    folder.mkdir()
    settings = TranscodeSettings(short_side=SHORT_SIDE, chunk_seconds=chunk_seconds)
    made = transcode_video(Job(str(source), "video.mp4", str(folder), settings), lambda share: None)
    return Path(made.path)


def plain_opencv(path: Path, times: Sequence[float]) -> None:
    """Read a clip as EgoVLP's `read_frames_cv2_egoclip` does, but the frames meant, and without its float pixels."""
    reader = cv2.VideoCapture(str(path))
    fps = reader.get(cv2.CAP_PROP_FPS)
    frames = []
    for moment in times:
        reader.set(cv2.CAP_PROP_POS_FRAMES, int(moment * fps))
        whole, frame = reader.read()
        assert whole
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).transpose(2, 0, 1))
    np.stack(frames)
    reader.release()


def plain_pyav(path: Path, times: Sequence[float]) -> None:
    """Open the file and seek once for every frame, and decode on to it."""
    frames = []
    for moment in times:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            container.seek(int(moment / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time + 1 / stream.average_rate > moment:
                    frames.append(frame.reformat(format="rgb24", threads=1).to_ndarray().transpose(2, 0, 1))
                    break
    np.stack(frames)


def open_and_read(path: Path, times: Sequence[float]) -> None:
    with open_video(path) as source:
        source.frames_at(times, size=SHORT_SIDE)


def decode_only(path: Path) -> None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for _ in container.decode(stream):
            pass


def read_dense(path: Path) -> None:
    with open_video(path) as source, closing(source.stream(FEATURE_FPS, size=SHORT_SIDE)) as frames:
        for _ in frames:
            pass


def make_readers(
    files: dict[str, Path], opened: dict[str, VideoSource], num_clips: int
) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name: reading all clips, or all of a file."""
    length = opened["transcoded"].info.duration - CLIP_SECONDS - 0.1
    starts = np.random.default_rng(0).uniform(0, length, num_clips)
    clips = [[start + (k + 0.5) / NUM_FRAMES * CLIP_SECONDS for k in range(NUM_FRAMES)] for start in starts]

    def all_clips(read: Callable[[Sequence[float]], object]) -> None:
        for clip in clips:
            read(clip)

    readers: dict[str, Callable[[], object]] = {}
    tools = ({"OpenCV": plain_opencv} if cv2 else {}) | {"PyAV": plain_pyav}
    for tool, plain in tools.items():
        readers[f"clip, plain {tool}"] = partial(all_clips, partial(plain, files["published"]))
    for name, path in files.items():
        readers[f"clip, {name}, kept open"] = partial(all_clips, partial(opened[name].frames_at, size=SHORT_SIDE))
        readers[f"clip, {name}, opened"] = partial(all_clips, partial(open_and_read, path))
        readers[f"dense, {name}"] = partial(read_dense, path)
    for name in ("published", "transcoded"):
        readers[f"only decoding, {name}"] = partial(decode_only, files[name])
    return readers


def measure_in_turn(readers: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return the process seconds of each reader in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(repeats):
        for name, read in readers.items():
            start = time.process_time()
            read()
            seconds[name].append(time.process_time() - start)
    return seconds


def print_ratio(name: str, above: list[float], below: list[float], at_least: float = 0.0, at_most: float = 0.0) -> None:
    """Report the ratio of two series that were measured in turn."""
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    report(name, ratios, at_least or at_most or None, at_most=bool(at_most))


def print_results(seconds: dict[str, list[float]], num_clips: int) -> None:
    for name, series in seconds.items():
        per = num_clips if name.startswith("clip") else 1
        middle, low, high = (1000 * value / per for value in (statistics.median(series), min(series), max(series)))
        print(f"{name:<40} {middle:8.2f} ms [{low:.2f}, {high:.2f}]")
    for tool in ("OpenCV", "PyAV"):
        if (plain := seconds.get(f"clip, plain {tool}")) is None:
            continue
        goals = (4.0, 15.0) if tool == "OpenCV" or cv2 is None else (0.0, 0.0)
        print_ratio(f"plain {tool} / ours, the same file", plain, seconds["clip, published, kept open"], goals[0])
        for name in ("transcoded", "in chunks"):
            print_ratio(f"plain {tool} / ours, {name}", plain, seconds[f"clip, {name}, kept open"], goals[1])
            print_ratio(f"plain {tool} / ours, {name}, opened", plain, seconds[f"clip, {name}, opened"])
    floor = seconds["only decoding, published"]
    print_ratio("dense 7.48 fps / only decoding, the same file", seconds["dense, published"], floor, at_most=1.15)
    for name in ("transcoded", "in chunks"):
        dense = seconds[f"dense, {name}"]
        print_ratio(f"dense 7.48 fps, {name} / only decoding the published file", dense, floor, at_most=1.15)
        print_ratio(f"dense 7.48 fps, {name} / only decoding it", dense, seconds["only decoding, transcoded"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    tools = f"PyAV {av.__version__}, OpenCV {cv2.__version__ if cv2 else 'not installed'}"
    print(f"{machine()}, {tools}")
    if cv2:
        cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = arguments.video or folder / "source.mp4"
        if arguments.video is None:
            write_source(source)
        files = {
            "published": folder / "published.mp4",
            "transcoded": transcode(source, folder / "whole"),
            "in chunks": transcode(source, folder / "chunks", CHUNK_SECONDS),
        }
        write_published(source, files["published"])
        opened = {name: open_video(path) for name, path in files.items()}
        info = opened["transcoded"].info
        sizes = ", ".join(f"{name} {size_of(path) / 1e6:.1f} MB" for name, path in files.items())
        print(f"{info.duration:.0f} s of {info.width}x{info.height} at {info.fps:.2f} fps; {sizes}")
        readers = make_readers(files, opened, arguments.clips)
        print_results(measure_in_turn(readers, arguments.repeats), arguments.clips)
        for video in opened.values():
            video.close()
    print(f"greatest memory {peak_mib():.0f} MiB")


if __name__ == "__main__":
    main()
