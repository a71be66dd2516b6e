"""One training step of EgoVLP's model (forward, EgoNCE, backward, AdamW) against its plain form, in turn, in one run.

ViT-B/16 on 4 frames of 224 pixels, DistilBERT on 30 tokens, 4 clips, 2 threads. The plain form is how the published
code does it: fp32 with torch's own matrix products, attention written out, every token through the last block, a dense
EgoNCE, AdamW parameter by parameter. Ours in fp32 does the same mathematics, with train.matmul="medium"; bf16 is
train.precision. Both share one model with random weights that let the time attention count, and nothing is dropped, so
that rows, loss and gradient can be compared.

Times are of the processor, summed over threads. How much bf16 and "medium" can gain is the processor's to say: the
rates of bare matrix products are printed beside. Memory is the peak of a process of its own, after two steps.

On a GPU: clips/s and the share of the measured peak (MFU), in bf16, with and without compile.

    python -m benchmarks.model_step [--size base] [--clips 4] [--threads 2] [--repeats 3]
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.ego_nce import Pairs, plain
from benchmarks.feature_extraction import SIZES, make_bundle, matrix_rate, plain_tower
from benchmarks.measure import machine, peak_mib, report
from playhead.models.distilbert import DistilBert
from playhead.models.frozen import Frozen
from playhead.objectives.ego_nce import action_positives, ego_nce
from playhead.train.config import Optim, Train
from playhead.train.evaluate import autocast
from playhead.train.optim import make_optimizer
from playhead.train.parallel import World, gradient_norm, spread
from playhead.train.speed import measured_peak
from playhead.types import Tokens

WORDS, LR, GPU_GOAL = 30, 3e-5, 560  # clips/s of one H200
GOALS = {"fp32": 1.8, "bf16": 3.3}
MEMORY_GOALS = {"bf16": 0.75, "bf16, checkpointed": 0.55}
FORMS = ("plain", "fp32", "bf16", "bf16, checkpointed")


@dataclass(frozen=True)
class Batch:
    """Pixels as they leave `normalize`, words, and tags as multi-hot rows."""

    video: Tensor
    text: Tokens
    nouns: Tensor
    verbs: Tensor


def make_batch(model: Frozen, clips: int, device: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(0)
    config = model.config
    video = torch.randn(clips, 4, 3, *config.video.frame_size, generator=generator)
    ids = torch.randint(1000, config.text.vocab_size, (clips, WORDS), generator=generator)
    tags = torch.eye(clips, dtype=torch.bool)
    text = Tokens(ids, torch.ones_like(ids, dtype=torch.bool)).to(device)
    return Batch(video.to(device), text, tags.to(device), tags.to(device))


def make_model(size: str, device: torch.device) -> Frozen:
    model = make_bundle(size).model.train().to(device)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for layer in model.text.layers:
        layer.attention_dropout = 0.0
    return model


def plain_text(tower: DistilBert, tokens: Tokens) -> Tensor:
    """Run DistilBERT with its attention written out."""
    words = tower.word_embedding(tokens.ids) + tower.position_embedding.weight[: tokens.ids.shape[1]]
    words = tower.embedding_norm(words)
    hidden = ~tokens.mask[:, None, None]
    for layer in tower.layers:
        query, key, value = (
            part(words).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
            for part in (layer.query, layer.key, layer.value)
        )
        scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
        seen = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1) @ value
        words = layer.attention_norm(words + layer.out(seen.transpose(1, 2).flatten(2)))
        words = layer.mlp_norm(words + layer.mlp(words))
    return words


def plain_loss(model: Frozen, batch: Batch) -> Tensor:
    video = model.video_projection(plain_tower(model.video, batch.video))
    text = model.text_projection(plain_text(model.text, batch.text)[:, 0].relu())
    return plain(Pairs(video, text, batch.nouns, batch.verbs))


def our_loss(model: Frozen, batch: Batch) -> Tensor:
    rows = model.encode_video(batch.video), model.encode_text(batch.text)
    return ego_nce(*(row.float() for row in rows), action_positives(batch.nouns, batch.verbs), temperature=0.05)


class Steps:
    """The steps of all forms, of one model; an optimiser is made when its form is first asked for."""

    def __init__(self, model: Frozen, batch: Batch):
        self.model, self.batch, self.device = model, batch, batch.video.device
        self._step = spread(model, Train(global_batch=1, steps=1), World(device=self.device))
        self._optimizers: dict[bool, torch.optim.Optimizer] = {}
        self._whole = [block.forward for block in model.blocks()]

    def loss(self, form: str) -> Tensor:
        """Return the loss with its graph."""
        torch.set_float32_matmul_precision("medium" if form == "fp32" else "highest")
        self._recompute(form.endswith("checkpointed"))
        if form == "plain":
            return plain_loss(self.model, self.batch)
        with autocast(self.device, "bf16" if form.startswith("bf16") else "fp32"):
            return self._step(our_loss, self.batch)

    def __call__(self, form: str) -> float:
        """Make one step; return its seconds: of the processor, or of the wall where a GPU works."""
        clock = time.perf_counter if self.device.type == "cuda" else time.process_time
        optimizer = self.optimizer(is_plain=form == "plain")
        start = clock()
        self.loss(form).backward()
        if form != "plain":
            gradient_norm(self.model, None)  # the loop's check that all is finite
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    def optimizer(self, *, is_plain: bool) -> torch.optim.Optimizer:
        """Return the published way's AdamW, or ours; they share their means, which are as large as the model twice."""
        if is_plain not in self._optimizers:
            made = (
                torch.optim.AdamW(self.model.parameters(), lr=LR, weight_decay=0.0, foreach=False)
                if is_plain
                else make_optimizer(self.model, Optim(lr=LR))
            )
            for other in self._optimizers.values():
                made.state = other.state
            self._optimizers[is_plain] = made
        return self._optimizers[is_plain]

    def _recompute(self, wanted: bool) -> None:
        blocks = self.model.blocks()
        for block, forward in zip(blocks, self._whole, strict=True):
            block.forward = forward
        if wanted:
            spread(self.model, Train(global_batch=1, steps=1, checkpoint_activations=True), World(device=self.device))


