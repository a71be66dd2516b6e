"""Reading files of weights that others wrote: only tensors come out, and no code of the file ever runs."""

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

from playhead.errors import WeightsError
from playhead.weights.hub import local

TABLES = ("model_state", "state_dict", "model_state_dict", "model", "module")
"""Under these keys trainers keep their table of tensors, beside epochs, optimisers and settings."""

# All that a table of tensors needs; torch itself adds its storages.
_KNOWN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}

# A damaged or hostile pickle can make the unpickler stumble in any of these ways.
_UNREADABLE = (
    pickle.UnpicklingError,
    EOFError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    OSError,
    struct.error,
    zipfile.BadZipFile,
)


def read_checkpoint(path: str | os.PathLike[str], tables: Sequence[str] = TABLES) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors`, a numpy (`.npz`) or a PyTorch file (`.pth`, `.pt`, `.bin`), by name.

    They are on the CPU. `path` may also be one of `hub:OWNER/NAME:FILE`, which `hub.local` finds.

    Of a trainer's file, the table of tensors is returned and the rest is left: the first of `tables` that is there.
    Objects of classes unknown to us, such as the configuration in the published EgoVLP files, become inert stand-ins:
    nothing is imported for them or run.

    Raises:
        WeightsError: the file is missing, damaged, holds code (TorchScript), or holds no table of tensors.
    """
    path = local(path)
    if not path.is_file():
        raise WeightsError("there is no such file of weights.", path=path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (safetensors.SafetensorError, OSError) as problem:
            raise WeightsError(f"not a readable safetensors file ({problem}).", path=path) from problem
    if path.suffix == ".npz":
        return _read_npz(path)
    return _find_table(_read_torch_file(path), tables, path)


def _read_npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not arrays.files:
                raise WeightsError("holds no arrays; wanted a state dict.", path=path)
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except _UNREADABLE as problem:
        raise WeightsError(f"not a readable npz file of arrays ({_first_line(problem)}).", path=path) from problem


def _read_torch_file(path: Path) -> Any:
    try:
        records = _list_archive(path)
        if "constants.pkl" in records:
            raise WeightsError("is a TorchScript program; give a file of weights.", path=path)
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except _UNREADABLE:
            if not records:
                raise
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=_InertPickle)
    except _UNREADABLE as problem:
        raise WeightsError(f"not a readable PyTorch file ({_first_line(problem)}).", path=path) from problem


def _list_archive(path: Path) -> list[str]:
    # torch.load gives other formats (from before torch 1.6) and programs to other readers, past our unpickler. So the
    # file is looked at with torch.load's own eyes: its magic number and its own zip reader.
    with path.open("rb") as file:
        is_archive = file.read(4) == b"PK\x03\x04"
    return torch._C.PyTorchFileReader(str(path)).get_all_records() if is_archive else []


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]


class _StandIn:
    """Takes the place of every class and function that a checkpoint names: accepts all, does nothing, keeps nothing."""

    def __new__(cls, *_arguments: object, **_settings: object):
        return super().__new__(cls)

    def __init__(self, *_arguments: object, **_settings: object):
        pass

    def __call__(self, *_arguments: object, **_settings: object) -> "_StandIn":
        return self

    def __setstate__(self, _state: object) -> None:
        pass

    def __setitem__(self, _key: object, _value: object) -> None:
        pass

    def append(self, _value: object) -> None:
        pass

    def extend(self, _values: object) -> None:
        pass

    def add(self, _value: object) -> None:
        pass


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        # This is the unpickler's only door to the outside; an exact look-up leaves no way to reach an attribute.
        return _KNOWN.get((module_name, global_name), _StandIn)


class _InertPickle:
    """What `torch.load` uses of the module `pickle` when it reads a zip file."""

    Unpickler = _InertUnpickler


def _find_table(content: Any, tables: Sequence[str], path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise WeightsError(f"holds a {type(content).__name__}, not a table of tensors.", path=path)
    table = next((content[key] for key in tables if isinstance(content.get(key), Mapping)), content)
    strange = [str(key) for key, value in table.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if strange or not table:
        found = f"its entry {strange[0]!r} is no tensor" if strange else "its table is empty"
        raise WeightsError(f"holds no table of tensors ({found}); wanted a state dict.", path=path)
    return {key: value.detach() for key, value in table.items()}
