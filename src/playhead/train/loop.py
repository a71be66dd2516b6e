"""The training loop. Read `_loop` from top to bottom: that is all that happens in a run, in its order."""

import copy
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from playhead.data.loading import EpochOrder, make_loader
from playhead.errors import RecipeError, TrainingError
from playhead.train import checkpoint
from playhead.train.checkpoint import Progress
from playhead.train.config import Optim, Train
from playhead.train.ema import Ema
from playhead.train.evaluate import autocast, evaluate
from playhead.train.log import RunLog
from playhead.train.optim import learning_rate, make_optimizer, set_learning_rate
from playhead.train.parallel import (
    World,
    any_rank,
    gather_objects,
    gather_rows,
    gradient_norm,
    joined,
    parallel_kind,
    spread,
    unwrapped,
    whole,
)
from playhead.train.speed import Speed, measured_peak
from playhead.types import Batch, EvalTask, Loss, TrainTask

OnBest = Callable[[Any, dict[str, float]], None]
MOST_NAMES = 8  # samples that an error names


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended: updates done, last and best evaluation, and whether SIGTERM ended it before its time."""

    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    best_step: int | None = None
    interrupted: bool = False


def train(
    model: nn.Module,
    task: TrainTask,
    optim: Optim,
    settings: Train,
    run_dir: Path,
    *,
    watch: EvalTask | None = None,
    watch_split: str = "val",
    on_best: OnBest | None = None,
    world: World | None = None,
    units: Sequence[nn.Module] | None = None,
) -> TrainResult:
    """Train `model` in place, going on from the newest checkpoint in `run_dir` if there is one.

    Under torchrun all ranks call this alike. `on_best(model, metrics)` is called on the first rank with whole, not
    sharded, weights (the averaged ones if an average is kept) whenever `settings.keep_best` reaches a new best, or once
    at the end without `keep_best`. `units` are the blocks of `parallel.spread`. On SIGTERM the step is finished and
    saved, and the result says `interrupted`.

    Raises:
        RecipeError: the settings contradict each other, the data or the number of ranks.
        TrainingError: loss or gradient is not finite (found before the weights are touched, on all ranks), a worker
            died, or the checkpoint in `run_dir` is of another run.
        PlayheadError: a sample cannot be read.
    """
    with joined(world) as world, _numerics(settings), _stop_on_sigterm() as stop:
        run = _Run(model, task, optim, settings, Path(run_dir), _Watch(watch, watch_split, on_best), world, units)
        return _loop(run, stop)


def _loop(run: "_Run", stop: "_Stop") -> TrainResult:
    task, settings, progress = run.task, run.settings, run.progress
    batches = run.batches()
    with run.open_log() as log:
        for index in range(progress.step, run.total_steps):
            with run.speed.waiting_for_data():
                batch = next(batches).to(run.world.device)
            torch.manual_seed(step_seed(settings.seed, index, run.world.rank))
            rate = run.learning_rate(index)
            set_learning_rate(run.optimizer, rate)

            with run.speed.counting_flops():
                with autocast(run.world.device, settings.precision):
                    own = run.step(task.encode, batch)
                loss = task.loss(_in_fp32(gather_rows(own)))
                loss.total.backward()
            norm = gradient_norm(run.model, run.optim.clip_norm)
            stopping = _finite_or_stop(index + 1, loss, norm, own, batch, stop.asked)

            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)
            if run.ema is not None:
                run.ema.update(run.model)
            progress = replace(progress, step=index + 1)

            run.speed.step_done()
            log.advance(progress.step)
            if run.is_due(settings.log_every, progress.step):
                log.step(progress.step, run.epoch_of(index), loss, rate, float(norm), run.speed.report())
            if run.evaluation_is_due(progress.step):
                progress = run.measure(progress)
                log.metrics(progress.step, progress.metrics)
            if run.is_best(progress):
                run.hand_out(progress)
            if stopping or run.is_due(settings.save_every, progress.step) or run.is_best(progress):
                run.save(progress)
            if stopping:
                break
    interrupted = progress.step < run.total_steps
    return TrainResult(progress.step, progress.metrics, progress.best, progress.best_step, interrupted)


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of dropout, and of all else that a model draws, in one step on one rank."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True, slots=True)
class _Watch:
    """What is measured while training, and who gets the best model."""

    task: EvalTask | None
    split: str
    on_best: OnBest | None


class _Run:
    """The parts of a run, checked and put together, and the pieces of work that the loop names."""

    def __init__(
        self,
        model: nn.Module,
        task: TrainTask,
        optim: Optim,
        settings: Train,
        run_dir: Path,
        watch: _Watch,
        world: World,
        units: Sequence[nn.Module] | None,
    ):
        per_rank = settings.per_rank(world.size)
        if settings.keep_best is not None and watch.task is None:
            raise RecipeError(f"train.keep_best is {settings.keep_best!r}, but nothing is measured; set watch.")
        self.model, self.task, self.optim, self.settings = model, task, optim, settings
        self.run_dir, self.watch, self.world = run_dir, watch, world
        self.samples = task.samples("train")
        self.order = EpochOrder(len(self.samples), settings.global_batch, settings.seed)
        self.total_steps = settings.total_steps(self.order.steps_per_epoch)
        self.eval_batch = settings.eval_batch or per_rank

        hands_out_shards = parallel_kind(settings, world) == "fsdp" and watch.on_best is not None
        self.unsharded = copy.deepcopy(model).cpu() if hands_out_shards else None
        self.step = spread(model.to(world.device).train(), settings, world, units)
        self.optimizer = make_optimizer(model, optim)
        self.ema = None if settings.ema_decay is None else Ema(model, settings.ema_decay)
        self.progress = self._take_up()
        peak = None if settings.compile else measured_peak(world.device, settings.precision)
        self.speed = Speed(settings.global_batch, peak)

    def batches(self) -> Iterator[Batch]:
        """Read from the first step that is not done."""
        return make_loader(
            self.samples,
            self.task.collate,
            self.order,
            first_step=self.progress.step,
            last_step=self.total_steps,
            rank=self.world.rank,
            world_size=self.world.size,
            workers=self.settings.workers,
            prefetch=self.settings.prefetch,
        )

    def open_log(self) -> RunLog:
        """Go on with the log after the last step that is done."""
        return RunLog(
            self.run_dir,
            first_step=self.progress.step,
            total_steps=self.total_steps,
            tensorboard=self.settings.tensorboard,
            quiet=not self.world.is_first,
        )

    def learning_rate(self, index: int) -> float:
        """Return the rate of update `index`, from 0."""
        steps_per_epoch = self.order.steps_per_epoch
        return learning_rate(self.optim, index, total_steps=self.total_steps, steps_per_epoch=steps_per_epoch)

    def epoch_of(self, index: int) -> int:
        """Return the epoch, from 1, that update `index`, from 0, lies in."""
        return index // self.order.steps_per_epoch + 1

    def is_due(self, every: int, step: int) -> bool:
        """Whether something done `every` so many updates, and at the end, is due after `step` updates."""
        return step % every == 0 or step == self.total_steps

    def evaluation_is_due(self, step: int) -> bool:
        """Whether to measure after `step` updates."""
        every = self.settings.evaluate_every or self.order.steps_per_epoch
        return self.watch.task is not None and self.is_due(every, step)

    def is_best(self, progress: Progress) -> bool:
        """Whether the model of this moment is to be handed out: a new best, or the last where none is sought."""
        if self.settings.keep_best is None:
            return progress.step == self.total_steps
        return progress.best_step == progress.step

    def measure(self, progress: Progress) -> Progress:
        """Evaluate and return the progress with its metrics."""
        assert self.watch.task is not None, "evaluation_is_due says no without a task"
        with self._averaged_weights():
            metrics = evaluate(
                unwrapped(self.step),
                self.watch.task,
                self.watch.split,
                world=self.world,
                batch_size=self.eval_batch,
                workers=self.settings.workers,
                precision=self.settings.precision,
            )
        return progress.after_evaluation(metrics, self.settings.keep_best)

    def hand_out(self, progress: Progress) -> None:
        """Call `on_best` on the first rank with whole weights, in evaluation mode."""
        if self.watch.on_best is None:
            return
        with self._averaged_weights():
            given = self.model
            if self.unsharded is not None:
                weights = {name: whole(tensor).cpu() for name, tensor in self.model.state_dict().items()}
                self.unsharded.load_state_dict(weights)
                given = self.unsharded
            if self.world.is_first:
                given.eval()
                self.watch.on_best(given, progress.metrics)
        self.step.train()

    def save(self, progress: Progress) -> None:
        """Write a checkpoint and delete those that are no longer kept."""
        checkpoint.save(self.run_dir, progress, self.model, self.optimizer, self.ema, self.world)
        if self.world.is_first:
            checkpoint.prune(self.run_dir, self.settings.keep_last, progress.best_step)

    def _take_up(self) -> Progress:
        """Fill model, optimiser and average from the newest checkpoint; all ranks take what the first one sees."""
        if self.world.is_first:
            checkpoint.remove_unfinished(self.run_dir)
        newest = gather_objects(checkpoint.latest(self.run_dir) if self.world.is_first else None)[0]
        if newest is None:
            return Progress(settings=self._binding_settings())
        return checkpoint.restore(newest, self._binding_settings(), self.model, self.optimizer, self.ema)

    def _binding_settings(self) -> dict[str, Any]:
        """Return the settings that a run must keep to stay the same run; the number of ranks and workers is free."""
        binding = {f"optim.{name}": value for name, value in asdict(self.optim).items()}
        for name in ("seed", "global_batch", "precision", "matmul", "ema_decay"):
            binding[f"train.{name}"] = getattr(self.settings, name)
        if self.optim.schedule in ("cosine", "linear"):
            binding["the number of steps"] = self.total_steps
        return binding | {"the number of training samples": self.order.num_samples}

    def _averaged_weights(self) -> AbstractContextManager[None]:
        return nullcontext() if self.ema is None else self.ema.in_place_of(self.model)


def _in_fp32(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    halves = (torch.bfloat16, torch.float16)
    return {name: row.float() if row.dtype in halves else row for name, row in rows.items()}


def _finite_or_stop(
    step: int, loss: Loss, norm: Tensor, own: dict[str, Tensor], batch: Batch, stop_asked: bool
) -> bool:
    """Return whether any rank was asked to stop; raise on all ranks alike if loss or gradient is not finite on one."""
    broken = ~(torch.isfinite(loss.total.detach()) & torch.isfinite(norm))
    is_broken, stopping = any_rank(broken, stop_asked, device=norm.device)
    if not is_broken:
        return stopping
    guilty = [name for names in gather_objects(_names_of_broken_rows(own, batch)) for name in names]
    everyone = [name for names in gather_objects(batch.names) for name in names]
    names = list(dict.fromkeys(guilty or everyone))
    shown = ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")
    which = "The rows of these samples are not finite" if guilty else "Every row is finite; the samples of the step are"
    raise TrainingError(
        f"step {step}: the loss is {float(loss.total.detach()):.4g} and the gradient's norm {float(norm):.4g}; stopped "
        f"before the update, the last checkpoint is sound. {which}: {shown}. Look at them, or lower optim.lr or set "
        "optim.clip_norm."
    )


def _names_of_broken_rows(own: dict[str, Tensor], batch: Batch) -> list[str]:
    names = []
    for rows in own.values():
        if rows.is_floating_point() and len(rows) == len(batch.names):
            is_finite = torch.isfinite(rows.detach()).flatten(1).all(dim=1) if rows.ndim > 1 else torch.isfinite(rows)
            names += [name for name, sound in zip(batch.names, is_finite.tolist(), strict=True) if not sound]
    return names


@contextmanager
def _numerics(settings: Train) -> Iterator[None]:
    """Set how torch computes, for this run only."""
    before = torch.get_float32_matmul_precision(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_float32_matmul_precision(settings.matmul)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may choose by timing
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.set_num_threads(before[1])
        torch.use_deterministic_algorithms(before[2])


@dataclass(slots=True)
class _Stop:
    """Whether the run was asked to end."""

    asked: bool = False


@contextmanager
def _stop_on_sigterm() -> Iterator[_Stop]:
    """Let SIGTERM, by which batch systems announce the end, ask for a stop in place of killing the process."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield stop
        return

    def ask(*_: object) -> None:
        stop.asked = True

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
