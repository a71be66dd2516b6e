"""Jobs done in processes of their own: one that dies or stalls takes only its job with it.

A process is started by "spawn", so it shares nothing with this one: no locks, no threads, no open decoders. It ends by
itself when this one is gone, however that went.
"""

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from playhead.errors import PlayheadError

JobKind = TypeVar("JobKind")
ResultKind = TypeVar("ResultKind")

BEAT_EVERY = 0.5
"""Seconds between two signs of life."""

START_SECONDS = 120.0
"""A process gets so many seconds to start, also where a job gets fewer."""

_POLL = 1.0  # seconds between two looks at who stalls
_PATIENCE = 5.0  # seconds that a process gets to end when asked to


@dataclass(frozen=True, slots=True)
class Done(Generic[JobKind, ResultKind]):
    """A job and its result."""

    job: JobKind
    result: ResultKind


@dataclass(frozen=True, slots=True)
class Failed(Generic[JobKind]):
    """A job that gave no result: what it raised, or None if its process died or stalled; `reason` says it in words."""

    job: JobKind
    reason: str
    error: Exception | None = None


@dataclass(slots=True)
class _Worker(Generic[JobKind]):
    """A process, this end of its pipe, and what it works at."""

    process: Any
    pipe: Connection
    job: JobKind
    seen: float = field(default_factory=time.monotonic)
    ready: bool = False


def run_in_processes(
    work: Callable[[JobKind, Callable[[float], None]], ResultKind],
    jobs: Sequence[JobKind],
    progress: Callable[[JobKind, float], None] = lambda job, share: None,
    *,
    workers: int,
    stall_seconds: float,
) -> Generator[Done[JobKind, ResultKind] | Failed[JobKind], None, None]:
    """Yield every job once, as soon as it is done or has failed; up to `workers` are worked at together.

    `work` is a function of a module; it is given a job and a function to call often, with the share of the job that is
    done. A job that does not call it for `stall_seconds` is given up. Whoever stops listening stops all processes.

    Raises:
        PlayheadError: a process cannot start.
    """
    waiting, busy = deque(jobs), list[_Worker[JobKind]]()
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                busy.append(_start(work, waiting.popleft()))
            heard = wait([worker.pipe for worker in busy], timeout=_POLL)
            for worker in list(busy):
                outcome = _listen(worker, progress) if worker.pipe in heard else _check_stall(worker, stall_seconds)
                if outcome is None:
                    continue
                if isinstance(outcome, Failed) and outcome.error is None:
                    _end(worker)
                    busy.remove(worker)
                elif waiting:
                    worker.job, worker.seen = waiting.popleft(), time.monotonic()
                    with suppress(BrokenPipeError):  # if it has just died, the next look will tell
                        worker.pipe.send(worker.job)
                else:
                    _end(worker)
                    busy.remove(worker)
                yield outcome
    finally:
        for worker in busy:
            _end(worker)


def attempt(
    work: Callable[[JobKind, Callable[[float], None]], ResultKind], job: JobKind, beat: Callable[[float], None]
) -> Done[JobKind, ResultKind] | Failed[JobKind]:
    """Do a job here; what it raises comes back as a `Failed` that can be sent to another process."""
    try:
        return Done(job, work(job, beat))
    except Exception as error:
        return Failed(job, _words(error), _portable(error))


def run_here(
    work: Callable[[JobKind, Callable[[float], None]], ResultKind],
    jobs: Sequence[JobKind],
    progress: Callable[[JobKind, float], None] = lambda job, share: None,
) -> Generator[Done[JobKind, ResultKind] | Failed[JobKind], None, None]:
    """Do the jobs one after the other in this process; a crash is not survived."""
    for job in jobs:
        try:
            yield Done(job, work(job, lambda share, job=job: progress(job, share)))
        except Exception as error:
            yield Failed(job, _words(error), error)


def _start(work: Callable[..., Any], job: JobKind) -> _Worker[JobKind]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(work, there), daemon=True)
    process.start()
    there.close()  # so that its end is seen here
    with suppress(BrokenPipeError):
        here.send(job)
    return _Worker(process, here, job)


def _serve(work: Callable[..., Any], pipe: Connection):
    """Do one job after the other until the other side has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    try:
        pipe.send(("ready", None))
        while True:
            pipe.send(("over", attempt(work, pipe.recv(), _Beat(pipe))))
    except (_AloneError, EOFError, BrokenPipeError, ConnectionResetError):
        return


class _AloneError(BaseException):
    """The other side has gone; no Exception, so that no job takes it for its own."""


class _Beat:
    """Sends the share of a job that is done, now and then."""

    def __init__(self, pipe: Connection):
        self._pipe, self._due = pipe, 0.0

    def __call__(self, share: float):
        if (now := time.monotonic()) >= self._due:
            self._due = now + BEAT_EVERY
            try:
                self._pipe.send(("share", share))
            except OSError as error:
                raise _AloneError from error


def _listen(worker: _Worker[JobKind], progress: Callable[[JobKind, float], None]) -> Done | Failed | None:
    """Take in one message; return what became of the job, if that is known now."""
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join(_PATIENCE)
        if not worker.ready:
            raise PlayheadError(
                f"a worker process could not start ({_exit_of(worker)}); its own message stands above."
            ) from None
        return Failed(worker.job, f"the process that worked at it died ({_exit_of(worker)}).")
    worker.seen, worker.ready = time.monotonic(), True
    match kind:
        case "over":
            return value
        case "share":
            progress(worker.job, value)
    return None


def _check_stall(worker: _Worker[JobKind], stall_seconds: float) -> Failed | None:
    patience = stall_seconds if worker.ready else max(stall_seconds, START_SECONDS)
    if time.monotonic() - worker.seen < patience:
        return None
    return Failed(worker.job, f"nothing went on for {stall_seconds:g} s, so it was given up.")


def _exit_of(worker: _Worker) -> str:
    code = worker.process.exitcode
    if code is None or code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name if -code in {one.value for one in signal.Signals} else f"signal {-code}"


def _end(worker: _Worker):
    worker.pipe.close()
    worker.process.terminate()
    worker.process.join(_PATIENCE)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, PlayheadError) else f"{type(error).__name__}: {error}"


def _portable(error: Exception) -> Exception:
    """Return an error that survives the way to the other process: its own kind, or for foreign kinds one in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    return error if isinstance(error, PlayheadError) else RuntimeError(_words(error))
