"""How a room looks: a wall with furniture over a long counter, each with colours and a texture of its own."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

WALL_HEIGHT = 0.42  # from the top of the panorama to the back edge of the counter, in frame heights
ROOM_HEIGHT = 1.42
MARGIN = 1.5  # panorama beyond the outermost things, in frame heights

Plane = Float[np.ndarray, "H W"]


@dataclass(frozen=True, kw_only=True)
class Style:
    """The look of a kind of room."""

    wall: tuple[int, int, int]
    wall_texture: str
    counter: tuple[int, int, int]
    counter_texture: str
    furniture: tuple[tuple[int, int, int], ...]


# Dull colours: what is handled should be the most colourful thing in view.
STYLES: dict[str, Style] = {
    "kitchen": Style(
        wall=(206, 214, 210),
        wall_texture="tiles",
        counter=(150, 142, 134),
        counter_texture="speckles",
        furniture=((176, 160, 138), (150, 168, 170)),
    ),
    "dining room": Style(
        wall=(196, 178, 160),
        wall_texture="stripes",
        counter=(138, 102, 74),
        counter_texture="grain",
        furniture=((112, 84, 66), (214, 206, 190)),
    ),
    "living room": Style(
        wall=(168, 182, 176),
        wall_texture="plain",
        counter=(168, 148, 126),
        counter_texture="weave",
        furniture=((104, 116, 120), (146, 122, 104)),
    ),
    "office": Style(
        wall=(190, 194, 202),
        wall_texture="panels",
        counter=(196, 188, 172),
        counter_texture="plain",
        furniture=((92, 98, 110), (160, 164, 170)),
    ),
    "workshop": Style(
        wall=(128, 120, 112),
        wall_texture="planks",
        counter=(158, 128, 92),
        counter_texture="grain",
        furniture=((84, 80, 78), (120, 104, 86)),
    ),
    "garage": Style(
        wall=(142, 144, 146),
        wall_texture="bricks",
        counter=(104, 106, 112),
        counter_texture="speckles",
        furniture=((78, 84, 92), (126, 116, 104)),
    ),
    "garden": Style(
        wall=(158, 186, 196),
        wall_texture="leaves",
        counter=(116, 134, 92),
        counter_texture="grass",
        furniture=((92, 116, 82), (126, 110, 88)),
    ),
    "bathroom": Style(
        wall=(176, 198, 204),
        wall_texture="tiles",
        counter=(208, 210, 208),
        counter_texture="tiles",
        furniture=((214, 220, 222), (140, 160, 168)),
    ),
}


def paint_room(room: str, length: float, pixels: int, draws: np.random.Generator) -> UInt8[np.ndarray, "H W 4"]:
    """Paint the panorama of a room whose things spread over `length` frame heights of `pixels` each.

    The picture is RGBA; the thing at x = 0 lies `MARGIN` frame heights from the left edge.
    """
    style = STYLES[room]
    height, width = round(ROOM_HEIGHT * pixels), round((length + 2 * MARGIN) * pixels)
    y, x = np.meshgrid(np.arange(height) / pixels, np.arange(width) / pixels, indexing="ij")
    edge = WALL_HEIGHT + float(draws.uniform(-0.03, 0.03))
    picture = np.empty((height, width, 3))
    wall, counter = _tint(style.wall, draws), _tint(style.counter, draws)
    picture[:] = wall * _texture(style.wall_texture, x, y, draws)[..., None]
    _hang_furniture(picture, style, edge, pixels, draws)
    below = y > edge
    picture[below] = (counter * _texture(style.counter_texture, x, y - edge, draws)[..., None])[below]
    picture[np.abs(y - edge) < 0.012] *= 0.6
    picture *= (0.9 + 0.14 * y / ROOM_HEIGHT + 0.08 * np.sin(x * draws.uniform(0.8, 1.6)))[..., None]
    picture += draws.normal(0, 3.0, picture.shape)
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[..., :3] = picture.clip(0, 255)
    return rgba


def _tint(colour: tuple[int, int, int], draws: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Vary a colour a little, since no two kitchens are the same."""
    return np.asarray(colour, float) * draws.uniform(0.84, 1.1) * draws.uniform(0.95, 1.05, 3)


def _texture(name: str, x: Plane, y: Plane, draws: np.random.Generator) -> Plane:
    """Return a texture as a factor of brightness."""
    size = float(draws.uniform(0.8, 1.25))
    match name:
        case "tiles":
            return 1 - 0.16 * (((x / size) % 0.2 < 0.014) | ((y / size) % 0.2 < 0.014))
        case "bricks":
            row = np.floor(y / (0.1 * size))
            return 1 - 0.2 * (((x + 0.12 * size * (row % 2)) % (0.24 * size) < 0.014) | (y % (0.1 * size) < 0.014))
        case "planks":
            return 1 - 0.24 * (x % (0.3 * size) < 0.02) + 0.05 * np.sin(60 * x / size + 3 * np.sin(5 * y))
        case "panels":
            return 1 - 0.12 * (x % (0.7 * size) < 0.02)
        case "stripes":
            return 1 - 0.1 * (x % (0.16 * size) < 0.08 * size)
        case "grain":
            return 1 + 0.09 * np.sin(70 * y / size + 2.5 * np.sin(3 * x)) - 0.14 * (y % (0.28 * size) < 0.014)
        case "weave":
            return 1 + 0.05 * np.sin(120 * x / size) * np.sin(120 * y / size)
        case "speckles":
            return 1 + 0.1 * draws.standard_normal(x.shape).clip(-1.5, 1.5)
        case "grass":
            return 1 + 0.16 * np.sin(90 * x + 8 * np.sin(23 * y)) * draws.uniform(0.4, 1.0, x.shape)
        case "leaves":
            return 1 - 0.26 * (np.sin(14 * x / size + 3 * np.sin(9 * y)) * np.sin(17 * y / size) > 0.25)
    return np.ones_like(x)


def _hang_furniture(
    picture: Float[np.ndarray, "H W 3"], style: Style, edge: float, pixels: int, draws: np.random.Generator
) -> None:
    """Put cupboards, windows and shelves on the wall, about one per frame width."""
    left = float(draws.uniform(0, 0.4))
    while left < picture.shape[1] / pixels:
        width, top = float(draws.uniform(0.25, 0.7)), float(draws.uniform(0.0, 0.14))
        bottom = float(draws.uniform(top + 0.12, edge))
        colour = np.asarray(style.furniture[int(draws.integers(len(style.furniture)))]) * draws.uniform(0.85, 1.1)
        rows = slice(round(top * pixels), round(bottom * pixels))
        columns = slice(round(left * pixels), round((left + width) * pixels))
        picture[rows, columns] = colour * 0.72
        inner = picture[rows, columns][2:-2, 2:-2]
        inner[:] = colour
        if draws.random() < 0.4:
            inner[:] = np.linspace(236, 206, inner.shape[0])[:, None, None] if inner.size else 0  # a window
        inner[:, inner.shape[1] // 2 : inner.shape[1] // 2 + 2] *= 0.75
        left += width + float(draws.uniform(0.3, 0.9))
