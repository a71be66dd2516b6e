"""Write the lists of Kinetics-710 from the official ones of Kinetics-400, -600 and -700."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from playhead.data.classes import ActionFiles
from playhead.data.kinetics import KineticsRow, read_kinetics, write_kinetics
from playhead.data.kinetics710 import merge_kinetics
from playhead.errors import AnnotationError


@dataclass(frozen=True, slots=True)
class MergedLists:
    """How many videos were written, and what was left out and why."""

    train: int
    val: int
    left_out: Mapping[str, int]


def merge_lists(folders: Sequence[Path], out: Path) -> MergedLists:
    """Merge the lists of the folders, from the oldest set to the newest, into `train.csv` and `val.csv` in `out`.

    Each folder holds an official `train.csv` and `val.csv` (or names that end like these), and `test.csv` if test
    videos are to be kept out of training as well.

    Raises:
        AnnotationError: a list is missing, wrong, or of other classes; there are no folders, or `out` is one of them.
    """
    if not folders:
        raise AnnotationError("give the folders of the lists of Kinetics-400, -600 and -700.", path=out)
    if out.resolve() in [folder.resolve() for folder in folders]:
        raise AnnotationError("holds lists that are read; write to another folder.", path=out)
    merged = merge_kinetics({str(folder): _read(folder) for folder in folders})
    out.mkdir(parents=True, exist_ok=True)
    write_kinetics(out / "train.csv", merged.train)
    write_kinetics(out / "val.csv", merged.val)
    return MergedLists(len(merged.train), len(merged.val), merged.left_out)


def _read(folder: Path) -> dict[str, list[KineticsRow]]:
    files = ActionFiles(root=folder, layout="kinetics")
    paths = {split: files.file_of(split) for split in ("train", "val", "test")}
    if paths["test"] == paths["val"]:  # there is no list of test videos
        del paths["test"]
    return {split: read_kinetics(path) for split, path in paths.items()}