def gradient_of(steps: Steps, form: str) -> tuple[float, Tensor]:
    """Return the loss and the gradient of all parameters in a row."""
    loss = steps.loss(form)
    loss.backward()
    row = torch.cat([p.grad.flatten() for p in steps.model.parameters() if p.grad is not None])
    steps.model.zero_grad(set_to_none=True)
    return float(loss.detach()), row


@torch.no_grad()
def compare_answers(steps: Steps) -> None:
    """Print how far the rows, the loss and the gradient of each form are from the plain ones."""
    model, batch = steps.model, steps.batch
    torch.set_float32_matmul_precision("highest")
    exact = model.video_projection(plain_tower(model.video, batch.video))
    with torch.enable_grad():
        loss, gradient = gradient_of(steps, "plain")
    for form in ("fp32", "bf16"):
        torch.set_float32_matmul_precision("medium" if form == "fp32" else "highest")
        with autocast(steps.device, form):
            rows = model.project_video(batch.video).float()
        with torch.enable_grad():
            found, own = gradient_of(steps, form)
        apart = float((rows - exact).abs().max() / exact.abs().mean())
        relative = float((own - gradient).norm() / gradient.norm())
        print(f"{form}: rows differ by at most {apart:.1e} of their mean size, loss {found - loss:+.1e} of {loss:.4f},")
        print(f"      gradient by {relative:.1e} of its length")


def compare_times(steps: Steps, repeats: int) -> None:
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for repeat in range(repeats + 1):
        for form in FORMS:
            taken = steps(form)
            if repeat:  # the first warms up
                seconds[form].append(taken)
    for form, taken in seconds.items():
        print(f"{form:<20} {statistics.median(taken):8.2f} s [{min(taken):.2f} .. {max(taken):.2f}] of the processor")
    for form, goal in GOALS.items():
        report(f"plain / {form}", _ratios(seconds["plain"], seconds[form]), goal)
    again = _ratios(seconds["bf16, checkpointed"], seconds["bf16"])
    report("time with checkpointing / without, bf16", again, 1.25, at_most=True)


