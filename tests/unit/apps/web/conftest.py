"""A small index behind the web application, asked without a network."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import playhead
from playhead.apps.web.server import create_app
from playhead.apps.web.settings import Limits, WebSettings

HOME = "http://127.0.0.1:8000"


@pytest.fixture(scope="session")
def web_videos(tmp_path_factory, make_video) -> Path:
    """Three videos and, beside them, files that nobody indexed."""
    folder = (tmp_path_factory.mktemp("web") / "videos").resolve()
    make_video(folder / "a.mp4", [("green", 6), ("red", 3), ("green", 6)])
    make_video(folder / "b [1] <i>.mp4", [("blue", 4), ("green", 4), ("blue", 4)])
    make_video(folder / "deep" / "c.mp4", [("gray", 10)])
    (folder / "secret.txt").write_text("secret")
    (folder.parent / "outside.mp4").write_bytes(b"secret")
    return folder


@pytest.fixture(scope="session")
def web_collection(tmp_path_factory, web_videos, bundle_path):
    """Their index; tests that change it make one of their own."""
    narrations = web_videos.parent / "narration.json"
    told = [{"timestamp_sec": 6.5, "narration_text": "#C C paints it red", "annotation_uid": "x"}]
    passes = {"narration_pass_1": {"narrations": told}, "status": "complete"}
    narrations.write_text(json.dumps({"videos": {"a": passes}}))
    model = playhead.load(bundle_path)
    return playhead.index(web_videos, model, at=tmp_path_factory.mktemp("at") / "index", narrations=narrations)


@pytest.fixture
def visit():
    """Open the application over a collection and return a client; all are closed at the end."""
    opened = []

    def open_client(collection, *, at: str = HOME, limits: Limits | None = None, **settings) -> TestClient:
        chosen = WebSettings(limits=limits or Limits(), **settings)
        client = TestClient(create_app(collection, chosen, warm=False), base_url=at, follow_redirects=False)
        opened.append(client.__enter__())
        return client

    yield open_client
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(visit, web_collection):
    return visit(web_collection)


@pytest.fixture
def video_id(web_collection, web_videos):
    """Return the id of a file by its name."""
    return lambda name: web_collection.video(web_videos / name).video_id
