"""One training step of Frozen (encode, EgoNCE, backward, AdamW): bf16 against fp32, in one run, interleaved.

Prints clips/s, the ratio to fp32, and the spread over the repeats; on a GPU also its name and the peak of memory.

    python -m benchmarks.model_step [--size base] [--clips 4] [--repeats 3]
"""

import argparse
import statistics
import time

import torch
from torch.nn.utils import clip_grad_norm_

from playhead.models.frozen import Frozen, FrozenConfig, frozen_base, frozen_tiny
from playhead.objectives.info_nce import info_nce
from playhead.text import load_tokenizer

SIZES = {"base": frozen_base(num_frames=4), "tiny": frozen_tiny()}


def make_step(config: FrozenConfig, clips: int, device: torch.device, bf16: bool):
    torch.manual_seed(0)
    model = Frozen(config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5, fused=True)
    height, width = config.video.frame_size
    video = torch.randn(clips, config.video.num_frames, 3, height, width, device=device)
    text = load_tokenizer("bert-base-uncased")(["#C C picks up the red cup from the table"] * clips).to(device)

    def step() -> float:
        begin = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            rows = model.encode_video(video), model.encode_text(text)
        info_nce(rows[0].float(), rows[1].float()).backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(SIZES), default="base")
    parser.add_argument("--clips", type=int, default=None, help="clips per step; 4 on a CPU, 64 on a GPU")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clips = arguments.clips or (64 if device.type == "cuda" else 4)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"Frozen {arguments.size}, {clips} clips per step, {where}, torch {torch.__version__}")
    steps = {name: make_step(SIZES[arguments.size], clips, device, name == "bf16") for name in ("fp32", "bf16")}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(arguments.repeats + 1):
        for name, step in steps.items():
            taken = step()
            if repeat:  # the first warms up
                seconds[name].append(taken)
    base = statistics.median(seconds["fp32"])
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        spread = f"[{clips / max(taken):.2f} .. {clips / min(taken):.2f}]"
        print(f"{name}  {clips / middle:8.2f} clips/s {spread}  {base / middle:.2f}x fp32")
    if device.type == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB (both models and optimisers)")


if __name__ == "__main__":
    main()
