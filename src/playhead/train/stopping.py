"""SIGTERM, by which batch systems announce the end, asks a run to save and end in place of killing it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class StopAskedError(BaseException):
    """A wait was given up because the run was asked to end; no Exception, so that nothing takes it for a failure."""


@dataclass(slots=True)
class Stop:
    """Whether this process was asked to end."""

    asked: bool = False
    _waits: bool = False

    def ask(self) -> None:
        """Ask for the end; a wait that may be interrupted is."""
        self.asked = True
        if self._waits:
            raise StopAskedError

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within, nothing is lost if it is left half done: SIGTERM ends it at once.

        Raises:
            StopAskedError: the run was asked to end, before or within.
        """
        self._waits = True
        try:
            if self.asked:
                raise StopAskedError
            yield
        finally:
            self._waits = False


@contextmanager
def stop_on_sigterm() -> Iterator[Stop]:
    """Yield what SIGTERM asks; outside of the main thread, where none can be caught, nothing does."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(*_: object) -> None:
        stop.ask()

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
