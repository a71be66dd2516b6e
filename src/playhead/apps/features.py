"""Features of long videos on disk: one file per video, and a manifest that says exactly how they were made.

    features/
        manifest.json           model, windows, preprocessing; every video with its file; every failure with its reason
        <name>.safetensors      features (S, E) float32, spans (S, 2) float64 in seconds

Each file also names its source, so that an interrupted run goes on where it stopped.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from playhead.apps.encoding import (
    EncodedVideo,
    FailedVideo,
    Report,
    as_video,
    device_of,
    encode_videos,
    encoder_of,
    read_whole,
)
from playhead.apps.encoding_jobs import Elsewhere, encode_elsewhere
from playhead.apps.library import VideoFile, scan_videos
from playhead.apps.lock import only_writer
from playhead.apps.shelf import FeatureEntry, Shelf, read_manifest, require_same_make
from playhead.apps.windows import WindowPlan, WindowSettings, plan_windows
from playhead.data.feature_files import TimeBase
from playhead.errors import AnnotationError
from playhead.weights.bundle import Bundle

_DEFAULT = WindowSettings()


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """What a run did, by path of the video; `failed` gives the reason too."""

    written: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class VideoFeatures:
    """The rows of one video and the stretch of time (seconds) that each of them saw."""

    features: Float[ndarray, "S E"]
    spans: Float[ndarray, "S 2"]


@dataclass(frozen=True, slots=True)
class FeatureFolder:
    """A folder of features, by its manifest; the arrays are read one video at a time."""

    path: Path
    settings: Mapping[str, Any]
    videos: Mapping[str, FeatureEntry]
    """By path of the video."""
    failed: Mapping[str, str]
    """Path and reason of the videos that gave none."""

    def read(self, video: str | os.PathLike[str]) -> VideoFeatures:
        """Return the features of a video, named by its path, or by its file name without extension if that is unique.

        Raises:
            AnnotationError: there is no such video, or its file is missing or broken.
        """
        name = os.fspath(video)
        entries = [entry for path, entry in self.videos.items() if name in (path, Path(path).stem)]
        if len(entries) != 1:
            raise AnnotationError(
                f"features of {name!r} asked, {len(entries)} videos of that name found. Name one by its full path.",
                path=self.path,
            )
        file = self.path / entries[0].file
        try:
            arrays = load_file(file)
        except (OSError, SafetensorError) as error:
            raise AnnotationError(f"cannot be read ({error}). Delete it and extract again.", path=file) from error
        return VideoFeatures(arrays["features"], arrays["spans"])


def extract_features(
    bundle: Bundle,
    videos: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    settings: WindowSettings = _DEFAULT,
    progress: Report | None = None,
    elsewhere: Elsewhere | None = None,
) -> FeatureReport:
    """Write the features of all windows of `videos` (files, or folders of them) below `out`.

    Projected rows are those of `project_video`, not of unit length, as EgoVLP's NLQ and MQ features; others are the
    video tower's. A video whose file is there and whose size and time of change are the same is skipped. Files and
    manifest appear whole or not at all; a video that cannot be decoded is listed and stops nothing. With `elsewhere`
    every video is encoded by itself, in another process; files and manifest are written here.

    Raises:
        RecipeError: `out` holds features of another model or other settings.
        SearchError: a path does not exist, or another process writes to `out`.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    described = describe_features(bundle, settings)
    with only_writer(folder / ".lock"):
        earlier = {failure["path"]: failure["reason"] for failure in require_same_make(folder, described)}
        scan = scan_videos(videos)
        shelf = Shelf(folder, described, FeatureEntry, "videos")
        todo = {file.path: file for file in scan.files if not shelf.holds(file.path, file)}
        plan = plan_windows(bundle.preprocess, settings)
        failed = dict(scan.unreadable)
        try:
            for result in _encode(bundle, list(todo.values()), settings, progress, elsewhere):
                if isinstance(result, EncodedVideo):
                    _put(shelf, todo[result.path], result, plan)
                else:
                    failed[result.path] = result.reason
        finally:  # also when interrupted: what is finished counts
            seen = {file.path for file in scan.files}
            shelf.write_manifest({path: reason for path, reason in earlier.items() if path not in seen} | failed)
    written = tuple(path for path in todo if path not in failed)
    skipped = tuple(file.path for file in scan.files if file.path not in todo)
    return FeatureReport(written, skipped, tuple(failed.items()))


def _encode(
    bundle: Bundle,
    files: Sequence[VideoFile],
    settings: WindowSettings,
    progress: Report | None,
    elsewhere: Elsewhere | None,
) -> Iterator[EncodedVideo | FailedVideo]:
    model, preprocess, paths = bundle.model, bundle.preprocess, [file.path for file in files]
    if elsewhere is None:
        encode, device = encoder_of(model, settings), device_of(model)
        yield from encode_videos(paths, encode, preprocess, settings, device, progress)
        return
    readings, sizes = read_whole(paths, preprocess, settings), {file.path: file.size for file in files}
    with closing(encode_elsewhere(readings, sizes, model, preprocess, settings, elsewhere)) as results:
        for result in results:
            yield as_video(result)


def describe_features(bundle: Bundle, settings: WindowSettings) -> dict[str, Any]:
    """Return all that decides what a feature is, as it stands in the manifest."""
    plan = plan_windows(bundle.preprocess, settings)
    described = {
        "model": bundle.identity,
        "projected": settings.projected,
        "normalised": False,
        "precision": settings.precision,
        "num_frames": plan.num_frames,
        "fps": plan.fps,
        "stride": plan.stride,
        "window_seconds": plan.seconds,
        "preprocess": bundle.preprocess.to_dict(),
    }
    return json.loads(json.dumps(described))  # tuples become lists, as they will be when read again


def read_features(path: str | os.PathLike[str]) -> FeatureFolder:
    """Open a folder that `extract_features` wrote.

    Raises:
        AnnotationError: there is no manifest, it is broken, or of another format.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    if manifest is None or "videos" not in manifest:
        raise AnnotationError("there are no features here: no manifest.json of whole videos was found.", path=folder)
    entries = [FeatureEntry(**entry) for entry in manifest["videos"]]
    failed = {failure["path"]: failure["reason"] for failure in manifest["failed"]}
    return FeatureFolder(folder, manifest["settings"], {entry.path: entry for entry in entries}, failed)


def _put(shelf: Shelf[FeatureEntry], source: VideoFile, video: EncodedVideo, plan: WindowPlan):
    time = TimeBase(plan.fps, plan.num_frames, plan.stride)
    starts = video.spans[:, 0]
    off_grid = np.abs(starts - time.start_of(np.arange(len(starts)))) > 1e-6  # the last window is aligned to the end
    entry = FeatureEntry(
        path=source.path,
        file=shelf.name_for(source.path),
        duration=float(video.info.duration),
        num_features=len(video.rows),
        start=float(starts[0]),
        end=float(video.spans[-1, 1]),
    )
    shelf.put(entry, source, {"features": video.rows, "spans": video.spans}, time, int((~off_grid).sum()))
