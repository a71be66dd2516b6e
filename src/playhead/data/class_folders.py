"""One folder per class: the simplest way to give videos of one's own.

    my_clips/open door/a.mp4          a class is the name of its folder
    my_clips/open door/b/0001.jpg     a folder of numbered images is a video, too
    my_clips/train/..., my_clips/val/...   splits, if there are any

Without folders `train` and `val` a part of each class is held out. Neighbours in a folder often come from one source
(cuts of one film, takes of one session), so that it is a block of neighbours, in the order of their names and numbers,
and not a random choice: else what is measured is memory.
"""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from playhead.data.action_videos import SUFFIXES, ListedVideo, Place, some
from playhead.errors import AnnotationError

IMAGES = (".jpg", ".jpeg", ".png")
SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


@dataclass(frozen=True, kw_only=True)
class HoldOut:
    """Which part of each class is not trained on, where the folders do not say it."""

    share: float = 0.2
    """Share of each class's videos."""
    block: int | None = None
    """Which block of neighbours, from 0 to 1 / `share` - 1; unset takes the last."""

    def __post_init__(self):
        if not 0 < self.share < 1:
            raise ValueError(f"hold_out.share must lie between 0 and 1, got {self.share}.")
        if self.block is not None and not 0 <= self.block < math.floor(1 / self.share + 1e-9):
            raise ValueError(f"hold_out.block must be 0 to {math.floor(1 / self.share + 1e-9) - 1}, got {self.block}.")

    def of(self, videos: list[ListedVideo]) -> tuple[list[ListedVideo], list[ListedVideo]]:
        """Return the videos of one class to train on, and those held out, at least one of each."""
        size = min(max(1, round(len(videos) * self.share)), len(videos) - 1)
        start = len(videos) - size if self.block is None else min(self.block * size, len(videos) - size)
        return videos[:start] + videos[start + size :], videos[start : start + size]


def read_folders(root: Path, split: str, hold_out: HoldOut) -> tuple[list[ListedVideo], list[str]]:
    """Return the videos of a split in the order of their names, and the class names in alphabetical order.

    "test" is what is held out where there is no folder `test`. The names of the videos begin at `root`.

    Raises:
        AnnotationError: there is no such folder, no class in it, or a class is empty or too small to hold some out;
            or a video lies beside the class folders, where it has no class.
    """
    _require_folder(root)
    splits = {
        name: next((root / one for one in names if (root / one).is_dir()), None)
        for name, names in SPLIT_FOLDERS.items()
    }
    if splits["train"] is None:
        if splits["val"] is not None:
            raise AnnotationError("has a folder of validation videos and none called 'train'.", path=root)
        classes = _read_classes(root, root)
        parts = {name: hold_out.of(_at_least_two(name, videos, root)) for name, videos in classes.items()}
        place = 0 if split == "train" else 1
        return [video for part in parts.values() for video in part[place]], list(parts)
    names = list(_read_classes(splits["train"], root))
    folder = splits[split] or splits["val"]
    if folder is None:
        raise AnnotationError("has a folder 'train' and none called 'val'; split off some videos.", path=root)
    return [video for videos in _read_classes(folder, root).values() for video in videos], names


def _read_classes(folder: Path, root: Path) -> dict[str, list[ListedVideo]]:
    entries = sorted(entry for entry in os.listdir(folder) if not entry.startswith("."))
    if loose := [entry for entry in entries if entry.lower().endswith(SUFFIXES)]:
        raise AnnotationError(
            f"{len(loose)} videos lie beside the class folders ({some(loose)}); put each into the folder of its class.",
            path=folder,
        )
    names = [entry for entry in entries if (folder / entry).is_dir()]
    if len(names) < 2:
        raise AnnotationError(
            f"one folder per class is needed, found {len(names)}: {some(names) or 'none'}.", path=folder
        )
    classes = {name: _videos(folder / name, root, name) for name in names}
    if empty := [name for name, videos in classes.items() if not videos]:
        raise AnnotationError(
            f"no videos ({', '.join(SUFFIXES)}, or folders of images) lie in {some(map(repr, empty))}; remove the "
            "folders or fill them.",
            path=folder,
        )
    return classes


def _videos(folder: Path, root: Path, label: str) -> list[ListedVideo]:
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images = [name for name in files if name.lower().endswith(IMAGES) and not name.startswith(".")]
        if images and Path(place) == folder:
            raise AnnotationError(
                f"holds {len(images)} images ({some(sorted(images)[:2])}); the images of a video need a folder of "
                "their own inside that of the class.",
                path=folder,
            )
        if images:
            found.append(Path(place))
            folders.clear()
        found += [Path(place, name) for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    names = sorted((path.relative_to(root).as_posix() for path in found), key=_natural)
    return [ListedVideo((Place(name),), label, row) for row, name in enumerate(names, start=1)]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that puts "clip9" before "clip10"."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _at_least_two(name: str, videos: list[ListedVideo], root: Path) -> list[ListedVideo]:
    if len(videos) < 2:
        raise AnnotationError(
            f"class {name!r} has {len(videos)} video; at least 2 are needed, one to learn from and one to measure on.",
            path=root,
        )
    return videos


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        raise AnnotationError("there is no such folder; give the folder that holds one folder per class.", path=root)
