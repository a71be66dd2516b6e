"""Who comes in, what is refused at the door, and what every answer carries."""

import asyncio
import json
import re
import socket
import threading
import time

import pytest

from playhead.apps.web.safety import HEADERS, Gate, Places, Safety, TooManyError, TooSlowError, cookie_of
from playhead.apps.web.server import listen
from playhead.apps.web.settings import Limits, WebSettings, is_loopback
from playhead.cli import main
from playhead.errors import SearchError

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("127.0.0.1", True), ("127.8.9.1", True), ("localhost", True), ("::1", True), ("[::1]", True)),
        *(
            ("0.0.0.0", False),
            ("::", False),
            ("192.168.1.4", False),
            ("example.org", False),
            ("127.0.0.1.nip.io", False),
        ),
        ("", False),
    ],
)
def test_loopback_is_told_from_all_other_addresses(host, expected):
    assert is_loopback(host) is expected


def test_any_other_address_needs_a_token():
    with pytest.raises(SearchError, match=r"at 0.0.0.0 others than this machine could see the videos. Set a token"):
        WebSettings(host="0.0.0.0")
    assert TOKEN not in repr(WebSettings(host="0.0.0.0", token=TOKEN))


def test_a_short_token_is_refused():
    with pytest.raises(SearchError, match="at least 16"):
        WebSettings(token="secret")


def test_the_command_says_so_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("PLAYHEAD_TOKEN", raising=False)
    assert main(["serve", str(tmp_path), "--host", "0.0.0.0"]) == 2
    told = capsys.readouterr().err.strip()
    assert "Set a token first" in told and "\n" not in told
    assert main(["serve", str(tmp_path / "nothing")]) == 2
    assert "there is no index here" in capsys.readouterr().err


def test_a_taken_port_is_told():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SearchError, match="cannot be listened at"):
            listen(WebSettings(port=other.getsockname()[1]))


def test_limits_of_nothing_are_refused():
    with pytest.raises(ValueError, match="`searches` must be above zero, got 0"):
        Limits(searches=0)


@pytest.mark.parametrize("path", ["/", "/api/v1/index", "/static/app.css", "/nothing", "/media/x/0", "/api/v1/search"])
def test_every_answer_carries_the_security_headers(client, path):
    answer = client.get(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_fault_is_500_with_the_headers_and_without_its_text(visit, web_collection, monkeypatch):
    client = visit(web_collection)
    client.app.state.desk.collection = None
    answer = client.get("/api/v1/videos")
    assert answer.status_code == 500 and "NoneType" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "localhost.evil"])
def test_a_foreign_name_that_leads_here_is_refused(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"])
def test_the_machines_own_names_are_welcome(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 200


def test_a_name_that_was_given_is_welcome(visit, web_collection):
    assert (
        visit(web_collection, names=("video.example",)).get("/", headers={"Host": "video.example"}).status_code == 200
    )


CROSS = {"Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        (CROSS | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        (CROSS | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        (CROSS | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
    ],
)
def test_pages_of_other_sites_may_link_here_and_nothing_else(client, headers, expected):
    assert client.get("/", headers=headers).status_code == expected


def test_forms_of_other_sites_change_nothing(client):
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, CROSS | {"Sec-Fetch-Mode": "navigate"}):
        answer = client.post("/api/v1/index/update", json={"action": "stop"}, headers=headers)
        assert answer.status_code == 403
    own = client.post("/api/v1/index/update", json={"action": "stop"}, headers={"Origin": "http://127.0.0.1:8000"})
    assert own.status_code == 202


