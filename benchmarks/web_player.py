"""How soon the browser shows a moment in the middle of an hour, and how much of the file is sent for that.

A real server on loopback and Chromium without a screen. Time runs from the click on a link (navigation) to the first
frame at the moment (`loadeddata`, and not seeking any more); each repeat is a new browser context, so nothing is
cached. The file has its tables at the end, as cameras write it. Needs playwright and Chromium; without either it says
so and measures nothing.

    python -m benchmarks.web_player [--repeats 7]
"""

import argparse
import itertools
import os
import shutil
import tempfile
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import uvicorn

import playhead
from benchmarks.measure import machine, report
from playhead.apps.web.server import create_app, listen
from playhead.apps.web.settings import WebSettings
from playhead.apps.windows import WindowSettings
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.video.transforms import Preprocess
from playhead.weights.bundle import save_bundle

MINUTES, FPS, SIZE = 60, 10, (640, 360)
STATE = """(() => {
    const v = document.querySelector("video");
    return v.readyState >= 2 && !v.seeking ? performance.now() : 0;
})()"""


def write_hour(path: Path, seed: int = 0) -> None:
    """Write an hour of H.264: one encoded minute of moving noise, again and again."""
    generator = np.random.default_rng(seed)
    picture = generator.integers(0, 255, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "28", "bf": "0"})
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.time_base, stream.gop_size = "yuv420p", Fraction(1, FPS), 2 * FPS
        frames = (av.VideoFrame.from_ndarray(np.roll(picture, k, axis=1), format="rgb24") for k in range(60 * FPS))
        packets = [packet for frame in frames for packet in stream.encode(frame)] + list(stream.encode())
        copies = [(bytes(packet), packet.pts, packet.is_keyframe) for packet in packets]
        for minute, (data, pts, is_key) in itertools.product(range(MINUTES), copies):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, FPS), is_key
            packet.pts = packet.dts = pts + minute * 60 * FPS
            container.mux(packet)


def save_small_bundle(path: Path) -> Path:
    """Write a model that has learnt nothing; what it finds does not matter here."""
    torch.manual_seed(0)
    video = SpaceTimeConfig(image_size=16, patch_size=8, width=16, depth=1, heads=2, mlp_ratio=1, num_frames=2)
    text = DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=16, max_positions=32)
    model = Frozen(FrozenConfig(video=video, text=text, shared_dim=8))
    pixels = Preprocess(num_frames=2, image_size=16, resize=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), window=1.0)
    save_bundle(path, model, pixels, "bert-base-uncased", {"made": "for a benchmark"})
    return path


class Counted:
    """An application whose sent bytes of videos are counted."""

    def __init__(self, app):
        self.app, self.sent = app, 0

    async def __call__(self, scope, receive, send):
        """Pass a request on."""

        async def counting(message):
            if scope.get("path", "").startswith("/media/"):
                self.sent += len(message.get("body", b""))
            await send(message)

        await self.app(scope, receive, counting)


def measure(address: str, video: str, counted: Counted, repeats: int, chromium: str) -> tuple[list[float], list[float]]:
    """Return the seconds to the first frame and the MiB sent, one per repeat."""
    from playwright.sync_api import sync_playwright

    seconds, mib = [], []
    with sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=chromium, args=arguments)
        for repeat in range(repeats + 1):
            context = browser.new_context(base_url=address)
            page = context.new_page()
            counted.sent = 0
            page.goto(f"/video/{video}?q=red&t={1500 + 97 * repeat}", wait_until="commit")
            while not (now := page.evaluate(STATE) if page.query_selector("video") else 0):
                page.wait_for_timeout(5)
            if repeat:  # the first one starts the browser's processes
                seconds.append(now / 1000)  # of performance.now(), which counts from the navigation
                mib.append(counted.sent / 2**20)
            context.close()
        browser.close()
    return seconds, mib


def main() -> None:
    """Print seconds and MiB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    chromium = os.environ.get("PLAYHEAD_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise SystemExit("no Chromium is installed; PLAYHEAD_CHROMIUM names one elsewhere")
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve() / "videos" / "hour.mp4"
        path.parent.mkdir()
        write_hour(path)
        model = playhead.load(save_small_bundle(Path(folder) / "bundle"))
        sparse = WindowSettings(fps=1.0, stride=30)  # how the windows lie does not matter, and this is soon done
        collection = playhead.index(path, model, at=Path(folder) / "index", windows=sparse)
        settings = WebSettings(port=0)
        listener, counted = listen(settings), Counted(create_app(collection, settings))
        server = uvicorn.Server(uvicorn.Config(counted, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        seconds, mib = measure(address, collection.video(path).video_id, counted, repeats, chromium)
        size = path.stat().st_size / 2**20
        server.should_exit = True
        thread.join(10)
    print(f"a file of {MINUTES} minutes and {size:.0f} MiB")
    report("first frame of a moment, from the click", seconds, 1.0, at_most=True, unit="s")
    report("share of the file that is sent", [one / size for one in mib], 0.25, at_most=True)


if __name__ == "__main__":
    main()
