"""The pages: search, player, index, sign-in; and the media that they show."""

import asyncio
import functools
from pathlib import Path as FilePath
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import ValidationError

from playhead.apps.progress import clock
from playhead.apps.request import read_date
from playhead.apps.web import answers, curve
from playhead.apps.web.answers import Piece, Question
from playhead.apps.web.api import AtDesk, VideoId
from playhead.apps.web.desk import Desk
from playhead.apps.web.media import FileSlice
from playhead.apps.web.safety import COOKIE, Places, cookie_of
from playhead.errors import PlayheadError, SearchError

FOLDER = FilePath(__file__).parent
SHOWN = 12
"""Moments on a page of results."""
NARRATIONS = 300
"""Narrations on a player's page at most, those nearest to where it starts."""
VIDEOS = 200
"""Videos that the page of the index lists at most."""
CURVE_POINTS = 800

router = APIRouter(include_in_schema=False)
_guesses = Places(4)  # tokens being tried at the same time, each for a while
_GUESS_SECONDS = 0.5


class Form:
    """The fields of the search form as the address of a page has them; all may be empty."""

    def __init__(
        self,
        q: str = "",
        without: str = "",
        files: str = "",
        after: str = "",
        before: str = "",
        like: Annotated[str, Query(max_length=200)] = "",
    ):
        self.fields = {"q": q, "without": without, "files": files, "after": after, "before": before, "like": like}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked."""
        return not self.fields["q"].strip() and not self.fields["like"]

    @property
    def piece(self) -> Piece | None:
        """What moments must be like, if that is asked and makes sense."""
        try:
            return _read_piece(self.fields["like"]) if self.fields["like"] else None
        except SearchError:
            return None

    def question(self, top: int) -> Question:
        """Return what is asked.

        Raises:
            SearchError: a field makes no sense.
        """
        given = {name: text.strip() for name, text in self.fields.items()}
        try:
            return Question(
                q=[given["q"]] if given["q"] else [],
                without=[given["without"]] if given["without"] else [],
                files=[one.strip() for one in given["files"].split(",") if one.strip()],
                after=read_date(given["after"]) if given["after"] else None,
                before=read_date(given["before"]) if given["before"] else None,
                like=[_read_piece(given["like"])] if given["like"] else [],
                top=top,
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise SearchError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from error

    def address(self, **more: object) -> str:
        """Return the fields that are filled, and more, as the query of an address."""
        filled = {name: text for name, text in self.fields.items() if text}
        return urlencode(filled | {name: str(value) for name, value in more.items()})


AskedForm = Annotated[Form, Depends()]
Second = Annotated[float, Query(ge=0, le=1e7, allow_inf_nan=False)]


@functools.cache
def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters |= {"clock": clock, "name": answers.name_of}
    return templates


def render(name: str, code: int = 200, /, **values: object) -> HTMLResponse:
    """Return a page."""
    return HTMLResponse(_templates().get_template(name).render(**values), code)


@router.get("/")
async def show_search(desk: AtDesk, form: AskedForm) -> HTMLResponse:
    """The search box and, once something is asked, the moments."""
    return render("search.html", **await _results(desk, form), form=form, here="search")


@router.get("/results")
async def show_results(desk: AtDesk, form: AskedForm) -> HTMLResponse:
    """The moments alone, for the page that stays open while one types."""
    return render("results.html", **await _results(desk, form), form=form)


async def _results(desk: Desk, form: Form) -> dict[str, Any]:
    found, problem = None, ""
    if not form.is_empty:
        try:
            found = answers.tell_answers(await desk.search(form.question(SHOWN)))
        except PlayheadError as error:
            problem = str(error)
    return {"found": found, "problem": problem}


@router.get("/video/{video}")
async def show_video(desk: AtDesk, form: AskedForm, video: VideoId, t: Second = 0.0, end: Second = 0.0) -> HTMLResponse:
    """The player, with the relevance of what was asked along the whole video."""
    row = await desk.row(video)
    moments, drawing, relevance, problem = [], None, None, ""
    if not form.is_empty:
        try:
            question = form.question(20)
            relevance = await desk.relevance(question, row, CURVE_POINTS)
            # A moment that does not match is listed only if it is the one that was clicked.
            told = answers.tell_answers(await desk.search(question, row)).moments
            moments = sorted((one for one in told if one.matches or one.start == t), key=lambda one: one.start)
            drawing = curve.draw(relevance, moments, row.duration)
        except PlayheadError as error:
            problem = str(error)
    narrations = await desk.reads.run(desk.collection.narrations, row.path)
    near = sorted(sorted(narrations, key=lambda one: abs(one.time - t))[:NARRATIONS], key=lambda one: one.time)
    return render(
        "video.html",
        **{"form": form, "row": row, "t": min(t, row.duration), "end": end, "parts": await desk.parts(row)},
        **{"moments": moments, "drawing": drawing, "relevance": relevance, "problem": problem},
        **{"narrations": near, "num_narrations": len(narrations), "here": "video"},
    )


@router.get("/index")
async def show_index(desk: AtDesk, form: AskedForm) -> HTMLResponse:
    """How the index stands, and what can be done about it."""
    status = await desk.reads.run(desk.collection.status)
    rows = [row for row in await desk.reads.run(desk.collection.videos) if row.status == "done"]
    update = desk.updates.state
    return render(
        "index.html",
        **{"form": form, "status": status, "rows": rows[:VIDEOS], "update": update.plain(), "here": "index"},
        read_only=desk.settings.read_only,
    )


@router.get("/media/{video}/thumbnail.jpg")
async def send_thumbnail(
    desk: AtDesk, video: VideoId, t: Second = 0.0, height: Annotated[int, Query(ge=32, le=720)] = 180
) -> Response:
    """The frame at a time."""
    return _picture(await desk.thumbnail(video, t, height))


@router.get("/media/{video}/strip.jpg")
async def send_strip(desk: AtDesk, video: VideoId, start: Second, end: Second) -> Response:
    """Frames of a moment, side by side."""
    return _picture(await desk.strip(video, start, end))


@router.api_route("/media/{video}/{number}", methods=["GET", "HEAD"])
async def send_video(desk: AtDesk, video: VideoId, number: Annotated[int, Path(ge=0, le=10**6)]) -> Response:
    """A file of a video, or a range of its bytes."""
    sent: FileSlice = await desk.stream(video, number)
    return sent


def _picture(jpeg: bytes) -> Response:
    # The id names the content, so the picture of an address never changes.
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=31536000, immutable"})


@router.get("/sign-in")
async def show_sign_in(desk: AtDesk) -> Response:
    """Where a visitor gives the token."""
    if desk.settings.token is None:
        return RedirectResponse("/", 303)
    return render("sign_in.html", problem="", form=Form(), here="sign-in")


@router.post("/sign-in")
async def sign_in(desk: AtDesk, request: Request) -> Response:
    """Take the token and give the browser a cookie for it."""
    token = desk.settings.token
    if token is None:
        return RedirectResponse("/", 303)
    given = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10).get("token", [""])[0]
    if cookie_of(given) != cookie_of(token):  # hashes: how long it takes tells nothing of the token
        _guesses.take()
        try:
            await asyncio.sleep(_GUESS_SECONDS)
        finally:
            _guesses.give()
        return render("sign_in.html", 401, problem="This is not the token.", form=Form(), here="sign-in")
    answer = RedirectResponse("/", 303)
    answer.set_cookie(COOKIE, cookie_of(token), httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


def _read_piece(text: str) -> Piece:
    video, start, end = [*text.split(","), "", ""][:3]
    try:
        return Piece(video=video, start=float(start), end=float(end))
    except ValueError as error:
        raise SearchError(f"{text!r} is no piece of a video; write ID,START,END.") from error
