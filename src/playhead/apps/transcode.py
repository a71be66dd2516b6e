"""Folders of videos rewritten for fast random reading: in parallel, resumable, and sure of what was made of what."""

import errno
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath

from playhead.apps.encoding import reason_of
from playhead.apps.library import Scan, VideoFile, scan_videos
from playhead.apps.lock import only_writer
from playhead.apps.processes import Done, Failed, run_in_processes
from playhead.apps.tally import JobProgress, Tally
from playhead.apps.transcode_records import WORKSHOP, PreparedVideo, Records
from playhead.apps.transcode_video import Beat, Job, Made, TranscodeSettings, transcode_video
from playhead.errors import DecodeError, PlayheadError, RecipeError
from playhead.tasks.clips import SUFFIXES

__all__ = ["TranscodeReport", "TranscodeSettings", "transcode"]

_DEFAULT = TranscodeSettings()

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of the disk, which every further video would meet too."""


@dataclass(frozen=True, slots=True)
class TranscodeReport:
    """What a run did, by path of the source; `failed` gives the reason too.

    `skipped` had been done before from the same content; `removed` sources are gone, their transcoded videos stay.
    """

    written: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    removed: tuple[str, ...]


Run = Callable[
    [Callable[[Job, Beat], Made], Sequence[Job], Callable[[Job, float], None]],
    Generator[Done[Job, Made] | Failed[Job], None, None],
]
"""Does the jobs somewhere: `run(work, jobs, progress)` yields each once."""


def transcode(
    videos: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    settings: TranscodeSettings = _DEFAULT,
    progress: Callable[[JobProgress], None] | None = None,
    run: Run | None = None,
) -> TranscodeReport:
    """Rewrite `videos` (files, or folders of them) below `out`, each at the place it has below its root.

    The pictures are scaled to a short side and turned as displayed, without sound; their times are kept to the tick,
    the first being 0. `uid.mp4` and the chunks `uid/k.mp4` are read like their source by `open_video`.

    A video that is there and whose source has kept size and time of change is skipped; if only these have changed, its
    checksum decides. Files and folders of chunks appear whole or not at all, and what is finished survives a kill. A
    video that is broken, cut off, stalls its decoder or crashes it is listed and stops nothing.

    Raises:
        RecipeError: `out` holds videos of other settings, or the sources themselves, or cannot be written.
        SearchError: a path does not exist, or another process writes to `out`.
        AnnotationError: the manifest in `out` is broken.
        PlayheadError: the disk is full, or no process can be started.
    """
    folder = Path(out).resolve()
    scan = _scan_outside(videos, folder)
    try:
        (folder / WORKSHOP).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"cannot be written ({error.strerror}); choose another folder.", path=folder) from error
    with only_writer(folder / WORKSHOP / "lock"):
        records = Records(folder, settings.describe())
        plan = _make_plan(scan, records, settings)
        tally = Tally({job.source: plan.files[job.source].size for job in plan.jobs}, progress)
        run = run or partial(run_in_processes, workers=settings.num_workers, stall_seconds=settings.stall_seconds)
        try:
            hear = partial(_hear, tally)
            with closing(run(transcode_video, plan.jobs, hear)) as outcomes:
                for outcome in outcomes:
                    _settle(outcome, plan, records)
                    tally.count(outcome.job.source, failed=outcome.job.source in plan.failed)
        finally:  # also when interrupted: what is finished counts
            earlier = {path: reason for path, reason in records.failed.items() if path not in plan.seen}
            records.write(earlier | plan.failed, plan.removed)
    return TranscodeReport(
        written=tuple(plan.written),
        skipped=tuple(sorted(plan.skipped)),
        failed=tuple(sorted(plan.failed.items())),
        removed=tuple(sorted(plan.removed.values())),
    )


def _hear(tally: Tally, job: Job, share: float):
    tally.hear(job.source, share)


def _scan_outside(videos: Iterable[str | os.PathLike[str]], folder: Path) -> Scan:
    """Find the videos, leaving out those that lie in the folder to be written."""
    scan = scan_videos(videos, join_chunks=False)
    for root in scan.roots:
        if Path(root).is_relative_to(folder):
            raise RecipeError("the videos themselves lie here; choose another folder to write to.", path=folder)
    scan.files = [file for file in scan.files if not Path(file.path).is_relative_to(folder)]
    return scan


@dataclass(slots=True)
class _Plan:
    """What is to be done, and what has come of it so far; by path of the source, `removed` by name."""

    jobs: list[Job] = field(default_factory=list)
    files: dict[str, VideoFile] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    written: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)


def _make_plan(scan: Scan, records: Records, settings: TranscodeSettings) -> _Plan:
    plan = _Plan(failed=dict(scan.unreadable), seen={file.path for file in scan.files})
    named = _name_files(scan.files, records, plan.failed)
    for name, file in named.items():
        target = name if settings.chunk_seconds is not None else f"{name}.mp4"
        record = records.videos.get(name)
        there = records.holds(name)
        above = next((str(one) for one in PurePosixPath(name).parents if str(one) in named), None)
        if settings.chunk_seconds is not None and above is not None:
            plan.failed[file.path] = f"would lie among the chunks of {named[above].path}; rename one of them."
        elif record is None and (records.folder / target).exists():
            plan.failed[file.path] = f"{target} is there already and is not of this manifest; move it away."
        elif (
            record and there and (record.source, record.size, record.mtime_ns) == (file.path, file.size, file.mtime_ns)
        ):
            plan.skipped.append(file.path)
        else:
            known = record.sha256 if record and there else None
            plan.jobs.append(Job(file.path, target, str(records.scratch), settings, known))
            plan.files[file.path] = file
    plan.removed = {
        name: record.source
        for name, record in records.videos.items()
        if name not in named and record.source not in plan.seen and scan.covers(record.source)
    }
    return plan


def _name_files(files: Sequence[VideoFile], records: Records, failed: dict[str, str]) -> dict[str, VideoFile]:
    """Return the files by name: as they are named already, else the path below their root, without ending.

    Of files that differ only in their ending, one has the name without it: the one that a `ClipReader` would find.
    """
    names = {record.source: record.name for record in records.videos.values()}
    named: dict[str, VideoFile] = {}

    def order(file: VideoFile) -> tuple[bool, int]:
        ending = Path(file.path).suffix.lower()
        return file.path not in names, SUFFIXES.index(ending) if ending in SUFFIXES else len(SUFFIXES)

    for file in sorted(files, key=order):
        path = Path(file.path)
        inside = Path(path.name) if file.path == file.root else path.relative_to(file.root)
        name = names.get(file.path) or inside.with_suffix("").as_posix()
        if name in named and Path(named[name].path).suffix.lower() != path.suffix.lower():
            name = inside.as_posix()
        if name in named:
            failed[file.path] = f"has the name of {named[name].path}; transcode it to another folder, or rename it."
        else:
            named[name] = file
    return named


def _settle(outcome: Done[Job, Made] | Failed[Job], plan: _Plan, records: Records):
    """Note what came of a job, and put its file into its place."""
    job = outcome.job
    error = outcome.error if isinstance(outcome, Failed) else None
    if isinstance(outcome, Done):
        try:
            _publish(job, outcome.result, plan, records)
            return
        except OSError as problem:
            error = problem
    if isinstance(error, OSError) and error.errno in FULL:
        raise PlayheadError(
            f"cannot be written ({error.strerror}); make room and run again, what is finished stays.",
            path=records.folder,
        ) from error
    reason = outcome.reason if isinstance(outcome, Failed) else f"its new file cannot be put into place ({error})."
    plan.failed[job.source] = reason_of(error) if isinstance(error, DecodeError) else reason


def _publish(job: Job, made: Made, plan: _Plan, records: Records):
    name = job.target if job.settings.chunk_seconds is not None else job.target.removesuffix(".mp4")
    source = {"source": job.source, "size": made.size, "mtime_ns": made.mtime_ns, "sha256": made.sha256}
    if made.path is None or made.info is None:
        records.put(replace(records.videos[name], **source))
        plan.skipped.append(job.source)
        return
    info = made.info
    video = PreparedVideo(
        name=name,
        file=job.target,
        **source,
        bytes=made.bytes,
        duration=info.duration,
        width=info.width,
        height=info.height,
        fps=info.fps,
        num_frames=info.num_frames,
    )
    records.put(video, Path(made.path))
    plan.written.append(job.source)
