"""Fitting tensors of one layout and size to a model of another: rename, resize the time table, check both sides."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

from playhead.errors import WeightsError
from playhead.weights.keymaps import KeyMap

Inflation = Literal["zeros", "nearest", "bilinear", "egovlp_bilinear"]
"""How new time slots are filled: see `resize_time`."""


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What became of each tensor of a checkpoint, and which of our parameters it did not bring."""

    renamed: tuple[tuple[str, str], ...]
    """(their name, our name)."""
    dropped: tuple[str, ...]
    """Their names that we do not need."""
    resized: tuple[str, ...]
    """Our names whose time table got another length."""
    fresh: tuple[str, ...]
    """Our names that keep the start they have."""


def resize_time(
    table: Float[Tensor, "1 T D"], num_frames: int, inflation: Inflation = "zeros"
) -> Float[Tensor, "1 {num_frames} D"]:
    """Return the time embedding with `num_frames` slots; fewer slots are always the first ones.

    More slots: "zeros" keeps the rows and adds empty ones; "nearest" and "bilinear" stretch them, as Frozen in Time
    does; "egovlp_bilinear" stretches them so that the first and last rows stay the ends, as EgoVLP does.

    Raises:
        ValueError: `num_frames` is below 1, or `inflation` is none of the four.

    Source: `_inflate_positional_embeds` in the released code of EgoVLP and of Frozen in Time.
    """
    have, width = table.shape[1:]
    if num_frames < 1:
        raise ValueError(f"`num_frames` must be at least 1, got {num_frames}.")
    if num_frames <= have:
        return table[:, :num_frames].clone()
    if inflation == "zeros":
        return torch.cat([table, table.new_zeros(1, num_frames - have, width)], dim=1)
    image = table[None].float()  # (1, 1, T, D): an image, whose width stays
    size = (num_frames, width)
    if inflation == "nearest":
        stretched = F.interpolate(image, size, mode="nearest")
    elif inflation in ("bilinear", "egovlp_bilinear"):
        stretched = F.interpolate(image, size, mode="bilinear", align_corners=inflation == "egovlp_bilinear")
    else:
        raise ValueError(f"`inflation` must be 'zeros', 'nearest', 'bilinear' or 'egovlp_bilinear', got {inflation!r}.")
    return stretched[0].to(table.dtype)


def convert(
    source: Mapping[str, Tensor],
    keymap: KeyMap,
    expected: Mapping[str, Tensor],
    *,
    inflation: Inflation = "zeros",
    path: str | os.PathLike[str] | None = None,
) -> tuple[dict[str, Tensor], ConversionReport]:
    """Return the tensors of `source` under our names and in our shapes, with a report.

    `expected` is the state dict to fill (of any device, also meta); a `time_embedding` of another length is resized.

    Raises:
        WeightsError: a source key without a rule, two for one parameter, a parameter of ours without a source that is
            not known to be fresh, or another shape.
    """
    renamed, dropped = _rename(source, keymap, path)
    state = {ours: source[theirs] for theirs, ours in renamed}
    _refuse(sorted(set(state) - set(expected)), f"of {keymap.name} fit no parameter of this model", path)
    missing = [key for key in expected if key not in state]
    _refuse([key for key in missing if not keymap.is_fresh(key)], f"are not in this {keymap.name} file", path)
    resized = tuple(key for key in state if _has_other_length(key, state[key], expected[key]))
    for key in resized:
        state[key] = resize_time(state[key], expected[key].shape[1], inflation)
    wrong = [
        f"{key} {tuple(state[key].shape)} for {tuple(expected[key].shape)}"
        for key in state
        if state[key].shape != expected[key].shape
    ]
    _refuse(wrong, "have another shape than this model's", path)
    return state, ConversionReport(renamed, dropped, resized, tuple(missing))


def rename_keys(
    source: Mapping[str, Tensor], keymap: KeyMap, *, path: str | os.PathLike[str] | None = None
) -> dict[str, Tensor]:
    """Return the tensors under the other layout's names, whatever their shapes: for export, and to read sizes.

    Raises:
        WeightsError: a source key without a rule, or two for one parameter.
    """
    renamed, _ = _rename(source, keymap, path)
    return {target: source[key] for key, target in renamed}


def _rename(
    source: Mapping[str, Tensor], keymap: KeyMap, path: str | os.PathLike[str] | None
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    dropped = tuple(key for key in source if keymap.is_dropped(key))
    targets = {key: keymap.rename(key) for key in source if key not in set(dropped)}
    _refuse([key for key, target in targets.items() if target is None], f"have no rule in {keymap.name}", path)
    renamed = tuple((key, target) for key, target in targets.items() if target is not None)
    names = [target for _, target in renamed]
    _refuse(sorted({name for name in names if names.count(name) > 1}), "have two sources", path)
    return renamed, dropped


def _has_other_length(key: str, given: Tensor, wanted: Tensor) -> bool:
    return (
        key.split(".")[-1] == "time_embedding"
        and given.ndim == wanted.ndim
        and given.shape[1] != wanted.shape[1]
        and given.shape[2] == wanted.shape[2]
    )


def _refuse(names: list[str], what: str, path: str | os.PathLike[str] | None) -> None:
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise WeightsError(f"{len(names)} entries {what}: {', '.join(names[:5])}{more}.", path=path)
