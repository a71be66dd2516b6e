"""EgoNCE and InfoNCE of very many pairs: blocks of rows, and a gradient written down instead of recorded.

With z = video text^T / temperature and P(i) the positives of row i, a term of the loss and its derivative are

    log sum_k exp z[i, k]  -  log sum_{k in P(i)} exp z[i, k]
    dL/dz[i, k] = (softmax(z[i, :])[k] - softmax(z[i, P(i)])[k]) / N

and the same over columns. So two passes over blocks of rows suffice: the first adds up rows and columns, the second
forms the derivative of one block and multiplies it with video and text before the next block takes its place. What
lives of N x N numbers is one block, and those of the first pass that fit into 128 MiB: the second need not compute them
again. Positives are lists (`action_lists`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from playhead.objectives.action_lists import ActionLists, only_own

BLOCK_NUMBERS = {"cpu": 2**21, "cuda": 2**26}  # logits of a block: what a CPU's cache holds, what fills a GPU
KEPT_NUMBERS = 2**25  # exponentials that the second pass finds ready
LEAST_ROWS = 256  # fewer rows per block make the matrix products slow
WIDEST_IN_FP32, WIDEST = 40.0, 350.0  # largest |z| whose exp(z - |z|) keeps all its digits in fp32, in fp64


class Contrast(NamedTuple):
    """A loss with gradient, and how often a clip is nearest to one of its positives (no gradient)."""

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, ""]


def blockwise_ego_nce(
    video: Float[Tensor, "N E"],
    text: Float[Tensor, "N E"],
    positives: ActionLists,
    *,
    temperature: float = 0.05,
    block_rows: int | None = None,
    bf16_products: bool = False,
) -> Contrast:
    """Return `ego_nce` of the same rows and positives, and its gradient, without an N x N tensor.

    Rows are unit length, or so short that no |z| reaches 350. Logits are float32 at least, inside autocast too, unless
    `bf16_products` asks for matrix products in bf16: about 1e-3 from the loss, 1e-2 from the gradient. `block_rows` is
    how many clips are held against all texts at once (default: by device and N); the answer does not depend on it.
    A clip that is as near to a positive as to its nearest other text counts as right in `accuracy`.

    The gradient is computed and not recorded, so it has no derivative itself: asking for one (`create_graph=True`) is a
    RuntimeError.

    Raises:
        ValueError: `positives` are of another number of rows, a number is not above zero, or |z| could pass 350.

    Source: EgoVLP (Lin et al., 2022), Eq. 1-2, read as in `ego_nce`.
    """
    if temperature <= 0:
        raise ValueError(f"`temperature` must be above zero, got {temperature}.")
    if block_rows is not None and block_rows <= 0:
        raise ValueError(f"`block_rows` must be above zero, got {block_rows}.")
    if len(positives) != len(video):
        raise ValueError(f"`positives` are of {len(positives)} rows, video and text of {len(video)}.")
    dtype = torch.promote_types(torch.promote_types(video.dtype, text.dtype), torch.float32)
    widest = _widest(video.detach(), text.detach()) / temperature
    if WIDEST < widest < math.inf:
        raise ValueError(
            f"logits may reach {widest:.0f}, above {WIDEST:.0f}: rows are not of unit length or temperature "
            f"{temperature} is too low for blocks; normalise the rows, or use `ego_nce`."
        )
    if block_rows is None:
        block_rows = max(LEAST_ROWS, BLOCK_NUMBERS.get(video.device.type, BLOCK_NUMBERS["cuda"]) // max(1, len(video)))
    how = _How(positives, 1 / temperature, widest, min(block_rows, len(video)), bf16_products)
    return Contrast(*_Blockwise.apply(video.to(dtype), text.to(dtype), how))  # pyright: ignore[reportGeneralTypeIssues]


def blockwise_info_nce(
    video: Float[Tensor, "N E"],
    text: Float[Tensor, "N E"],
    *,
    temperature: float = 0.05,
    block_rows: int | None = None,
    bf16_products: bool = False,
) -> Contrast:
    """Return `info_nce` of the same rows, as `blockwise_ego_nce` does, which see; the only positive is a clip's own.

    Raises:
        ValueError: a number is not above zero, or |z| could pass 350.

    Source: `NormSoftmaxLoss` of Frozen in Time (Bain et al., 2021), Eq. 1-3.
    """
    own = only_own(len(video), video.device)
    return blockwise_ego_nce(
        video, text, own, temperature=temperature, block_rows=block_rows, bf16_products=bf16_products
    )


@dataclass(frozen=True, slots=True)
class _How:
    """`shift` is no less than any logit, so exp(z - shift) never overflows and one exponential serves row and column.

    It is fixed, since unit rows bound all logits: no running maximum is needed, and sums over blocks simply add up.
    """

    positives: ActionLists
    scale: float
    shift: float
    block_rows: int
    bf16_products: bool


class _Block(NamedTuple):
    """Rows `rows` against all texts: exp(z - shift), and the places of its positives."""

    rows: slice
    weights: Float[Tensor, "R N"]
    places: Tensor

    def positives(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return for each positive its weight, its row in the block and its column."""
        num_rows = self.weights.shape[1]
        return self.weights.view(-1)[self.places], self.places // num_rows, self.places % num_rows


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, video: Tensor, text: Tensor, how: _How) -> tuple[Tensor, Tensor]:
        # Sums in float64: they are N numbers, and a sum over blocks must not depend on where blocks end.
        row, row_own, column, column_own = torch.zeros(4, len(video), dtype=torch.float64, device=video.device)
        hit = torch.zeros(len(video), dtype=torch.bool, device=video.device)
        kept: list[Tensor] = []
        for block in _blocks(video, text, how):
            pulled, row_of, column_of = block.positives()
            row[block.rows] = block.weights.sum(dim=1).double()
            column += block.weights.sum(dim=0)
            row_own[block.rows].index_add_(0, row_of, pulled.double())
            column_own.index_add_(0, column_of, pulled.double())
            hit[block.rows.start + row_of[pulled == block.weights.amax(dim=1)[row_of]]] = True
            if _is_kept(block.rows.stop, len(video)):
                kept += block.weights, block.places
        ctx.how = how
        ctx.save_for_backward(video, text, row, row_own, column, column_own, *kept)
        loss = (row.log() - row_own.log()).mean() + (column.log() - column_own.log()).mean()
        accuracy = hit.float().mean()
        ctx.mark_non_differentiable(accuracy)
        return loss.to(video.dtype), accuracy

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():  # create_graph=True; a gradient without a graph would pass for a constant
            raise RuntimeError("the gradient of a blockwise loss has no derivative itself; use `ego_nce` for that.")
        video, text, *sums = ctx.saved_tensors[:6]
        how: _How = ctx.how
        for_video, for_text = torch.empty_like(video), torch.zeros_like(text)
        for block in _blocks(video, text, how, ctx.saved_tensors[6:]):
            row, row_own, column, column_own = (1 / total.to(block.weights.dtype) for total in sums)
            pulled, row_of, column_of = block.positives()
            pulled = pulled * (row_own[block.rows][row_of] + column_own[column_of])
            slope = (row[block.rows, None] + column).mul_(block.weights)
            slope.view(-1).index_add_(0, block.places, pulled, alpha=-1)
            slope = slope.to(video.dtype)
            for_video[block.rows] = _product(slope, text, how)
            _add_product(for_text, slope.T, video[block.rows], how)
        factor = gradient * how.scale / max(1, len(video))
        return for_video.mul_(factor), for_text.mul_(factor), None


