"""How fast features for localisation are made and read, against the plain form of the published code; all in one run.

The plain form decodes a whole clip first, makes it float, resizes, and runs the model in fp32 on four windows at a
time, with attention written out (softmax of products, [CLS] repeated, every token through the last block). It is
written here anew, with our weights, and without the published code's slip at the end of a clip. Random weights of
ViT-B size stand for trained ones: cosines are also given after taking away what all rows share.

How much bf16 can gain is the processor's to say: the rates of a bare matrix product in fp32 and bf16 are printed, and
how near ours comes to the latter. Decoding is compared with decoding the same seconds and throwing the frames away.
Ratios are medians of interleaved repeats, in seconds of processor time where not said otherwise (on a GPU, look at the
wall), with the least and the greatest beside them.

    python -m benchmarks.feature_extraction [--video FILE] [--seconds 10] [--repeats 3] [--size base]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.decoding import write_video
from benchmarks.measure import machine, peak_mib, report
from playhead.apps.clip_features import ClipFeatureSettings, encode_whole_video
from playhead.apps.clip_windows import PAPER_RATE, cut_clips
from playhead.apps.encoding import PieceWindow, Progress
from playhead.apps.windows import WindowSettings
from playhead.data.challenge_clips import ChallengeClip
from playhead.data.feature_files import FeatureSet, TimeBase
from playhead.models.frozen import DividedAttention, Frozen, SpaceTimeTransformer, frozen_base, frozen_tiny
from playhead.video.decode import Decoder
from playhead.video.transforms import Preprocess
from playhead.weights.bundle import Bundle

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZES = {"base": frozen_base(num_frames=4), "tiny": frozen_tiny()}
PLAIN_BATCH = 4
GOALS = {"ours fp32": 1.8, "ours bf16": 3.3}
CLOCK = "wall" if DEVICE.type == "cuda" else "cpu"


def make_bundle(size: str) -> Bundle:
    torch.manual_seed(0)
    model = Frozen(SIZES[size]).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():  # the released start leaves the time attention at nothing
            if name.endswith("weight") and weight.ndim > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
            elif "embedding" in name:
                weight.normal_(std=0.02)
    image = model.config.video.frame_size[0]
    return Bundle(
        model.to(DEVICE), Preprocess(image_size=image, resize=image * 8 // 7), "bert-base-uncased", "random", {}
    )


def loop_video(source: Path, path: Path, seconds: float) -> Path:
    """Write the packets of a file again and again, until there are so many seconds of them."""
    with av.open(str(path), "w") as written:
        shift, stream, step = 0, None, 0
        while not (stream is not None and shift * float(step) >= seconds):
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                stream = stream or written.add_stream_from_template(video)
                step, length = video.time_base, video.duration
                for packet in container.demux(video):
                    if packet.dts is not None:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                        written.mux(packet)
            shift += length
    return path


def plain_attention(attention: DividedAttention, tokens: Tensor, num_frames: int) -> Tensor:
    """Attend along one axis as it is usually written: reshape, repeat [CLS] beside every line, softmax, reshape."""
    query, key, value = (
        part.unflatten(-1, (attention.heads, -1)).transpose(1, 2).flatten(0, 1)
        for part in attention.qkv(tokens).chunk(3, dim=-1)
    )  # (B heads, M, d)
    query = query * query.shape[-1] ** -0.5

    def mix(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return (query @ key.transpose(-2, -1)).softmax(dim=-1) @ value

    def lines(part: Tensor) -> Tensor:
        grid = part[:, 1:].unflatten(1, (num_frames, -1))  # (B heads, T, N, d)
        return (grid.transpose(1, 2) if attention.axis == "time" else grid).flatten(0, 1)

    def beside_cls(part: Tensor) -> Tensor:
        along = lines(part)
        cls = part[:, :1].repeat_interleave(len(along) // len(part), dim=0)
        return torch.cat([cls, along], dim=1)

    cls = mix(query[:, :1], key, value)
    patches = mix(lines(query), beside_cls(key), beside_cls(value)).unflatten(0, (len(query), -1))
    patches = (patches.transpose(1, 2) if attention.axis == "time" else patches).flatten(1, 2)
    gathered = torch.cat([cls, patches], dim=1).unflatten(0, (len(tokens), -1)).transpose(1, 2).flatten(2)
    return attention.proj(gathered)


def plain_tower(tower: SpaceTimeTransformer, video: Tensor) -> Tensor:
    tokens = tower.embed(video)
    for block in tower.layers:
        timed = tokens + plain_attention(block.time_attention, block.time_norm(tokens), video.shape[1])
        tokens = tokens + plain_attention(block.space_attention, block.space_norm(timed), video.shape[1])
        tokens = tokens + block.mlp(block.mlp_norm(tokens))
    return tower.norm(tokens)[:, 0]


@torch.inference_mode()
def plain_extraction(bundle: Bundle, path: Path) -> np.ndarray:
    """Decode all, then float, resize and normalise all, then the model, four windows at a time, in fp32."""
    with Decoder(path) as decoder:
        duration = decoder.info.duration
        count = int(duration * PAPER_RATE * 4 + 1)
        frames = decoder.frames_at((np.arange(count) + 0.5) * duration / count, on_short="repeat_last").frames
    pixels = frames.float() / 255
    pixels = _resize_short_side(pixels, bundle.preprocess.resize)
    top, left = ((side - bundle.preprocess.resize) // 2 for side in pixels.shape[-2:])
    side = bundle.preprocess.resize
    pixels = _resize_short_side(pixels[..., top : top + side, left : left + side], bundle.preprocess.image_size)
    mean, std = (torch.tensor(each)[:, None, None] for each in (bundle.preprocess.mean, bundle.preprocess.std))
    windows = ((pixels - mean) / std)[: count // 4 * 4].unflatten(0, (-1, 4))
    rows = [
        bundle.model.video_projection(plain_tower(bundle.model.video, batch.to(DEVICE)))
        for batch in windows.split(PLAIN_BATCH)
    ]
    return torch.cat(rows).cpu().numpy()


def _resize_short_side(pixels: Tensor, side: int) -> Tensor:
    scale = side / min(pixels.shape[-2:])
    size = [round(length * scale) for length in pixels.shape[-2:]]
    return F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)


def our_extraction(bundle: Bundle, path: Path, precision: str, batch: int, told: list[Progress] | None = None):
    settings = ClipFeatureSettings(windows=WindowSettings(precision=precision, batch_size=batch))
    progress = None if told is None else told.append
    return encode_whole_video(bundle, path, settings, progress).features


def measured(work: Callable[[], object]) -> tuple[float, float, object]:
    """Return processor seconds, wall seconds and the result."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def spread(values: list[float], digits: int = 2) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} [{low:.{digits}f} .. {high:.{digits}f}]"


