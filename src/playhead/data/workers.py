"""Worker processes of a loader: started clean, watched while they read, and gone when the loader is.

Each worker writes into memory that the main process sees too what it reads. So a worker that dies or stalls is told
with the sample and the file that it was at, whatever held it: a lock, a system call, a file system that is away.
"""

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_char, c_int64
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import wait
from typing import Any

from torch.utils.data import DataLoader, get_worker_info

from playhead.data.mixture import modules_of
from playhead.errors import DecodeError, TrainingError
from playhead.types import Samples
from playhead.video.now_reading import tell_to

Place = tuple[int, int]
"""Index of a sample and the seed of its own draws; the seed also tells one epoch's reading from another's."""

STALLED_EXIT = 1  # with which faulthandler ends a process
END_SECONDS = 5.0  # within which a process that is ending has ended
LONGEST_FILE = 1024  # bytes of a file's name that are kept
PID, READING, INDEX, SEED, BEGUN = range(5)  # of a worker's numbers; BEGUN in nanoseconds of the monotonic clock


class StalledError(Exception):
    """Samples were not read in time; `places` says which, `error` is what the user is told."""

    def __init__(self, places: list[Place], error: DecodeError):
        super().__init__(str(error))
        self.places, self.error = places, error


class Board:
    """What each worker reads now, in memory that it shares with the main process.

    A worker that reads one sample for more than `timeout` seconds ends: a watchdog of the interpreter does that, which
    needs neither Python's lock nor the thread that stalls.
    """

    def __init__(self, context: Any, workers: int, timeout: float | None):
        self.timeout = timeout
        self._numbers = context.RawArray(c_int64, workers * (BEGUN + 1))
        self._files = context.RawArray(c_char, workers * LONGEST_FILE)

    def begin_worker(self, worker: int) -> None:
        """Prepare this process to be a worker."""
        self._set(worker, PID, os.getpid())
        tell_to(lambda path: self._write_file(worker, path))
        if os.name == "posix":
            os.setpgid(0, 0)  # signals to the group are for the main process, which ends its workers itself
        # Torch's workers watch the process that forked them. That is the server, which in turn waits for its workers:
        # after a SIGKILL of the main process both would stay for ever.
        threading.Thread(target=_end_with_main_process, daemon=True).start()

    @contextmanager
    def reading(self, place: Place) -> Iterator[None]:
        """Say what this worker reads; called in a worker."""
        info = get_worker_info()
        assert info is not None, "only workers have a board"
        worker, (index, seed) = info.id, place
        self._write_file(worker, "")
        for number, value in ((INDEX, index), (SEED, seed), (BEGUN, time.monotonic_ns()), (READING, 1)):
            self._set(worker, number, value)
        if self.timeout is not None:
            faulthandler.dump_traceback_later(self.timeout, exit=True, file=_nowhere())
        try:
            yield
        finally:
            if self.timeout is not None:
                faulthandler.cancel_dump_traceback_later()
            self._set(worker, READING, 0)

    def place_read_by(self, process: Any) -> Place | None:
        """Return what a worker reads, or read when it ended; None if it was between two samples."""
        worker = self._worker_of(process)
        if worker is None or not self._get(worker, READING):
            return None
        return self._get(worker, INDEX), self._get(worker, SEED)

    def file_read_by(self, process: Any) -> str | None:
        """Return the file that was opened or asked for last in reading the sample."""
        worker = self._worker_of(process)
        if worker is None:
            return None
        text = self._files[worker * LONGEST_FILE : (worker + 1) * LONGEST_FILE].split(b"\0")[0]
        return os.fsdecode(text) or None

    def has_stalled(self, process: Any) -> bool:
        """Whether a worker that has ended was ended by the watchdog."""
        worker = self._worker_of(process)
        if worker is None or self.timeout is None or process.exitcode != STALLED_EXIT:
            return False
        took = (time.monotonic_ns() - self._get(worker, BEGUN)) / 1e9
        return self.place_read_by(process) is not None and took >= self.timeout

    def _worker_of(self, process: Any) -> int | None:
        pids = self._numbers[PID :: BEGUN + 1]
        return pids.index(process.pid) if process.pid in pids else None

    def _get(self, worker: int, number: int) -> int:
        return self._numbers[worker * (BEGUN + 1) + number]

    def _set(self, worker: int, number: int, value: int) -> None:
        self._numbers[worker * (BEGUN + 1) + number] = value

    def _write_file(self, worker: int, path: str) -> None:
        text = os.fsencode(path)[: LONGEST_FILE - 1] + b"\0"
        self._files[worker * LONGEST_FILE : worker * LONGEST_FILE + len(text)] = text


