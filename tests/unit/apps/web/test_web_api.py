"""The API answers what the library answers; updates are told as they go; nothing is changed that may not be."""

import json
import shutil
import threading
import time
from datetime import date

import pytest

import playhead
from playhead.apps.index import IndexProgress, UpdateReport
from playhead.apps.request import Where
from playhead.apps.web.updates import Updates
from playhead.errors import SearchError
from playhead.types import ClipRef, Span

DONE = UpdateReport((), (), (), (), (), ())


def told(answer):
    assert answer.status_code == 200, answer.text
    return [(one["file"], one["start"], one["end"], one["score"]) for one in answer.json()["moments"]]


def expected(answers):
    return [(one.file, one.span.start, one.span.end, pytest.approx(one.score, abs=1e-5)) for one in answers]


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ({"q": "red"}, {"asked": ["red"], "top": 10}),
        ({"q": "green", "top": 2}, {"asked": ["green"], "top": 2}),
        ({"q": ["red", "green"]}, {"asked": ["red", "green"], "top": 10}),
        ({"q": "green", "without": "blue"}, {"asked": ["green"], "without": ["blue"], "top": 10}),
        ({"q": "green", "files": "*/deep/*"}, {"asked": ["green"], "where": Where(files=("*/deep/*",)), "top": 10}),
        ({"q": "red", "max_seconds": 12.5}, {"asked": ["red"], "where": Where(max_seconds=12.5), "top": 10}),
        ({"q": "red", "after": "2001-02-03"}, {"asked": ["red"], "where": Where(after=date(2001, 2, 3)), "top": 10}),
    ],
)
def test_search_answers_what_the_library_answers(client, web_collection, query, asked):
    answers = web_collection.search(asked.pop("asked"), **asked)
    for got in (client.get("/api/v1/search", params=query), client.post("/api/v1/search", json=as_body(query))):
        assert told(got) == expected(answers)
        assert got.json()["matches"] is answers.matches and got.json()["windows"] == answers.windows


def as_body(query):
    lists = ("q", "without", "files")
    return {k: [v] if k in lists and isinstance(v, str) else v for k, v in query.items()}


def test_moments_like_a_moment(client, web_collection, web_videos, video_id):
    body = {"like": [{"video": video_id("a.mp4"), "start": 6, "end": 9}]}
    answers = web_collection.search(ClipRef(str(web_videos / "a.mp4"), Span(6.0, 9.0)), top=10)
    assert told(client.post("/api/v1/search", json=body)) == expected(answers)


@pytest.mark.parametrize(
    ("query", "code", "problem"),
    [
        ({}, 400, "nothing was asked for"),
        ({"q": "  "}, 400, "the query is empty"),
        ({"q": "red", "after": "2020-01-02", "before": "2020-01-01"}, 400, "`after` is later"),
        ({"q": "red", "top": 0}, 422, "top"),
        ({"q": "red", "top": 1000}, 422, "top"),
        ({"q": "red", "min_seconds": "nan"}, 422, "min_seconds"),
        ({"q": "red", "nonsense": 1}, 422, "nonsense"),
        ({"q": "red", "ground": True}, 400, "no network for language queries"),
    ],
)
def test_what_cannot_be_answered_is_told_in_one_line(client, query, code, problem):
    answer = client.get("/api/v1/search", params=query)
    assert answer.status_code == code and problem in answer.json()["detail"] and "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(
    "text", ["日本語のクエリ", "🍲🔪", "ред " * 10_000, "a\0b", "<script>alert(1)</script>", "'\"--"]
)
def test_any_text_can_be_asked(client, text):
    assert client.post("/api/v1/search", json={"q": [text]}).status_code == 200


def test_a_query_clip_outside_the_index_is_refused(client, web_videos):
    for video in ("0" * 32, str(web_videos.parent / "outside.mp4"), "../outside.mp4"):
        answer = client.post("/api/v1/search", json={"like": [{"video": video, "start": 0, "end": 1}]})
        assert answer.status_code == 400 and "the index holds no video of the id" in answer.json()["detail"]


def test_videos_are_listed_in_pages(client, web_collection):
    done = [row.path for row in web_collection.videos()]
    first = client.get("/api/v1/videos?limit=2").json()
    rest = client.get("/api/v1/videos?offset=2").json()
    assert first["total"] == 3 and [one["file"] for one in first["videos"] + rest["videos"]] == done


