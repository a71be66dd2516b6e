"""One step of masked pretraining against that of transformers' VideoMAEForPreTraining, in turn, in one run.

ViT-B/16 on 16 frames of 224 pixels, nine tenths of the tubes hidden, 2 clips, one thread; forward, loss, backward and
AdamW. Both have the same weights and see the same clips and masks, so that loss and gradient can be compared. Ours
starts from uint8 frames, as they leave the loader, and normalising them counts; theirs is given normalised floats.
Theirs is taken as it comes, with torch's own AdamW; ours in fp32 with train.matmul="medium", in bf16 with
train.precision="bf16".

Times are of the processor, summed over threads. How much bf16 and "medium" can gain is the processor's to say: the
rates of bare matrix products are printed beside. Memory is the peak of a process of its own, after two steps; weights,
gradients and AdamW's means alone are 1.4 GiB of it, so it is also measured with more clips.

On a GPU: clips/s and the share of the measured peak (MFU), in bf16, with and without compile.

    python -m benchmarks.videomae_step [--size base] [--clips 2] [--threads 1] [--repeats 3]
"""

import argparse
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.feature_extraction import matrix_rate
from benchmarks.measure import machine, peak_mib, report
from playhead.data.masking import tube_mask
from playhead.models.videomae import Size, VideoMAE, videomae
from playhead.tasks.masked_video import MaskedClip, MaskedVideo, MaskedVideoBatch
from playhead.train.config import Optim, Train
from playhead.train.evaluate import autocast
from playhead.train.optim import make_optimizer
from playhead.train.parallel import World, gradient_norm, spread
from playhead.train.speed import measured_peak
from playhead.video.transforms import normalize
from playhead.weights.videomae_weights import to_hugging_face

LR, MFU_GOAL = 1e-4, 0.45
OPTIM = Optim(lr=LR, betas=(0.9, 0.95), weight_decay=0.05)
FORMS = ("theirs, fp32", "theirs, bf16", "fp32", "bf16", "bf16, checkpointed")
GOALS = {("theirs, fp32", "fp32"): 1.7, ("theirs, bf16", "bf16"): 1.25, ("theirs, fp32", "bf16"): 2.8}
MEMORY_GOAL = 0.8


def make_task() -> MaskedVideo:
    return MaskedVideo(videos=".")  # pyright: ignore[reportArgumentType]  # nothing is read


def make_batch(task: MaskedVideo, clips: int) -> MaskedVideoBatch:
    generator = np.random.default_rng(0)
    shape = (task.preprocess.num_frames, 3, task.preprocess.image_size, task.preprocess.image_size)
    samples = []
    for clip in range(clips):
        frames = torch.from_numpy(generator.integers(0, 256, shape, dtype=np.uint8))
        samples.append((MaskedClip(frames, tube_mask(task.grid, task.mask_ratio, generator), str(clip)),))
    return task.collate(samples)


def make_ours(size: Size) -> VideoMAE:
    torch.manual_seed(0)
    return VideoMAE(videomae(size)).train()


def make_theirs(size: Size) -> nn.Module:
    """Make theirs without ever holding ours, whose memory a process would keep."""
    from transformers import VideoMAEConfig, VideoMAEForPreTraining  # only here: a process of ours has no use for it

    with torch.device("meta"):
        settings = to_hugging_face(VideoMAE(videomae(size)))[1]
    return VideoMAEForPreTraining(VideoMAEConfig.from_dict(settings)).train()


def copy_weights(ours: VideoMAE, theirs: nn.Module) -> None:
    state = to_hugging_face(ours)[0]
    names = {key: key.replace("q_bias", "query.bias").replace("v_bias", "value.bias") for key in state}
    theirs.load_state_dict({names[key]: value for key, value in state.items()}, strict=True)


