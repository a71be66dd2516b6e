import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from playhead.data.feature_arrays import SUFFIXES, open_features
from playhead.errors import AnnotationError

ROWS = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))


def save(path, rows=ROWS):
    match path.suffix:
        case ".pt":
            torch.save(rows, path)
        case ".npy":
            np.save(path, rows.numpy())
        case ".npz":
            np.savez(path, rows.numpy())
        case ".safetensors":
            save_file({"anything": rows.contiguous()}, path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_file_gives_the_rows_that_were_saved(tmp_path, suffix):
    opened = open_features(save(tmp_path / f"a{suffix}"))
    assert torch.equal(opened.rows, ROWS)
    assert (opened.zero_tail, dict(opened.made)) == (0, {})


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".safetensors"])
def test_files_are_mapped_not_read(tmp_path, suffix):
    path = save(tmp_path / f"mapped{suffix}")
    before = len(os.listdir("/proc/self/fd"))
    opened = open_features(path)
    with open("/proc/self/maps") as maps:
        assert any(str(path) in line for line in maps)
    assert len(os.listdir("/proc/self/fd")) == before  # thousands of files must not need thousands of handles
    assert torch.equal(opened.rows, ROWS)


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".safetensors"])
def test_writing_into_the_rows_leaves_the_file_as_it_is(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}")
    content = path.read_bytes()
    open_features(path).rows[0, 0] = 99.0
    assert path.read_bytes() == content


def test_a_file_that_changed_is_opened_again(tmp_path):
    path = save(tmp_path / "a.pt")
    open_features(path)
    save(path, ROWS[:3] + 1)
    os.utime(path, ns=(1, 1))
    assert torch.equal(open_features(path).rows, ROWS[:3] + 1)


def test_the_array_called_features_is_taken_and_another_by_name(tmp_path):
    path = tmp_path / "two.safetensors"
    save_file({"features": ROWS, "spans": torch.zeros(7, 2) + 1}, path)
    assert torch.equal(open_features(path).rows, ROWS)
    assert open_features(path, name="spans").rows.shape == (7, 2)


