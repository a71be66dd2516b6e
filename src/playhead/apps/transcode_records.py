"""What a folder of transcoded videos holds, and of what: its manifest, and a journal that survives a kill.

out/
manifest.json               settings and identity; every video with its source and checksum; failures; removals
uid.mp4, or uid/0.mp4 ...   the videos, at the places that their sources have below their root
.transcode/                 lock, journal and scratch space of a run
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import av

from playhead import __version__
from playhead.apps.library import VideoFile
from playhead.apps.transcode_video import size_of
from playhead.errors import AnnotationError, RecipeError

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
WORKSHOP = ".transcode"


@dataclass(frozen=True, slots=True)
class PreparedVideo:
    """A transcoded video: its name and file below the folder, what it holds, and the source that it was made of.

    `size` (bytes), `mtime_ns` and `sha256` are the source's as it was then, `bytes` are those of all its files;
    `file` is a folder where the video is in chunks. Seconds and pixels are those of the file.
    """

    name: str
    file: str
    source: str
    size: int
    mtime_ns: int
    sha256: str
    bytes: int
    duration: float
    width: int
    height: int
    fps: float
    num_frames: int

    def is_made_of(self, file: VideoFile) -> bool:
        """Return whether it was made of this file, by its path, size and time of change."""
        return (self.source, self.size, self.mtime_ns) == (file.path, file.size, file.mtime_ns)


class Records:
    """The videos of one folder, all of one make; only one process may have it at a time.

    Raises:
        RecipeError: the folder holds videos of other settings.
        AnnotationError: its manifest is broken, or of another format.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self.folder, self._settings = folder, dict(settings)
        self.scratch = folder / WORKSHOP / "scratch"
        self._journal = folder / WORKSHOP / "journal.jsonl"
        self.videos: dict[str, PreparedVideo] = {}
        self.failed: dict[str, str] = {}
        manifest = read_manifest(folder)
        if manifest is not None:
            self._require_same_settings(manifest["settings"])
            self.videos = {video["name"]: PreparedVideo(**video) for video in manifest["videos"]}
            self.failed = {failure["source"]: failure["reason"] for failure in manifest["failed"]}
        self._read_journal()
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)

    def holds(self, name: str) -> bool:
        """Return whether the files of a video are there as they were written."""
        video = self.videos.get(name)
        return video is not None and size_of(self.folder / video.file) == video.bytes

    def put(self, video: PreparedVideo, path: Path | None = None):
        """Note a video; move its new file or folder of chunks from the scratch folder to its place, if there is one.

        Raises:
            OSError: it cannot be moved there.
        """
        target = self.folder / video.file
        if path is not None and target.exists():
            os.replace(target, Path(tempfile.mkdtemp(dir=self.scratch)) / "old")
        with open(self._journal, "a", encoding="utf-8") as journal:
            # Before the file appears: then every file of ours is known, whenever the run is killed.
            journal.write(json.dumps(asdict(video)) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
        if path is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
            shutil.rmtree(path.parent, ignore_errors=True)
        self.videos[video.name] = video

    def write(self, failed: Mapping[str, str], removed: Mapping[str, str]):
        """Write the manifest anew, and clear the workshop; `failed` is reasons by source, `removed` sources by name."""
        manifest = {
            "format_version": FORMAT_VERSION,
            "identity": identity_of(self._settings),
            "settings": self._settings,
            "made_with": {"playhead": __version__, "av": av.__version__, "ffmpeg": av.ffmpeg_version_info},
            "videos": [asdict(self.videos[name]) for name in sorted(self.videos)],
            "failed": [{"source": source, "reason": failed[source]} for source in sorted(failed)],
            "removed": [{"name": name, "source": removed[name]} for name in sorted(removed)],
        }
        part = self.folder / WORKSHOP / "manifest.part"
        part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self.folder / MANIFEST_NAME)
        self._journal.unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _read_journal(self):
        """Take in what a run that was killed had finished."""
        if not self._journal.exists():
            return
        for line in self._journal.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                video = PreparedVideo(**json.loads(line))
            except (ValueError, TypeError):
                continue  # the kill came while it was written, so its file was not there yet
            self.videos[video.name] = video

    def _require_same_settings(self, found: Mapping[str, Any]):
        asked = self._settings
        if different := sorted(key for key in asked.keys() | found.keys() if found.get(key) != asked.get(key)):
            raise RecipeError(
                f"it holds videos with {', '.join(f'{key} {found.get(key)}' for key in different)}; "
                f"asked for {', '.join(f'{key} {asked.get(key)}' for key in different)}. "
                "Choose another folder, or the same settings.",
                path=self.folder,
            )


def identity_of(settings: Mapping[str, Any]) -> str:
    """Return 16 hex digits that say how videos were transcoded: with the source's checksum, they name the content."""
    return hashlib.blake2b(json.dumps(dict(settings), sort_keys=True).encode(), digest_size=8).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder of transcoded videos; None where there is none.

    Raises:
        AnnotationError: it is broken, or of another format.
    """
    path = folder / MANIFEST_NAME
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = manifest.get("format_version")
        names = {field.name for field in fields(PreparedVideo)}
        sound = {"settings", "videos", "failed"} <= set(manifest) and all(set(v) == names for v in manifest["videos"])
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise AnnotationError(f"cannot be read ({error}); restore it, or choose another folder.", path=path) from error
    if found != FORMAT_VERSION or not sound:
        problem = f"is no manifest of transcoded videos of format {FORMAT_VERSION}; choose another folder."
        raise AnnotationError(problem, path=path)
    return manifest
