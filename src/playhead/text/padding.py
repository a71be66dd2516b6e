"""What both tokenizers do before and after their library: clean a string, and make rows of ids one tensor."""

from collections.abc import Sequence

import torch

from playhead.types import Tokens


def pad_right(rows: Sequence[Sequence[int]], pad_id: int, length: int | None = None) -> Tokens:
    """Return rows of ids as one batch of `length` columns, or as many as the longest row has.

    The mask follows from the rows' lengths, not from `pad_id`: in CLIP's vocabulary id 0 is also the exclamation mark.
    """
    width = max((len(row) for row in rows), default=0) if length is None else length
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[index, : len(row)] = True
    return Tokens(ids, mask)


def without_surrogates(text: str) -> str:
    """Return `text` with lone surrogates, which UTF-8 cannot write and the library refuses, as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
