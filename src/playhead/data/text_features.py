"""Features of texts, one row per token, computed once and mapped: what heads read that do not train their text tower.

    text_features/
        tokens.safetensors      features (all tokens of all texts, E) float32
        index.json              which rows are a text's: {"texts": {"where did i put the cup?": [0, 9], ...}}

A text is found however it is spelled in its file: case, blanks around it and a missing question mark do not matter.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from safetensors.numpy import save_file

from playhead.data.border import FilePath, brief, read_json, take, temporary_beside, write_whole
from playhead.data.feature_arrays import PREFERRED, open_features
from playhead.data.queries import released_sentence
from playhead.errors import AnnotationError

FORMAT_VERSION = 1
TOKENS, INDEX = "tokens.safetensors", "index.json"


class TextFeatures:
    """The token rows of texts, read from a folder that `write_text_features` wrote; cheap to send to a worker."""

    def __init__(
        self, path: Path, rows: Float[np.ndarray, "N E"], places: Mapping[str, tuple[int, int]], settings: Any
    ):
        self.path, self._rows, self._places = path, rows, places
        self.settings: Mapping[str, Any] = settings

    @staticmethod
    def open(path: FilePath) -> "TextFeatures":
        """Open a folder of text features; the rows are mapped, not read.

        Raises:
            AnnotationError: it is none, is broken, or of another format; of a released `sentence.npy` the message says
                how to convert it.
        """
        folder = Path(path)
        if folder.suffix == ".npy":
            raise AnnotationError(_CONVERT, path=path)
        file = folder / INDEX
        index = read_json(file)
        version = take(index, "format_version", int, file, "file")
        if version != FORMAT_VERSION:
            raise AnnotationError(
                f"has format {version}, this version reads {FORMAT_VERSION}. Extract again.", path=file
            )
        rows = open_features(folder / TOKENS, width=take(index, "width", int, file, "file")).rows.numpy()
        places = {}
        for text, place in take(index, "texts", dict, file, "file").items():
            places[text] = _place(place, len(rows), text, file)
        return TextFeatures(folder, rows, places, take(index, "settings", dict, file, "file"))

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, text: str) -> bool:
        return released_sentence(text) in self._places

    def __reduce__(self):
        return TextFeatures.open, (self.path,)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that are here, as the official baseline spells them, in the order in which they were written."""
        return tuple(self._places)

    @property
    def width(self) -> int:
        """Columns of a row."""
        return self._rows.shape[1]

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return max((stop - first for first, stop in self._places.values()), default=0)

    def of(self, text: str) -> Float32[np.ndarray, "L D"]:
        """Return one row per token of `text`, a view of the mapped file: do not write into it.

        Raises:
            AnnotationError: the text is not here.
        """
        place = self._places.get(released_sentence(text))
        if place is None:
            raise AnnotationError(
                f"has no features of {brief(text)}; extract those of its annotation file.", path=self.path
            )
        return self._rows[place[0] : place[1]]


def write_text_features(
    path: FilePath, features: Iterable[tuple[str, Float[np.ndarray, "_L D"]]], settings: Mapping[str, Any]
) -> TextFeatures:
    """Write the token rows of texts into folder `path`, and return them as they are read again.

    `settings` says how they were made, and must be JSON-able. Texts that differ only in spelling count once, the first.

    Raises:
        AnnotationError: there is no text, the widths differ, or the folder cannot be written.
    """
    rows: dict[str, np.ndarray] = {}
    for text, tokens in features:
        rows.setdefault(released_sentence(text), np.asarray(tokens, dtype=np.float32))
    widths = {array.shape[1] for array in rows.values()}
    if len(widths) != 1 or not all(map(len, rows.values())):
        found = f"widths {sorted(widths)}" if rows else "no text"
        raise AnnotationError(f"texts of one width with at least one token each are needed, found {found}.", path=path)
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AnnotationError(f"cannot be made ({error.strerror}); name another folder.", path=path) from error
    stops = np.cumsum([len(array) for array in rows.values()]).tolist()
    places = {text: [stop - len(array), stop] for (text, array), stop in zip(rows.items(), stops, strict=True)}
    index = {"format_version": FORMAT_VERSION, "width": widths.pop(), "settings": dict(settings), "texts": places}
    (folder / INDEX).unlink(missing_ok=True)  # an index must never stand beside the rows of another
    with temporary_beside(folder / TOKENS) as temporary:
        save_file({PREFERRED: np.concatenate(list(rows.values()))}, os.fspath(temporary))
    with write_whole(folder / INDEX) as file:
        json.dump(index, file, ensure_ascii=False)
    return TextFeatures.open(folder)


def _place(found: Any, num_rows: int, text: str, file: Path) -> tuple[int, int]:
    match found:
        case [int(first), int(stop)] if 0 <= first < stop <= num_rows:
            return first, stop
    raise AnnotationError(f"rows of {text!r} must lie in 0..{num_rows}, found {brief(found)}.", path=file)


_CONVERT = (
    "is a pickled dictionary, and reading it would run what it says. If you trust it, convert it once in Python: "
    "`rows = numpy.load(path, allow_pickle=True).item()`, then `write_text_features(folder, ((text, row.numpy()) "
    "for text, row in rows.items()), {})`; each value must be (tokens, width), not one sentence vector."
)