@torch.inference_mode()
def matrix_rate(kind: torch.dtype, repeats: int) -> float:
    """Return the best rate of a product of the size of the perceptron's, in floating-point operations a second."""
    rows, narrow, wide = 4 * 785, 768, 3072
    tokens, weight = torch.randn(rows, narrow, dtype=kind, device=DEVICE), torch.randn(wide, narrow, device=DEVICE)
    weight = weight.to(kind)

    def product() -> float:
        F.linear(tokens, weight)[0, 0].item()  # waits for a GPU
        return 2 * rows * narrow * wide

    seconds = [measured(product)[DEVICE.type == "cuda"] for _ in range(8 * repeats)]
    return product() / min(seconds)


@torch.inference_mode()
def work_of(bundle: Bundle) -> float:
    """Return the floating-point operations of one window."""
    side = bundle.preprocess.image_size
    with FlopCounterMode(display=False) as counter:
        bundle.model.project_video(torch.zeros(1, 4, 3, side, side, device=DEVICE))
    return float(counter.get_total_flops())


def compare_extraction(bundle: Bundle, path: Path, repeats: int, batch: int) -> None:
    told: list[Progress] = []
    works = {
        "plain fp32": lambda: plain_extraction(bundle, path),
        "ours fp32": lambda: our_extraction(bundle, path, "fp32", batch),
        "ours bf16": lambda: our_extraction(bundle, path, "bf16", batch, told),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    rows: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for name, work in works.items():
            cpu, wall, rows[name] = measured(work)
            taken[name].append((cpu, wall))
    count = len(rows["ours bf16"])
    print(f"{count} windows of 4 frames; {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, seconds in taken.items():
        for place, clock in enumerate(("cpu", "wall")):
            rates = [count / each[place] for each in seconds]
            pairs = [plain[place] / own[place] for plain, own in zip(taken["plain fp32"], seconds, strict=True)]
            print(f"{name:<12} {clock:<5} {spread(rates, 3)} windows/s   {spread(pairs)} x plain")
            if clock == CLOCK and name in GOALS:
                report(f"windows/s, {name} / plain", pairs, GOALS[name])
    fp32, bf16 = (matrix_rate(kind, repeats) for kind in (torch.float32, torch.bfloat16))
    ceiling = bf16 / work_of(bundle)
    best = max(count / each[DEVICE.type == "cuda"] for each in taken["ours bf16"])
    print(
        f"bare matrix products: fp32 {fp32 / 1e9:.0f}, bf16 {bf16 / 1e9:.0f} GF/s, {bf16 / fp32:.2f} x; at the latter"
    )
    print(f"a window's operations allow {ceiling:.2f} windows/s; ours bf16 comes to {100 * best / ceiling:.0f} % of it")
    last = told[-1]
    print(f"ours bf16: {100 * last.wait_seconds / last.seconds:.1f} % of the time the model waits for frames")
    for name, one, other in (
        ("ours bf16 against ours fp32, same frames", "ours bf16", "ours fp32"),
        ("ours fp32 against plain fp32, frames scaled by the decoder", "ours fp32", "plain fp32"),
    ):
        a, b = rows[one], rows[other]
        plain, centred = least_cosine(a, b), least_cosine(a - b.mean(axis=0), b - b.mean(axis=0))
        print(f"cosine, {name}: least {plain:.6f}; without the mean {centred:.6f}")


def least_cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def compare_decoding(preprocess: Preprocess, path: Path, repeats: int) -> None:
    """Print what windows cost without a model, against decoding the same seconds for nothing."""

    def bare() -> None:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            for _ in container.decode(stream):
                pass

    def windows() -> int:
        with Decoder(path) as source:
            clip = ChallengeClip("v", "v", 0.0, source.info.duration)
            cut = cut_clips(source, [clip], "paper", preprocess, WindowSettings())
            return sum(isinstance(piece, PieceWindow) for piece in cut)

    taken = [(measured(bare)[0], measured(windows)[0]) for _ in range(repeats)]
    ratios = [own / floor for floor, own in taken]
    print(f"decoding only {spread([floor for floor, _ in taken])} s, windows {spread([own for _, own in taken])} s")
    report("decoding into windows / decoding only", ratios, 1.15, at_most=True)


def compare_memory(clip: Path, folder: Path, lengths: list[int]) -> None:
    """Print the peak of memory of a process of its own for videos of two lengths, with a small model."""
    for form in ("ours", "plain"):
        peaks = []
        for seconds in lengths:
            path = folder / f"memory{seconds}.mp4"
            if not path.exists():
                loop_video(clip, path, seconds)
            command = [sys.executable, "-m", "benchmarks.feature_extraction", "--peak", form, "--video", str(path)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks.append(float(json.loads(run.stdout.splitlines()[-1])))
        told = ", ".join(f"{seconds} s {peak:.0f} MiB" for seconds, peak in zip(lengths, peaks, strict=True))
        print(f"peak memory, {form}: {told}")
        if form == "ours":
            name = f"peak memory of a video of {lengths[1]} s / of one of {lengths[0]} s"
            report(name, [peaks[1] / peaks[0]], 1.05, at_most=True)


def print_peak(form: str, path: Path) -> None:
    torch.set_num_threads(1)
    bundle = make_bundle("tiny")
    work = plain_extraction if form == "plain" else lambda bundle, path: our_extraction(bundle, path, "fp32", 16)
    work(bundle, path)
    print(peak_mib())


def compare_reading(folder: Path, repeats: int, calls: int = 2000) -> None:
    """Print what a head's data set pays for one clip of 900 rows of 256 columns."""
    rows = torch.randn(900, 256)
    writers = {
        "pt": lambda path: torch.save(rows, path),
        "npy": lambda path: np.save(path, rows.numpy()),
        "safetensors": lambda path: save_file({"features": rows}, path),
    }
    for kind, write in writers.items():
        (folder / kind).mkdir(parents=True)
        write(folder / kind / f"clip.{kind}")
    sets = {kind: (folder / kind,) for kind in writers} | {"pt and npy side by side": (folder / "pt", folder / "npy")}
    for name, folders in sets.items():
        features = FeatureSet(folders=folders, time=TimeBase(PAPER_RATE * 4, 4, 4))
        features.rows_of("video", "clip", 0.0, 480.0)
        micros = []
        for _ in range(repeats):
            begin = time.perf_counter()
            for _ in range(calls):
                features.rows_of("video", "clip", 0.0, 480.0)
            micros.append((time.perf_counter() - begin) / calls * 1e6)
        print(f"rows_of, 900 x 256, {name:<24} {spread(micros, 0)} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="a clip to be looped; a generated one by default")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the video that is encoded")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the model; idle ones would count as processor time")
    parser.add_argument("--size", choices=tuple(SIZES), default="base")
    parser.add_argument("--batch", type=int, help="windows per batch of ours; 4 on a CPU, whose caches hold no more")
    parser.add_argument("--lengths", type=int, nargs=2, default=[30, 120], help="seconds whose memory is compared")
    parser.add_argument("--peak", choices=("ours", "plain"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        return print_peak(arguments.peak, arguments.video)
    torch.set_num_threads(arguments.threads)
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = arguments.video
        if clip is None:
            clip = folder / "clip.mp4"
            write_video(clip, seconds=10)
        bundle = make_bundle(arguments.size)
        path = loop_video(clip, folder / "video.mp4", arguments.seconds)
        batch = arguments.batch or (64 if DEVICE.type == "cuda" else 4)
        compare_extraction(bundle, path, arguments.repeats, batch)
        compare_decoding(bundle.preprocess, loop_video(clip, folder / "minute.mp4", 60), max(7, arguments.repeats))
        compare_memory(clip, folder, arguments.lengths)
        compare_reading(folder / "features", max(7, arguments.repeats))


if __name__ == "__main__":
    main()
