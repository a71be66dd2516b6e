"""Ranks: how they meet, how a model is spread over them, and how rows are gathered with their true gradient."""

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from playhead.errors import RecipeError
from playhead.train.config import Train
from playhead.train.recompute import recompute

Kind = Literal["none", "ddp", "fsdp", "hsdp"]

SHARDED: tuple[Kind, ...] = ("fsdp", "hsdp")
"""Kinds in which no rank has all of the weights."""

# A group must not be freed by the DDP module that used it, which would hold Python's lock while it waits for gloo's
# threads, which may themselves wait for that lock. Kept here until the process ends, it never is.
_groups_left: list[Any] = []


@dataclass(frozen=True, slots=True)
class World:
    """This process among all processes of the run: `rank` of `size`, and the device it works on."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this rank writes files and talks to the user."""
        return self.rank == 0


def setup() -> World:
    """Join the other ranks if torchrun started this process; otherwise the world is this process alone."""
    has_gpu = torch.cuda.is_available()
    if "WORLD_SIZE" not in os.environ:
        return World(device=torch.device("cuda" if has_gpu else "cpu"))
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo")
    return World(dist.get_rank(), dist.get_world_size(), device)


def teardown() -> None:
    """Leave the other ranks; safe to call where there are none."""
    if dist.is_initialized():
        _groups_left.append(dist.group.WORLD)
        dist.destroy_process_group()


@contextmanager
def joined(world: World | None) -> Iterator[World]:
    """Yield `world`, or the one that `setup` finds, which is left again at the end."""
    if world is not None or dist.is_initialized():
        yield world or setup()
        return
    try:
        yield setup()
    finally:
        teardown()


class Step(nn.Module):
    """A model whose every use is one call of forward, which is where DDP and FSDP do their part.

    Tasks call methods of a model (`encode_video`, `encode_text`), whose parameters would then never be gathered or
    reduced. So `step(task.encode, batch)` runs `task.encode(model, batch)`.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[Any, Any], Any], batch: Any) -> Any:
        """Return `work(model, batch)`."""
        return work(self.model, batch)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Return the transformer blocks of every tower: whatever submodules with a method `blocks()` list.

    These are the units of FSDP, compile and activation checkpointing; see `types.VideoEncoder`. A model without such
    towers is one unit.
    """
    towers = [module for module in model.modules() if inspect.ismethod(getattr(module, "blocks", None))]
    return list(dict.fromkeys(block for tower in towers for block in tower.blocks()))  # pyright: ignore[reportCallIssue]


def parallel_kind(settings: Train, world: World) -> Kind:
    """Return how this run is spread.

    Raises:
        RecipeError: the settings ask for ranks that are not there, or for none where there are several.
    """
    if settings.parallel == "auto":
        return "ddp" if world.size > 1 else "none"
    if settings.parallel == "none" and world.size > 1:
        raise RecipeError(
            f"train.parallel is 'none', but there are {world.size} ranks; take 'auto', 'ddp', 'fsdp' or 'hsdp'."
        )
    if settings.parallel != "none" and not dist.is_initialized():
        raise RecipeError(
            f"train.parallel is {settings.parallel!r}, but this process is alone; start it with "
            "`torchrun --nproc-per-node N` or set train.parallel to 'auto'."
        )
    return settings.parallel


def spread(model: nn.Module, settings: Train, world: World, units: Sequence[nn.Module] | None = None) -> nn.Module:
    """Return `Step(model)`, ready to be called on this rank; all ranks get the weights of rank 0.

    `units` are the blocks that are recomputed, compiled and sharded one by one (default: `blocks_of(model)`). With
    FSDP2 the parameters of `model` itself become sharded tensors; names never change.

    Raises:
        RecipeError: the kind does not fit the ranks.
    """
    units = blocks_of(model) if units is None else units
    for unit in units[:: settings.checkpoint_every] if settings.checkpoint_activations else ():
        recompute(unit, settings.checkpoint_keeps)
    for unit in units if settings.compile else ():
        unit.compile()
    kind, step = parallel_kind(settings, world), Step(model)
    if kind == "ddp":
        # Searching for unused parameters lets a task use one tower only. It also keeps DDP from rearranging its
        # buckets after the first step, after which three and more ranks would sum in another order than a resumed run.
        return DistributedDataParallel(step, find_unused_parameters=True, gradient_as_bucket_view=True)
    if kind in SHARDED:
        mesh = _nodes_by_ranks(world) if kind == "hsdp" else None  # None: one line of all ranks
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor.detach(), src=0)
        for module in [*units, step]:
            # Without resharding, weights lent for evaluation would stay in use.
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
    return step


