"""Fitting tensors of one layout and size to a model of another: rename, stack, resize tables, check both sides."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """(their name, our name); several of theirs may be stacked into one of ours."""
    dropped: tuple[str, ...]
    """Their names that we do not need."""
    resized: tuple[str, ...]
    """Our names whose table got another size."""
    fresh: tuple[str, ...]
    """Our names that keep the start they have."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why each of `dropped` is not needed."""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Of every tensor of the file, by their name."""
    wanted: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of all that the model has, by our name."""


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


def resize_positions(
    table: Float[Tensor, "1 N D"], grid: tuple[int, int], have: tuple[int, int] | None = None
) -> Float[Tensor, "1 M D"]:
    """Return a table of positions, cls first, for patches on another grid (rows, columns), by bicubic interpolation.

    `have` is the grid it was made for, a square by default. Shrinking averages over what it leaves out.

    Raises:
        ValueError: the table does not have the places of `have`, or is not of a square.
    """
    places = table.shape[1] - 1
    rows, columns = have or (math.isqrt(max(0, places)),) * 2
    if rows * columns != places or not places:
        raise ValueError(f"{places} positions are not on a grid of {rows} x {columns}; say on which.")
    image = table[:, 1:].float().transpose(1, 2).unflatten(2, (rows, columns))  # (1, D, rows, columns)
    resized = F.interpolate(image, grid, mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)


def resize_patches(kernel: Float[Tensor, "D C P P"], patch_size: int) -> Float[Tensor, "D C P_new P_new"]:
    """Return a kernel for patches of another size that answers an image as the old one answers it scaled.

    For larger patches the answers to images scaled up are exactly those of the old kernel; for smaller ones they are as
    near as can be.

    Source: FlexiViT (Beyer et al., 2023), section 3.4: "pseudoinverse resize".
    """
    old = kernel.shape[-1]
    unit = torch.eye(old * old, dtype=torch.float64).reshape(old * old, 1, old, old)
    scaled = F.interpolate(unit, (patch_size, patch_size), mode="bilinear", align_corners=False)  # one image a row
    resized = kernel.double().flatten(2).cpu() @ torch.linalg.pinv(scaled.flatten(1)).T
    return resized.unflatten(2, (patch_size, patch_size)).to(kernel.dtype)


