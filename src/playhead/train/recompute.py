"""Blocks that are computed again in the backward pass, so that what happens inside them need not be kept meanwhile."""

from functools import partial
from typing import Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

Kept = Literal["nothing", "products"]

PRODUCTS = (
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.baddbmm.default,
    torch.ops.aten.convolution.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
)
"""What takes nearly all the time of a block: to do the rest again is cheap."""


def recompute(block: nn.Module, kept: Kept = "nothing") -> None:
    """Let the block keep only its inputs, and with "products" the results of its matrix products and attention too.

    Random states are replayed, so neither loss nor gradient changes, not by a bit.
    """
    keeping = {"context_fn": partial(create_selective_checkpoint_contexts, list(PRODUCTS))}
    options = keeping if kept == "products" else {}
    block.forward = partial(checkpoint, block.forward, use_reentrant=False, **options)