def test_relevance_is_that_of_the_library(client, web_collection, web_videos, video_id):
    curve = web_collection.relevance("red", web_videos / "a.mp4")
    got = client.get(f"/api/v1/videos/{video_id('a.mp4')}/relevance?q=red").json()
    assert got["times"] == pytest.approx(curve.times.tolist())
    assert got["standing"] == pytest.approx(curve.standing.tolist(), abs=1e-3)
    assert got["threshold"] == pytest.approx(curve.threshold, abs=1e-3)


def test_a_curve_of_few_points_keeps_its_peak(client, web_collection, web_videos, video_id):
    curve = web_collection.relevance("red", web_videos / "a.mp4")
    got = client.get(f"/api/v1/videos/{video_id('a.mp4')}/relevance?q=red&points=3").json()
    assert len(got["times"]) == 3
    assert max(got["standing"]) == pytest.approx(float(curve.standing.max()), abs=1e-3)
    assert got["times"][got["standing"].index(max(got["standing"]))] == curve.times[curve.standing.argmax()]


def test_narrations_are_given_where_there_are_some(client, video_id):
    assert client.get(f"/api/v1/videos/{video_id('a.mp4')}/narrations").json() == [
        {"time": 6.5, "text": "#C C paints it red"}
    ]
    assert client.get(f"/api/v1/videos/{video_id('deep/c.mp4')}/narrations").json() == []


@pytest.mark.parametrize("path", ["", "/relevance?q=red", "/narrations"])
def test_an_unknown_video_is_404(client, path):
    answer = client.get(f"/api/v1/videos/{'0' * 32}{path}")
    assert answer.status_code == 404 and "the index holds no video" in answer.json()["detail"]


def test_the_index_is_told_as_the_library_tells_it(client, web_collection):
    got, status = client.get("/api/v1/index").json(), web_collection.status()
    for name in ("place", "model", "num_videos", "num_windows", "is_exact", "unindexed"):
        assert got[name] == getattr(status, name)
    assert got["folders"] == list(status.folders) and got["update"]["state"] == "idle"


def events_of(answer):
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in answer.text.strip().split("\n\n")]
    assert all(block["event"] == "update" for block in blocks)
    return [json.loads(block["data"]) for block in blocks]


def test_an_idle_server_sends_one_event_and_ends(client):
    assert [event["state"] for event in events_of(client.get("/api/v1/index/events"))] == ["idle"]


def test_events_tell_each_step_of_an_update_until_it_is_done(client):
    updates, step = client.app.state.desk.updates, threading.Event()

    def work(progress):
        for done in (0, 1, 2):
            progress(IndexProgress(done, 2, 10 * done, done / 2, 1.0, None, 0.1, "a.mp4"))
            assert step.wait(10)
            time.sleep(0.25)  # longer than the pause between two events
        return UpdateReport(("a", "b"), (), (), (), (), (("c", "is broken"),))

    updates.start("test", work)
    step.set()
    events = events_of(client.get("/api/v1/index/events"))
    assert [event["state"] for event in events][-1] == "done" and {event["state"] for event in events[:-1]} == {
        "running"
    }
    seen = [event["progress"]["videos_done"] for event in events if event["progress"]]
    assert seen == sorted(seen) and seen[-1] == 2
    assert events[-1]["report"]["added"] == 2
    assert events[-1]["report"]["reasons"] == [{"path": "c", "reason": "is broken"}]
    assert client.app.state.desk.listeners._left == 16  # the listener gave its place back


