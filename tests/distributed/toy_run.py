"""A task small enough to train in milliseconds, and ranks to train it on: real processes that meet over gloo.

The processes are forks of one that imported torch once, so that a launch costs milliseconds too.
"""

import atexit
import importlib
import itertools
import json
import multiprocessing
import os
import signal
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from playhead.errors import DecodeError
from playhead.train import checkpoint
from playhead.train.checkpoint import latest
from playhead.train.config import Optim, Train
from playhead.train.loop import TrainResult, train
from playhead.types import Loss

WIDTH = 6
UPDATES = itertools.count(1)  # of this process
LAUNCH_SECONDS = 120


@dataclass(frozen=True)
class ToyBatch:
    video: Tensor
    text: Tensor
    names: tuple[str, ...]

    def to(self, device):
        return replace(self, video=self.video.to(device), text=self.text.to(device))


@dataclass(frozen=True)
class ToySamples:
    """Pairs whose content comes from the index, and whose noise (the augmentation) comes from the seed."""

    num_samples: int
    noise: float = 0.1
    not_a_number: int | None = None
    broken: int | None = None

    def __len__(self):
        return self.num_samples

    def read(self, index, seed):
        if index == self.broken:
            raise DecodeError("has no frame.", path="toy.mp4", time=1.5)
        text = torch.randn(WIDTH, generator=torch.Generator().manual_seed(index))
        video = text.flip(0) + self.noise * torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))
        return index, video * (float("nan") if index == self.not_a_number else 1.0), text


