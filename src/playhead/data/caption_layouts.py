"""The published files of WebVid and Conceptual Captions 3M, row by row, from any place on.

A row that is not as the layout says is an error that names it, or is counted where `skip_malformed` asks for that. Rows
that the published files are known to have are always left out and counted: empty captions, and a file named again.

Source: m-bain/webvid (`results_2M_train.csv`: videoid, contentUrl, duration, page_dir, name; `page_dir/videoid.mp4`);
Conceptual Captions (`Train_GCC-training.tsv`: caption, url; no heading). The loaders of Frozen in Time read the same.
"""

import csv
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from playhead.data.border import brief
from playhead.data.caption_table import Read
from playhead.errors import AnnotationError

WEBVID_COLUMNS = ("videoid", "name", "page_dir")
CC3M_HEADING = "caption\turl"  # which some tools want to be put above the published rows
IMAGES_PER_FOLDER = 10_000  # img2dataset's number_sample_per_shard
PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
EMPTY, NO_FOLDER = "empty_caption", "no_page_dir"
SHARED_NAME, NOT_MAPPED, MALFORMED = "name_shared_by_two_urls", "url_not_in_image_map", "malformed_row"

ImageNames = Literal["crc32", "img2dataset", "mapping"]


@dataclass
class Faults:
    """What happens to rows that cannot be used: the first bad one is an error, or all are counted."""

    path: Path
    skip_malformed: bool
    dropped: Counter[str] = field(default_factory=Counter)

    def malformed(self, problem: str, row: int | None) -> None:
        """Raise for a row that is not as the layout says, or count it."""
        if not self.skip_malformed:
            problem = f"{problem}; repair it, or count and leave out such rows with skip_malformed."
            raise AnnotationError(problem, path=self.path, row=row)
        self.dropped[MALFORMED] += 1

    def take(self) -> Counter[str]:
        """Return what was counted since the last call."""
        counted, self.dropped = self.dropped, Counter()
        return counted


class _Lines:
    """The lines of a file; `offset` and `row` are the place behind the last one given. Bytes that are no UTF-8 stay."""

    def __init__(self, file: BinaryIO, offset: int, row: int):
        self._file, self.offset, self.row = file, offset, row
        file.seek(offset)

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        start = 3 if self.offset == 0 and line.startswith(b"\xef\xbb\xbf") else 0
        self.offset, self.row = self.offset + len(line), self.row + 1
        return line[start:].decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class WebVid:
    """A csv file of WebVid; its media files are `page_dir/videoid.mp4`."""

    path: Path
    skip_malformed: bool = False

    def stamp(self) -> dict[str, Any]:
        """See `Reader`."""
        return {"layout": "webvid", **file_stamp(self.path), "skip_malformed": self.skip_malformed}

    def total(self) -> int:
        """See `Reader`."""
        return file_size(self.path)

    def read(self, offset: int, row: int) -> Iterator[Read]:
        """Yield one caption per row.

        Raises:
            AnnotationError: a column is missing, or a row is malformed.
        """
        faults = Faults(self.path, self.skip_malformed)
        with open(self.path, "rb") as file:
            lines = _Lines(file, 0, 0)
            heading = next(csv.reader(lines), [])
            places = self._places(heading)
            if offset:
                lines = _Lines(file, offset, row)
            rows = csv.reader(lines)
            while True:
                begin = lines.row + 1
                try:
                    cells = next(rows, None)
                except csv.Error as error:
                    faults.malformed(f"no csv ({error})", begin)
                    continue
                if cells is None:
                    break
                found = self._video(cells, len(heading), places, faults, begin)
                if found is not None:
                    yield Read(found[0], [found[1]], None, None, faults.take(), lines.offset, lines.row)
            yield Read("", [], None, None, faults.take(), lines.offset, lines.row)

    def _places(self, heading: list[str]) -> list[int]:
        missing = [name for name in WEBVID_COLUMNS if name not in heading]
        if missing:
            problem = f"columns {', '.join(missing)} are missing, found {brief(heading)}; is it a csv file of WebVid?"
            raise AnnotationError(problem, path=self.path, row=1)
        return [heading.index(name) for name in WEBVID_COLUMNS]

    @staticmethod
    def _video(cells: list[str], width: int, places: list[int], faults: Faults, row: int) -> tuple[str, str] | None:
        """Return file and caption of a row, None if it is left out."""
        if not cells:  # a blank line
            return None
        if len(cells) != width:
            faults.malformed(f"{width} fields needed as in the heading, found {len(cells)}", row)
            return None
        videoid, text, folder = (cells[place].strip() for place in places)
        if not folder:
            faults.dropped[NO_FOLDER] += 1
        elif not text:
            faults.dropped[EMPTY] += 1
        elif not is_utf8(text):
            faults.malformed(f"the caption {brief(text)} is no UTF-8", row)
        elif not all(map(PLAIN_NAME.fullmatch, (videoid, *folder.split("/")))):
            faults.malformed(f"page_dir and videoid must be plain names, found {brief(folder)}, {brief(videoid)}", row)
        else:
            return f"{folder}/{videoid}.mp4", text
        return None


