"""`/api/v1`: search, videos, relevance, narrations, the index and its progress. In Python, `playhead` is the client."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from playhead.apps.web import answers
from playhead.apps.web.answers import AnswersOut, Frozen, Question, RelevanceOut, VideoOut, Words
from playhead.apps.web.desk import Desk
from playhead.errors import SearchError

HEARTBEAT = 15.0
"""Seconds after which an idle stream sends a sign of life."""


class Problem(BaseModel):
    """What is wrong and what to do, in one line."""

    detail: str


class VideosOut(BaseModel):
    """A page of the videos that can be searched."""

    total: int
    videos: list[VideoOut]


class NarrationOut(BaseModel):
    """What is told of one moment."""

    time: float
    text: str


class FailedOut(BaseModel):
    """A file that is not in the index, and why."""

    path: str
    reason: str


class IndexOut(BaseModel):
    """How the index stands; `update` is the latest update that this server ran."""

    place: str
    model: str
    folders: list[str]
    num_videos: int
    num_windows: int
    hours: float
    failed: list[FailedOut]
    writer: str | None
    is_exact: bool
    unindexed: int
    update: dict[str, Any]


class FolderIn(Frozen):
    """A folder of this machine."""

    path: Annotated[str, answers.Field(min_length=1, max_length=4096)]


class UpdateIn(Frozen):
    """What to do: bring the index in step with its folders, or end the update that is running."""

    action: Literal["start", "stop"] = "start"


_CODES = {
    **{400: "what is asked cannot be answered", 401: "no token", 403: "not allowed", 404: "not in the index"},
    **{408: "too slow a request", 409: "an update is running", 413: "too long", 414: "too long an address"},
    **{
        421: "called by a foreign name",
        422: "not of the form described",
        429: "too much at once",
        503: "not done in time",
    },
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": told} for code, told in _CODES.items()
}
router = APIRouter(prefix="/api/v1", responses=_PROBLEMS)
VideoId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="Id of a video")]


def desk_of(request: Request) -> Desk:
    """Return what the application works with."""
    return request.app.state.desk


AtDesk = Annotated[Desk, Depends(desk_of)]


@router.get("/search", summary="Search in words")
async def search_words(desk: AtDesk, words: Annotated[Words, Query()]) -> AnswersOut:
    """Return the moments that fit; `matches` says whether any really does."""
    return answers.tell_answers(await desk.search(Question(**words.model_dump())))


@router.post("/search", summary="Search with words and pieces of videos")
async def search_all(desk: AtDesk, question: Question) -> AnswersOut:
    """Return the moments that fit; for long texts, and for moments that are like others."""
    return answers.tell_answers(await desk.search(question))


@router.get("/videos", summary="Videos that can be searched")
async def list_videos(
    desk: AtDesk,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> VideosOut:
    """Return a page of them, in order of path."""
    rows = [row for row in await desk.reads.run(desk.collection.videos) if row.status == "done"]
    return VideosOut(total=len(rows), videos=[answers.tell_video(row) for row in rows[offset : offset + limit]])


@router.get("/videos/{video}", summary="One video")
async def show_video(desk: AtDesk, video: VideoId) -> VideoOut:
    """Return what is known of it, and where to play it from."""
    row = await desk.row(video)
    return answers.tell_video(row, await desk.parts(row))


@router.get("/videos/{video}/relevance", summary="Relevance along a video")
async def show_relevance(
    desk: AtDesk,
    video: VideoId,
    q: Annotated[list[answers.Text], Query(min_length=1, max_length=8)],
    without: Annotated[list[answers.Text], Query(max_length=8)] = [],  # noqa: B006, FastAPI copies it
    points: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> RelevanceOut:
    """Return what its windows score."""
    return await desk.relevance(Question(q=q, without=without), await desk.row(video), points)


@router.get("/videos/{video}/narrations", summary="Narrations of a video")
async def show_narrations(desk: AtDesk, video: VideoId) -> list[NarrationOut]:
    """Return what is told of it, in order of time; nothing if there is no narrations file."""
    row = await desk.row(video)
    told = await desk.reads.run(desk.collection.narrations, row.path)
    return [NarrationOut(time=one.time, text=one.text) for one in told]


@router.get("/index", summary="The index")
async def show_index(desk: AtDesk) -> IndexOut:
    """Return how it stands."""
    status = await desk.reads.run(desk.collection.status)
    return IndexOut(
        place=status.place,
        model=status.model,
        folders=list(status.folders),
        num_videos=status.num_videos,
        num_windows=status.num_windows,
        hours=round(status.hours, 4),
        failed=[FailedOut(path=path, reason=reason) for path, reason in status.failed[:1000]],
        writer=None if status.writer is None else str(status.writer),
        is_exact=status.is_exact,
        unindexed=status.unindexed,
        update=desk.updates.state.plain(),
    )


@router.post("/index/folders", status_code=202, summary="Add a folder")
async def add_folder(desk: AtDesk, folder: FolderIn) -> dict[str, Any]:
    """Begin to index a folder of this machine, and follow it from now on."""
    desk.require_writable()
    return (await desk.begin(desk.updates.add_folder, await desk.reads.run(desk.checked_folder, folder.path))).plain()


@router.delete("/index/folders", status_code=202, summary="Forget a folder")
async def forget_folder(desk: AtDesk, path: Annotated[str, Query(min_length=1, max_length=4096)]) -> dict[str, Any]:
    """Take a folder out of the index; its files stay where they are."""
    desk.require_writable()
    if path not in await desk.reads.run(desk.collection.folders):
        raise desk.not_found(SearchError("the index does not follow this folder.", path=path))
    return (await desk.begin(desk.updates.forget_folder, path)).plain()


@router.post("/index/update", status_code=202, summary="Update or stop")
async def update_index(desk: AtDesk, wanted: UpdateIn) -> dict[str, Any]:
    """Begin to bring the index in step with its folders, or end the update that is running."""
    desk.require_writable()
    if wanted.action == "stop":
        desk.updates.stop()
        return desk.updates.state.plain()
    return (await desk.begin(desk.updates.update)).plain()


@router.get(
    "/index/events",
    summary="Progress of the update",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "An event `update` for every change."}},
)
async def show_events(request: Request, desk: AtDesk) -> StreamingResponse:
    """Send an event `update` with the state of the update, again whenever it changes, until it no longer runs."""
    desk.listeners.take()
    return StreamingResponse(_events(request, desk), media_type="text/event-stream")


async def _events(request: Request, desk: Desk) -> AsyncIterator[str]:
    try:
        state = desk.updates.state
        while True:
            yield f"id: {state.version}\nevent: update\ndata: {json.dumps(state.plain())}\n\n"
            if state.state != "running" or await request.is_disconnected():
                return
            told, waited = state.version, 0.0
            while state.version == told:
                await asyncio.sleep(0.1)  # no thread waits for a listener, and ten events a second are enough
                state, waited = desk.updates.state, waited + 0.1
                if waited >= HEARTBEAT:
                    waited = 0.0
                    yield ": still here\n\n"
    finally:
        desk.listeners.give()
