"""The training loop. Read `_loop` from top to bottom: that is all that happens in a run, in its order."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from playhead.data.loading import make_loader, order_of
from playhead.data.reading import Loaded
from playhead.errors import RecipeError, TrainingError
from playhead.train import checkpoint, quarantine
from playhead.train.checkpoint import Progress
from playhead.train.config import Optim, Train
from playhead.train.ema import Ema
from playhead.train.evaluate import autocast, evaluate
from playhead.train.gradient_cache import cached_backward, require_splitting
from playhead.train.intake import Taken, take_in
from playhead.train.log import RunLog
from playhead.train.numerics import computing_as
from playhead.train.optim import learning_rate, make_optimizer, set_learning_rate
from playhead.train.parallel import (
    SHARDED,
    World,
    any_rank,
    gather_objects,
    gather_rows,
    gradient_norm,
    in_fp32,
    joined,
    parallel_kind,
    spread,
    unwrapped,
    whole,
)
from playhead.train.speed import Speed, measured_peak
from playhead.train.stopping import Stop, StopAskedError, stop_on_sigterm
from playhead.train.together import lost_ranks_named, on_first
from playhead.types import Batch, EvalTask, Loss, TrainTask

OnBest = Callable[[Any, dict[str, float]], None]
MOST_NAMES = 8  # samples that an error names
BINDING = ("seed", "global_batch", "precision", "matmul", "ema_decay")
"""Fields of `train` that decide what is computed; those of `optim` all do."""


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
    at the end without `keep_best`. `units` are the blocks of `parallel.spread`. On SIGTERM, to whichever rank, the step
    is finished and saved, and the result says `interrupted`; docs/long_runs.md tells this and every fault.

    Raises:
        RecipeError: the settings contradict each other, the data or the number of ranks.
        TrainingError: loss or gradient is not finite (found before the weights are touched, on all ranks), a worker or
            another rank died, too many samples are broken, a checkpoint cannot be written, or the one in `run_dir` is
            of another run.
        PlayheadError: a sample cannot be read.
    """
    run_dir = Path(run_dir)
    last_checkpoint = partial(checkpoint.latest, run_dir)
    with (
        joined(world) as world,
        lost_ranks_named(world, last_checkpoint),
        computing_as(settings),
        stop_on_sigterm() as stop,
    ):
        run = _Run(model, task, optim, settings, run_dir, _Watch(watch, watch_split, on_best), world, units)
        return _loop(run, stop)


def _loop(run: "_Run", stop: Stop) -> TrainResult:
    task, settings, progress = run.task, run.settings, run.progress
    batches, told = run.batches(), dict[str, float]()
    with run.open_log() as log:
        if progress.owes_evaluation:
            progress = run.settle(progress, log, stop)
        for index in range(progress.step, run.total_steps):
            with run.speed.waiting_for_data():
                taken = take_in(batches, stop)
            progress = run.admit(progress, taken, log)
            if taken.batch is None:
                break
            batch, seed_of = taken.batch, partial(step_seed, settings.seed, index, run.world.rank)
            torch.manual_seed(seed_of())
            rate = run.learning_rate(index)
            set_learning_rate(run.optimizer, rate)

            with run.speed.counting_flops():
                if settings.micro_batch is None:
                    with autocast(run.world.device, settings.precision):
                        own = run.step(task.encode, batch.to(run.world.device))
                    loss = task.loss(in_fp32(gather_rows(own)))
                    loss.total.backward()
                else:
                    own, loss = cached_backward(run.step, task, batch, settings, run.world, seed_of)
            told |= loss.parts  # sources of a mixture take turns: of each the figures of its last step
            norm = gradient_norm(run.model, run.optim.clip_norm)
            _check_finite(index + 1, loss, norm, own, batch)

            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)
            if run.ema is not None:
                run.ema.update(run.model)
            progress = replace(progress, step=index + 1, owes_evaluation=run.evaluation_is_due(index + 1))

            run.speed.step_done()
            log.advance(progress.step)
            if run.is_due(settings.log_every, progress.step):
                speed, broken, loss = run.speed.report(), len(progress.broken), replace(loss, parts=told)
                log.step(progress.step, run.epoch_of(index), loss, rate, float(norm), speed, broken)
            progress = run.settle(progress, log, stop)
    run.save(progress)
    interrupted = progress.step < run.total_steps or progress.owes_evaluation
    return TrainResult(progress.step, progress.metrics, progress.best, progress.best_step, interrupted)


