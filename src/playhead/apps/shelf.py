"""The files of a feature folder: which videos it holds already, and how a new one is put there whole or not at all."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from playhead.apps.encoding import EncodedVideo
from playhead.apps.library import VideoFile

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


class Shelf:
    """The feature files of one folder, all of one make (`settings`).

    What is there is read from the headers of the files themselves, so a run that was killed before it could write the
    manifest loses nothing.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self.folder, self.settings = folder, settings
        self.entries: dict[str, FeatureEntry] = {}
        self._stamps: dict[str, tuple[int, int]] = {}
        make = blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8)
        self._make = make.hexdigest()
        for file in sorted(folder.glob("*.safetensors")):
            header = _read_header(file)
            if header is not None and header["make"] == self._make:
                entry = FeatureEntry(**{**header["entry"], "file": file.name})
                self.entries[entry.path] = entry
                self._stamps[entry.path] = (header["size"], header["mtime_ns"])

    def holds(self, file: VideoFile) -> bool:
        """Say whether the features of this file are there, made of what it now contains."""
        return self._stamps.get(file.path) == (file.size, file.mtime_ns)

    def put(self, file: VideoFile, video: EncodedVideo):
        """Write the features of one video; they are there completely, or not at all."""
        name = self._name_for(file.path)
        entry = FeatureEntry(
            path=file.path,
            file=name,
            duration=float(video.info.duration),
            num_features=len(video.rows),
            start=float(video.spans[0, 0]),
            end=float(video.spans[-1, 1]),
        )
        header = {"make": self._make, "size": file.size, "mtime_ns": file.mtime_ns, "entry": asdict(entry)}
        part = self.folder / f"{name}.part"
        save_file({"features": video.rows, "spans": video.spans}, part, metadata={"playhead": json.dumps(header)})
        os.replace(part, self.folder / name)
        self.entries[file.path] = entry
        self._stamps[file.path] = (file.size, file.mtime_ns)

    def write_manifest(self, failed: Mapping[str, str]):
        """Write `manifest.json` anew: the settings, the videos in order of path, and the failures with reasons."""
        manifest = {
            "format_version": FORMAT_VERSION,
            "settings": self.settings,
            "videos": [asdict(self.entries[path]) for path in sorted(self.entries)],
            "failed": [{"path": path, "reason": failed[path]} for path in sorted(failed)],
        }
        part = self.folder / "manifest.json.part"
        part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self.folder / "manifest.json")

    def _name_for(self, path: str) -> str:
        """Return the file name: that of the video, with a hash of its folder where another video has it already."""
        if path in self.entries:
            return self.entries[path].file
        plain = f"{Path(path).stem}.safetensors"
        if plain not in {entry.file for entry in self.entries.values()}:
            return plain
        return f"{Path(path).stem}-{blake2b(path.encode(), digest_size=4).hexdigest()}.safetensors"


def _read_header(file: Path) -> dict[str, Any] | None:
    """Return what `put` wrote into the file's header; None for a file that is not one of ours."""
    try:
        with safe_open(file, "numpy") as opened:
            metadata = opened.metadata() or {}
    except (OSError, SafetensorError):
        return None
    return json.loads(metadata["playhead"]) if "playhead" in metadata else None
