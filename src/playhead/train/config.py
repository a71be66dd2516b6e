"""The settings of a step and of a run; their contradictions are errors before anything starts."""

from dataclasses import dataclass
from typing import Literal

from playhead.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class Optim:
    """AdamW and its learning rate over time.

    Raises:
        RecipeError: a value is out of its range, or a schedule is given what it does not use.
    """

    lr: float
    """Learning rate; what the schedule starts from after warm-up."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of Adam's two running means."""
    eps: float = 1e-8
    """Adam's epsilon; EgoVLP's optimiser used 1e-6."""
    weight_decay: float = 0.0
    """How much the weights that decay shrink per step, as a share of the rate."""
    decayed: Literal["matrices", "all_but_biases_and_norms"] = "matrices"
    """What decays: weight matrices outside of embeddings, or also embeddings and other tables, as released VSLNet."""
    layer_decay: float | None = None
    """Each block learns at this share of the rate of the block after it, what comes before the blocks at that of the
    first, what comes after them at the full rate; unset has one rate. For fine-tuning, 0.65 to 0.9."""
    schedule: Literal["constant", "cosine", "linear", "step", "egovlp_released"] = "constant"
    """"cosine" and "linear" fall to `min_lr` at the last step; "step" multiplies the rate by `gamma` every
    `step_epochs` epochs; "egovlp_released" is the released trainers' hidden jump: `lr` in the first epoch, 2e-4 from
    the second on, a tenth of it after epochs 60 and 80 each."""
    warmup_steps: int = 0
    """Steps over which the rate rises in a line from 0."""
    warmup_epochs: int = 0
    """The same in epochs; excludes `warmup_steps`."""
    warmup_start: float | None = None
    """Rate of the very first update of the warm-up, whose last one has `lr`, as VideoMAE's schedule (0 there); unset
    starts one part of the way up."""
    min_lr: float = 0.0
    """Where "cosine" and "linear" end."""
    step_epochs: int = 1
    """Epochs between two falls of "step"."""
    gamma: float = 0.1
    """Factor of each fall of "step"."""
    clip_norm: float | None = None
    """Largest global norm of the gradient; unset leaves it as it is."""

    def __post_init__(self):
        _require(self.lr > 0, f"optim.lr must be above 0, got {self.lr}.")
        _require(all(0 <= beta < 1 for beta in self.betas), f"optim.betas must lie in [0, 1), got {self.betas}.")
        _require(self.eps > 0, f"optim.eps must be above 0, got {self.eps}.")
        _require(self.weight_decay >= 0, f"optim.weight_decay must not be negative, got {self.weight_decay}.")
        for name in ("warmup_steps", "warmup_epochs"):
            _require(getattr(self, name) >= 0, f"optim.{name} must not be negative, got {getattr(self, name)}.")
        _require(
            min(self.warmup_steps, self.warmup_epochs) == 0,
            f"give optim.warmup_steps or optim.warmup_epochs, not both: {self.warmup_steps}, {self.warmup_epochs}.",
        )
        _require(
            self.warmup_start is None or 0 <= self.warmup_start <= self.lr,
            f"optim.warmup_start must lie in [0, lr = {self.lr}], got {self.warmup_start}.",
        )
        _require(
            self.layer_decay is None or 0 < self.layer_decay <= 1,
            f"optim.layer_decay must lie in (0, 1], got {self.layer_decay}; leave it unset for one rate.",
        )
        _require(
            self.clip_norm is None or self.clip_norm > 0,
            f"optim.clip_norm must be above 0, got {self.clip_norm}; leave it unset for no clipping.",
        )
        _require(0 <= self.min_lr <= self.lr, f"optim.min_lr must lie in [0, lr = {self.lr}], got {self.min_lr}.")
        _require(
            self.schedule in ("cosine", "linear") or self.min_lr == 0,
            f"optim.min_lr is {self.min_lr}, but only schedule='cosine' and 'linear' end there; the schedule is "
            f"{self.schedule!r}.",
        )
        _require(self.step_epochs > 0, f"optim.step_epochs must be above 0, got {self.step_epochs}.")
        _require(0 < self.gamma <= 1, f"optim.gamma must lie in (0, 1], got {self.gamma}.")
        _require(
            self.schedule != "egovlp_released" or self.warmup_steps + self.warmup_epochs == 0,
            "optim.warmup_steps must be 0 with schedule='egovlp_released', which has no warm-up.",
        )


