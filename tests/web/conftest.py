"""A real server over a real index of the generated world, and a browser without a screen."""

import os
import shutil
import threading
from pathlib import Path

import pytest
import torch
import uvicorn

import playhead
from playhead.apps.web.server import create_app, listen
from playhead.apps.web.settings import WebSettings
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.video.transforms import Preprocess
from playhead.weights.bundle import save_bundle
from playhead.world.config import WorldConfig
from playhead.world.world import make_world

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser():
    """Chromium of this machine; nothing is downloaded."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("PLAYHEAD_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium is installed; PLAYHEAD_CHROMIUM names one elsewhere")
    with sync_api.sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = driver.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def small_world(tmp_path_factory) -> Path:
    """Three videos of half a minute, in H.264."""
    root = tmp_path_factory.mktemp("world")
    config = WorldConfig(
        train_videos=1, val_videos=1, test_videos=1, seconds=30.0, scene_seconds=15.0, fps=10, size=(64, 80)
    )
    make_world(root, config)
    return root


@pytest.fixture(scope="session")
def world_index(small_world, tmp_path_factory):
    """Their index, of a model that has learnt nothing: wherever the moments lie, the player must stand there."""
    torch.manual_seed(0)
    video = SpaceTimeConfig(image_size=16, patch_size=8, width=16, depth=1, heads=2, mlp_ratio=1, num_frames=2)
    text = DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=16, max_positions=32)
    folder = tmp_path_factory.mktemp("bundle") / "small"
    model = Frozen(FrozenConfig(video=video, text=text, shared_dim=8))
    pixels = Preprocess(num_frames=2, image_size=16, resize=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), window=1.0)
    save_bundle(folder, model, pixels, "bert-base-uncased", {"made": "for a test"})
    at, told = tmp_path_factory.mktemp("at") / "index", small_world / "annotations" / "narration.json"
    return playhead.index(small_world / "full_scale", playhead.load(folder), at=at, narrations=told)


@pytest.fixture(scope="session")
def address(world_index):
    """Where a real server over the index listens."""
    settings = WebSettings(port=0)
    listener = listen(settings)
    server = uvicorn.Server(uvicorn.Config(create_app(world_index, settings), log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def open_page(browser, address):
    """Open a page as given; at the end, nothing may have gone wrong in the browser's console."""
    opened, complaints = [], []

    def open_one(path: str = "/", may_complain: bool = False, **options):
        context = browser.new_context(base_url=address, **options)
        opened.append(context)
        page = context.new_page()
        if not may_complain:  # as the console does of every answer that is an error
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda sent: None if sent.url.startswith(address) else complaints.append(sent.url))
        page.goto(path)
        return page

    yield open_one
    for context in opened:
        context.close()
    assert complaints == []