class Block(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.norm, self.linear, self.dropout = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Dropout(dropout)

    def forward(self, x):
        return x + self.dropout(functional.gelu(self.linear(self.norm(x))))


class Tower(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.layers = nn.ModuleList([Block(dropout)])
        self.head = nn.Linear(WIDTH, 4)

    def blocks(self):
        return list(self.layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return functional.normalize(self.head(x), dim=-1)


class ToyModel(nn.Module):
    """Used only through its methods, as dual encoders are."""

    def __init__(self, dropout):
        super().__init__()
        self.video, self.text = Tower(dropout), Tower(dropout)
        self.unused = nn.Parameter(torch.ones(3))  # as places in time that no clip is long enough to reach

    def encode_video(self, video):
        return self.video(video)

    def encode_text(self, text):
        return self.text(text)


@dataclass(frozen=True)
class ToyTask:
    """Contrastive; a process that is rank `signal_rank` gets the signal `signal_at[1]` in its update `signal_at[0]`."""

    num_samples: int = 22
    not_a_number: int | None = None
    broken: int | None = None
    signal_at: tuple[int, int] | None = None
    signal_rank: int = 0

    def samples(self, split):
        if split == "train":
            return ToySamples(self.num_samples, not_a_number=self.not_a_number, broken=self.broken)
        return ToySamples(7, noise=0.0)

    def collate(self, samples):
        indices, video, text = zip(*samples, strict=True)
        return ToyBatch(torch.stack(video), torch.stack(text), tuple(f"pair {index}" for index in indices))

    def encode(self, model, batch):
        update = next(UPDATES)
        if self.signal_at and self.signal_at[0] == update and os.environ.get("RANK", "0") == str(self.signal_rank):
            os.kill(os.getpid(), self.signal_at[1])
        return {"video": model.encode_video(batch.video), "text": model.encode_text(batch.text)}

    def loss(self, rows):
        logits = rows["video"] @ rows["text"].T / 0.1
        target = torch.arange(len(logits))
        total = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
        return Loss(total, {"contrast": float(total.detach())})

    def answer(self, model, batch):
        similar = (model.encode_video(batch.video) * model.encode_text(batch.text)).sum(dim=-1)
        return [(name, float(value)) for name, value in zip(batch.names, similar, strict=True)]

    def score(self, answers, split):
        return {"similarity": sum(value for _, value in answers) / len(answers), "answers": len(answers)}


OPTIM = Optim(lr=0.02, weight_decay=0.1, schedule="cosine", warmup_steps=3, clip_norm=1.0)
TRAIN = Train(
    global_batch=4, steps=12, seed=3, workers=0, log_every=1, save_every=3, keep_last=2, ema_decay=0.9,
    evaluate_every=5, keep_best="similarity",
)  # fmt: skip


def train_toy(
    run_dir: Path,
    settings: Train = TRAIN,
    *,
    task: ToyTask = ToyTask(),
    watch: ToyTask = ToyTask(),
    dropout: float = 0.2,
    optim: Optim = OPTIM,
    killed_in: str | None = None,
    on_best: Callable[[Any, dict[str, float]], None] | None = None,
) -> TrainResult:
    """Train the toy; SIGKILL comes in the function `killed_in` of playhead.train.checkpoint."""
    torch.manual_seed(1)
    if killed_in is not None:
        setattr(checkpoint, killed_in, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    return train(ToyModel(dropout), task, optim, settings, run_dir, watch=watch, on_best=on_best)


def launch(function: Callable[..., Any], *arguments: Any, ranks: int = 1, **options: Any) -> list[Any]:
    """Call `function(*arguments, **options)` in `ranks` processes that form one world; return their answers.

    The answer of a process that raised is its exception, of one that was killed the negative signal number.
    """
    template = _template()
    template.send((partial(function, *arguments, **options), ranks))
    return template.recv()


@cache
def _template() -> Any:
    """Start the process whose forks the ranks are; it has imported everything, so a rank starts in milliseconds.

    (multiprocessing's own fork server imports what the first of its users asked for, which may be another test.)
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    context.Process(target=_fork_ranks, args=(there,)).start()
    there.close()
    atexit.register(here.close)  # which ends the process
    return here


def _fork_ranks(requests: Any) -> None:
    importlib.import_module("torch._dynamo")  # the optimiser would
    while True:
        try:
            function, ranks = requests.recv()
        except EOFError:
            return
        requests.send(_run_ranks(function, ranks))


def _run_ranks(function: Callable[[], Any], ranks: int) -> list[Any]:
    context = multiprocessing.get_context("fork")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(ranks)]
    processes = [
        context.Process(target=_be_rank, args=(rank, ranks, port, pipes[rank][1], function)) for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for _, writing in pipes:
        writing.close()
    return [_answer_of(process, pipe[0]) for process, pipe in zip(processes, pipes, strict=True)]


def _be_rank(rank, ranks, port, pipe, function):
    torch.set_num_threads(1)
    if ranks > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        pipe.send(function())
    except Exception as error:  # whatever it is, the test that launched it judges it
        traceback.print_exc()
        pipe.send(error)


def _answer_of(process, pipe):
    try:
        answer = pipe.recv() if pipe.poll(LAUNCH_SECONDS) else TimeoutError("a rank hangs")
    except EOFError:
        answer = None
    process.join(5 if isinstance(answer, TimeoutError) else LAUNCH_SECONDS)
    if process.is_alive():
        process.kill()
    return process.exitcode if answer is None else answer


def everything(run_dir: Path) -> dict[str, Any]:
    """Return all that a run left behind, but for times: tensors of the last checkpoint, its progress, the log."""
    path = latest(run_dir)
    assert path is not None
    log = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    timed = ("time", "clips_per_second", "data_wait", "mfu", "memory_gib")
    return {
        "progress": json.loads((path / "progress.json").read_text()),
        "log": [{key: value for key, value in record.items() if key not in timed} for record in log],
        "tensors": tensors_in(path),
        "folders": sorted(entry.name for entry in (run_dir / "checkpoints").iterdir()),
    }


def tensors_in(path: Path) -> dict[str, Tensor]:
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    whole = path.parent.parent / "whole.pt"
    dcp_to_torch_save(path, whole)
    return torch.load(whole, weights_only=True)
