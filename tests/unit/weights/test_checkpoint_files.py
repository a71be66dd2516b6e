import os
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from playhead.errors import WeightsError
from playhead.weights.checkpoint_files import read_checkpoint

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1, 2], dtype=torch.int64)}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value)
        assert found[key].dtype == value.dtype


class Runs:
    """On an ordinary unpickle, calls `function(*given)`."""

    def __init__(self, function, *given):
        self.function, self.given = function, given

    def __reduce__(self):
        return self.function, self.given


@pytest.fixture
def foreign(monkeypatch):
    """A module of classes that is gone when the file is read."""
    module = types.ModuleType("their_trainer")
    for name, base in (("Config", object), ("Settings", dict), ("Steps", list)):
        setattr(module, name, type(name, (base,), {"__module__": "their_trainer"}))
    monkeypatch.setitem(sys.modules, "their_trainer", module)
    yield module
    assert "their_trainer" not in sys.modules


def save_and_forget(content, path, **how):
    torch.save(content, path, **how)
    del sys.modules["their_trainer"]


def test_a_safetensors_file_gives_its_tensors(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    assert_same(read_checkpoint(tmp_path / "model.safetensors"), STATE)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before_torch_1_6"])
@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin"])
def test_a_plain_pytorch_file_gives_its_tensors(tmp_path, name, zipped):
    torch.save(OrderedDict(STATE), tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert_same(read_checkpoint(tmp_path / name), STATE)


@pytest.mark.parametrize("key", ["state_dict", "model", "module"])
def test_of_a_trainers_file_only_the_table_of_tensors_is_returned(tmp_path, key):
    torch.save({"epoch": 3, "optimizer": {"state": {}}, key: STATE}, tmp_path / "last.pt")
    assert_same(read_checkpoint(tmp_path / "last.pt"), STATE)


def test_parameters_come_as_plain_tensors(tmp_path):
    layer = torch.nn.Linear(2, 2)
    torch.save(dict(layer.named_parameters()), tmp_path / "layer.pt")
    found = read_checkpoint(tmp_path / "layer.pt")
    assert not any(value.requires_grad for value in found.values())
    assert_same(found, layer.state_dict())


def test_objects_of_unknown_classes_beside_the_tensors_do_no_harm(tmp_path, foreign):
    config = foreign.Config()
    config.nested = {"path": Path("a/b"), "steps": foreign.Steps([1, 2])}
    settings = foreign.Settings(lr=3e-5)
    settings.name = "egoclip"
    made = Runs(foreign.Config, 1, "two")
    half = torch.nn.Parameter(torch.ones(2, dtype=torch.float16))
    content = {"state_dict": {**STATE, "half": half}, "config": config, "settings": settings, "made": made}
    save_and_forget(content, tmp_path / "model.pth")
    assert_same(read_checkpoint(tmp_path / "model.pth"), {**STATE, "half": half.data})


def hostile(marker):
    command, written = f"touch {marker}", f"open({str(marker)!r}, 'w').close()"
    return {
        "system": Runs(os.system, command),
        "eval": Runs(eval, written),
        "exec": Runs(exec, written),
        "import": Runs(__import__, "no_such_module"),
        "nested": Runs(os.system, Runs(str, command)),
    }


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
@pytest.mark.parametrize("how", hostile(""))
@pytest.mark.parametrize("pickle_protocol", [2, 4])
def test_code_beside_the_tensors_is_not_run(tmp_path, how, pickle_protocol):
    marker = tmp_path / "was_here"
    content = {"state_dict": STATE, "config": hostile(marker)[how]}
    torch.save(content, tmp_path / "evil.pth", pickle_protocol=pickle_protocol)
    assert_same(read_checkpoint(tmp_path / "evil.pth"), STATE)
    assert not marker.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before_torch_1_6"])
def test_code_in_place_of_the_tensors_is_not_run_and_is_refused(tmp_path, zipped):
    marker = tmp_path / "was_here"
    evil = {"a.weight": Runs(os.system, f"touch {marker}")}
    torch.save(evil, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"evil\.pth"):
        read_checkpoint(tmp_path / "evil.pth")
    assert not marker.exists()


def test_an_old_file_with_unknown_classes_is_refused(tmp_path, foreign):
    content = {"state_dict": STATE, "config": foreign.Config()}
    save_and_forget(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match="not a readable PyTorch file"):
        read_checkpoint(tmp_path / "old.pth")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_is_refused(tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "program.pt")
    with pytest.raises(WeightsError, match="TorchScript"):
        read_checkpoint(tmp_path / "program.pt")


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth", "model.bin"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_damaged_file_is_named(tmp_path, name, kept):
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(WeightsError, match=str(path)):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_a_text_file_is_refused(tmp_path, name):
    (tmp_path / name).write_text("<html>404 Not Found</html>\n" * 20)
    with pytest.raises(WeightsError, match="not a readable"):
        read_checkpoint(tmp_path / name)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(WeightsError, match="no such file"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list"),
        ({}, "its table is empty"),
        ({"epoch": 3}, "its entry 'epoch' is no tensor"),
        ({"state_dict": {"a": "b"}}, "its entry 'a' is no tensor"),
    ],
)
def test_a_file_without_a_table_of_tensors_says_what_it_holds(tmp_path, content, message):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(tmp_path / "other.pt")


def test_an_npz_file_gives_its_arrays(tmp_path):
    np.savez(tmp_path / "model.npz", **{key.replace(".", "/"): value.numpy() for key, value in STATE.items()})
    assert_same(read_checkpoint(tmp_path / "model.npz"), {key.replace(".", "/"): value for key, value in STATE.items()})


def test_a_pickled_object_in_an_npz_file_is_not_run_and_is_refused(tmp_path):
    marker = tmp_path / "was_here"
    evil = np.array([Runs(os.system, f"touch {marker}")], dtype=object)
    np.savez(tmp_path / "evil.npz", a=np.ones(2), b=evil)
    with pytest.raises(WeightsError, match=r"evil\.npz: not a readable npz file of arrays"):
        read_checkpoint(tmp_path / "evil.npz")
    assert not marker.exists()


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95])
def test_a_damaged_npz_file_and_one_that_is_none_are_named(tmp_path, kept):
    np.savez(tmp_path / "model.npz", a=np.arange(1000.0), b=np.ones(3))
    whole = (tmp_path / "model.npz").read_bytes()
    (tmp_path / "model.npz").write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(WeightsError, match=r"model\.npz: not a readable npz"):
        read_checkpoint(tmp_path / "model.npz")


def test_arrays_that_are_no_numbers_and_no_arrays_at_all_are_refused(tmp_path):
    np.savez(tmp_path / "texts.npz", a=np.array(["x"]))
    np.savez(tmp_path / "empty.npz")
    np.save(tmp_path / "one.npy", np.ones(2))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    for name in ("texts", "empty", "one"):
        with pytest.raises(WeightsError, match=rf"{name}\.npz"):
            read_checkpoint(tmp_path / f"{name}.npz")
