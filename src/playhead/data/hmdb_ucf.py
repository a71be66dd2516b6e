"""The official splits of HMDB51 and UCF101, three each; videos lie in one folder per class.

HMDB51: `{class}_test_split{1,2,3}.txt`, one line `file.avi 0|1|2` per video: 0 unused, 1 training, 2 test.
UCF101: `classInd.txt` (`1 ApplyEyeMakeup`, numbers from 1), `trainlist0{1,2,3}.txt` (`Class/file.avi 1`) and
`testlist0{1,2,3}.txt` (`Class/file.avi`).
"""

import re
from pathlib import Path

from playhead.data.action_videos import ListedVideo, Place, class_numbers, require_unique
from playhead.data.border import brief, read_text
from playhead.errors import AnnotationError

HMDB_TAGS = {"train": "1", "val": "2", "test": "2"}
HMDB_NAME = re.compile(r"^(?P<name>.+)_test_split(?P<split>[123])\.txt$")
UCF_FILES = {"train": "trainlist0{}.txt", "val": "testlist0{}.txt", "test": "testlist0{}.txt"}


def read_hmdb51(folder: Path, split: str, number: int) -> tuple[list[ListedVideo], list[str]]:
    """Return the videos of a split, and the class names in alphabetical order.

    Raises:
        AnnotationError: the folder holds no files of this split, or a line is not `file 0|1|2`.
    """
    files = {}
    for path in sorted(folder.glob("*_test_split*.txt")):
        match = HMDB_NAME.match(path.name)
        if match is not None and match["split"] == str(number):
            files[match["name"]] = path
    if not files:
        raise AnnotationError(f"holds no files '{{class}}_test_split{number}.txt'.", path=folder)
    listed = []
    for name, path in files.items():
        for row, line in enumerate(read_text(path).splitlines(), start=1):
            if not line.strip():
                continue
            video, _, tag = line.strip().rpartition(" ")
            if tag not in ("0", "1", "2") or not video:
                raise AnnotationError(f"a line is 'file 0|1|2', found {brief(line)}.", path=path, row=row)
            if tag == HMDB_TAGS[split]:
                video = video.strip()
                listed.append(ListedVideo((Place(f"{name}/{video}"), Place(video)), name, row))
    require_unique(listed, folder)
    return listed, list(files)


def read_ucf101(folder: Path, split: str, number: int) -> tuple[list[ListedVideo], list[str]]:
    """Return the videos of a split, and the class names in the order of `classInd.txt`.

    Raises:
        AnnotationError: a file is missing, a line does not fit, or a training video's number is not that of its folder.
    """
    names = read_class_index(folder / "classInd.txt")
    numbers, path = class_numbers(names, folder / "classInd.txt"), folder / UCF_FILES[split].format(number)
    listed = []
    for row, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        video, _, told = line.strip().partition(".avi")
        name = video.partition("/")[0]
        if name not in numbers or "/" not in video:
            raise AnnotationError(f"{brief(line)} does not lie in the folder of a class.", path=path, row=row)
        if told.strip() and told.strip() != str(numbers[name] + 1):
            raise AnnotationError(
                f"{video}.avi is of class {told.strip()}, but its folder is number {numbers[name] + 1}; numbers count "
                "from 1 in these files.",
                path=path,
                row=row,
            )
        listed.append(ListedVideo((Place(f"{video}.avi"), Place(f"{video.rpartition('/')[2]}.avi")), name, row))
    if not listed:
        raise AnnotationError("holds no videos.", path=path)
    require_unique(listed, path)
    return listed, names


def read_class_index(path: Path) -> list[str]:
    """Return the names of `classInd.txt`, whose numbers count from 1.

    Raises:
        AnnotationError: it cannot be read, or its numbers are not 1, 2, 3, ...
    """
    names = []
    for row, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        number, _, name = line.strip().partition(" ")
        if number != str(len(names) + 1) or not name.strip():
            raise AnnotationError(f"'{len(names) + 1} ClassName' needed, found {brief(line)}.", path=path, row=row)
        names.append(name.strip())
    class_numbers(names, path)
    return names
