import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.video.pixels import Scaler, fit_size


@pytest.mark.parametrize(
    ("size", "stored", "expected"),
    [
        (None, (47, 65), (47, 65)),
        ((24, 36), (47, 65), (24, 36)),
        (256, (1080, 1920), (256, 454)),  # 455.1 -> 455 -> 454
        (256, (1920, 1080), (454, 256)),
        (256, (1440, 1920), (256, 340)),  # 341.3 -> 340, as EgoVLP's resized videos are
        (256, (256, 341), (256, 341)),  # already right: not blurred for one column
        (224, (120, 160), (224, 298)),  # enlarged
        (33, (100, 100), (33, 33)),
    ],
)
def test_sizes_by_hand(size, stored, expected):
    assert fit_size(size, *stored) == expected


@given(st.integers(1, 400), st.integers(16, 4000), st.integers(16, 4000))
def test_an_int_is_the_short_side_and_the_aspect_is_kept(size, height, width):
    found = fit_size(size, height, width)
    assert min(found) == size
    exact = size * max(height, width) / min(height, width)
    assert exact - 2 <= max(found) <= max(exact, size)


@pytest.mark.parametrize("size", [0, -5, (0, 10), (10, -1)])
def test_a_size_below_one_is_refused(size):
    with pytest.raises(ValueError, match="at least 1"):
        fit_size(size, 48, 64)


def yuv_frame(height, width, seed):
    """Return a frame of smooth random luma and constant chroma, and its RGB by BT.601's formula, limited range."""
    rng = np.random.default_rng(seed)
    luma = rng.integers(16, 236, (height, width), dtype=np.uint8)
    u, v = (int(rng.integers(100, 156)) for _ in range(2))
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, values in zip(frame.planes, (luma, u, v), strict=True):
        rows = np.zeros((plane.height, plane.line_size), dtype=np.uint8)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    y = (luma.astype(float) - 16) * 255 / 219
    blue, red = (u - 128) * 255 / 224, (v - 128) * 255 / 224
    rgb = np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue])
    return frame, rgb.clip(0, 255)


@pytest.mark.parametrize("size", [(48, 64), (47, 64), (48, 63), (47, 61), (17, 19), (2, 2), (33, 340), (31, 341)])
def test_every_pixel_of_odd_sizes_has_the_right_color(size):
    frame, expected = yuv_frame(*size, seed=size[1])
    found = Scaler(None, frame).picture(frame)
    assert found.shape == (3, *size)
    np.testing.assert_allclose(found, expected, atol=4)  # swscale's fixed-point tables


def test_alpha_is_dropped():
    bgra = np.random.default_rng(0).integers(0, 256, (16, 24, 4), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(bgra, format="bgra")
    np.testing.assert_array_equal(Scaler(None, frame).picture(frame), bgra[..., 2::-1].transpose(2, 0, 1))