def step_seed(seed: int, step: int, rank: int, part: int = 0) -> int:
    """Return the seed of dropout, and of all else that a model draws, in one step on one rank, in one part of it."""
    return int(np.random.SeedSequence((seed, step, rank, part)).generate_state(1, np.uint64)[0] >> 1)


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
        if settings.micro_batch is not None:
            require_splitting(task)
        self.model, self.task, self.optim, self.settings = model, task, optim, settings
        self.run_dir, self.watch, self.world = run_dir, watch, world
        self.samples = task.samples("train")
        self.order = order_of(self.samples, settings.global_batch, settings.seed)
        self.total_steps = settings.total_steps(self.order.steps_per_epoch)
        self.eval_batch = settings.eval_batch or per_rank

        hands_out_shards = parallel_kind(settings, world) in SHARDED and watch.on_best is not None
        self.unsharded = copy.deepcopy(model).cpu() if hands_out_shards else None
        self.step = spread(model.to(world.device).train(), settings, world, units)
        self.optimizer = make_optimizer(model, optim)
        self.ema = None if settings.ema_decay is None else Ema(model, settings.ema_decay)
        self.progress = self._take_up()
        self.saved = self.progress
        peak = None if settings.compile else measured_peak(world.device, settings.precision)
        self.speed = Speed(settings.global_batch, peak)

    def batches(self) -> Iterator[Loaded]:
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
            replace_broken=self.settings.max_broken > 0,
            sample_timeout=self.settings.sample_timeout,
        )

    def open_log(self) -> RunLog:
        """Go on with the log after the last step that is done."""
        return RunLog(
            self.run_dir,
            first_step=self.progress.step,
            total_steps=self.total_steps,
            tensorboard=self.settings.tensorboard,
            quiet=not self.world.is_first,
            owes_evaluation=self.progress.owes_evaluation,
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

    def admit(self, progress: Progress, taken: Taken, log: RunLog) -> Progress:
        """Count the broken samples of a step; if it cannot be made, save those before it and raise, on all ranks."""
        step, failure = progress.step + 1, taken.failure
        if new := quarantine.new_samples(taken.broken, progress.broken):
            progress = replace(progress, broken=sorted([*progress.broken, *(one.index for one in new)]))
            epoch = self.epoch_of(progress.step)
            on_first(self.world, lambda: quarantine.append(self.run_dir, new, step=step, epoch=epoch))
            log.replaced(step, new)
        count, there_are = len(progress.broken), len(self.samples)
        allowed = self.settings.broken_allowed(there_are)
        if taken.broken and count > allowed:
            failure = quarantine.over_limit(self.run_dir, step, taken.broken[-1], count, allowed, there_are)
        if failure is not None:
            self.save(progress)
            raise failure
        return progress

    def settle(self, progress: Progress, log: RunLog, stop: Stop) -> Progress:
        """Evaluate, hand out and save what is due after a step; a stop asked meanwhile leaves the evaluation owing."""
        if progress.owes_evaluation:
            try:
                progress = self.measure(progress, stop)
            except StopAskedError:
                return progress
            log.metrics(progress.step, progress.metrics)
        if self.is_best(progress):
            self.hand_out(progress)
        if self.is_due(self.settings.save_every, progress.step) or self.is_best(progress):
            self.save(progress)
        return progress

    def measure(self, progress: Progress, stop: Stop) -> Progress:
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
                sample_timeout=self.settings.sample_timeout,
                stop=stop,
            )
        return progress.after_evaluation(metrics, self.settings.keep_best)

    def hand_out(self, progress: Progress) -> None:
        """Call `on_best` on the first rank with whole weights, in evaluation mode."""
        on_best = self.watch.on_best
        if on_best is None:
            return
        with self._averaged_weights():
            given = self.model
            if self.unsharded is not None:
                weights = {name: whole(tensor).cpu() for name, tensor in self.model.state_dict().items()}
                self.unsharded.load_state_dict(weights)
                given = self.unsharded
            on_first(self.world, lambda: on_best(given.eval(), progress.metrics))
        self.step.train()

    def save(self, progress: Progress) -> None:
        """Write a checkpoint, if there is none of this progress yet, and delete those that are no longer kept."""
        if progress == self.saved or progress.step == 0:
            return
        if progress.step == self.saved.step:  # the weights are saved; only what is known of them is new
            on_first(self.world, partial(checkpoint.rewrite_progress, self.run_dir, progress))
        else:
            checkpoint.save(self.run_dir, progress, self.model, self.optimizer, self.ema, self.world)
        self.saved = progress
        keep_last = self.settings.keep_last
        on_first(self.world, partial(checkpoint.prune, self.run_dir, keep_last, progress.best_step))

    def _take_up(self) -> Progress:
        """Fill model, optimiser and average from the newest checkpoint; all ranks take what the first one sees."""
        on_first(self.world, partial(checkpoint.remove_unfinished, self.run_dir))
        newest = on_first(self.world, partial(checkpoint.latest, self.run_dir))
        binding = self._binding_settings()
        progress = Progress(settings=binding)
        if newest is not None:
            defaults = default_settings()
            progress = checkpoint.restore(newest, binding, self.model, self.optimizer, self.ema, defaults)
        on_first(self.world, partial(quarantine.keep_only, self.run_dir, progress.broken))
        return replace(progress, owes_evaluation=progress.owes_evaluation and self.watch.task is not None)

    def _binding_settings(self) -> dict[str, Any]:
        """Return the settings that a run must keep to stay the same run; the number of ranks and workers is free."""
        binding = {f"optim.{name}": value for name, value in asdict(self.optim).items()}
        for name in BINDING:
            binding[f"train.{name}"] = getattr(self.settings, name)
        if self.optim.schedule in ("cosine", "linear"):
            binding["the number of steps"] = self.total_steps
        return binding | {"the number of training samples": self.order.num_samples}

    def _averaged_weights(self) -> AbstractContextManager[None]:
        return nullcontext() if self.ema is None else self.ema.in_place_of(self.model)


def default_settings() -> dict[str, Any]:
    """Return what `_binding_settings` holds of settings that were not set."""
    kinds = {"optim": fields(Optim), "train": [one for one in fields(Train) if one.name in BINDING]}
    return {f"{kind}.{one.name}": one.default for kind in kinds for one in kinds[kind] if one.default is not MISSING}


def _check_finite(step: int, loss: Loss, norm: Tensor, own: dict[str, Tensor], batch: Batch) -> None:
    """Raise on all ranks alike if loss or gradient is not finite on one."""
    broken = ~(torch.isfinite(loss.total.detach()) & torch.isfinite(norm))
    if not any_rank(broken, device=norm.device)[0]:
        return
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
