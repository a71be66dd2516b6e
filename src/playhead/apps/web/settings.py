"""How the server is set up: where it listens, who may come in, and how much it does at once."""

import ipaddress
from dataclasses import dataclass, field

from playhead.errors import SearchError

SHORTEST_TOKEN = 16
"""Letters that a token needs at least, so that guessing is hopeless."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one server takes on. Whoever comes above a limit gets 429 and is told to come again, at once.

    Raises:
        ValueError: a limit is not above zero.
    """

    searches: int = 2
    """Searches computed at the same time."""
    pictures: int = 2
    """Thumbnails and strips decoded at the same time."""
    waiting: int = 64
    """Searches, and as many pictures, that wait for their turn."""
    streams: int = 64
    """Videos sent at the same time."""
    listeners: int = 16
    """Streams of indexing progress open at the same time."""
    requests: int = 256
    """Requests of all kinds in hand at the same time."""
    body_bytes: int = 1 << 20
    """Longest body of a request."""
    url_bytes: int = 16_384
    """Longest path and query of an address; longer texts are posted."""
    body_seconds: float = 10.0
    """In which the body of a request must have arrived."""
    work_seconds: float = 30.0
    """In which a search or a picture must be done, the wait for its turn included."""
    stall_seconds: float = 300.0
    """After which a player that reads nothing loses its connection; it comes back by itself when played on."""
    picture_cache_bytes: int = 64 << 20
    """Memory for thumbnails and strips."""

    def __post_init__(self):
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be above zero, got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """Where the server listens and who may come in.

    Raises:
        SearchError: others than this machine could come in without a token, or the token is too short.
    """

    host: str = "127.0.0.1"
    """Address to listen at; any but this machine's own needs a token."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""
    token: str | None = field(default=None, repr=False)
    """The secret that every visitor must know; None lets everyone on this machine in."""
    names: tuple[str, ...] = ()
    """Names that the server is called by besides localhost, such as that of a proxy before it."""
    read_only: bool = False
    """Refuse to add, update and forget folders."""
    limits: Limits = field(default_factory=Limits)
    """How much is done at once."""

    def __post_init__(self):
        if not 0 <= self.port <= 65_535:
            raise SearchError(f"there is no port {self.port}; choose one from 1 to 65535, or 0 for any that is free.")
        if self.token is not None and not (len(self.token) >= SHORTEST_TOKEN and self.token.isascii()):
            raise SearchError(
                f"the token needs at least {SHORTEST_TOKEN} plain letters. Make one: openssl rand -hex 16."
            )
        if self.token is None and not is_loopback(self.host):
            raise SearchError(
                f"at {self.host} others than this machine could see the videos. Set a token first "
                "(export PLAYHEAD_TOKEN=$(openssl rand -hex 16)), or leave --host out."
            )


def is_loopback(host: str) -> bool:
    """Say whether an address or name can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
