"""Which file this process reads, told to whoever wants to know; so a read that never ends can be named from outside."""

from collections.abc import Callable
from contextvars import ContextVar


def _tell_nobody(path: str) -> None:
    pass


_listener: ContextVar[Callable[[str], None]] = ContextVar("listener", default=_tell_nobody)


def tell_to(listener: Callable[[str], None]) -> None:
    """Tell `listener` from now on of every file, right before it is opened or asked for frames."""
    _listener.set(listener)


def now_reading(path: str) -> None:
    """Say that `path` is what is read now."""
    _listener.get()(path)
