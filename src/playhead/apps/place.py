"""Where an index lies: a folder, or an address of an object store; and where this program keeps what has no folder."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from playhead.errors import SearchError


def home() -> Path:
    """Return the program's own folder: the environment's PLAYHEAD_HOME, or ~/.playhead."""
    return Path(os.environ.get("PLAYHEAD_HOME") or "~/.playhead").expanduser()


@dataclass(frozen=True, slots=True)
class Place:
    """An index's address as the database takes it, its folder if it has one here, and the file that writers lock."""

    address: str
    folder: Path | None
    lock: Path

    @property
    def path(self) -> Path | str:
        """What to call the place in messages, and what to open it with again."""
        return self.folder if self.folder is not None else self.address

    def make(self):
        """Make the folders that the lock and the database need.

        Raises:
            SearchError: they cannot be made.
        """
        for folder in {self.lock.parent, self.folder or self.lock.parent}:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                problem = f"cannot be made ({error.strerror or error}). Choose another folder for the index."
                raise SearchError(problem, path=folder) from error

    def exists(self) -> bool:
        """Whether something may lie there; an object store is always worth asking."""
        return self.folder is None or self.folder.is_dir()


def find_place(where: str | os.PathLike[str]) -> Place:
    """Return the place of a folder, of a `file://` address, or of an address that LanceDB opens (`s3://bucket/index`).

    The lock of an object store lies on this machine, so it holds off other processes here; between machines the store's
    own commits decide.

    Raises:
        SearchError: an address without a path, or a `file://` address of another machine.
    """
    text = os.fspath(where)
    if "://" not in text:
        folder = Path(text).expanduser().resolve()
        return Place(str(folder), folder, folder / "lock")
    parsed = urlparse(text)
    if parsed.scheme == "file":
        if parsed.netloc not in ("", "localhost") or not parsed.path.strip("/"):
            raise SearchError("is no address of a folder here; write file:///path/to/folder.", path=text)
        folder = Path(unquote(parsed.path)).resolve()
        # LanceDB does not decode what stands in such an address, so it gets the letters as they are.
        return Place(f"file://{folder}", folder, folder / "lock")
    if not parsed.netloc:
        raise SearchError("is no address of an object store; write s3://bucket/path.", path=text)
    name = hashlib.blake2b(text.rstrip("/").encode(), digest_size=8).hexdigest()
    return Place(text.rstrip("/"), None, home() / "locks" / name)


def default_place(roots: list[str], model: str) -> Path:
    """Return where the index of these folders by this model lies if nobody says otherwise."""
    stamp = hashlib.blake2b("\n".join([model, *sorted(roots)]).encode(), digest_size=6).hexdigest()
    return home() / "indexes" / f"{Path(roots[0]).name or 'videos'}-{stamp}"