def _blocks(video: Tensor, text: Tensor, how: _How, kept: Sequence[Tensor] = ()) -> Iterator[_Block]:
    """Go through the rows; `kept` are weights and places of the first blocks. Blocks that are not kept share memory."""
    num_rows, done = len(video), 0
    for weights, places in zip(kept[::2], kept[1::2], strict=True):
        yield _Block(slice(done, done + len(weights)), weights, places)
        done += len(weights)
    shared = video.new_empty(0) if _is_kept(num_rows, num_rows) else video.new_empty((how.block_rows, num_rows))
    for first in range(done, num_rows, max(1, how.block_rows)):
        last = min(first + how.block_rows, num_rows)
        into = video.new_empty((last - first, num_rows)) if _is_kept(last, num_rows) else shared[: last - first]
        logits = _product(video[first:last] * how.scale, text.T, how, into=into)
        if how.shift > WIDEST_IN_FP32:
            logits = logits.double()
        yield _Block(slice(first, last), logits.sub_(how.shift).exp_(), how.positives.positives(first, last))


def _is_kept(last: int, num_rows: int) -> bool:
    return last * num_rows <= KEPT_NUMBERS


def _product(left: Tensor, right: Tensor, how: _How, into: Tensor | None = None) -> Tensor:
    with torch.autocast(device_type=left.device.type, enabled=False):
        if how.bf16_products:
            found = left.bfloat16() @ right.bfloat16()
            return found.to(left.dtype) if into is None else into.copy_(found)
        return torch.mm(left, right, out=into)


def _add_product(target: Tensor, left: Tensor, right: Tensor, how: _How) -> None:
    if how.bf16_products:
        target += _product(left, right, how)
    else:
        target.addmm_(left, right)


def _widest(video: Tensor, text: Tensor) -> float:
    """Return what no dot product of the two exceeds; not a number where a row is none, and then the loss is none."""
    if not len(video):
        return 0.0
    longest = [torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).max() for rows in (video, text)]
    return float(longest[0] * longest[1])