def test_with_a_token_nothing_is_seen_without_it(visit, web_collection, video_id):
    client = visit(web_collection, at="http://192.168.1.4:8000", host="192.168.1.4", token=TOKEN)
    video = video_id("a.mp4")
    for path in ("/api/v1/index", "/api/v1/openapi.json", f"/media/{video}/0", f"/media/{video}/thumbnail.jpg", "/"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": f"Bearer {TOKEN}x"}).status_code == 401
        assert client.get(path, headers={"Cookie": f"playhead={TOKEN}"}).status_code == 401
        assert client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    page = client.get("/", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/sign-in")


def test_signing_in_gives_a_cookie_that_does_not_hold_the_token(visit, web_collection):
    client = visit(web_collection, token=TOKEN)
    wrong = client.post("/sign-in", content="token=wrong")
    assert wrong.status_code == 401 and "set-cookie" not in wrong.headers
    right = client.post("/sign-in", content=f"token={TOKEN}")
    cookie = right.headers["set-cookie"]
    assert right.status_code == 303 and TOKEN not in cookie
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
    assert client.get("/api/v1/index").status_code == 200
    assert client.cookies["playhead"] == cookie_of(TOKEN)


def test_bodies_and_addresses_have_a_longest_length(visit, web_collection):
    client = visit(web_collection, limits=Limits(body_bytes=1000, url_bytes=500))
    assert client.post("/api/v1/search", json={"q": ["red " * 400]}).status_code == 413
    chunks = iter([b"x" * 600, b"x" * 600])
    assert client.post("/api/v1/search", content=chunks).status_code == 413  # no length is declared
    assert client.get("/api/v1/search", params={"q": "red " * 200}).status_code == 414
    assert client.get("/api/v1/search", params={"q": "red"}).status_code == 200


def test_a_body_that_does_not_arrive_is_given_up():
    async def never():
        await asyncio.sleep(60)

    async def app(scope, receive, send):
        raise AssertionError("the application was asked")

    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-length", b"5")]
    scope = {"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "query_string": b"", "headers": headers}
    safety = Safety(app, WebSettings(limits=Limits(body_seconds=0.05)))
    asyncio.run(safety(scope, never, send))
    assert sent[0]["status"] == 408


def test_a_gate_turns_away_at_once_what_it_cannot_take():
    async def flood():
        gate, hold = Gate(1, 2, 10.0, "test"), threading.Event()
        waiting = [asyncio.ensure_future(gate.run(hold.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyError):
            await gate.run(hold.wait)
        hold.set()
        assert await asyncio.gather(*waiting) == [True] * 3
        assert await gate.run(max, 1, 2) == 2  # and takes more once there is room
        gate.close()

    asyncio.run(flood())


def test_slow_work_keeps_its_place_until_it_has_ended():
    async def slow():
        gate, hold = Gate(1, 1, 0.05, "test"), threading.Event()
        with pytest.raises(TooSlowError):
            await gate.run(hold.wait, 10)
        with pytest.raises(TooSlowError):
            await gate.run(max, 1, 2)
        assert gate._inside == 1  # what waited has left, what runs has not
        hold.set()
        while gate._inside:
            await asyncio.sleep(0.01)
        assert await gate.run(max, 1, 2) == 2
        gate.close()

    asyncio.run(slow())


def test_places_are_as_many_as_said():
    places = Places(2)
    places.take()
    places.take()
    with pytest.raises(TooManyError):
        places.take()
    places.give()
    places.take()


def test_a_flood_of_searches_gets_429_and_indexing_goes_on(visit, web_collection, tmp_path, monkeypatch):
    client = visit(web_collection, limits=Limits(searches=1, waiting=2))
    desk, hold = client.app.state.desk, threading.Event()
    monkeypatch.setattr("playhead.apps.web.answers.search", lambda *_: hold.wait(20))
    desk.updates.start("test", lambda progress: web_collection.update())
    codes = []

    def ask():
        codes.append(client.get("/api/v1/search?q=red"))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while sum(answer.status_code == 429 for answer in codes) < 9 and time.monotonic() < deadline:
        time.sleep(0.01)
    refused = [answer for answer in codes if answer.status_code == 429]
    assert len(refused) == 9 and all(answer.headers["retry-after"] == "1" for answer in refused)
    while desk.updates.state.state == "running" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert desk.updates.state.state == "done"  # while the flood still waits
    assert client.get("/api/v1/index").json()["num_videos"] == 3
    hold.set()
    for thread in threads:
        thread.join()


def test_too_many_streams_and_requests_get_429(visit, web_collection, video_id):
    client = visit(web_collection)
    client.app.state.desk.streams._left = 0
    assert client.get(f"/media/{video_id('a.mp4')}/0").status_code == 429
    client.app.state.desk.listeners._left = 0
    assert client.get("/api/v1/index/events").status_code == 429


def test_no_answer_names_another_host_or_runs_code_of_a_page(client, video_id):
    pages = ["/", "/?q=red", "/index", f"/video/{video_id('a.mp4')}?q=red&t=6"]
    for text in [client.get(page).text for page in pages]:
        assert re.findall(r"(?:src|href|action)=\"(?!/|#)", text) == []
        assert re.findall(r"<script(?! src)| style=| on[a-z]+=", text) == []
    assert json.loads(client.get("/api/v1/openapi.json").text)["info"]["title"] == "Playhead"
