"""The commands for one's own videos: index, search, doctor. See `playhead.cli`."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Column, Table

from playhead.apps.collection import Collection, require_videos
from playhead.apps.commands import list_failures
from playhead.apps.doctor import examine
from playhead.apps.index import UpdateReport, VideoIndex
from playhead.apps.model import Model, load
from playhead.apps.progress import clock, index_progress
from playhead.apps.request import Wanted, Where, read_date
from playhead.apps.search import Answers
from playhead.apps.windows import WindowSettings
from playhead.errors import PlayheadError, SearchError

console = Console()


@dataclass(frozen=True, kw_only=True)
class Index:
    """Index videos for search, or bring an index up to date with its folders."""

    bundle: tyro.conf.Positional[str]
    """Folder of the bundle, a name on a hub, or a published checkpoint."""
    roots: tyro.conf.Positional[tuple[Path, ...]]
    """Files or folders of videos."""
    out: str = "runs/index"
    """Folder of the index, or an address of an object store such as s3://bucket/index."""
    retry_failed: bool = False
    """Try files that failed before again, even if they did not change."""
    watch: bool = False
    """Go on looking for new, changed, moved and deleted files until interrupted."""
    every: float = 10.0
    """Seconds between two looks, with --watch."""
    windows: tyro.conf.OmitArgPrefixes[WindowSettings] = field(default_factory=WindowSettings)
    """How the windows lie."""

    def __post_init__(self):
        if not self.every > 0:
            raise ValueError(f"`every` must be above zero, got {self.every}.")

    def run(self) -> None:
        """Update the index, say what changed and list what failed; with --watch, again and again."""
        if not self.roots:
            raise SearchError("no folder was named. Name one with videos: playhead index <bundle> <folder>.")
        if not self.watch:
            require_videos(self.roots)
        collection = Collection.open_or_create(self.out, load(self.bundle), self.windows)
        if not self.watch:
            with index_progress(console) as show:
                report = collection.update(self.roots, progress=show, retry_failed=self.retry_failed)
            return _tell_update(report)
        stop = Event()
        with _stopped_by_signal(stop):
            console.print(f"watching {', '.join(map(str, self.roots))}; press Ctrl-C to stop", soft_wrap=True)
            collection.watch(self.roots, every=self.every, stop=stop, told=_tell)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Ask an index in words, "where did I put the keys?", or with a picture or a clip."""

    index: tyro.conf.Positional[str]
    """Folder or address of the index."""
    text: tyro.conf.Positional[str | None] = None
    """What to look for."""
    bundle: str | None = None
    """The model that made the index; by default from where it was then."""
    top: int = 5
    """Moments to show."""
    picture: tuple[Path, ...] = ()
    """Pictures that a moment must be like."""
    clip: tuple[Path, ...] = ()
    """Videos that a moment must be like."""
    also: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="and")] = ()
    """More words that must fit as well; may be given several times."""
    without: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Words that must not fit; may be given several times."""
    files: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Only in files such as "*.mkv" or "*/kitchen/*"; may be given several times."""
    after: str | None = None
    """Only in files changed on this day or later, such as 2025-03-01."""
    before: str | None = None
    """Only in files changed before this day."""
    min_seconds: float | None = None
    """Only in videos at least so long."""
    max_seconds: float | None = None
    """Only in videos at most so long."""
    grounding: Path | None = None
    """Bundle of a network for language queries, made on this model's features; it sharpens the moments."""
    verbatim: bool = False
    """Ask with the text as it is; otherwise a question is first turned into the narration that answers it, for models
    that were trained on narrations."""
    json: bool = False
    """Print JSON lines instead of a table."""

    def __post_init__(self):
        if self.top < 1:
            raise ValueError(f"`top` must be at least 1, got {self.top}.")

    def run(self) -> None:
        """Print the moments, best first, and say if none of them matches."""
        words = (() if self.text is None else (self.text,)) + self.also
        wanted: tuple[Wanted, ...] = (*words, *self.picture, *self.clip)
        where = self._where()
        collection = Collection(VideoIndex.open(self.index), self._model())
        answers = collection.search(
            wanted,
            top=self.top,
            without=self.without,
            where=where,
            verbatim=self.verbatim,
            ground=self.grounding is not None,
        )
        told = [item if self.verbatim else collection.model.wording(item) for item in words]
        show_answers(answers, " and ".join(told) or answers.told, self.json)

    def _model(self) -> Model:
        named = self.bundle or VideoIndex.open(self.index).settings.made_with
        if not named:
            raise SearchError("the index does not say where its model lies. Name it: --bundle.", path=self.index)
        return load(named, grounding=self.grounding)

    def _where(self) -> Where:
        try:
            return Where(
                files=self.files,
                after=None if self.after is None else read_date(self.after),
                before=None if self.before is None else read_date(self.before),
                min_seconds=self.min_seconds,
                max_seconds=self.max_seconds,
            )
        except ValueError as error:
            raise SearchError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say what is installed, what works, and what to do about what does not; ends with 1 if something is broken."""

    bundle: str | None = None
    """A bundle to look at."""
    index: str | None = None
    """An index to look at."""

    def run(self) -> None:
        """Print one line per finding."""
        signs = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "broken": "[red]broken[/]"}
        findings = examine(self.bundle, self.index)
        table = Table(Column("what"), Column(""), Column("found", overflow="fold"), Column("do", overflow="fold"))
        for finding in findings:
            table.add_row(finding.what, signs[finding.state], _plain(finding.found), _plain(finding.advice))
        console.print(table)
        if any(finding.state == "broken" for finding in findings):
            raise SystemExit(1)


def show_answers(answers: Answers, title: str, as_json: bool) -> None:
    """Print moments, best first, as a table or as JSON lines."""
    if as_json:
        for moment in answers:
            row = {
                "file": moment.file,
                "start": moment.span.start,
                "end": moment.span.end,
                "score": moment.score,
                "standing": round(moment.standing, 4),
                "confidence": round(moment.confidence, 6),
                "matches": moment.matches,
                "by": moment.by,
            }
            console.print_json(json.dumps(row), indent=None)
        return
    if not answers.moments:
        console.print("nothing is in the index, or nothing of it was to be searched")
        return
    if not answers.matches:
        console.print("nothing here matches; the nearest are:")
    table = Table(Column("file", overflow="fold"), "from", "to", "score", "confidence", title=_plain(title[:200]))
    for moment in answers:
        ends = clock(moment.span.start), clock(moment.span.end)
        table.add_row(_plain(moment.file), *ends, f"{moment.score:.3f}", f"{100 * moment.confidence:.0f} %")
    console.print(table)


@contextmanager
def _stopped_by_signal(stop: Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the watching after the video being indexed, a second Ctrl-C at once."""

    def end(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(outcome: UpdateReport | PlayheadError) -> None:
    if isinstance(outcome, PlayheadError):
        console.print(f"playhead: {outcome}", style="red", markup=False, highlight=False, soft_wrap=True)
    else:
        _tell_update(outcome)


def _tell_update(report: UpdateReport) -> None:
    counts = ("added", "changed", "moved", "deleted", "unchanged", "failed")
    console.print(", ".join(f"{len(getattr(report, name))} {name}" for name in counts))
    list_failures(report.failed)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
