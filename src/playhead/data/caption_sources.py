"""WebVid, Conceptual Captions and HowTo100M as sequences of captioned clips, ready to be read by any worker."""

import html
import json
import logging
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

from playhead.data.border import FilePath
from playhead.data.caption_layouts import ConceptualCaptions, ImageNames, WebVid
from playhead.data.caption_table import CaptionTable, Reader
from playhead.data.captions import CaptionPair
from playhead.data.howto100m import HowTo100M
from playhead.data.media_files import present_places
from playhead.errors import RecipeError
from playhead.types import Span

logger = logging.getLogger(__name__)

Layout = Literal["webvid", "cc3m", "howto100m"]


@dataclass(frozen=True, kw_only=True)
class CaptionFiles:
    """How the files of WebVid, CC3M and HowTo100M lie on this disk, and which of their rows count.

    Raises:
        RecipeError: a setting is out of its range, or `image_map` and `image_names` contradict each other.
    """

    image_names: ImageNames = "crc32"
    """How CC3M's pictures are named: by the CRC-32 of their URL, as "img2dataset" names them, or by `image_map`."""
    image_map: Path | None = None
    """File with the tab-separated columns `url` and `file`, for image_names="mapping"."""
    video_list: Path | None = None
    """`HowTo100M_v1.csv`, or any csv file with a column `video_id`: only these videos; unset takes all."""
    epoch_of: Literal["videos", "clips"] = "videos"
    """What passes once in an epoch of HowTo100M: every video, with one of its captions drawn anew, as the released
    loader of MIL-NCE does; or every one of the 136 M captions."""
    min_seconds: float = 4.0
    """HowTo100M's shorter captions are widened evenly on both sides to this, as in the released loader of MIL-NCE."""
    entities: Literal["keep", "resolve"] = "keep"
    """HTML entities in captions ("&amp;"): kept as they stand, as by the released loaders, or resolved."""
    max_characters: int | None = None
    """Longer captions are cut; the released loader of WebVid cuts at 350."""
    only_present: bool = False
    """Leave out captions whose media are not on this disk, and say how many; otherwise a missing file is an error."""
    skip_malformed: bool = False
    """Leave out rows that are not as their layout says, and count them; otherwise the first is an error."""
    tables: Path | None = None
    """Folder for the tables that the files are converted to once; beside the files by default."""

    def __post_init__(self):
        if (self.image_names == "mapping") != (self.image_map is not None):
            raise RecipeError("files.image_map belongs to files.image_names='mapping'; give both or neither.")
        if not 0 <= self.min_seconds < float("inf"):
            raise RecipeError(f"files.min_seconds must be 0 or more, got {self.min_seconds}.")
        if self.max_characters is not None and self.max_characters < 1:
            raise RecipeError(f"files.max_characters must be above 0, got {self.max_characters}.")


@dataclass(frozen=True)
class CaptionSource:
    """Captioned clips in the order of their file: a sequence of which every place gives one clip.

    `present` is the file that numbers what is on this disk, None where everything is.
    """

    table: CaptionTable
    layout: Layout
    files: CaptionFiles
    present: Path | None = None

    def __len__(self) -> int:
        if self._places is not None:
            return len(self._places)
        return self.table.num_files if self.is_by_video else len(self.table)

    def draw(self, index: int, generator: np.random.Generator) -> CaptionPair:
        """Return clip `index`; where an index is a video, one of its captions, each as likely."""
        place = index if self._places is None else int(self._places[index])
        if self.is_by_video:
            rows = self.table.rows_of(place)
            place = rows[generator.integers(len(rows))]
        pair = self.table[place]
        return CaptionPair(pair.file, self._wording(pair.text), self._widened(pair.span))

    @property
    def is_by_video(self) -> bool:
        """Whether a place is a video, of which each time another caption may be drawn."""
        return self.layout == "howto100m" and self.files.epoch_of == "videos"

    @cached_property
    def _places(self) -> np.ndarray | None:
        return None if self.present is None else np.load(self.present, mmap_mode="r")

    def __reduce__(self):  # without what is mapped
        return CaptionSource, (self.table, self.layout, self.files, self.present)

    def _wording(self, text: str) -> str:
        if self.files.entities == "resolve":
            text = html.unescape(text)
        return text[: self.files.max_characters]

    def _widened(self, span: Span | None) -> Span | None:
        if span is None or span.duration >= self.files.min_seconds:
            return span
        start = max(0.0, span.center - self.files.min_seconds / 2)
        return Span(start, start + self.files.min_seconds)


def open_captions(
    layout: Layout, pairs: FilePath, media: Path, files: CaptionFiles, suffixes: tuple[str, ...] = ()
) -> CaptionSource:
    """Open the captions of a published file, converting it to a table first where that is not done yet.

    What was left out is logged with its reasons, and the media in `media` are checked to be there; `suffixes` may be
    missing from their names in the file.

    Raises:
        AnnotationError: the file is not as its layout says, or media are missing; see `CaptionFiles`.
    """
    pairs = Path(pairs)
    reader, settings = _reader(layout, pairs, files)
    digest = sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:8]
    folder = (files.tables or pairs.parent) / f"{pairs.name}.{digest}.table"
    table = CaptionTable.convert(reader, folder, lambda *counts: _tell_progress(pairs, *counts))
    reasons = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in sorted(table.dropped.items())]
    kept = f"{len(table):,} captions of {table.num_files:,} media files"
    logger.info(f"{pairs}: {kept}; left out: {', '.join(reasons) or 'nothing'}.")
    by_video = layout == "howto100m" and files.epoch_of == "videos"
    per = "file" if by_video else "row"
    present = present_places(table, media, suffixes, per=per, only_present=files.only_present)
    return CaptionSource(table, layout, files, present)


def _reader(layout: Layout, pairs: Path, files: CaptionFiles) -> tuple[Reader, dict]:
    """Return the reader of a file and the settings that its table depends on."""
    skip = files.skip_malformed
    if layout == "webvid":
        reader = WebVid(pairs, skip)
    elif layout == "cc3m":
        reader = ConceptualCaptions(pairs, files.image_names, files.image_map, skip)
    else:
        reader = HowTo100M(pairs, files.video_list, skip)
    return reader, {"layout": layout, **{name: value for name, value in asdict(reader).items() if name != "path"}}


def _tell_progress(pairs: Path, done: int, total: int, rows: int) -> None:
    logger.info(f"{pairs}: {rows:,} captions converted, {100 * done / max(total, 1):.0f} % read.")