def convert(
    source: Mapping[str, Tensor],
    keymap: KeyMap,
    expected: Mapping[str, Tensor],
    *,
    inflation: Inflation = "zeros",
    resize: bool = False,
    grid: tuple[int, int] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> tuple[dict[str, Tensor], ConversionReport]:
    """Return the tensors of `source` under our names and in our shapes, with a report.

    `expected` is the state dict to fill (of any device, also meta). A `time_embedding` of another length is resized;
    with `resize` also tables of positions (on `grid`, rows and columns, a square by default) and the kernel of the
    patches, and of the positions of a text the first are taken.

    Raises:
        WeightsError: a source key without a rule, two for one parameter, a parameter of ours without a source that is
            not known to be fresh, or another shape.
    """
    renamed, reasons = _rename(source, keymap, path)
    state = _stack({target: _unpacked(key, source[key], keymap) for key, target in renamed}, path)
    _refuse(sorted(set(state) - set(expected)), f"of {keymap.name} fit no parameter of this model", path)
    missing = [key for key in expected if key not in state]
    _refuse([key for key in missing if not keymap.is_fresh(key)], f"are not in this {keymap.name} file", path)
    resized = []
    for key, wanted in expected.items():
        if key in state and state[key].shape != wanted.shape:
            fitted = _fit(key, state[key], wanted, inflation, grid) if resize or _is_time(key) else None
            if fitted is not None:
                state[key] = fitted
                resized.append(key)
    _check_shapes(state, expected, resize, path)
    pairs = tuple((theirs, ours.partition("[")[0]) for theirs, ours in renamed)
    shapes = {key: tuple(value.shape) for key, value in source.items()}
    sizes = {key: tuple(value.shape) for key, value in expected.items()}
    return state, ConversionReport(pairs, tuple(reasons), tuple(resized), tuple(missing), reasons, shapes, sizes)


def rename_keys(
    source: Mapping[str, Tensor], keymap: KeyMap, *, path: str | os.PathLike[str] | None = None
) -> dict[str, Tensor]:
    """Return the tensors under the other layout's names, whatever their shapes: for export, and to read sizes.

    Raises:
        WeightsError: a source key without a rule, two for one parameter, or a part missing of what we keep as one.
    """
    renamed, _ = _rename(source, keymap, path)
    return _stack({target: _unpacked(key, source[key], keymap) for key, target in renamed}, path)


def _rename(
    source: Mapping[str, Tensor], keymap: KeyMap, path: str | os.PathLike[str] | None
) -> tuple[tuple[tuple[str, str], ...], dict[str, str]]:
    """Return (their name, our name) for what is taken, and why each other is not."""
    reasons = {key: why for key in source if (why := keymap.why_dropped(key)) is not None}
    targets = {key: keymap.rename(key) for key in source if key not in reasons}
    _refuse([key for key, target in targets.items() if target is None], f"have no rule in {keymap.name}", path)
    renamed = tuple((key, target) for key, target in targets.items() if target is not None)
    names = [target for _, target in renamed]
    _refuse(sorted({name for name in names if names.count(name) > 1}), "have two sources", path)
    return renamed, reasons


def _unpacked(key: str, tensor: Tensor, keymap: KeyMap) -> Tensor:
    return tensor if keymap.unpack is None else keymap.unpack(keymap.bare(key), tensor)


def _stack(named: Mapping[str, Tensor], path: str | os.PathLike[str] | None) -> dict[str, Tensor]:
    """Put query, key and value, whose names end in their places [0], [1] and [2], into one tensor each."""
    stacked = {}
    for name, tensor in named.items():
        whole, _, place = name.partition("[")
        if not place:
            stacked[name] = tensor
        elif whole not in stacked:
            parts = [named[part] for part in (f"{whole}[{index}]" for index in range(3)) if part in named]
            if len(parts) < 3 or len({part.shape[1:] for part in parts}) > 1:
                shapes = ", ".join(str(tuple(part.shape)) for part in parts)
                raise WeightsError(f"{whole} is stacked from query, key and value; found only {shapes}.", path=path)
            stacked[whole] = torch.cat(parts)
    return stacked


def _is_time(key: str) -> bool:
    return key.split(".")[-1] == "time_embedding"


def _fit(key: str, given: Tensor, wanted: Tensor, inflation: Inflation, grid: tuple[int, int] | None) -> Tensor | None:
    """Return the table of `key` in another size; None where it is no table, or of another width."""
    if given.ndim != wanted.ndim or not given.numel():
        return None
    same_width = given.shape[-1] == wanted.shape[-1]
    if _is_time(key) and same_width:
        return resize_time(given, wanted.shape[1], inflation)
    if key.endswith("position_embedding") and same_width:
        side = math.isqrt(wanted.shape[1] - 1)
        new = grid or (side, side)
        square = math.isqrt(given.shape[1] - 1) ** 2 == given.shape[1] - 1
        return resize_positions(given, new) if square and new[0] * new[1] == wanted.shape[1] - 1 else None
    if key.endswith("position_embedding.weight") and same_width and given.shape[0] > wanted.shape[0]:
        return given[: wanted.shape[0]].clone()
    if key.endswith("patch_embedding.weight") and given.ndim == 4 and given.shape[:2] == wanted.shape[:2]:
        return resize_patches(given, wanted.shape[-1]) if given.shape[2] == given.shape[3] else None
    return None


def _check_shapes(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], resize: bool, path: str | os.PathLike[str] | None
) -> None:
    wrong = [key for key in state if state[key].shape != expected[key].shape]
    tables = ("position_embedding", "position_embedding.weight", "patch_embedding.weight")
    only_tables = bool(wrong) and not resize and all(key.endswith(tables) for key in wrong)
    _refuse(
        [f"{key} {tuple(state[key].shape)} for {tuple(expected[key].shape)}" for key in wrong],
        "have another shape than this model's",
        path,
        " Tables like these can be resized, if you ask for it (resize)." if only_tables else "",
    )


def _refuse(names: list[str], what: str, path: str | os.PathLike[str] | None, remedy: str = "") -> None:
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise WeightsError(f"{len(names)} entries {what}: {', '.join(names[:5])}{more}.{remedy}", path=path)
