import base64
import io
import re

import av
import numpy as np
import pytest
import torch

from playhead.apps.pictures import Curve, filmstrip, jpeg, line_chart
from playhead.types import Span


def decode(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data), format="mjpeg") as image:
        return next(image.decode(video=0)).to_ndarray(format="rgb24")


def test_a_jpeg_shows_the_colours_it_was_made_of():
    frame = torch.zeros(3, 32, 48, dtype=torch.uint8)
    frame[0, :, :24], frame[2, :, 24:] = 200, 200
    shown = decode(jpeg(frame)).astype(int)
    assert shown.shape == (32, 48, 3)
    assert abs(shown[:, 4:20] - [200, 0, 0]).max() < 12
    assert abs(shown[:, 28:44] - [0, 0, 200]).max() < 12


def test_a_filmstrip_lays_the_frames_of_a_moment_side_by_side(tmp_path):
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(30):
            grey = np.full((48, 64, 3), 40 + 80 * (index // 10), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    address = filmstrip(str(path), Span(0.0, 3.0), num_frames=3, height=48)
    strip = decode(base64.b64decode(address.removeprefix("data:image/jpeg;base64,"))).astype(int)
    assert strip.shape == (48, 192, 3)
    assert [round(strip[:, 64 * i + 8 : 64 * i + 56].mean()) for i in range(3)] == pytest.approx([40, 120, 200], abs=6)


def test_a_chart_holds_every_point_and_names_every_curve():
    svg = line_chart([Curve("a & b", [(0, 0.0), (5, 5.0), (10, 10.0)])], "step", floor=0.0, level=("chance", 2.0))
    points = re.search(r'points="([^"]+)"', svg)[1].split()
    assert len(points) == 3
    xs, ys = zip(*(map(float, point.split(",")) for point in points), strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.11)
    assert ys[0] > ys[1] > ys[2]  # up the page is down in SVG
    assert "a &amp; b 10" in svg and "chance" in svg


def test_a_chart_without_points_is_refused():
    with pytest.raises(ValueError, match="at least one point"):
        line_chart([Curve("empty", [])], "step")
