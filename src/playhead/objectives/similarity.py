"""The matrix of dot products that every contrastive objective starts from."""

import torch
from jaxtyping import Float
from torch import Tensor


def similarity(video: Float[Tensor, "N E"], text: Float[Tensor, "M E"]) -> Float[Tensor, "N M"]:
    """Return all dot products, rows clips and columns texts, in float32 at least, inside autocast too.

    bf16 keeps three digits; divided by a temperature of 0.05 its error would be 0.08 in a logit.
    """
    dtype = torch.promote_types(torch.promote_types(video.dtype, text.dtype), torch.float32)
    with torch.autocast(device_type=video.device.type, enabled=False):
        return video.to(dtype) @ text.to(dtype).T