def test_of_several_unknown_arrays_none_is_guessed(tmp_path):
    torch.save({"rgb": ROWS, "flow": ROWS}, tmp_path / "two.pt")
    with pytest.raises(AnnotationError, match=r"found 'rgb', 'flow'"):
        open_features(tmp_path / "two.pt")
    with pytest.raises(AnnotationError, match=r"array 'depth' asked for, found 'rgb', 'flow'"):
        open_features(tmp_path / "two.pt", name="depth")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_array_the_other_way_round_is_turned_by_its_known_width(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", ROWS.T)
    assert torch.equal(open_features(path, width=5).rows, ROWS)


def test_a_fortran_ordered_file_gives_its_rows(tmp_path):
    np.save(tmp_path / "f.npy", np.asfortranarray(ROWS.numpy()))
    assert torch.equal(open_features(tmp_path / "f.npy").rows, ROWS)


def test_a_big_endian_file_gives_its_rows(tmp_path):
    np.save(tmp_path / "b.npy", ROWS.numpy().astype(">f4"))
    assert torch.equal(open_features(tmp_path / "b.npy").rows, ROWS)


def test_half_precision_is_read_as_it_is(tmp_path):
    assert open_features(save(tmp_path / "a.pt", ROWS.bfloat16())).rows.dtype == torch.bfloat16
    assert open_features(save(tmp_path / "b.npy", ROWS.half())).rows.dtype == torch.float16


def test_a_pytorch_file_of_before_release_1_6_is_read(tmp_path):
    torch.save(ROWS, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(open_features(tmp_path / "old.pt").rows, ROWS)


@pytest.mark.parametrize("shape", [(5,), (1, 7, 5)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_arrays_of_one_or_three_axes_are_refused(tmp_path, suffix, shape):
    path = save(tmp_path / f"a{suffix}", torch.ones(shape))
    with pytest.raises(AnnotationError, match=r"\(rows, width\) is needed, found " + "x".join(map(str, shape))):
        open_features(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_another_width_is_refused(tmp_path, suffix):
    with pytest.raises(AnnotationError, match="width 256 asked for, found 7x5"):
        open_features(save(tmp_path / f"a{suffix}"), width=256)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused_with_file_and_row(tmp_path, suffix, wrong):
    rows = ROWS.clone()
    rows[3, 1] = wrong
    path = save(tmp_path / f"a{suffix}", rows)
    with pytest.raises(AnnotationError, match=f"{path.name}: feature row 3 "):
        open_features(path)


def test_a_bad_row_far_down_is_named(tmp_path):
    rows = torch.ones(10_000, 2)
    rows[9_876, 0] = float("nan")
    with pytest.raises(AnnotationError, match="feature row 9876"):
        open_features(save(tmp_path / "long.npy", rows))


def test_zero_rows_at_the_end_are_counted_and_those_between_are_not(tmp_path):
    rows = ROWS.clone()
    rows[1] = 0
    rows[5:] = 0
    assert open_features(save(tmp_path / "a.pt", rows)).zero_tail == 2
    with pytest.raises(AnnotationError, match="all 7 feature rows are zero"):
        open_features(save(tmp_path / "b.pt", torch.zeros(7, 5)))


@pytest.mark.parametrize("rows", [torch.zeros(0, 5), torch.zeros(5, 0)])
def test_an_empty_array_is_refused(tmp_path, rows):
    for suffix in (".pt", ".npy", ".npz"):
        with pytest.raises(AnnotationError, match="holds no feature"):
            open_features(save(tmp_path / f"a{suffix}", rows))


def test_whole_numbers_are_no_features(tmp_path):
    torch.save(torch.ones(7, 5, dtype=torch.int64), tmp_path / "a.pt")
    with pytest.raises(AnnotationError, match="floating-point"):
        open_features(tmp_path / "a.pt")


class _Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ["PLAYHEAD_TEST_TRAP"],)


@pytest.mark.parametrize("kind", ["torch.pt", "pickle.pt", "objects.npy", "objects.npz"])
def test_no_code_of_a_file_runs(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("PLAYHEAD_TEST_TRAP", str(tmp_path / "trap"))
    path = tmp_path / kind
    if kind == "torch.pt":
        torch.save({"features": ROWS, "config": _Evil()}, path)
    elif kind == "pickle.pt":
        path.write_bytes(pickle.dumps(_Evil()))
    elif kind == "objects.npy":
        np.save(path, np.array([_Evil()], dtype=object), allow_pickle=True)
    else:
        np.savez(path, features=np.array([_Evil()], dtype=object))
    with pytest.raises(AnnotationError, match="no features can be read here"):
        open_features(path)
    assert not (tmp_path / "trap").exists()


def test_a_program_is_refused(tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/constants.pkl", b"")
        file.writestr("archive/data.pkl", b"")
    (tmp_path / "a.pt").write_bytes(archive.getvalue())
    with pytest.raises(AnnotationError, match="no features can be read here"):
        open_features(tmp_path / "a.pt")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("keep", [0, 20, 150])
def test_files_that_were_cut_off_are_refused(tmp_path, suffix, keep):
    path = save(tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(AnnotationError, match="no features can be read here"):
        open_features(path)


def test_a_missing_file_and_a_foreign_kind_are_refused(tmp_path):
    with pytest.raises(AnnotationError, match="No such file"):
        open_features(tmp_path / "a.pt")
    (tmp_path / "a.csv").write_text("1,2\n")
    with pytest.raises(AnnotationError, match="no kind that holds features"):
        open_features(tmp_path / "a.csv")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(AnnotationError, match="holds a list"):
        open_features(tmp_path / "list.pt")