class Steps:
    """The steps of all forms; a model and an optimiser that a form does not need are not kept."""

    def __init__(self, size: Size, clips: int, device: torch.device, forms: tuple[str, ...] = FORMS):
        self.device, self.task = device, make_task()
        self.batch = make_batch(self.task, clips).to(device)
        self.models: dict[bool, nn.Module] = {}
        if any(form.startswith("theirs") for form in forms):
            self.models[True] = make_theirs(size).to(device)
            mean, std = self.task.preprocess.mean, self.task.preprocess.std
            self.pixels = normalize(self.batch.video, mean, std)
            num_tokens = self.batch.visible.shape[1] + self.batch.hidden.shape[1]
            self.mask = torch.zeros(clips, num_tokens, dtype=torch.bool, device=device)
            self.mask.scatter_(1, self.batch.hidden, True)
        if any(not form.startswith("theirs") for form in forms):
            self.models[False] = ours = make_ours(size).to(device)
            self.step = spread(ours, Train(global_batch=1, steps=1), World(device=device))
            self._whole = [block.forward for block in ours.blocks()]
            if True in self.models:
                copy_weights(ours, self.models[True])
        self._optimizers: dict[bool, torch.optim.Optimizer] = {}

    def loss(self, form: str) -> Tensor:
        """Return the loss with its graph."""
        torch.set_float32_matmul_precision("medium" if form == "fp32" else "highest")
        with autocast(self.device, "bf16" if "bf16" in form else "fp32"):
            if form.startswith("theirs"):
                return self.models[True](self.pixels, bool_masked_pos=self.mask).loss
            self._recompute(form.endswith("checkpointed"))
            rows = self.step(self.task.encode, self.batch)
        return self.task.loss(rows).total

    def __call__(self, form: str) -> float:
        """Make one step; return its seconds: of the processor, or of the wall where a GPU works."""
        clock = time.perf_counter if self.device.type == "cuda" else time.process_time
        is_theirs = form.startswith("theirs")
        optimizer = self.optimizer(is_theirs)
        start = clock()
        self.loss(form).backward()
        if not is_theirs:
            gradient_norm(self.models[False], None)  # the loop's check that all is finite
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    def optimizer(self, is_theirs: bool) -> torch.optim.Optimizer:
        """Return torch's AdamW for theirs, ours for ours."""
        if is_theirs not in self._optimizers:
            model = self.models[is_theirs]
            plain = torch.optim.AdamW(model.parameters(), lr=LR, betas=OPTIM.betas, weight_decay=OPTIM.weight_decay)
            self._optimizers[is_theirs] = plain if is_theirs else make_optimizer(model, OPTIM)
        return self._optimizers[is_theirs]

    def _recompute(self, wanted: bool) -> None:
        blocks = self.models[False].blocks()  # pyright: ignore[reportCallIssue]  # a VideoMAE
        for block, forward in zip(blocks, self._whole, strict=True):
            block.forward = forward
        if wanted:
            again = Train(global_batch=1, steps=1, checkpoint_activations=True)
            spread(self.models[False], again, World(device=self.device))


def gradient_of(steps: Steps, form: str) -> tuple[float, float]:
    """Return the loss and the length of the gradient."""
    loss = steps.loss(form)
    loss.backward()
    model = steps.models[form.startswith("theirs")]
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    model.zero_grad(set_to_none=True)
    return float(loss.detach()), float(norm)


def compare_answers(steps: Steps) -> None:
    loss, norm = gradient_of(steps, "theirs, fp32")
    for form in ("fp32", "bf16"):
        found, own = gradient_of(steps, form)
        print(
            f"{form}: loss {found:.8f}, theirs in fp32 {loss:.8f}; length of the gradient {own:.6f}, theirs {norm:.6f}"
        )


def compare_times(steps: Steps, repeats: int) -> None:
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for repeat in range(repeats + 1):
        for form in FORMS:
            taken = steps(form)
            if repeat:  # the first warms up
                seconds[form].append(taken)
    for form, taken in seconds.items():
        print(f"{form:<20} {statistics.median(taken):8.2f} s [{min(taken):.2f} .. {max(taken):.2f}] of the processor")
    for (above, below), goal in GOALS.items():
        report(f"{above} / {below}", ratios(seconds[above], seconds[below]), goal)
    report("time with checkpointing / without, bf16", ratios(seconds["bf16, checkpointed"], seconds["bf16"]))