@dataclass(frozen=True)
class ConceptualCaptions:
    """A tsv file of Conceptual Captions, whose pictures everyone downloads for himself: `image_names` says as what.

    "crc32": the decimal CRC-32 of the URL, without suffix, as the loaders of Frozen in Time and EgoVLP want it. Some
    1,300 pairs among 3.3 million URLs share one; rows of a shared name are left out and counted, since nobody knows
    whose picture lies there. "img2dataset": `00012/000123456.jpg` by the number of the row from 0, a heading not
    counted. "mapping": as `image_map` says, a tsv file with the columns `url` and `file`.
    """

    path: Path
    image_names: ImageNames = "crc32"
    image_map: Path | None = None
    skip_malformed: bool = False

    def stamp(self) -> dict[str, Any]:
        """See `Reader`."""
        mapping = {} if self.image_map is None else {"map": file_stamp(self.image_map)}
        settings = {"image_names": self.image_names, "skip_malformed": self.skip_malformed}
        return {"layout": "cc3m", **file_stamp(self.path), **settings, **mapping}

    def total(self) -> int:
        """See `Reader`."""
        return file_size(self.path)

    def read(self, offset: int, row: int) -> Iterator[Read]:
        """Yield one caption per row.

        Raises:
            AnnotationError: a row is malformed, or the map of the pictures is.
        """
        faults = Faults(self.path, self.skip_malformed)
        shared = self._shared_names() if self.image_names == "crc32" else frozenset[int]()
        mapped = read_image_map(self.image_map) if self.image_map is not None else {}
        with open(self.path, "rb") as file:
            has_heading = next(_Lines(file, 0, 0), "").rstrip("\r\n") == CC3M_HEADING
            lines = _Lines(file, offset, row)
            for line in lines:
                if lines.row == 1 and has_heading:
                    continue
                pair = self._pair(line, faults, lines.row)
                if pair is None:
                    continue
                text, url = pair
                name = self._name(url, lines.row - 1 - has_heading, shared, mapped, faults)
                if name is not None:
                    yield Read(name, [text], None, None, faults.take(), lines.offset, lines.row)
            yield Read("", [], None, None, faults.take(), lines.offset, lines.row)

    @staticmethod
    def _pair(line: str, faults: Faults, row: int) -> tuple[str, str] | None:
        """Return caption and URL of a line, None if it is left out."""
        cells = line.rstrip("\r\n").split("\t")
        if cells == [""]:
            return None
        if len(cells) != 2 or not cells[1].strip():
            faults.malformed(f"a caption, a tab and a URL needed, found {len(cells)} fields: {brief(line)}", row)
        elif not is_utf8(line):
            faults.malformed(f"{brief(line)} is no UTF-8", row)
        elif not cells[0].strip():
            faults.dropped[EMPTY] += 1
        else:
            return cells[0].strip(), cells[1].strip()
        return None

    def _name(
        self, url: str, number: int, shared: frozenset[int], mapped: dict[str, str], faults: Faults
    ) -> str | None:
        """Return the name of a picture's file, None if there is none to be sure of."""
        if self.image_names == "img2dataset":
            return f"{number // IMAGES_PER_FOLDER:05d}/{number:09d}.jpg"
        if self.image_names == "mapping":
            if url not in mapped:
                faults.dropped[NOT_MAPPED] += 1
            return mapped.get(url)
        name = zlib.crc32(url.encode())
        if name in shared:
            faults.dropped[SHARED_NAME] += 1
            return None
        return str(name)

    def _shared_names(self) -> frozenset[int]:
        """Return the CRC-32 of those URLs that share it with another URL."""
        keys = array("Q")  # CRC-32 above, another hash below: equal for equal URLs, else almost never
        with open(self.path, "rb") as file:
            for line in file:
                url = line.rstrip(b"\r\n").rpartition(b"\t")[2].strip()
                other = int.from_bytes(blake2b(url, digest_size=4).digest())
                keys.append(zlib.crc32(url) << 32 | other)
        names, counts = np.unique(np.unique(np.array(keys, np.uint64)) >> np.uint64(32), return_counts=True)
        return frozenset(names[counts > 1].tolist())


def read_image_map(path: Path) -> dict[str, str]:
    """Return the file of each URL from a tsv file with the columns `url` and `file`; others are not read.

    Raises:
        AnnotationError: a column is missing, a row has another number of fields, or a name leads out of the folder.
    """
    found: dict[str, str] = {}
    with open(path, "rb") as file:
        lines = _Lines(file, 0, 0)
        heading = next(lines, "").rstrip("\r\n").split("\t")
        if not {"url", "file"} <= set(heading):
            problem = f"tab-separated columns 'url' and 'file' needed, found {brief(heading)}; name them so."
            raise AnnotationError(problem, path=path, row=1)
        url, name = heading.index("url"), heading.index("file")
        for line in lines:
            cells = line.rstrip("\r\n").split("\t")
            if len(cells) != len(heading) or not is_utf8(line):
                problem = f"{len(heading)} tab-separated fields in UTF-8 needed, found {brief(line)}; repair it."
                raise AnnotationError(problem, path=path, row=lines.row)
            if not cells[name] or cells[name].startswith("/") or ".." in cells[name].split("/"):
                problem = f"'file' must be a name within the folder of the pictures, found {brief(cells[name])}."
                raise AnnotationError(problem, path=path, row=lines.row)
            found[cells[url]] = cells[name]
    return found


def file_stamp(path: Path) -> dict[str, int]:
    """Return size and date of a file.

    Raises:
        AnnotationError: it cannot be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise AnnotationError(f"the file cannot be read ({error.strerror}); check the path.", path=path) from error
    return {"size": status.st_size, "changed": status.st_mtime_ns}


def file_size(path: Path) -> int:
    """Return the bytes of a file.

    Raises:
        AnnotationError: it cannot be read.
    """
    return file_stamp(path)["size"]


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8: it holds no byte that was none, and no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
