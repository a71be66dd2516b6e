"""Keeping an index in step with its folders: look, wait, look again. Polling works on every disk, without a library."""

import os
from collections.abc import Callable, Sequence
from threading import Event

from playhead.apps.index import GROWING, IndexReport, UpdateReport, VideoIndex
from playhead.apps.library import scan_videos
from playhead.apps.windows import WindowSettings
from playhead.errors import PlayheadError, SearchError
from playhead.weights.bundle import Bundle

SETTLE = 3.0
"""A file that changed within so many seconds is still being written, and is left for the next look."""


def watch(
    index: VideoIndex,
    roots: Sequence[str | os.PathLike[str]] | None,
    bundle: Bundle,
    windows: WindowSettings,
    *,
    every: float,
    stop: Event,
    told: Callable[[UpdateReport | PlayheadError], None],
    progress: IndexReport | None = None,
    settle: float = SETTLE,
) -> None:
    """Update the index whenever the files under `roots` differ from the last look, until `stop` is set.

    None means all folders that the index follows, those added meanwhile included. A look only asks the file system for
    names, sizes and times. What goes wrong (a disk that is unplugged, another process that writes) is told and tried
    again at the next look.

    Raises:
        ValueError: `every` is not above zero.
    """
    if not every > 0:
        raise ValueError(f"`every` must be above zero, got {every}.")
    settled: object = None
    trouble = ""
    while not stop.is_set():
        try:
            followed = index.folders() if roots is None else roots
            seen = scan_videos(followed)
            look = (seen.roots, tuple(seen.files), tuple(seen.unreadable))
            if look != settled and followed:
                report = index.update(followed, bundle, windows, progress=progress, settle=settle)
                told(report)
                is_growing = any(reason == GROWING for _, reason in report.failed)
                settled = None if is_growing else look
            trouble = ""
        except SearchError as error:
            if str(error) != trouble:  # told once, not at every look
                told(error)
            trouble, settled = str(error), None
        stop.wait(every)