def ratios(above: list[float], below: list[float]) -> list[float]:
    return [one / other for one, other in zip(above, below, strict=True)]


def compare_matrix_products(repeats: int) -> None:
    """Print what bf16 and "medium" gain in bare products."""
    rates: dict[str, list[float]] = {"highest": [], "medium": [], "bf16": []}
    for _ in range(repeats):
        for name, found in rates.items():
            torch.set_float32_matmul_precision("highest" if name == "bf16" else name)
            found.append(matrix_rate(torch.bfloat16 if name == "bf16" else torch.float32, 2))
    report("bare matrix products, medium / highest", ratios(rates["medium"], rates["highest"]))
    report("bare matrix products, bf16 / fp32", ratios(rates["bf16"], rates["highest"]))


def compare_memory(asked: argparse.Namespace, clips: int) -> None:
    peaks = {}
    for form in FORMS:
        command = [sys.executable, "-m", "benchmarks.videomae_step", "--peak-of", form, "--size", asked.size]
        command += ["--clips", str(clips), "--threads", str(asked.threads)]
        peaks[form] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
        print(f"{form:<20} {peaks[form]:8.0f} MiB at the peak, {clips} clips")
    for form in ("fp32", "bf16", "bf16, checkpointed"):
        of_theirs = "theirs, fp32" if form == "fp32" else "theirs, bf16"
        name = f"peak memory, {clips} clips, {form} / {of_theirs}"
        report(name, [peaks[form] / peaks[of_theirs]], MEMORY_GOAL, at_most=True)


def measure_gpu(asked: argparse.Namespace, device: torch.device) -> None:
    """Print clips/s, MFU and the peak of memory in bf16, as it is and compiled block by block."""
    steps = Steps(asked.size, asked.clips, device, ("bf16",))
    steps("bf16")
    with FlopCounterMode(display=False) as counter:
        steps("bf16")
    peak = measured_peak(device, "bf16")
    assert peak is not None  # it is a GPU
    for name in ("eager", "compiled"):
        if name == "compiled":
            for block in steps.models[False].blocks():  # pyright: ignore[reportCallIssue]  # a VideoMAE
                block.compile()
        _ = [steps("bf16") for _ in range(3)]
        rates = [asked.clips / steps("bf16") for _ in range(5 * asked.repeats)]
        shares = [counter.get_total_flops() / asked.clips * rate / peak for rate in rates]
        report(f"clips/s, bf16, {name}", rates, unit="clips/s")
        report(f"share of the measured peak, bf16, {name}", shares, MFU_GOAL, unit="of 1")
    print(f"{asked.clips} clips, {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of memory at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("small", "base", "large", "huge"), default="base")
    parser.add_argument("--clips", type=int, default=None, help="clips per step; 2 on a CPU, 64 on a GPU")
    parser.add_argument("--memory-clips", type=int, default=8, help="clips of the second measurement of memory")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on a CPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-of", choices=FORMS, help="print the peak of this process's memory after two steps")
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    asked.clips = asked.clips or (64 if device.type == "cuda" else 2)
    torch.set_num_threads(asked.threads)
    if asked.peak_of:
        steps = Steps(asked.size, asked.clips, device, (asked.peak_of,))
        print([steps(asked.peak_of) for _ in range(2)], peak_mib())
        return
    print(f"VideoMAE {asked.size}, {asked.clips} clips per step, {asked.threads} threads; {machine()}")
    if device.type == "cuda":
        measure_gpu(asked, device)
        return
    for clips in (asked.clips, asked.memory_clips):
        compare_memory(asked, clips)
    compare_matrix_products(asked.repeats)
    steps = Steps(asked.size, asked.clips, device)
    compare_answers(steps)
    compare_times(steps, asked.repeats)


if __name__ == "__main__":
    main()
