"""What every request passes before anything looks at it, and every answer on its way out.

Against pages of other sites in the same browser: the name by which the server is called must be its own (a foreign name
that was made to lead here is refused), and what the browser says another site asked for is refused, links excepted.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http.cookies import CookieError, SimpleCookie
from threading import Lock
from typing import Any, TypeVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playhead.apps.web.settings import Limits, WebSettings, is_loopback

COOKIE = "playhead"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
OPEN_PATHS = ("/sign-in", "/static/")
"""What can be seen without a token: how to give one."""

Made = TypeVar("Made")
_log = logging.getLogger(__name__)


class TooManyError(Exception):
    """More is asked at once than the server takes on."""


class TooSlowError(Exception):
    """What was asked for was not done in time."""


class Gate:
    """Does work in a few threads, lets some wait, and turns the rest away at once.

    Work that was given up keeps its place until it has really ended, so that a flood of slow work cannot pile up.
    """

    def __init__(self, at_once: int, waiting: int, seconds: float, name: str):
        self._pool = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix=f"playhead-{name}")
        self._most, self._seconds, self._inside, self._lock = at_once + waiting, seconds, 0, Lock()

    async def run(self, work: Callable[..., Made], *arguments: Any) -> Made:
        """Return what `work(*arguments)` returns, or raise what it raises.

        Raises:
            TooManyError: too many wait already.
            TooSlowError: it is not done in time.
        """
        with self._lock:
            if self._inside >= self._most:
                raise TooManyError
            self._inside += 1
        future = self._pool.submit(work, *arguments)
        future.add_done_callback(self._leave)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError as error:
            raise TooSlowError from error

    def _leave(self, future: Future) -> None:
        with self._lock:
            self._inside -= 1

    def close(self) -> None:
        """Give up what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Places:
    """So many things may be open at once: streams, listeners."""

    def __init__(self, number: int):
        self._left, self._lock = number, Lock()

    def take(self) -> None:
        """Take a place.

        Raises:
            TooManyError: none is left.
        """
        with self._lock:
            if self._left == 0:
                raise TooManyError
            self._left -= 1

    def give(self) -> None:
        """Give a place back."""
        with self._lock:
            self._left += 1


def refuse(status: int, problem: str) -> Response:
    """Return an answer of one line; 429 says when to come again."""
    return JSONResponse({"detail": problem}, status, headers={"Retry-After": "1"} if status == 429 else None)


def cookie_of(token: str) -> str:
    """Return what the browser keeps in place of the token itself."""
    return hmac.new(token.encode(), b"playhead cookie", hashlib.sha256).hexdigest()


def knows(headers: Headers, token: str) -> bool:
    """Say whether a request carries the token, or the cookie given for it."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode()):
        return True
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return False
    return morsel is not None and hmac.compare_digest(morsel.value.encode(), cookie_of(token).encode())


class Safety:
    """The outermost layer of the application; see the module's first lines."""

    def __init__(self, app: ASGIApp, settings: WebSettings):
        self.app, self.settings, self.limits = app, settings, settings.limits
        self._names = {"localhost", "127.0.0.1", "[::1]", *(name.lower() for name in settings.names)}
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None  # no other protocol is spoken
        sender = _Sender(scope, send)
        try:
            await self._answer(scope, receive, sender)
        except Exception:
            if sender.has_begun:
                raise  # the connection ends, which tells that the answer is not whole
            _log.exception("%s %s", scope["method"], scope["path"])
            await refuse(500, "this is a fault of the server; its terminal says more.")(scope, receive, sender)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._inside >= self.limits.requests:
            return await refuse(429, "too many requests at once; come again in a second.")(scope, receive, send)
        self._inside += 1
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                return await refusal(scope, receive, send)
            body = await _read_body(receive, self.limits) if _may_have_body(scope) else b""
            if isinstance(body, Response):
                return await body(scope, receive, send)
            await self.app(scope, _replayed(body, receive) if _may_have_body(scope) else receive, send)
        finally:
            self._inside -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > self.limits.url_bytes:
            return refuse(414, f"the address is longer than {self.limits.url_bytes:,} bytes; post long texts.")
        host = headers.get("host", "").lower()
        if is_loopback(self.settings.host) and _without_port(host) not in self._names:
            return refuse(421, "this server is not called so. Name it by 127.0.0.1, or start it with --names.")
        if _is_of_another_site(scope, headers, host):
            return refuse(403, "asked for by a page of another site.")
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > self.limits.body_bytes:
            return refuse(413, f"the body is longer than {self.limits.body_bytes:,} bytes.")
        return self._unknown_visitor(scope, headers)

    def _unknown_visitor(self, scope: Scope, headers: Headers) -> Response | None:
        token = self.settings.token
        if token is None or scope["path"].startswith(OPEN_PATHS) or knows(headers, token):
            return None
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse("/sign-in", 303)
        answer = refuse(401, "the token is missing or wrong. Send it as `Authorization: Bearer TOKEN`.")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer


def _is_of_another_site(scope: Scope, headers: Headers, host: str) -> bool:
    """Say whether the browser tells that a foreign page asks; only links to pages may come from outside."""
    is_reading = scope["method"] in ("GET", "HEAD")
    is_link = is_reading and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not is_link:
        return True
    origin = headers.get("origin")
    return not is_reading and origin is not None and origin.lower().partition("://")[2] != host


def _without_port(host: str) -> str:
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]


def _may_have_body(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return bool(names & {b"content-length", b"transfer-encoding"})


async def _read_body(receive: Receive, limits: Limits) -> bytes | Response:
    """Return the whole body, or the refusal of one that is too long or too slow."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return refuse(400, "the connection ended before the request did.")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limits.body_bytes:
                    return refuse(413, f"the body is longer than {limits.body_bytes:,} bytes.")
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        return refuse(408, f"the request did not arrive within {limits.body_seconds:g} s.")


def _replayed(body: bytes, receive: Receive) -> Receive:
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return left.pop() if left else await receive()

    return next_message


class _Sender:
    """Sends an answer with the headers of all, and knows whether it has begun."""

    def __init__(self, scope: Scope, send: Send):
        self.has_begun, self._send = False, send
        self._caching = "no-cache" if scope["path"].startswith("/static/") else "no-store"

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            if "cache-control" not in headers:
                headers["Cache-Control"] = self._caching
        await self._send(message)
