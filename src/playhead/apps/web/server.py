"""The application: pages, API and safety over one collection; and how it is served."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import Event, Thread

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

import playhead
from playhead.apps.collection import Collection
from playhead.apps.web import api, pages
from playhead.apps.web.answers import Question
from playhead.apps.web.desk import BusyError, Desk, NotAllowedError, NotFoundError
from playhead.apps.web.safety import Safety, TooManyError, TooSlowError, refuse
from playhead.apps.web.settings import WebSettings
from playhead.errors import PlayheadError, SearchError

_DEFAULT = WebSettings()
_KEEP_ALIVE = 15  # seconds that an idle connection stays open


def create_app(
    collection: Collection, settings: WebSettings = _DEFAULT, *, watch_every: float | None = None, warm: bool = True
) -> FastAPI:
    """Return the application over a collection; with `watch_every`, it looks for changed files every so many seconds.

    With `warm` a first search is made while the server starts, so that no visitor waits for the index to be read.
    """
    desk = Desk(collection, settings)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        stop = Event()
        if watch_every is not None:
            Thread(target=desk.updates.watch, args=(watch_every, stop), daemon=True, name="playhead-watch").start()
        warming = asyncio.create_task(_warm(desk)) if warm else None
        yield
        stop.set()
        if warming is not None:
            warming.cancel()
        await asyncio.to_thread(desk.close)

    app = FastAPI(
        title="Playhead",
        version=playhead.__version__,
        description="Ask an index of videos in words; the answers are moments.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # their pages are fetched from elsewhere
        redoc_url=None,
        lifespan=life,
    )
    app.state.desk = desk
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=pages.FOLDER / "static"), name="static")
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    app.add_middleware(Safety, settings=settings)
    return app


async def _warm(desk: Desk) -> None:
    try:
        await desk.search(Question(q=["warm up"], top=1))
    except PlayheadError:
        return  # whoever searches is told


def _telling(status: int, told: Callable[[Exception], str]) -> Callable[[Request, Exception], Response]:
    def answer(request: Request, error: Exception) -> Response:
        text = told(error)
        is_page = not request.url.path.startswith(("/api/", "/media/")) and request.url.path != "/results"
        if is_page and "text/html" in request.headers.get("accept", ""):
            page = pages.render("problem.html", status, problem=text, form=pages.Form(), here="problem")
            page.headers.update({"Retry-After": "1"} if status == 429 else {})
            return page
        return refuse(status, text)

    return answer


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = _telling(error.status_code, lambda _: str(error.detail))(request, error)
    answer.headers.update(error.headers or {})
    return answer


def _of_validation(error: Exception) -> str:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


_ANSWERS: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    NotFoundError: _telling(404, str),
    NotAllowedError: _telling(403, str),
    BusyError: _telling(409, str),
    PlayheadError: _telling(400, str),
    TooManyError: _telling(429, lambda error: "too much is asked at once; come again in a second."),
    TooSlowError: _telling(503, lambda error: "this was not done in time; ask for less, or again later."),
    RequestValidationError: _telling(422, _of_validation),
    HTTPException: _http_error,
}


def serve(
    collection: Collection,
    settings: WebSettings = _DEFAULT,
    *,
    watch_every: float | None = None,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve a collection until interrupted; `ready` is given the address once it listens.

    Raises:
        SearchError: the port is taken, or the address is not of this machine.
    """
    listener = listen(settings)
    host, port = listener.getsockname()[:2]
    app = create_app(collection, settings, watch_every=watch_every)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http="h11",
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=3,
        limit_concurrency=4 * settings.limits.requests,
        h11_max_incomplete_event_size=64 * 1024,
    )
    ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    uvicorn.Server(config).run(sockets=[listener])


def listen(settings: WebSettings) -> socket.socket:
    """Return a socket that listens where the settings say.

    Raises:
        SearchError: the port is taken, or the address is not of this machine.
    """
    host = settings.host.strip("[]")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)  # so that whoever reads the address is not refused
    except OSError as error:
        told = error.strerror or str(error)
        raise SearchError(
            f"{settings.host}:{settings.port} cannot be listened at ({told}). Choose another --port."
        ) from error
    return listener
