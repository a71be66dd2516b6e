"""Action recognition with ViT-B against transformers' VideoMAEForVideoClassification, in one run, interleaved.

Three parts: a fine-tuning step (forward, backward, fused AdamW with layer-wise decay), 5 x 3 views of a video through
the model, and reading these views from a file. Both models hold the same weights, and their logits are compared before
anything is timed. On a CPU ours multiplies by oneDNN (`train.matmul=medium`), which is exact fp32 there unless it has
AMX; theirs runs as it comes. Goal: >= 1.7x in fp32.

    python -m benchmarks.recognition_step [--clips 2] [--repeats 3] [--depth 12] [--parts step views reading]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import VideoMAEConfig as TheirConfig
from transformers import VideoMAEForVideoClassification

from playhead.data.action_videos import ActionVideo
from playhead.models.videomae import VideoMAEClassifier, videomae_classifier
from playhead.tasks.recognition import Recognition, Views, distinct_views
from playhead.tasks.recognition_samples import ClipRule, TestBatch, TestClips, VideoReader, collate_test
from playhead.train.config import Optim
from playhead.train.optim import make_optimizer, set_learning_rate
from playhead.video.decode import DecoderCache
from playhead.video.transforms import Preprocess
from playhead.weights.videomae_weights import to_hugging_face

CLASSES, GOAL = 400, 1.7
TASK = Recognition(root=Path("unused"), views=Views(clips=5, crops=3, at_once=15))


@contextmanager
def matmul(precision: str):
    """Multiply with this precision inside."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def pair(depth: int, device: torch.device) -> tuple[VideoMAEClassifier, VideoMAEForVideoClassification]:
    """Return both models with the same weights."""
    torch.manual_seed(0)
    ours = VideoMAEClassifier(videomae_classifier("base", num_classes=CLASSES, depth=depth))
    torch.nn.init.normal_(ours.head.weight, std=0.1)  # else the logits of the start are too small to be compared
    tensors, settings = to_hugging_face(ours)
    theirs = VideoMAEForVideoClassification(TheirConfig(**settings))
    if not any(key.endswith("q_bias") for key in theirs.state_dict()):  # transformers 5 renames when it reads files
        names = {".q_bias": ".query.bias", ".v_bias": ".value.bias"}
        tensors = {key[:-7] + names.get(key[-7:], key[-7:]): value for key, value in tensors.items()}
    report = theirs.load_state_dict(tensors, strict=False)
    left = [key for key in report.missing_keys if "position_embeddings" not in key]
    assert not left and not report.unexpected_keys, (left, report.unexpected_keys)
    theirs.fc_norm.eps = ours.feature_norm.eps  # theirs is 1e-5 whatever their settings say
    return ours.to(device), theirs.to(device)


def time_both(name: str, acts: dict[str, Callable[[], object]], repeats: int, count: int, unit: str) -> None:
    """Print the rates of interleaved repeats and how many times the first of `acts` is as fast as the second.

    On a CPU also by its own seconds, which other programs on the machine disturb less.
    """
    clocks = {"wall": time.perf_counter, "CPU": time.process_time}
    taken: dict[tuple[str, str], list[float]] = {(clock, key): [] for clock in clocks for key in acts}
    for repeat in range(repeats + 1):
        for key, act in acts.items():
            begin = {clock: read() for clock, read in clocks.items()}
            act()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            for clock, read in clocks.items() if repeat else ():  # the first warms up
                taken[clock, key].append(read() - begin[clock])
    ours, theirs = acts
    for key in acts:
        rates = [count / seconds for seconds in taken["wall", key]]
        print(f"{name:8} {key:14} {statistics.median(rates):8.3f} {unit}/s  [{min(rates):.3f} .. {max(rates):.3f}]")
    for clock in ("wall",) if torch.cuda.is_available() else clocks:
        ratios = sorted(slow / fast for fast, slow in zip(taken[clock, ours], taken[clock, theirs], strict=True))
        print(f"{name:8} ratio ({clock}) {statistics.median(ratios):.2f} [{ratios[0]:.2f} .. {ratios[-1]:.2f}]")


