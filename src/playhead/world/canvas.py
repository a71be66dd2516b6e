"""A small drawing board: plain shapes, painted one over the other, become a sprite with smooth edges.

Coordinates run from -1 to 1, u to the right and v down, whatever the size in pixels. Every point is tested twice
in each direction and averaged, so edges are smooth without any library for drawing.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt16

Mask = Bool[np.ndarray, "S S"]
Colour = tuple[int, int, int]

OVERSAMPLING = 2
METAL, STEEL, WOOD, CREAM, INK, GLASS = (
    (206, 210, 216),
    (150, 156, 166),
    (176, 122, 66),
    (248, 236, 204),
    (40, 38, 42),
    (190, 226, 236),
)


@dataclass(frozen=True)
class Sprite:
    """A picture with transparency, ready to be laid over a frame.

    `rgb` is already multiplied by its coverage, with an idle fourth channel (frames travel as RGBA, which keeps every
    row of pixels on whole words); `rest` is what of the ground shows through, 0..256.
    """

    rgb: UInt8[np.ndarray, "H W 4"]
    rest: UInt16[np.ndarray, "H W 1"]

    def mirrored(self) -> "Sprite":
        """Return the same picture with left and right exchanged."""
        return Sprite(np.ascontiguousarray(self.rgb[:, ::-1]), np.ascontiguousarray(self.rest[:, ::-1]))


class Canvas:
    """Where a sprite is drawn. Shapes are masks over the fine grid; `paint` lays one of them over what is there."""

    def __init__(self, pixels: int, *, reach: float = 1.0, angle: float = 0.0):
        """Open a canvas of `pixels` x `pixels` that shows -reach..reach, turned clockwise by `angle` in degrees."""
        fine = pixels * OVERSAMPLING
        line = ((np.arange(fine, dtype=np.float32) + 0.5) / fine * 2 - 1) * np.float32(reach)
        across, down = np.broadcast_to(line, (fine, fine)), np.broadcast_to(line[:, None], (fine, fine))
        turn = np.float32(np.deg2rad(angle))
        self.u = np.cos(turn) * across + np.sin(turn) * down
        self.v = np.cos(turn) * down - np.sin(turn) * across
        self.rgb = np.zeros((fine, fine, 3), np.float32)
        self.cover = np.zeros((fine, fine), np.float32)

    def paint(self, mask: Mask, colour: Colour, shade: float = 1.0, cover: float = 1.0) -> None:
        """Lay a shape of one colour over what is there; `shade` darkens or lightens, `cover` below 1 lets through."""
        tone = np.minimum(np.asarray(colour, np.float32) * shade, 255.0)
        if cover >= 1.0:
            self.rgb[mask] = tone
            self.cover[mask] = 1.0
            return
        below = self.cover[mask] * np.float32(1 - cover)
        total = below + np.float32(cover)
        self.rgb[mask] = (self.rgb[mask] * below[:, None] + tone * np.float32(cover)) / total[:, None]
        self.cover[mask] = total

    def ellipse(self, u: float, v: float, width: float, height: float) -> Mask:
        """Return an ellipse with its middle at (u, v) and these half axes."""
        return ((self.u - u) / width) ** 2 + ((self.v - v) / height) ** 2 <= 1

    def rectangle(self, left: float, top: float, right: float, bottom: float, rounded: float = 0.0) -> Mask:
        """Return a rectangle, its corners rounded by a radius."""
        du = np.abs(self.u - (left + right) / 2) - (right - left) / 2 + rounded
        dv = np.abs(self.v - (top + bottom) / 2) - (bottom - top) / 2 + rounded
        if rounded <= 0:
            return (du <= 0) & (dv <= 0)
        return np.hypot(np.maximum(du, 0), np.maximum(dv, 0)) <= rounded

    def polygon(self, *corners: tuple[float, float]) -> Mask:
        """Return a convex polygon, its corners given clockwise as seen on screen."""
        inside = np.ones(self.u.shape, bool)
        for (u0, v0), (u1, v1) in zip(corners, corners[1:] + corners[:1], strict=True):
            inside &= (u1 - u0) * (self.v - v0) - (v1 - v0) * (self.u - u0) >= 0
        return inside

    def stroke(self, start: tuple[float, float], end: tuple[float, float], width: float, taper: float = 1.0) -> Mask:
        """Return a thick line with round ends; `taper` is its width at the end as a part of that at the start."""
        (u0, v0), (u1, v1) = start, end
        along = np.array([u1 - u0, v1 - v0], np.float32)
        length = max(float(along @ along), 1e-6)
        part = np.clip(((self.u - u0) * along[0] + (self.v - v0) * along[1]) / length, 0, 1)
        distance = np.hypot(self.u - u0 - part * along[0], self.v - v0 - part * along[1])
        return distance <= width / 2 * (1 + part * (taper - 1))

    def split(self, gap: float) -> None:
        """Move what is painted from now on apart at u = 0; `parted` then tells what lies in the gap."""
        self._shift = gap
        self.parted = np.abs(self.u) < gap
        self.u = self.u - np.sign(self.u) * gap

    def erase(self, mask: Mask) -> None:
        """Make a shape empty again."""
        self.cover[mask] = 0.0
        self.rgb[mask] = 0.0

    def outline(self, darkness: float = 0.45, reach: int = 2) -> None:
        """Darken the rim of what is painted, so that a thing stands out from any ground."""
        full = self.cover > 0.5
        inner = full.copy()
        for axis in (0, 1):
            for step in (-reach, reach):
                inner &= np.roll(full, step, axis)
        self.rgb[full & ~inner] *= 1 - darkness

    def light_from_above(self, strength: float = 0.16) -> None:
        """Shade what is painted from light at the upper left to dark at the lower right."""
        self.rgb *= (1 - strength * np.clip(self.v * 0.8 + self.u * 0.5, -1, 1))[..., None]

    def finish(self) -> Sprite:
        """Average the fine grid down to pixels."""
        rgb = (self.rgb * self.cover[..., None]).clip(0, 255)
        small = _shrink(np.concatenate([rgb, self.cover[..., None] * 256], axis=-1))
        rest = (256 - np.round(small[..., 3:])).astype(np.uint16)
        small[..., 3] = 0
        return Sprite(small.astype(np.uint8), rest)


def _shrink(fine: Float[np.ndarray, "S S C"]) -> Float[np.ndarray, "P P C"]:
    pixels, channels = fine.shape[0] // OVERSAMPLING, fine.shape[2]
    return fine.reshape(pixels, OVERSAMPLING, pixels, OVERSAMPLING, channels).mean(axis=(1, 3))


def lay(frame: UInt8[np.ndarray, "H W 4"], sprite: Sprite, x: float, y: float) -> None:
    """Lay a sprite over a frame, in place, with its middle at (x, y) in pixels; what sticks out is cut off."""
    height, width = sprite.rest.shape[:2]
    left, top = round(x - width / 2), round(y - height / 2)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, frame.shape[1]), min(top + height, frame.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    ground = frame[y0:y1, x0:x1]
    mixed = np.multiply(ground, sprite.rest[part], dtype=np.uint16)
    mixed >>= 8
    mixed += sprite.rgb[part]
    ground[...] = mixed
