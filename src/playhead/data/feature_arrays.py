"""One array of precomputed features out of a file: mapped, not read, where its kind allows, and checked once.

`.pt`, `.safetensors` and `.npy` files are mapped; so a row costs what its page costs, all workers share the pages, and
nothing grows with the number of files. The mapping is private: whoever writes into it changes neither file nor others.
`.npz` files are read whole. No code of a file ever runs.
"""

import json
import os
import pickle
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from playhead.data.border import FilePath
from playhead.errors import AnnotationError
from playhead.video.now_reading import now_reading

SUFFIXES = (".safetensors", ".pt", ".npy", ".npz")
"""The kinds of files that are read."""

PREFERRED = "features"
"""Of several arrays in a file, the one of this name is taken."""

HEADER = "playhead"
"""Under this key our own files say in JSON how they were made."""

_OPEN_FILES = 8192  # a mapping costs address space only; Linux allows 65530 of them to a process
_ROWS_AT_ONCE = 4096  # of a file that is checked

_UNREADABLE = (
    pickle.UnpicklingError,
    BadZipFile,
    SafetensorError,
    EOFError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class FeatureArray:
    """The rows of a file in order of time, of any floating-point type.

    The last `zero_tail` of them are exactly zero, as the released EgoVLP extractor leaves them. `made` is what our own
    extraction wrote into the file's header, empty in files of others.
    """

    rows: Float[Tensor, "S D"]
    zero_tail: int
    made: Mapping[str, Any]


def open_features(path: FilePath, *, width: int | None = None, name: str | None = None) -> FeatureArray:
    """Return the features of one file.

    `width` is what a row must have; an array that has it the other way round, (D, S), is turned. Without it the first
    axis is time. `name` picks one of several arrays; without it "features" is taken, or the only one. A file is opened
    and checked once, and again when its size or time of change differ.

    Raises:
        AnnotationError: the file cannot be read without running it, holds no such array, the array is not of two axes
            or not floating-point, is empty, has another width, holds NaN or infinity (the row is named), or only zeros.
    """
    file = os.fspath(path)
    now_reading(file)
    try:
        status = os.stat(file)
    except OSError as error:
        raise AnnotationError(f"the features cannot be read ({error.strerror}); check the path.", path=path) from error
    if file.endswith(".npz"):
        return _open(file, width, name)
    return _open_once(file, status.st_size, status.st_mtime_ns, width, name)


@lru_cache(maxsize=_OPEN_FILES)
def _open_once(file: str, _size: int, _changed: int, width: int | None, name: str | None) -> FeatureArray:
    return _open(file, width, name)


def _open(file: str, width: int | None, name: str | None) -> FeatureArray:
    try:
        arrays, made = _read(file)
    except _UNREADABLE as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AnnotationError(
            f"no features can be read here ({first_line}). A file holds one array of (rows, width), as torch.save, "
            "numpy.save, numpy.savez or safetensors write it.",
            path=file,
        ) from error
    rows = _check_shape(_choose(arrays, name, file), width, file)
    _check_finite(rows, file)
    return FeatureArray(rows, _count_zero_tail(rows, file), made)


def _read(file: str) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return the arrays of a file by name, and what its header says of how they were made."""
    match Path(file).suffix:
        case ".safetensors":
            with safe_open(file, "pt") as opened:
                metadata = opened.metadata() or {}
                return {key: opened.get_tensor(key) for key in opened.keys()}, json.loads(metadata.get(HEADER, "{}"))  # noqa: SIM118
        case ".pt":
            content = _read_torch(file)
            return (dict(content) if isinstance(content, Mapping) else {PREFERRED: content}), {}
        case ".npy":
            return {PREFERRED: _map_npy(file)}, {}
        case ".npz":
            with np.load(file, allow_pickle=False) as opened:
                return {key: torch.from_numpy(opened[key]) for key in opened.files}, {}
    raise AnnotationError(f"is of no kind that holds features; there are {', '.join(SUFFIXES)}.", path=file)


def _read_torch(file: str) -> Any:
    with open(file, "rb") as opened:
        is_archive = opened.read(4) == b"PK\x03\x04"  # files from before torch 1.6 are none, and cannot be mapped
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a TorchScript file torch warns first, and then refuses it
        return torch.load(file, map_location="cpu", weights_only=True, mmap=is_archive or None)


def _map_npy(file: str) -> Tensor:
    """Map a .npy file; numpy's own mapping would keep a file handle open for each."""
    with open(file, "rb") as opened:
        version = np.lib.format.read_magic(opened)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_column, dtype = reader(opened)
        offset = opened.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which only running them could read")
    if offset % dtype.itemsize or not dtype.isnative or 0 in shape:
        return torch.from_numpy(np.load(file, allow_pickle=False).astype(dtype.newbyteorder("=")))
    kind = torch.from_numpy(np.empty(0, dtype)).dtype
    size = offset + int(np.prod(shape)) * dtype.itemsize
    if os.path.getsize(file) < size:
        raise ValueError("the file was cut off")
    flat = torch.from_file(file, shared=False, size=size // dtype.itemsize, dtype=kind)[offset // dtype.itemsize :]
    return flat.view(shape[::-1]).permute(*range(len(shape) - 1, -1, -1)) if by_column else flat.view(shape)


def _choose(arrays: Mapping[str, Any], name: str | None, file: str) -> Tensor:
    wanted = name if name is not None else PREFERRED if PREFERRED in arrays else None
    if wanted is None and len(arrays) == 1:
        wanted = next(iter(arrays))
    if wanted is None or wanted not in arrays:
        found = ", ".join(repr(str(key)) for key in list(arrays)[:8]) or "none"
        asked = "its only array" if name is None else f"array {name!r}"
        raise AnnotationError(f"{asked} asked for, found {found}; name the one that holds the features.", path=file)
    if not isinstance(arrays[wanted], Tensor):
        raise AnnotationError(
            f"holds a {type(arrays[wanted]).__name__} where an array of features is needed.", path=file
        )
    return arrays[wanted].detach()


def _check_shape(rows: Tensor, width: int | None, file: str) -> Tensor:
    shape = "x".join(map(str, rows.shape)) or "a single number"
    if rows.ndim != 2:
        raise AnnotationError(
            f"an array of (rows, width) is needed, found {shape}; save each video's features as two axes.", path=file
        )
    if not rows.is_floating_point():
        raise AnnotationError(f"features are floating-point numbers, found {rows.dtype}; is this the file?", path=file)
    if not rows.numel():
        raise AnnotationError(f"holds no feature ({shape}); extract it again.", path=file)
    if width is None or rows.shape[1] == width:
        return rows
    if rows.shape[0] == width:
        return rows.T
    raise AnnotationError(f"rows of width {width} asked for, found {shape}; give the width of these files.", path=file)


def _check_finite(rows: Tensor, file: str) -> None:
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        finite = torch.isfinite(rows[first : first + _ROWS_AT_ONCE]).all(dim=1)
        if not finite.all():
            row = first + int((~finite).nonzero()[0])
            raise AnnotationError(
                f"feature row {row} (counted from 0, of {len(rows)}) holds NaN or infinity; extract it again.",
                path=file,
            )


def _count_zero_tail(rows: Tensor, file: str) -> int:
    count = 0
    while count < len(rows) and not rows[-1 - count].any():
        count += 1
    if count == len(rows):
        raise AnnotationError(f"all {count} feature rows are zero; extract them again.", path=file)
    return count
