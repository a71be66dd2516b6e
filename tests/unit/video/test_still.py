"""Single pictures, told by their content: as they were stored, whatever they are called, or a clear error."""

from fractions import Fraction

import av
import numpy as np
import pytest

from playhead.errors import DecodeError
from playhead.video.still import read_still

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 32, 3), np.uint8)


def encoded(codec: str, pixels: np.ndarray = PIXELS, pix_fmt: str = "rgb24") -> bytes:
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = pixels.shape[1], pixels.shape[0], pix_fmt
    encoder.time_base = Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))


@pytest.mark.parametrize("name", ["1306201125", "a.png", "a.jpg.download", "100%d.png", "a b/é"])
def test_a_picture_is_read_whatever_it_is_called(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encoded("png"))
    assert np.array_equal(read_still(path).numpy(), PIXELS.transpose(2, 0, 1))


def test_a_jpeg_without_suffix_is_nearly_what_was_stored_and_scaled_as_asked(tmp_path):
    ramp = np.broadcast_to(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], (20, 32, 3))
    (tmp_path / "1").write_bytes(encoded("mjpeg", np.ascontiguousarray(ramp), "yuvj444p"))
    whole = read_still(tmp_path / "1").numpy().astype(int)
    assert np.abs(whole - ramp.transpose(2, 0, 1)).mean() < 8  # of the default, low quality
    assert read_still(tmp_path / "1", size=10).shape == (3, 10, 16)


def test_an_animation_gives_its_first_picture(tmp_path):
    with av.open(tmp_path / "a.gif", "w", format="gif") as container:
        stream = container.add_stream("gif", rate=2)
        stream.width, stream.height, stream.pix_fmt = 32, 20, "rgb8"
        for value in (255, 0):
            pixels = np.full((20, 32, 3), value, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="rgb8")))
        container.mux(stream.encode(None))
    assert read_still(tmp_path / "a.gif").float().mean() > 250


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404 Not Found</html>\n" * 20, encoded("png")[:60], b"\xff\xd8\xff\xe0" + bytes(40)],
)
def test_what_is_no_picture_is_told_with_its_name(tmp_path, content):
    for name in ("1306201125", "a.jpg"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DecodeError, match=name):
            read_still(tmp_path / name)
    with pytest.raises(DecodeError, match="missing"):
        read_still(tmp_path / "missing")


def test_a_video_and_a_play_list_are_no_pictures(tmp_path):
    with av.open(tmp_path / "v", "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=2)
        stream.width, stream.height, stream.pix_fmt = 32, 20, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(PIXELS, format="rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(DecodeError, match="is no image but of the format 'mov'"):
        read_still(tmp_path / "v")
    (tmp_path / "list").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nv\n#EXT-X-ENDLIST\n")
    with pytest.raises(DecodeError):
        read_still(tmp_path / "list")
