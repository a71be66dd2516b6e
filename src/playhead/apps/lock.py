"""One writer at a time: a file lock that the operating system lets go of when its holder dies, however it dies."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from playhead.errors import SearchError

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[str]):
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(file: IO[str]):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for the length of a with-block.

    The file stays behind, unlocked: to remove it would let two processes lock two files of one name.

    Raises:
        SearchError: another process holds it; the message names its process id.
    """
    with open(path, "a+", encoding="utf-8") as file:
        try:
            _try_lock(file)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise SearchError(
                f"another process (id {holder}) is writing here. Wait until it is done, or end it.", path=path.parent
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
