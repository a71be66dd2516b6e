"""One update of the index at a time, in a thread of its own, and how far it is, for whoever listens."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from threading import Condition, Event, Thread
from typing import Any, Literal

from playhead.apps.collection import Collection
from playhead.apps.index import IndexProgress, UpdateReport
from playhead.errors import PlayheadError, SearchError

Reporter = Callable[[IndexProgress], None]


@dataclass(frozen=True, slots=True)
class UpdateState:
    """How the latest update stands; `version` grows with every change of it."""

    version: int = 0
    state: Literal["idle", "running", "done", "stopped", "failed"] = "idle"
    what: str = ""
    progress: IndexProgress | None = None
    report: UpdateReport | None = None
    problem: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON takes it; of the files that changed only how many."""
        told: dict[str, Any] = {"state": self.state, "what": self.what, "problem": self.problem}
        told["progress"] = None if self.progress is None else asdict(self.progress)
        told["report"] = None if self.report is None else count_report(self.report)
        return told


class _StopError(Exception):
    """An update was asked to end."""


class Updates:
    """Runs updates of a collection; `state` is always whole, and can be waited for."""

    def __init__(self, collection: Collection):
        self._collection, self._changed, self._state = collection, Condition(), UpdateState()
        self._stop, self._is_asked = Event(), False
        self._thread: Thread | None = None

    @property
    def state(self) -> UpdateState:
        """How the latest update stands."""
        return self._state

    def wait_beyond(self, version: int, seconds: float) -> UpdateState:
        """Return the state once it is newer than `version`, or as it is after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._state.version > version, seconds)
            return self._state

    def start(self, what: str, work: Callable[[Reporter], UpdateReport]) -> UpdateState:
        """Begin `work(progress)` in a thread.

        Raises:
            SearchError: an update is running.
        """
        with self._changed:
            if self._state.state == "running":
                raise SearchError(f"an update is running ({self._state.what}). Wait until it is done, or stop it.")
            self._stop.clear()
            self._is_asked = True
            self._put(UpdateState(state="running", what=what))
            self._thread = Thread(target=self._run, args=(work,), name="playhead-update", daemon=True)
            self._thread.start()
            return self._state

    def add_folder(self, path: str) -> UpdateState:
        """Follow and index a folder."""
        return self.start(f"add {path}", lambda progress: self._collection.add_folder(path, progress=progress))

    def forget_folder(self, path: str) -> UpdateState:
        """Take a folder out of the index."""
        return self.start(f"forget {path}", lambda progress: self._collection.forget_folder(path))

    def update(self) -> UpdateState:
        """Bring the index in step with all its folders."""
        return self.start("update all folders", lambda progress: self._collection.update(progress=progress))

    def stop(self, seconds: float = 0.0) -> None:
        """Ask the running update to end, and wait so long for it; what it has finished stays."""
        self._stop.set()
        if self._thread is not None and seconds:
            self._thread.join(seconds)

    def watch(self, every: float, stop: Event) -> None:
        """Keep the index in step with its folders until `stop` is set; each update is told as any other."""
        what = "watch the folders"

        def tell(state: UpdateState) -> None:
            with self._changed:
                if not self._is_asked:  # what a visitor asked for goes first
                    self._put(state)

        def show(progress: IndexProgress) -> None:
            tell(UpdateState(state="running", what=what, progress=progress))
            if stop.is_set():
                raise _StopError

        def told(outcome: UpdateReport | PlayheadError) -> None:
            if isinstance(outcome, PlayheadError):
                tell(UpdateState(state="failed", what=what, problem=str(outcome)))
            else:
                tell(UpdateState(state="done", what=what, report=outcome))

        try:
            self._collection.watch(every=every, stop=stop, told=told, progress=show)
        except _StopError:
            tell(UpdateState(state="stopped", what=what))

    def _run(self, work: Callable[[Reporter], UpdateReport]) -> None:
        running = self._state

        def tell(**changed) -> None:
            with self._changed:
                self._is_asked = changed.get("state", "running") == "running"
                self._put(replace(running, **changed))

        def show(progress: IndexProgress) -> None:
            tell(progress=progress)
            if self._stop.is_set():
                raise _StopError

        try:
            tell(state="done", report=work(show))
        except _StopError:
            tell(state="stopped", problem="stopped; what is finished is kept.")
        except PlayheadError as error:
            tell(state="failed", problem=str(error))
        except Exception as error:
            tell(state="failed", problem=f"{type(error).__name__}: {error}")
            raise

    def _put(self, state: UpdateState) -> None:
        self._state = replace(state, version=self._state.version + 1)
        self._changed.notify_all()


def count_report(report: UpdateReport) -> dict:
    """Return how many files an update did what to, and why which failed."""
    counted = {
        name: len(getattr(report, name)) for name in ("added", "changed", "moved", "deleted", "unchanged", "failed")
    }
    return counted | {"reasons": [{"path": path, "reason": reason} for path, reason in report.failed[:100]]}