def compare_optimizers(steps: Steps, repeats: int) -> None:
    """Compare only the update: parameter by parameter against the fused kernel."""
    steps.loss("bf16").backward()
    taken: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(3 * repeats):
        for is_plain, found in taken.items():
            start = time.process_time()
            steps.optimizer(is_plain=is_plain).step()
            found.append(time.process_time() - start)
    steps.model.zero_grad(set_to_none=True)
    report("update alone, plain / ours", _ratios(taken[True], taken[False]), 3.0)


def compare_matrix_products(repeats: int) -> None:
    """Print what bf16 and "medium" gain in bare products of the perceptron's size."""
    rates: dict[str, list[float]] = {"highest": [], "medium": [], "bf16": []}
    for _ in range(repeats):
        for name, found in rates.items():
            torch.set_float32_matmul_precision("highest" if name == "bf16" else name)
            found.append(matrix_rate(torch.bfloat16 if name == "bf16" else torch.float32, 2))
    told = ", ".join(f"{name} {statistics.median(found) / 1e9:.0f} GF/s" for name, found in rates.items())
    print(f"bare matrix products in a second of the processor: {told}")
    report("bare matrix products, medium / highest", _ratios(rates["medium"], rates["highest"]))
    report("bare matrix products, bf16 / fp32", _ratios(rates["bf16"], rates["highest"]))


def compare_memory(asked: argparse.Namespace) -> None:
    peaks = {}
    for form in FORMS:
        command = [sys.executable, "-m", "benchmarks.model_step", "--peak-of", form, "--size", asked.size]
        command += ["--clips", str(asked.clips), "--threads", str(asked.threads)]
        peaks[form] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
        print(f"{form:<20} {peaks[form]:8.0f} MiB at the peak")
    for form, goal in MEMORY_GOALS.items():
        report(f"peak memory, {form} / plain", [peaks[form] / peaks["plain"]], goal, at_most=True)


def measure_gpu(steps: Steps, repeats: int) -> None:
    """Print clips/s, MFU and the peak of memory in bf16, as it is and compiled block by block."""
    clips, device = len(steps.batch.video), steps.device
    with FlopCounterMode(display=False) as counter:
        steps("bf16")
    peak = measured_peak(device, "bf16")
    for name in ("eager", "compiled"):
        if name == "compiled":
            for block in steps.model.blocks():
                block.compile()
        _ = [steps("bf16") for _ in range(3)]
        rates = [clips / steps("bf16") for _ in range(5 * repeats)]
        shares = [counter.get_total_flops() / clips * rate / peak for rate in rates]
        goal = GPU_GOAL if name == "compiled" and "H200" in torch.cuda.get_device_name() else None
        report(f"clips/s, bf16, {name}", rates, goal, unit="clips/s")
        report(f"share of the measured peak, bf16, {name}", shares, unit="of 1")
    gibibytes = torch.cuda.max_memory_allocated() / 2**30
    print(f"{clips} clips, peak {peak / 1e12:.0f} TF/s, {gibibytes:.1f} GiB of memory at most")


def _ratios(above: list[float], below: list[float]) -> list[float]:
    return [one / other for one, other in zip(above, below, strict=True)]


def run(asked: argparse.Namespace, device: torch.device, work: Callable[[Steps], None]) -> None:
    model = make_model(asked.size, device)
    work(Steps(model, make_batch(model, asked.clips, device)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(SIZES), default="base")
    parser.add_argument("--clips", type=int, default=None, help="clips per step; 4 on a CPU, 128 on a GPU")
    parser.add_argument("--threads", type=int, default=2, help="of torch, on a CPU")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-of", choices=FORMS, help="print the peak of this process's memory after two steps")
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    asked.clips = asked.clips or (128 if device.type == "cuda" else 4)
    torch.set_num_threads(asked.threads)
    if asked.peak_of:
        run(asked, device, lambda steps: print([steps(asked.peak_of) for _ in range(2)], peak_mib()))
        return
    print(f"Frozen {asked.size}, {asked.clips} clips per step, {asked.threads} threads; {machine()}")
    if device.type == "cuda":
        run(asked, device, lambda steps: measure_gpu(steps, asked.repeats))
        return
    compare_matrix_products(asked.repeats)
    compare_memory(asked)

    def compare(steps: Steps) -> None:
        compare_answers(steps)
        compare_times(steps, asked.repeats)
        compare_optimizers(steps, asked.repeats)

    run(asked, device, compare)


if __name__ == "__main__":
    main()
