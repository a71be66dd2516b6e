"""A look at the installation, a bundle and an index: what was found, whether it works, and what to do if not."""

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

import av
import numpy as np
import torch
from av.video.stream import VideoStream

from playhead.apps.place import find_place, home
from playhead.errors import PlayheadError
from playhead.video.decode import open_video

State = Literal["ok", "note", "broken"]

ESSENTIAL = ("torch", "numpy", "av", "safetensors", "tokenizers", "lancedb", "pyarrow")
OPTIONAL = {
    "fastapi": "needed by `playhead serve`",
    "uvicorn": "needed by `playhead serve`",
    "jinja2": "needed by the demo's report",
    "huggingface_hub": "needed for names on a hub",
    "tensorboard": "needed to write curves of training",
}

CODECS = {"mpeg4": "yuv420p", "libx264": "yuv420p", "libx265": "yuv420p", "libvpx-vp9": "yuv420p", "mjpeg": "yuvj420p"}
"""What a tiny video is made and read again with; only the first two are essential."""

_REINSTALL = "reinstall PyAV: pip install --force-reinstall av"
_LITTLE_MEMORY, _LITTLE_DISK = 2.0, 2.0  # GB


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. "note" limits something, "broken" prevents indexing and search."""

    what: str
    state: State
    found: str
    advice: str = ""


def examine(bundle: str | None = None, index: str | None = None) -> list[Finding]:
    """Look at everything; what fails to be looked at is a finding too."""
    looks: list[Callable[[], Iterator[Finding]]] = [_versions, _decoders, _machine]
    if bundle is not None:
        looks.append(lambda: _bundle(bundle))
    if index is not None:
        looks.append(lambda: _index(index, bundle))
    return [finding for look in looks for finding in look()]


def _versions() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for name in ESSENTIAL:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "broken", "not installed", f"pip install {name}")
    for name, use in OPTIONAL.items():
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "note", "not installed", f"{use}: pip install {name}")


def _decoders() -> Iterator[Finding]:
    """Make a tiny video with each codec and decode it; a codec that only its encoder lacks is no problem."""
    with tempfile.TemporaryDirectory() as folder:
        for place, (codec, pixels) in enumerate(CODECS.items()):
            path = Path(folder) / f"{codec}.mkv"
            try:
                _write(path, codec, pixels)
            except Exception as error:  # FFmpeg and PyAV raise many kinds
                advice = "only transcoding and the generated world need it"
                yield Finding(f"encoder {codec}", "note", _line(error), advice)
                continue
            try:
                with open_video(path) as video:
                    frame = video.frames_at([0.1]).frames[0].float()
                wrong = abs(float(frame.mean()) - 128) > 12
            except Exception as error:
                yield Finding(f"decoder {codec}", "broken" if place < 2 else "note", _line(error), _REINSTALL)
                continue
            if wrong:
                yield Finding(f"decoder {codec}", "broken", "decodes a video made here to wrong colours", _REINSTALL)
            else:
                yield Finding(f"decoder {codec}", "ok", "decodes a video made here")


def _machine() -> Iterator[Finding]:
    if torch.cuda.is_available():
        name, memory = torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory
        yield Finding("GPU", "ok", f"{name}, {memory / 1e9:.0f} GB")
    else:
        yield Finding("GPU", "note", "none that torch can use", "indexing runs on the CPU, at a few windows a second")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("CPU", "ok", f"{cores} cores, torch uses {torch.get_num_threads()} threads")
    free = _free_memory()
    if free is not None:
        state: State = "ok" if free >= _LITTLE_MEMORY else "note"
        yield Finding("memory", state, f"{free:.1f} GB free", "" if state == "ok" else "end other programs first")
    yield _disk(home(), "own folder")
    yield _disk(Path(tempfile.gettempdir()), "temporary folder")


def _bundle(path: str) -> Iterator[Finding]:
    from playhead.apps.model import load

    try:
        model = load(path, device="cpu")
        (row,) = model.encode_text(["a person opens a door"])
        size, frames = model.bundle.preprocess.image_size, model.bundle.preprocess.num_frames
        clip = torch.full((frames, 3, size, size), 128, dtype=torch.uint8)
        (seen,) = model.encode_video([clip])
    except PlayheadError as error:
        yield Finding("bundle", "broken", _line(error), "name another, or convert it anew: playhead convert")
        return
    if not (np.isfinite(row).all() and np.isfinite(seen).all()):
        yield Finding("bundle", "broken", f"{model.identity} gives numbers that are not finite", "train it anew")
        return
    number = sum(parameter.numel() for parameter in model.bundle.model.parameters())
    yield Finding("bundle", "ok", f"{model.identity}, {number:,} parameters, {frames} frames of {size} pixels")


def _index(where: str, bundle: str | None) -> Iterator[Finding]:
    from playhead.apps.index import VideoIndex

    try:
        index = VideoIndex.open(where)
        settings, rows, times = index.settings, index.videos(), index.windows().times
    except PlayheadError as error:
        yield Finding("index", "broken", _line(error), "make it anew: playhead index <bundle> <folder> --out ...")
        return
    done = [row for row in rows if row.status == "done"]
    counts = dict(zip(times.video_ids, np.diff(times.offsets).tolist(), strict=True))
    holes = [row.path for row in done if counts.get(row.video_id, 0) != row.num_windows]
    yield Finding("index", "ok", f"{len(done):,} videos, {len(times):,} windows, of model {settings.model}")
    if holes:
        yield Finding("index windows", "broken", f"{len(holes)} videos lack windows, first {holes[0]}", "index again")
    if failed := [row for row in rows if row.status == "failed"]:
        told = f"{len(failed)} files could not be indexed, first {failed[0].path}: {failed[0].error}"
        yield Finding("index files", "note", told, "mend them, then index with --retry-failed")
    if missing := [row.path for row in done if not os.path.exists(row.path)]:
        told = f"{len(missing)} indexed files are gone, first {missing[0]}"
        yield Finding("index files", "note", told, "index again, or plug in their disk")
    if (writer := index.writer()) is not None:
        yield Finding("index writer", "note", f"process {writer} is updating it", "wait until it is done")
    covered = index.store().coverage()
    if covered.exists and covered.unindexed:
        told = f"{covered.unindexed:,} windows are scanned beside the approximate index"
        yield Finding("index speed", "note", told, "nothing: the next updates take them in")
    folder = find_place(where).folder
    if folder is not None:
        yield _disk(folder, "disk of the index")
    if bundle is not None:
        yield _same_model(bundle, settings.model)


def _same_model(bundle: str, model: str) -> Finding:
    from playhead.apps.model import load

    try:
        identity = load(bundle, device="cpu").identity
    except PlayheadError as error:
        return Finding("index model", "broken", _line(error), "name the bundle that made the index")
    if identity == model:
        return Finding("index model", "ok", "the bundle is the one that made the index")
    told = f"the index is of model {model}, the bundle is {identity}"
    return Finding("index model", "broken", told, "use the bundle it was made with, or index again")


def _write(path: Path, codec: str, pixels: str):
    with av.open(str(path), "w") as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=10))
        stream.width, stream.height = 64, 48
        stream.pix_fmt, stream.time_base = pixels, Fraction(1, 10)
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=none"}
        for _ in range(4):
            gray = np.full((48, 64, 3), 128, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
        container.mux(stream.encode())


def _disk(folder: Path, what: str) -> Finding:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free / 1e9
    if not os.access(there, os.W_OK):
        return Finding(what, "note", f"{folder} cannot be written", "give it rights, or set PLAYHEAD_HOME")
    if free < _LITTLE_DISK:
        return Finding(what, "note", f"{free:.1f} GB free at {there}", "make room: a million windows need about 1.5 GB")
    return Finding(what, "ok", f"{free:.0f} GB free at {there}")


def _free_memory() -> float | None:
    """Return what memory is free, in GB, where the system says so."""
    if sys.platform != "linux":
        return None
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1e6
    return None


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