@dataclass(frozen=True, kw_only=True)
class Train:
    """How long a run is, how much it takes at once, how precise it is, and what it keeps.

    Raises:
        RecipeError: a value is out of its range, or two settings contradict each other.
    """

    global_batch: int
    """Samples per step over all ranks; each rank takes an equal part."""
    epochs: int | None = None
    """Passes over the data; give this or `steps`."""
    steps: int | None = None
    """Steps of the whole run; give this or `epochs`."""
    seed: int = 0
    """Where the order of the data, augmentation and dropout come from."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """"bf16" encodes under autocast; weights, loss and optimiser stay fp32."""
    matmul: Literal["highest", "high", "medium"] = "highest"
    """`torch.set_float32_matmul_precision`; "medium" is about twice as fast on CPUs at fp32 accuracy, except where they
    have AMX and on GPUs: there it really computes in bf16."""
    compile: bool = False
    """Compile each block with torch.compile."""
    checkpoint_activations: bool = False
    """Recompute each block in the backward pass: less memory for about a sixth more time."""
    checkpoint_every: int = 1
    """Recompute only the first and then each so manieth block: 2 saves half as much and costs half as much."""
    checkpoint_keeps: Literal["nothing", "products"] = "nothing"
    """What of a recomputed block is kept all the same: with "products" the results of its matrix products and
    attention, so that only the cheap rest is done again; saves less."""
    deterministic: bool = False
    """Refuse GPU kernels that depend on thread timing, so that a resumed run is bit-identical there too; CPUs are
    without it."""
    parallel: Literal["auto", "none", "ddp", "fsdp", "hsdp"] = "auto"
    """How ranks share the work: whole copies (ddp), weights sharded over all ranks (fsdp, FSDP2), or sharded over the
    ranks of a node and copied from node to node (hsdp); "auto" is ddp as soon as there are two ranks."""
    workers: int = 2
    """Processes per rank that read samples; 0 reads in the main process."""
    prefetch: int = 2
    """Batches that each worker reads ahead."""
    max_broken: int | float = 0
    """How many different training samples may turn out broken, as a number or (with a point) as a share of all: each is
    named in quarantine.jsonl and another is read in its place. One more ends the run; 0 ends it at the first."""
    sample_timeout: float | None = None
    """Seconds that the reading of one sample may take, after which its worker is ended and the sample is broken; unset
    waits for ever. Needs `workers`."""
    log_every: int = 10
    """Steps between lines of the log."""
    save_every: int = 500
    """Steps between checkpoints; one is always made at the end."""
    evaluate_every: int | None = None
    """Steps between evaluations; unset evaluates after each epoch. The end is always evaluated."""
    micro_batch: int | None = None
    """Clips that a rank encodes at once, for a global batch that would not fit into memory: same gradient, for one more
    forward pass (cached embeddings). Neighbours count as clips. Unset encodes the rank's whole batch at once."""
    eval_batch: int | None = None
    """Samples per rank and evaluation batch; unset takes the training batch of a rank."""
    keep_best: str | None = None
    """Metric whose best checkpoint is kept and handed out, the highest or, with a minus before its name ("-pnr/error"),
    the lowest; unset hands out the last."""
    keep_last: int = 2
    """Checkpoints kept besides the best."""
    ema_decay: float | None = None
    """Decay of the running average of the weights, which is then what is evaluated; unset keeps none."""
    tensorboard: bool = False
    """Write TensorBoard files beside log.jsonl (needs `playhead[log]`)."""
    threads: int | None = None
    """Threads of the main process; unset leaves torch's own number."""

    def __post_init__(self):
        _require(
            (self.epochs is None) != (self.steps is None),
            f"give train.epochs or train.steps, and only one: epochs is {self.epochs}, steps is {self.steps}.",
        )
        for name in ("global_batch", "log_every", "save_every", "keep_last", "prefetch", "checkpoint_every"):
            _require(getattr(self, name) > 0, f"train.{name} must be above 0, got {getattr(self, name)}.")
        for name in ("epochs", "steps", "evaluate_every", "micro_batch", "eval_batch", "threads"):
            value = getattr(self, name)
            _require(value is None or value > 0, f"train.{name} must be above 0, got {value}.")
        _require(
            self.checkpoint_activations or (self.checkpoint_every, self.checkpoint_keeps) == (1, "nothing"),
            f"train.checkpoint_every {self.checkpoint_every} and train.checkpoint_keeps {self.checkpoint_keeps!r} say "
            "how blocks are recomputed, but none is; set train.checkpoint_activations.",
        )
        _require(self.workers >= 0, f"train.workers must not be negative, got {self.workers}.")
        _require(
            self.max_broken >= 0 and (isinstance(self.max_broken, int) or self.max_broken <= 1),
            f"train.max_broken must be a number of samples (10) or a share of them (0.01), got {self.max_broken}.",
        )
        _require(
            self.sample_timeout is None or self.sample_timeout > 0,
            f"train.sample_timeout must be above 0, got {self.sample_timeout}; leave it unset to wait for ever.",
        )
        _require(
            self.sample_timeout is None or self.workers > 0,
            "train.sample_timeout needs train.workers above 0: what stalls in the main process cannot be ended.",
        )
        _require(self.seed >= 0, f"train.seed must not be negative, got {self.seed}.")
        _require(
            self.ema_decay is None or 0 < self.ema_decay < 1,
            f"train.ema_decay must lie between 0 and 1, got {self.ema_decay}.",
        )

    def per_rank(self, world_size: int) -> int:
        """Return the samples per step of one rank.

        Raises:
            RecipeError: the global batch does not divide by the number of ranks.
        """
        _require(
            self.global_batch % world_size == 0,
            f"train.global_batch {self.global_batch} does not divide by {world_size} ranks; change one of the two.",
        )
        return self.global_batch // world_size

    def broken_allowed(self, num_samples: int) -> int:
        """Return how many of so many samples may be broken."""
        return int(self.max_broken if isinstance(self.max_broken, int) else self.max_broken * num_samples)

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the steps of the whole run."""
        return self.steps if self.steps is not None else (self.epochs or 0) * steps_per_epoch


def metric_value(metrics: dict[str, float], name: str) -> float:
    """Return a metric so that higher is better: "-pnr/error" is minus "pnr/error".

    Raises:
        RecipeError: there is no such metric.
    """
    bare = name.removeprefix("-")
    if bare not in metrics:
        raise RecipeError(
            f"metric {name!r} asked for, but what is measured is {', '.join(sorted(metrics)) or 'nothing'}."
        )
    return -metrics[bare] if name.startswith("-") else metrics[bare]


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise RecipeError(problem)
