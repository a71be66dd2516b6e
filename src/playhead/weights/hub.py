"""Weights on a hub, by name: `hub:OWNER/NAME[@REVISION][:FILE]`, fetched once into the local cache.

Without FILE a bundle is meant, which is two files. Whatever takes the path of a bundle or of a file of weights takes
such a name too, and then looks into the cache first: what was loaded once is used as it is, with or without a network.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playhead.errors import WeightsError

PREFIX = "hub:"
OF_A_BUNDLE = ("config.json", "model.safetensors")
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)

_NAME = re.compile(r"hub:(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[^:@]+))?(:(?P<file>[^:]+))?")


@dataclass(frozen=True)
class HubName:
    """A repository on the hub, and what is wanted of it."""

    repository: str
    """OWNER/NAME."""
    revision: str
    """A branch, a tag or a commit."""
    file: str | None
    """One file; None for a bundle."""

    @property
    def files(self) -> tuple[str, ...]:
        """What must be there."""
        return OF_A_BUNDLE if self.file is None else (self.file,)

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}@{self.revision}" + (f":{self.file}" if self.file else "")


def parse_name(text: str) -> HubName:
    """Read a name.

    Raises:
        WeightsError: it is not of the form hub:OWNER/NAME[@REVISION][:FILE].
    """
    found = _NAME.fullmatch(text)
    file = found["file"] if found else None
    if found is None or (file is not None and (file.startswith("/") or ".." in Path(file).parts)):
        raise WeightsError(f"{text!r} is not of the form hub:OWNER/NAME[@REVISION][:FILE].")
    return HubName(found["repository"], found["revision"] or "main", file)


def local(path: str | os.PathLike[str]) -> Path:
    """Return `path`, or where the cache has what it names on the hub, fetching what is not there yet.

    Raises:
        WeightsError: as `fetch`.
    """
    text = os.fspath(path)
    if not text.startswith(PREFIX):
        return Path(path)
    name = parse_name(text)
    return find(name) or fetch(name)


def find(name: HubName) -> Path | None:
    """Return the folder of the bundle, or the file, if the cache has all of it; the hub is not asked."""
    from huggingface_hub import try_to_load_from_cache  # only those who name a hub wait for its import

    with _told(name):
        found = [try_to_load_from_cache(name.repository, file, revision=name.revision) for file in name.files]
    places = [Path(place) for place in found if isinstance(place, str)]
    if len(places) < len(name.files):
        return None
    return places[0] if name.file is not None else places[0].parent


def fetch(name: HubName) -> Path:
    """Bring the cache up to date with the hub; return the folder of the bundle, or the file.

    All files are of one commit, and an older one stays in the cache beside it.

    Raises:
        WeightsError: the hub may not be asked, cannot be reached, or has no such repository, revision or file.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    place, revision = Path(), name.revision
    for file in name.files:
        with _told(name):
            # Asked first, since the download tries for half a minute and then takes an old file without a word.
            get_hf_file_metadata(hf_hub_url(name.repository, file, revision=revision))
            place = Path(hf_hub_download(name.repository, file, revision=revision))
        if name.file is None:
            revision = place.parent.name  # the commit: a branch may move on between two files
    return place if name.file is not None else place.parent


@contextmanager
def _told(name: HubName) -> Iterator[None]:
    """Turn the many errors of the hub's library into one line that says what to do."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as problem:
        raise _error(name, "is given only to those who asked its owner and are logged in") from problem
    except errors.RepositoryNotFoundError as problem:
        raise _error(name, "there is no such repository, or it is private") from problem
    except errors.RevisionNotFoundError as problem:
        raise _error(name, f"there is no revision {name.revision!r} of it") from problem
    except errors.OfflineModeIsEnabled as problem:
        raise _error(name, "is not in the cache, and the hub may not be asked (HF_HUB_OFFLINE)") from problem
    except errors.RemoteEntryNotFoundError as problem:
        raise _error(name, f"lacks {' or '.join(name.files)}; name a file that it has") from problem
    except errors.HFValidationError as problem:
        raise WeightsError(f"is no name of a repository ({_first_line(problem)}).", path=str(name)) from problem
    except Exception as problem:  # of whichever HTTP library this version of the hub's library uses
        if isinstance(problem, OSError) and problem.errno in OF_THE_DISK:
            raise WeightsError(f"the cache cannot be written ({problem}).", path=str(name)) from problem
        raise _error(name, f"the hub cannot be reached ({_first_line(problem)})") from problem


def _error(name: HubName, what: str) -> WeightsError:
    files = " and ".join(name.files)
    give = "their folder" if name.file is None else "its path"
    return WeightsError(f"{what}. Or get {files} by other means and give {give} instead of this name.", path=str(name))


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