def _nodes_by_ranks(world: World) -> DeviceMesh:
    """Return the ranks as a grid, one line per node: lines hold copies of each other, a line shares one copy.

    Raises:
        RecipeError: the nodes have different numbers of ranks, or do not number theirs in a row.
    """
    own = os.environ.get("LOCAL_WORLD_SIZE", "unset"), os.environ.get("LOCAL_RANK", "unset")
    found = gather_objects(own)
    inside = max(1, int(found[0][0])) if found[0][0].isdecimal() else 1
    if found != [(str(inside), str(rank % inside)) for rank in range(world.size)] or world.size % inside:
        told = ", ".join(f"rank {rank}: {local} of {size}" for rank, (size, local) in enumerate(found))
        raise RecipeError(
            "train.parallel 'hsdp' needs the same number of ranks on each node, numbered in a row, as torchrun starts "
            f"them; LOCAL_RANK of LOCAL_WORLD_SIZE is {told}. Start it so, or take 'fsdp'."
        )
    grid = world.size // inside, inside
    mesh = init_device_mesh(world.device.type, grid, mesh_dim_names=("replicate", "shard"))
    _groups_left.extend(mesh.get_all_groups())
    return mesh


def unwrapped(step: nn.Module) -> Step:
    """Return the `Step` itself, without DDP around it."""
    inner = step.module if isinstance(step, DistributedDataParallel) else step
    if not isinstance(inner, Step):
        raise ValueError(f"expected what `spread` returns, got {type(step).__name__}.")
    return inner


def gather_rows(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the rows of all ranks, rank after rank, equal on every rank; ranks may have different numbers of rows.

    If every rank then computes the same loss of all rows, the gradients that DDP or FSDP2 average over ranks are the
    true gradients of that loss: each rank's own slice comes back times the number of ranks, which the averaging takes
    away again. (The released EgoVLP gathers without that factor: its gradients are the true ones over the number of
    ranks.) Integer and boolean rows are gathered without gradient.

    Raises:
        ValueError: the ranks disagree on a row's shape beyond its first axis.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    sizes = _shapes_of_all_ranks(rows)
    return {name: _gather(tensor, [int(size[i]) for size in sizes]) for i, (name, tensor) in enumerate(rows.items())}


def in_fp32(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the rows with halves widened: losses are computed in float32."""
    halves = (torch.bfloat16, torch.float16)
    return {name: row.float() if row.dtype in halves else row for name, row in rows.items()}


def _shapes_of_all_ranks(rows: dict[str, Tensor]) -> list[list[int]]:
    """Return each rank's row counts, then widths; ranks that disagree learn it here and not by waiting for ever."""
    device = next(iter(rows.values())).device
    widths = [int(tensor[:1].numel()) if len(tensor) else -1 for tensor in rows.values()]
    mine = torch.tensor([len(tensor) for tensor in rows.values()] + widths, device=device)
    everyone = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, mine)
    table = [one.tolist() for one in everyone]
    for i, name in enumerate(rows):
        if len(found := {line[len(rows) + i] for line in table} - {-1}) > 1:
            raise ValueError(f"rows {name!r} have {sorted(found)} values each on different ranks; make them equal.")
    return table


def _gather(tensor: Tensor, counts: list[int]) -> Tensor:
    if tensor.is_floating_point():
        return _GatherWithGradient.apply(tensor, counts)  # pyright: ignore[reportReturnType]
    return _all_gather(tensor, counts)


def _all_gather(tensor: Tensor, counts: list[int]) -> Tensor:
    # Collectives want equal sizes: short ranks pad, and the padding is cut off again. Booleans travel as bytes.
    longest = max(counts)
    is_bool = tensor.dtype == torch.bool
    sent = tensor.detach().to(torch.uint8) if is_bool else tensor.detach()
    padded = sent.new_zeros((longest, *sent.shape[1:]))
    padded[: len(sent)] = sent
    everyone = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(everyone, padded)
    whole = torch.cat([part[:count] for part, count in zip(everyone, counts, strict=True)])
    return whole.bool() if is_bool else whole


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return _all_gather(tensor, counts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        first = sum(ctx.counts[: dist.get_rank()])
        return gradient[first : first + ctx.counts[dist.get_rank()]] * dist.get_world_size(), None


def any_rank(*flags: bool | Tensor, device: torch.device) -> list[bool]:
    """Return for each flag whether it is set on any rank: one small collective, and the one wait of a step."""
    both = torch.stack([torch.as_tensor(flag, device=device).float() for flag in flags])
    if dist.is_initialized():
        dist.all_reduce(both, op=dist.ReduceOp.MAX)
    return [value > 0 for value in both.tolist()]


def gather_objects(own: Any) -> list[Any]:
    """Return the picklable objects of all ranks, in rank order."""
    if not dist.is_initialized():
        return [own]
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, own)
    return everyone


def whole(tensor: Tensor) -> Tensor:
    """Return the full tensor of a sharded one (all ranks must ask), and any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gradient_norm(model: nn.Module, clip_norm: float | None) -> Tensor:
    """Return the global 2-norm of the gradient before clipping, and scale it down to `clip_norm` if it is longer."""
    learning = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm = whole(torch.nn.utils.get_total_norm([p.grad for p in learning if p.grad is not None], foreach=None))
    if clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(learning, clip_norm, norm)
    return norm
