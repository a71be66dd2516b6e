"""The data sets of action recognition, each in the layout of its official files, by one way: `ActionFiles.read`.

    folders      one folder per class (`class_folders`)
    list         "path label" or "path frames label", or csv with a header (`action_lists`)
    kinetics     official csv of Kinetics-400, -600, -700, and the merged -710 (`kinetics`)
    something    Something-Something v1 and v2 (`something`)
    hmdb51, ucf101   official splits (`hmdb_ucf`)
    activitynet, hacs   ActivityNet 1.3 and HACS Segments as classification (`activitynet`)
    moments_in_time

Splits are "train", "val" and "test". A split's file is found by its name, which ends in the split's: "train.csv",
"k400_val.csv", "something-something-v2-validation.json".
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playhead.data.action_lists import read_list
from playhead.data.action_videos import (
    UNKNOWN,
    ActionVideo,
    ListedVideo,
    Missing,
    class_numbers,
    label_of,
    locate,
    some,
)
from playhead.data.activitynet import read_activitynet, read_moments_in_time
from playhead.data.border import read_text
from playhead.data.class_folders import HoldOut, read_folders
from playhead.data.hmdb_ucf import read_class_index, read_hmdb51, read_ucf101
from playhead.data.kinetics import as_listed, read_kinetics
from playhead.data.kinetics710 import SETS, current_name, published_classes
from playhead.data.something import read_something, read_something_labels
from playhead.errors import AnnotationError

Layout = Literal[
    "folders", "list", "kinetics", "something", "hmdb51", "ucf101", "activitynet", "hacs", "moments_in_time"
]
SPLIT_NAMES = {
    "train": ("train", "training", "trainingSet"),
    "val": ("val", "validate", "validation", "validationSet"),
    "test": ("test", "testing"),
}
LIST_ENDINGS = (".csv", ".txt", ".list", ".json")


@dataclass(frozen=True)
class ActionSplit:
    """The videos of one split in the order of their list, and all classes."""

    videos: tuple[ActionVideo, ...]
    classes: tuple[str, ...]
    source: Path
    missing: int = 0

    def counts(self) -> list[int]:
        """Return the number of videos of each class."""
        found = Counter(video.label for video in self.videos)
        return [found[label] for label in range(len(self.classes))]


@dataclass(frozen=True, kw_only=True)
class ActionFiles:
    """Where the videos and lists of a data set lie."""

    root: Path
    layout: Layout = "folders"
    annotations: Path | None = None
    classes: str | None = None
    more_roots: tuple[Path, ...] = ()
    missing: Missing = "error"
    split_number: int = 1
    hold_out: HoldOut = field(default_factory=HoldOut)

    @property
    def lists(self) -> Path:
        """The folder of the lists; that of the videos unless told otherwise."""
        return self.annotations or self.root

    def read(self, split: str) -> ActionSplit:
        """Return the videos of a split. "test" falls back to "val" where there is no list of it.

        Raises:
            AnnotationError: a list is missing or wrong, videos are missing, or a class is none of those that there are.
        """
        listed, found, source = self._listed(split)
        names = self._class_names(found, source)
        numbers = class_numbers(names, source)
        if self.layout == "kinetics":
            listed = [_renamed(video, numbers) for video in listed]
        places, lost = locate(listed, (self.root, *self.more_roots), source, self.missing)
        videos = [
            ActionVideo(place.name, path, label_of(video, numbers, len(names), source), place.span, video.num_frames)
            for video, place, path in places
        ]
        if split != "test" and (secret := [video.name for video in videos if video.label == UNKNOWN]):
            raise AnnotationError(f"tells no class of {len(secret)} videos ({some(secret)}).", path=source)
        return ActionSplit(tuple(videos), tuple(names), source, lost)

    def class_names(self) -> tuple[str, ...]:
        """Return the classes, without looking for the videos.

        Raises:
            AnnotationError: as `read`, but for missing videos.
        """
        _, found, source = self._listed("train")
        return tuple(self._class_names(found, source))

    def _listed(self, split: str) -> tuple[list[ListedVideo], list[str] | None, Path]:
        """Return the rows of a split, the class names if the layout tells them, and the file they come from."""
        match self.layout:
            case "folders":
                return *read_folders(self.root, split, self.hold_out), self.root
            case "hmdb51":
                return *read_hmdb51(self.lists, split, self.split_number), self.lists
            case "ucf101":
                return *read_ucf101(self.lists, split, self.split_number), self.lists
            case "activitynet" | "hacs":
                path = (
                    self.lists
                    if self.lists.is_file()
                    else _only(sorted(self.lists.glob("*.json")), self.lists, "*.json")
                )
                return *read_activitynet(path, split), path
            case "moments_in_time":
                path = self.file_of(split)
                return *read_moments_in_time(path, self.lists / "moments_categories.txt"), path
        path = self.file_of(split)
        match self.layout:
            case "kinetics":
                return as_listed(read_kinetics(path), path), None, path
            case "something":
                labels = sorted(one for one in self.lists.glob("*labels.*") if one.suffix in (".json", ".csv"))
                return read_something(path), read_something_labels(_only(labels, self.lists, "*labels.json")), path
        return read_list(path), None, path

    def file_of(self, split: str) -> Path:
        """Return the list of a split; that of "val" for "test" where there is none of its own.

        Raises:
            AnnotationError: there is none, or several.
        """
        if split not in SPLIT_NAMES:
            raise AnnotationError(f"no split {split!r}; there are {', '.join(SPLIT_NAMES)}.")
        found = self._files_named(SPLIT_NAMES[split])
        if split == "test" and not found:
            found = self._files_named(SPLIT_NAMES["val"])
        return _only(found, self.lists, f"{split}.csv")

    def _files_named(self, names: Sequence[str]) -> list[Path]:
        if not self.lists.is_dir():
            raise AnnotationError("there is no such folder; give the folder of the lists.", path=self.lists)
        files = [path for path in sorted(self.lists.iterdir()) if path.suffix in LIST_ENDINGS]
        return [
            path
            for path in files
            if any(path.stem == name or path.stem.endswith((f"_{name}", f"-{name}", f".{name}")) for name in names)
        ]

    def _class_names(self, found: list[str] | None, source: Path) -> list[str]:
        if self.classes is not None:
            return named_classes(self.classes)
        if found is not None:
            return found
        train, _, source = self._listed("train")
        labels = {video.label for video in train if video.label is not None}
        names = sorted(label for label in labels if isinstance(label, str))
        if names and len(names) < len(labels):
            raise AnnotationError(f"some classes are names ({some(names)}) and some numbers; use one.", path=source)
        return names or _numbered([label for label in labels if isinstance(label, int)], source)


def named_classes(name: str) -> list[str]:
    """Return the classes of a published order ("k400", "k600", "k700", "k710"), or of a file.

    Raises:
        AnnotationError: as `read_class_names`.
    """
    for known in SETS:
        if name == known:
            return list(published_classes(known))
    return read_class_names(Path(name))


def read_class_names(path: Path) -> list[str]:
    """Return the class names of a file: one per line, or UCF101's `1 Name`, or Something-Something's `labels.json`.

    Raises:
        AnnotationError: the file cannot be read, or a name stands there twice.
    """
    if path.suffix == ".json":
        return read_something_labels(path)
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if lines and lines[0].startswith("1 ") and all(line.partition(" ")[0].isdigit() for line in lines):
        return read_class_index(path)
    class_numbers(lines, path)
    return lines


def _renamed(video: ListedVideo, numbers: dict[str, int]) -> ListedVideo:
    """Give a row of an official file the name by which the class set knows its class."""
    if not isinstance(video.label, str) or video.label in numbers:
        return video
    current = current_name(video.label)
    return ListedVideo(video.places, current, video.row) if current in numbers else video


def _numbered(labels: Sequence[int], source: Path) -> list[str]:
    if min(labels) < 0:
        raise AnnotationError(f"a class has the number {min(labels)}; they count from 0.", path=source)
    if min(labels) == 1:
        raise AnnotationError(
            "its class numbers count from 1, and 0 is the first here; subtract 1, or give a file of class names if "
            "there really is no video of class 0.",
            path=source,
        )
    return [str(number) for number in range(max(labels) + 1)]


def _only(found: Sequence[Path], folder: Path, wanted: str) -> Path:
    if not found:
        raise AnnotationError(f"no file like {wanted} lies here.", path=folder)
    if len(found) > 1:
        names = some(path.name for path in found)
        raise AnnotationError(f"{len(found)} files are like {wanted} ({names}); leave one there.", path=folder)
    return found[0]
