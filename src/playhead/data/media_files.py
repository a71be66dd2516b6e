"""Which media files of a caption table lie on this disk: counted before training, and left out only if that is asked.

What was found present is written beside the table and kept, so that every rank and every later start of a run take the
same rows, whatever is downloaded or lost meanwhile.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int

from playhead.data.border import temporary_beside
from playhead.data.caption_table import CaptionTable
from playhead.errors import AnnotationError

logger = logging.getLogger(__name__)

MOST_NAMES = 3  # missing files that a message names
Per = Literal["file", "row"]


def present_places(
    table: CaptionTable, media: Path, suffixes: Sequence[str], *, per: Per, only_present: bool
) -> Path | None:
    """Return where the numbers of those files (or rows) of `table` lie whose media are there; None if all are.

    A name of the table is that of a file in `media`, with or without one of `suffixes`, or of a folder of chunks.

    Raises:
        AnnotationError: some are missing, and `only_present` was not asked for; or all are. Tells how many.
    """
    settings = json.dumps([table.stamp, os.path.abspath(media), *suffixes])
    stem = f"present_{hashlib.sha256(settings.encode()).hexdigest()[:12]}"
    record = table.folder / f"{stem}_{per}.npy"
    complete = table.folder / f"{stem}.complete"
    if complete.exists():
        return None
    if not (only_present and record.exists()):
        is_present = np.fromiter(_are_present(table.files(), media, suffixes), bool, table.num_files)
        if is_present.all():
            complete.touch()
            return None
        _tell_missing(table, media, is_present, only_present)
        _write_first(record, np.flatnonzero(is_present) if per == "file" else _rows_of(table, is_present))
    kept = len(np.load(record, mmap_mode="r"))
    total = table.num_files if per == "file" else len(table)
    kind = "media files" if per == "file" else "captions"
    logger.info(f"{media}: {kept:,} of {total:,} {kind} are present; the others are left out, as {record} says.")
    return record


def _are_present(names: Iterable[str], media: Path, suffixes: Sequence[str]) -> Iterable[bool]:
    """Say of each name whether it is there; a folder is listed once, which is faster than asking for each file."""
    folders: dict[str, frozenset[str]] = {}
    for name in names:
        folder, _, last = name.rpartition("/")
        if folder not in folders:
            folders[folder] = _listed(media / folder, suffixes)
        yield last in folders[folder]


def _listed(folder: Path, suffixes: Sequence[str]) -> frozenset[str]:
    try:
        names = os.listdir(folder)
    except OSError:  # an absent folder has no files; the caller counts them
        return frozenset()
    bare = (name.removesuffix(suffix) for suffix in suffixes for name in names if name.endswith(suffix))
    return frozenset((*names, *bare))


def _tell_missing(table: CaptionTable, media: Path, is_present: np.ndarray, only_present: bool) -> None:
    missing = int(len(is_present) - is_present.sum())
    if only_present and is_present.any():
        return
    names = [name for name, present in zip(table.files(), is_present, strict=True) if not present][:MOST_NAMES]
    shown = ", ".join(names) + (", ..." if missing > len(names) else "")
    advice = "fetch them, or train on the others with only_present"
    if not is_present.any():
        advice = "is this the folder of the media, and are they named as the settings say"
    raise AnnotationError(
        f"{missing:,} of {len(is_present):,} media files are missing ({shown}); {advice}.", path=media
    )


def _rows_of(table: CaptionTable, is_present: np.ndarray) -> Int[np.ndarray, " N"]:
    bounds = np.append(table.first_rows, len(table))
    return np.flatnonzero(np.repeat(is_present, np.diff(bounds)))


def _write_first(path: Path, places: Int[np.ndarray, " N"]) -> None:
    """Write a record unless another process was first, whose record then counts."""
    own = path.with_name(f"{path.name}.own")
    with temporary_beside(own) as temporary:
        with open(temporary, "wb") as file:
            np.save(file, places.astype(np.int64))
        temporary.chmod(0o644)
        try:
            os.link(temporary, path)
        except FileExistsError:
            logger.info(f"{path} was written by another process meanwhile.")
        except OSError:  # this file system has no hard links
            shutil.copyfile(temporary, path)
    own.unlink(missing_ok=True)
