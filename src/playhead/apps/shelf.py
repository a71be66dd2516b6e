"""The files of a feature folder: which pieces it holds already, and how a new one is put there whole or not at all.

A piece is a whole video or a clip of one. It has a name (the video's path, the clip's id), an entry in the manifest,
and a file, whose header repeats the entry.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, TypeVar

from numpy import ndarray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from playhead.apps.library import VideoFile
from playhead.data.feature_arrays import HEADER
from playhead.data.feature_files import TimeBase
from playhead.errors import AnnotationError, RecipeError

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class FeatureEntry:
    """One video of the manifest: where it lay, its feature file, seconds, rows, and where its windows begin and end."""

    path: str
    file: str
    duration: float
    num_features: int
    start: float
    end: float

    @property
    def name(self) -> str:
        """The path of the video."""
        return self.path


@dataclass(frozen=True, slots=True)
class ClipEntry:
    """One clip of the manifest: its video, feature file, ends in seconds of the video, and rows."""

    clip_id: str
    video_id: str
    file: str
    start: float
    end: float
    num_features: int

    @property
    def name(self) -> str:
        """The id of the clip."""
        return self.clip_id


EntryKind = TypeVar("EntryKind", FeatureEntry, ClipEntry)


class Shelf(Generic[EntryKind]):
    """The feature files of one folder, all of one make (`settings`), under the heading `title` in the manifest.

    What is there is read from the headers of the files themselves, so a run that was killed before it could write the
    manifest loses nothing.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], kind: type[EntryKind], title: str):
        self.folder, self.settings, self.title = folder, settings, title
        self.entries: dict[str, EntryKind] = {}
        self._stamps: dict[str, tuple[int, int]] = {}
        make = blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8)
        self._make = make.hexdigest()
        for file in sorted(folder.glob("*.safetensors")):
            header = _read_header(file)
            if header is not None and header.get("make") == self._make:
                entry = kind(**{**header["entry"], "file": file.name})
                self.entries[entry.name] = entry
                self._stamps[entry.name] = (header["size"], header["mtime_ns"])

    def holds(self, name: str, source: VideoFile) -> bool:
        """Say whether the features of this piece are there, made of what the video file now contains."""
        return self._stamps.get(name) == (source.size, source.mtime_ns)

    def put(
        self, entry: EntryKind, source: VideoFile, arrays: Mapping[str, ndarray], time: TimeBase, rows_on_grid: int
    ):
        """Write the arrays of one piece; they are there completely, or not at all.

        The header says which row saw which seconds; `rows_on_grid` of them lie where `time` says.
        """
        header = {
            "make": self._make,
            "size": source.size,
            "mtime_ns": source.mtime_ns,
            "entry": asdict(entry),
            "time": asdict(time),
            "rows_on_grid": rows_on_grid,
        }
        part = self.folder / f"{entry.file}.part"
        save_file(dict(arrays), part, metadata={HEADER: json.dumps(header)})
        os.replace(part, self.folder / entry.file)
        self.entries[entry.name] = entry
        self._stamps[entry.name] = (source.size, source.mtime_ns)

    def discard(self, name: str):
        """Take away what is there of a piece, since it is no longer what the piece shows."""
        entry = self.entries.pop(name, None)
        if entry is not None:
            self._stamps.pop(name, None)
            (self.folder / entry.file).unlink(missing_ok=True)

    def write_manifest(self, failed: Mapping[str, str], named: str = "path"):
        """Write `manifest.json` anew: the settings, the pieces in order of name, and the failures with reasons.

        `named` is the key under which a failure has its name.
        """
        manifest = {
            "format_version": FORMAT_VERSION,
            "settings": self.settings,
            self.title: [asdict(self.entries[name]) for name in sorted(self.entries)],
            "failed": [{named: name, "reason": failed[name]} for name in sorted(failed)],
        }
        part = self.folder / "manifest.json.part"
        part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self.folder / "manifest.json")

    def name_for(self, path: str) -> str:
        """Return a video's file name: its own, with a hash of its folder where another video has it already."""
        if path in self.entries:
            return self.entries[path].file
        plain = f"{Path(path).stem}.safetensors"
        if plain not in {entry.file for entry in self.entries.values()}:
            return plain
        return f"{Path(path).stem}-{blake2b(path.encode(), digest_size=4).hexdigest()}.safetensors"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a feature folder; None where there is none.

    Raises:
        AnnotationError: it is broken, or of another format.
    """
    file = folder / "manifest.json"
    if not file.exists():
        return None
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AnnotationError(f"cannot be read ({error}). Delete it and extract again.", path=file) from error
    found = manifest.get("format_version") if isinstance(manifest, dict) else None
    if found != FORMAT_VERSION:
        raise AnnotationError(f"has format {found}, this version reads {FORMAT_VERSION}. Extract again.", path=file)
    return manifest


def require_same_make(folder: Path, described: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the failures that the manifest lists, once it is sure that its features are of the same make.

    Raises:
        RecipeError: they are not.
        AnnotationError: the manifest is broken, or of another format.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return []
    found = manifest["settings"]
    if different := sorted(key for key in described.keys() | found.keys() if found.get(key) != described.get(key)):
        raise RecipeError(
            f"it holds features with {', '.join(f'{key} {found.get(key)}' for key in different)}; "
            f"asked for {', '.join(f'{key} {described.get(key)}' for key in different)}. "
            "Choose another folder, or the same bundle and settings.",
            path=folder,
        )
    return manifest["failed"]


def _read_header(file: Path) -> dict[str, Any] | None:
    """Return what `put` wrote into the file's header; None for a file that is not one of ours."""
    try:
        with safe_open(file, "numpy") as opened:
            metadata = opened.metadata() or {}
    except (OSError, SafetensorError):
        return None
    return json.loads(metadata[HEADER]) if HEADER in metadata else None