def step_part(depth: int, clips: int, repeats: int, device: torch.device, bf16: bool) -> None:
    """Time the fine-tuning step."""
    ours, theirs = pair(depth, device)
    video = torch.randn(clips, 16, 3, 224, 224, device=device)
    labels = torch.arange(clips, device=device)
    with torch.no_grad(), matmul("highest"):
        apart = float((ours.eval()(video) - theirs.eval()(pixel_values=video).logits).abs().max())
    print(f"logits apart by {apart:.1e}")
    own = make_optimizer(ours.train(), Optim(lr=1e-4, weight_decay=0.05, layer_decay=0.75))
    set_learning_rate(own, 1e-4)
    other = torch.optim.AdamW(theirs.train().parameters(), lr=1e-4, weight_decay=0.05)

    def one(model, optimizer, precision: str, logits_of: Callable) -> None:
        with matmul(precision), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(logits_of(model(video)).float(), labels)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    acts = {
        "playhead": lambda: one(ours, own, "medium" if device.type == "cpu" else "highest", lambda out: out),
        "transformers": lambda: one(theirs, other, "highest", lambda out: out.logits),
    }
    time_both("step", acts, repeats, clips, "clips")


@torch.no_grad()
def views_part(depth: int, repeats: int, device: torch.device) -> None:
    """Time 5 x 3 views of one video; theirs sees the same pixels, one view after the other as its examples do."""
    ours, theirs = (model.eval() for model in pair(depth, device))
    frames = torch.randint(0, 256, (80, 3, 224, 298), dtype=torch.uint8, device=device)
    places = torch.arange(80, device=device).view(5, 16)
    shown, _ = distinct_views(frames, places, 3)
    batch = TestBatch((frames,), (places,), (3,), (0,), ("video",))

    def own() -> np.ndarray:
        with matmul("medium" if device.type == "cpu" else "highest"):
            return TASK.answer(ours, batch)[0].scores

    def other() -> np.ndarray:
        logits = [theirs(pixel_values=TASK.preprocess(view[None])).logits for view in shown]
        return torch.cat(logits).softmax(dim=1).mean(dim=0).cpu().numpy()

    print(f"averaged probabilities apart by {np.abs(own() - other()).max():.1e}")
    time_both("views", {"playhead": own, "transformers": other}, repeats, 1, "videos")


def reading_part(repeats: int) -> None:
    """Time the reading of all views of a video of 10 s: each frame once, or view by view."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
            y, x = np.mgrid[:256, :340]
            for number in range(300):
                grey = (127 + 120 * np.sin((x + 3 * number) / 17) * np.cos((y - 2 * number) / 13)).astype(np.uint8)
                picture = np.ascontiguousarray(np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        video, preprocess = ActionVideo("video", path, 0), Preprocess(num_frames=16, resize=224)
        reader = VideoReader(ClipRule(stride=4), 16, DecoderCache())
        samples = TestClips((video,), reader, preprocess, 5, 3)

        def together() -> None:
            batch = collate_test([samples.read(0, 0)])
            distinct_views(batch.frames[0], batch.clips[0], 3)

        def one_by_one() -> None:
            source, extent = reader.open(video)
            for clip in samples._clips(extent.length):
                for crop in range(3):
                    frames = source.frames_at(extent.times(clip), size=224).frames
                    frames[..., crop * 37 : crop * 37 + 224].clone()

        acts = {"once a video": together, "view by view": one_by_one}
        time_both("reading", acts, repeats, 1, "videos")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=None, help="clips per step; 2 on a CPU, 16 on a GPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--depth", type=int, default=12, help="blocks of the encoder; 12 is ViT-B")
    parser.add_argument("--bf16", action="store_true", help="both under bf16 autocast in the step")
    parser.add_argument(
        "--parts", nargs="+", choices=("step", "views", "reading"), default=["step", "views", "reading"]
    )
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clips = arguments.clips or (16 if device.type == "cuda" else 2)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"ViT-B with {arguments.depth} blocks, 16 frames of 224 px, {where}, torch {torch.__version__}")
    if "step" in arguments.parts:
        step_part(arguments.depth, clips, arguments.repeats, device, arguments.bf16)
    if "views" in arguments.parts:
        views_part(arguments.depth, arguments.repeats, device)
    if "reading" in arguments.parts:
        reading_part(arguments.repeats)
    print(f"goal: step and views >= {GOAL} in fp32")


if __name__ == "__main__":
    main()