@pytest.fixture
def own(tmp_path, web_videos, bundle_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, name in ((first, "a.mp4"), (second, "b [1] <i>.mp4")):
        folder.mkdir()
        shutil.copy2(web_videos / name, folder / name)
    return playhead.index(first, playhead.load(bundle_path), at=tmp_path / "index"), second


def finished(client):
    return events_of(client.get("/api/v1/index/events"))[-1]


def test_a_folder_is_added_searched_and_forgotten(visit, own):
    collection, folder = own
    client = visit(collection)
    assert client.post("/api/v1/index/folders", json={"path": str(folder)}).status_code == 202
    end = finished(client)
    assert (end["state"], end["report"]["added"]) == ("done", 1)
    assert told(client.get("/api/v1/search?q=blue&top=1"))[0][0] == str(folder / "b [1] <i>.mp4")
    answer = client.delete("/api/v1/index/folders", params={"path": str(folder)})
    assert answer.status_code == 202 and finished(client)["report"]["deleted"] == 1
    assert client.get("/api/v1/videos").json()["total"] == 1 and (folder / "b [1] <i>.mp4").exists()


@pytest.mark.parametrize(
    "path", ["relative/folder", "/there/is/none", "/\0", "~nobody-of-this-name/x", "/" + "a" * 4000]
)
def test_a_folder_that_is_none_is_refused_at_once(client, path):
    answer = client.post("/api/v1/index/folders", json={"path": path})
    assert answer.status_code == 400 and answer.json()["detail"]


def test_a_folder_without_videos_is_told_at_the_end(visit, own, tmp_path):
    client, empty = visit(own[0]), tmp_path / "empty"
    empty.mkdir()
    client.post("/api/v1/index/folders", json={"path": str(empty)})
    end = finished(client)
    assert end["state"] == "failed" and "no video lies below" in end["problem"]


def test_a_folder_that_is_not_followed_cannot_be_forgotten(client):
    assert client.delete("/api/v1/index/folders", params={"path": "/etc"}).status_code == 404


def test_read_only_changes_nothing(visit, web_collection):
    client = visit(web_collection, read_only=True)
    assert client.post("/api/v1/index/folders", json={"path": "/tmp"}).status_code == 403
    assert client.delete("/api/v1/index/folders", params={"path": "/tmp"}).status_code == 403
    assert client.post("/api/v1/index/update", json={}).status_code == 403
    assert client.get("/api/v1/search?q=red").status_code == 200


def test_one_update_at_a_time_and_it_can_be_stopped(client):
    updates, begun = client.app.state.desk.updates, threading.Event()

    def work(progress):
        while True:
            progress(IndexProgress(0, 1, 0, 0.0, 1.0, None, 0.0, ""))
            begun.set()
            time.sleep(0.01)

    updates.start("test", work)
    assert begun.wait(10)
    assert client.post("/api/v1/index/update", json={}).status_code == 409
    assert client.post("/api/v1/index/update", json={"action": "stop"}).status_code == 202
    assert finished(client)["state"] == "stopped"
    assert client.post("/api/v1/index/update", json={}).status_code == 202
    assert finished(client)["report"]["unchanged"] == 3


def test_what_goes_wrong_in_an_update_is_told(web_collection):
    updates = Updates(web_collection)

    def work(progress):
        raise SearchError("another process (id 7) is writing here.")

    version = updates.start("test", work).version
    state = updates.wait_beyond(version, 10.0)
    assert (state.state, state.problem) == ("failed", "another process (id 7) is writing here.")


def test_a_watch_does_not_talk_over_an_update_that_was_asked_for(web_collection, monkeypatch):
    hold, stop = threading.Event(), threading.Event()

    class Watched:
        def watch(self, *, every, stop, told, progress):
            told(DONE)

    updates = Updates(web_collection)
    monkeypatch.setattr(updates, "_collection", Watched())
    updates.start("asked", lambda progress: hold.wait(10) and DONE)
    Updates.watch(updates, 1.0, stop)
    assert (updates.state.what, updates.state.state) == ("asked", "running")
    hold.set()
    assert updates.wait_beyond(updates.state.version, 10.0).state == "done"
    Updates.watch(updates, 1.0, stop)
    assert updates.state.what == "watch the folders"


def test_the_description_of_the_api_is_complete(client):
    described = client.get("/api/v1/openapi.json").json()
    assert described["openapi"].startswith("3.")
    assert set(described["paths"]) == {
        "/api/v1/search",
        "/api/v1/videos",
        "/api/v1/videos/{video}",
        "/api/v1/videos/{video}/relevance",
        "/api/v1/videos/{video}/narrations",
        "/api/v1/index",
        "/api/v1/index/folders",
        "/api/v1/index/update",
        "/api/v1/index/events",
    }
    for path in described["paths"].values():
        for operation in path.values():
            assert operation["summary"] and {"401", "404", "429"} <= set(operation["responses"])