@contextmanager
def watched(loader: DataLoader[Any], board: Board) -> Iterator[Iterator[Any]]:
    """Yield the loader's batches; a worker that ends on its way is an error that says what it was at.

    On leaving, workers in the midst of a sample are killed, the others end by themselves; none outlives the loader.

    Raises:
        StalledError: a sample was not read within the board's timeout.
        TrainingError: a worker was killed or crashed.
    """
    before = set(multiprocessing.active_children())
    batches = iter(loader)
    workers = [process for process in multiprocessing.active_children() if process not in before]
    weakref.finalize(batches, _kill, workers)
    try:
        yield batches
    except (RuntimeError, OSError, EOFError) as error:
        # Torch says so in words; or a batch was announced, and who holds its memory is gone before it is fetched.
        is_told = isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker")
        ended = _wait_for_an_end(workers) if is_told or isinstance(error, OSError | EOFError) else []
        if not ended and not is_told:
            raise
        raise _reason(error, ended, board) from None
    finally:
        # A worker that reads holds no lock that others wait for. Left alone, one that stalls would be waited for.
        _kill([worker for worker in workers if board.place_read_by(worker) is not None])


def worker_context(samples: Samples) -> Any:
    """Start workers from a clean process: a fork of this one would inherit open decoders, threads and CUDA."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # Imported once by the server, not once by each worker: a worker then starts in milliseconds, not seconds.
    context.set_forkserver_preload(["torch", *modules_of(samples)])
    with _sigterm_ignored():
        forkserver.ensure_running()
    return context


@dataclass(frozen=True, slots=True)
class _Ended:
    """A worker that has ended, and what it was at."""

    pid: int
    how: str
    place: Place | None
    file: str | None


def _wait_for_an_end(workers: list[Any]) -> list[Any]:
    """Return the workers that have ended; one that is just ending is waited for."""
    wait([worker.sentinel for worker in workers], timeout=END_SECONDS)
    return [worker for worker in workers if not worker.is_alive()]


def _reason(error: Exception, ended: list[Any], board: Board) -> StalledError | TrainingError:
    stalled = [process for process in ended if board.has_stalled(process)]
    if stalled:
        places = [place for process in stalled if (place := board.place_read_by(process)) is not None]
        file = board.file_read_by(stalled[0])
        problem = f"nothing came within {board.timeout:g} s, the train.sample_timeout (sample {places[0][0]}); look "
        return StalledError(places, DecodeError(f"{problem}whether the file and its file system are well.", path=file))
    told = str(error).splitlines()[0].rstrip(". ")
    for process in ended:
        told = f"data worker {process.pid} ended ({_exit_of(process.exitcode)})"
        if (place := board.place_read_by(process)) is not None:
            file = board.file_read_by(process)
            told += f" while it read sample {place[0]}" + (f" from {file}" if file else "")
            break
    return TrainingError(
        f"{told}. A data worker that is killed mostly ran out of memory: lower train.workers or train.prefetch; one "
        "that crashes does so again at the same sample; workers=0 reads in the main process and shows where."
    )


def _exit_of(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name if -code in {one.value for one in signal.Signals} else f"signal {-code}"


def _kill(workers: list[Any]) -> None:
    for worker in workers:
        if worker.is_alive():
            worker.kill()  # SIGTERM they ignore


@cache
def _nowhere() -> int:
    return os.open(os.devnull, os.O_WRONLY)  # for the traceback that faulthandler writes before it ends the process


@contextmanager
def _sigterm_ignored() -> Iterator[None]:
    # torchrun and batch systems send SIGTERM to the whole process group. The loop then wants to finish its step, so
    # the server of the workers, which inherits what is ignored here, must outlive it; it ends with this process.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


def _end_with_main_process() -> None:
    main_process = multiprocessing.parent_process()
    assert main_process is not None, "a worker has a parent"
    main_process.join()
    os._exit(1)
