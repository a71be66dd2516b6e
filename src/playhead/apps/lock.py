"""One writer at a time: a file lock that the operating system lets go of when its holder dies, however it dies."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from playhead.errors import SearchError

_TRIES, _PAUSE = 4, 0.05  # seconds

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[str]):
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(file: IO[str]):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder(path: Path) -> str | None:
    """Return the id of the process that holds a lock file, None where nobody does."""
    try:
        with open(path, "r+", encoding="utf-8") as file:
            try:
                _try_lock(file)
            except OSError:
                return file.read().strip() or "unknown"
    except OSError:
        return None  # no such file, or one that may not be written: who cannot lock it cannot be held off either
    return None


def _lock_soon(file: IO[str]):
    """Lock a file; a lock that lasts no longer than `holder` needs to look is waited for."""
    for _ in range(_TRIES - 1):
        try:
            return _try_lock(file)
        except OSError:
            time.sleep(_PAUSE)
    _try_lock(file)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for the length of a with-block.

    The file stays behind, unlocked: to remove it would let two processes lock two files of one name.

    Raises:
        SearchError: another process holds it, which the message names; or the file cannot be made.
    """
    try:
        opened = open(path, "a+", encoding="utf-8")  # noqa: SIM115, the with-block follows
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error}). Choose another folder, or give it back its rights."
        raise SearchError(problem, path=path.parent) from error
    with opened as file:
        try:
            _lock_soon(file)
        except OSError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise SearchError(
                f"another process (id {owner}) is writing here. Wait until it is done, or end it.", path=path.parent
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
