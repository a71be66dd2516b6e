"""How every kind of thing is drawn: one function per noun, each with a silhouette of its own.

A thing stands on v = 0.95 and reaches up to about v = -0.95. `phase` runs from 0 to 1: how far it is open, lit or cut.
"""

import math
from collections.abc import Callable
from functools import lru_cache

from playhead.world.canvas import CREAM, INK, METAL, STEEL, WOOD, Canvas, Colour, Sprite
from playhead.world.vocabulary import COLOURS

PHASES = 6  # steps in which a state is drawn
REACH = 1.3  # a sprite shows a little more than the thing, which may be turned
LIGHT = (255, 246, 170)

Draw = Callable[[Canvas, Colour, float], None]


def lid_place(phase: float) -> tuple[float, float]:
    """Return where the cap of a bottle is on its way from the neck to the counter beside it."""
    return 0.95 * phase, -0.85 + 1.65 * phase**3 - 0.3 * math.sin(math.pi * phase)


def _cup(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.ellipse(0.62, 0.1, 0.36, 0.42), colour, 0.85)
    c.erase(c.ellipse(0.62, 0.1, 0.19, 0.24))
    c.paint(c.polygon((-0.62, -0.7), (0.62, -0.7), (0.5, 0.92), (-0.5, 0.92)), colour)
    c.paint(c.ellipse(0.0, -0.7, 0.62, 0.2), colour, 1.25)
    c.paint(c.ellipse(0.0, -0.68, 0.5, 0.13), (94, 56, 30))


def _bowl(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.ellipse(0.0, -0.25, 1.0, 1.1) & (c.v > -0.25), colour)
    c.paint(c.rectangle(-0.35, 0.78, 0.35, 0.95), colour, 0.7)
    c.paint(c.ellipse(0.0, -0.25, 1.0, 0.32), colour, 1.2)
    c.paint(c.ellipse(0.0, -0.22, 0.84, 0.22), colour, 0.5)
    c.paint(c.rectangle(-0.9, 0.12, 0.9, 0.24) & c.ellipse(0.0, -0.25, 1.0, 1.1), CREAM, 1.0, 0.8)


def _bottle(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.rectangle(-0.4, -0.2, 0.4, 0.95, 0.14), colour)
    c.paint(c.polygon((-0.15, -0.62), (0.15, -0.62), (0.4, -0.08), (-0.4, -0.08)), colour)
    c.paint(c.rectangle(-0.15, -0.74, 0.15, -0.5), colour, 0.9)
    c.paint(c.rectangle(-0.4, 0.18, 0.4, 0.62), CREAM)
    c.paint(c.rectangle(-0.28, 0.32, 0.28, 0.46), colour, 0.7)
    u, v = lid_place(phase)
    c.paint(c.rectangle(u - 0.2, v - 0.13, u + 0.2, v + 0.13, 0.05), METAL)


def _box(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.rectangle(-0.85, -0.35, 0.85, 0.92), colour)
    c.paint(c.rectangle(-0.12, -0.35, 0.12, 0.92), CREAM, 0.92)
    if phase > 0.1:
        c.paint(c.polygon((-0.85, -0.35), (-0.7, -0.62), (0.7, -0.62), (0.85, -0.35)), INK)
    lift, out = 0.55 * phase, 0.55 * phase  # two flaps that meet in the middle and turn outwards
    for side, shade in ((-1, 1.25), (1, 1.15)):
        hinge, tip = (side * 0.85, -0.37), (side * (0.7 + out), -0.58 - lift)
        inner, root = (side * (0.02 + 1.8 * out), -0.58 - lift), (side * 1.5 * out, -0.37)
        corners = (hinge, tip, inner, root)
        c.paint(c.polygon(*corners[::-side]), colour, shade)


def _book(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.rectangle(-0.55, -0.85, 0.62, 0.92), CREAM)
    for line in range(5):
        c.paint(c.rectangle(-0.38, -0.58 + 0.27 * line, 0.46, -0.5 + 0.27 * line), INK, 1.0, 0.6)
    edge = 0.66 - 1.75 * phase  # the cover swings round the spine at the left
    left, right = sorted((-0.6, edge))
    c.paint(c.rectangle(left, -0.92, right, 0.95), colour, 1.0 if edge > -0.6 else 0.85)
    if edge > 0.1:
        c.paint(c.rectangle(-0.4, -0.62, edge - 0.2, -0.3), CREAM)
    c.paint(c.rectangle(-0.66, -0.92, -0.52, 0.95), colour, 0.6)


def _phone(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.rectangle(-0.52, -0.95, 0.52, 0.95, 0.16), colour)
    c.paint(c.rectangle(-0.42, -0.72, 0.42, 0.66), (26, 30, 44))
    if phase > 0:
        c.paint(c.rectangle(-0.42, -0.72, 0.42, 0.66), (120, 214, 255), 1.0, phase)
        for row in (-0.45, 0.0, 0.4):
            c.paint(c.rectangle(-0.28, row - 0.12, 0.28, row + 0.12), (255, 255, 255), 1.0, phase)
    c.paint(c.ellipse(0.0, 0.8, 0.09, 0.07), METAL)


def _plate(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.ellipse(0.0, 0.35, 1.1, 0.58), colour)
    c.paint(c.ellipse(0.0, 0.33, 0.74, 0.36), colour, 0.72)
    c.paint(c.ellipse(0.0, 0.36, 0.66, 0.3), colour, 1.15)


def _apple(c: Canvas, colour: Colour, phase: float) -> None:
    c.split(0.34 * phase)
    c.paint(c.ellipse(-0.3, 0.15, 0.58, 0.78) | c.ellipse(0.3, 0.15, 0.58, 0.78), colour)
    c.paint(c.ellipse(-0.36, -0.2, 0.2, 0.22), colour, 1.45)
    if phase > 0:
        c.paint((abs(c.u) < 0.2) & c.ellipse(0.0, 0.15, 0.8, 0.68), CREAM)
    c.paint(c.stroke((0.0, -0.4), (0.12, -1.0), 0.17), (90, 58, 30))
    c.paint(c.ellipse(0.46, -0.78, 0.38, 0.18), (60, 140, 50))
    c.erase(c.parted)


def _bread(c: Canvas, colour: Colour, phase: float) -> None:
    c.split(0.3 * phase)
    c.paint(c.rectangle(-1.05, -0.05, 1.05, 0.92, 0.3) | c.ellipse(0.0, 0.0, 1.05, 0.55), colour)
    for u in (-0.62, 0.0, 0.62):
        c.paint(c.stroke((u - 0.16, -0.25), (u + 0.16, 0.3), 0.14), colour, 1.4)
    if phase > 0:
        c.paint((abs(c.u) < 0.18) & c.rectangle(-1.0, -0.36, 1.0, 0.85), CREAM)
    c.erase(c.parted)


def _carrot(c: Canvas, colour: Colour, phase: float) -> None:
    for tip in ((-1.15, -0.75), (-1.2, -0.35), (-0.8, -0.95)):
        c.paint(c.stroke((-0.7, -0.4), tip, 0.2), (52, 150, 56))
    c.split(0.26 * phase)
    c.paint(c.stroke((-0.62, -0.3), (0.95, 0.75), 0.66, 0.18), colour)
    for part in (0.2, 0.45, 0.7):
        u, v = -0.62 + 1.57 * part, -0.3 + 1.05 * part
        c.paint(c.stroke((u, v - 0.16), (u + 0.1, v + 0.02), 0.07), colour, 0.7)
    c.erase(c.parted)


def _pan(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.stroke((0.5, 0.3), (1.22, -0.2), 0.22), INK)
    c.paint(c.ellipse(-0.2, 0.35, 0.98, 0.58), colour)
    c.paint(c.ellipse(-0.2, 0.22, 0.94, 0.46), colour, 1.3)
    c.paint(c.ellipse(-0.2, 0.24, 0.78, 0.35), STEEL, 0.7)


def _knife(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.polygon((-0.12, -0.95), (0.2, -0.6), (0.24, 0.25), (-0.16, 0.25)), METAL)
    c.paint(c.rectangle(0.12, -0.6, 0.24, 0.25), (255, 255, 255))
    c.paint(c.rectangle(-0.2, 0.22, 0.26, 0.95, 0.12), colour)
    for v in (0.42, 0.72):
        c.paint(c.ellipse(0.03, v, 0.06, 0.06), METAL)


def _hammer(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.rectangle(-0.12, -0.6, 0.12, 0.1), WOOD)
    c.paint(c.rectangle(-0.17, 0.0, 0.17, 0.95, 0.1), colour)
    c.paint(c.rectangle(-0.75, -0.92, 0.5, -0.45, 0.06), STEEL)
    c.paint(c.rectangle(-0.85, -0.98, -0.58, -0.38, 0.06), STEEL, 0.7)
    c.paint(c.polygon((0.45, -0.9), (0.95, -0.62), (0.95, -0.5), (0.45, -0.48)), STEEL, 0.85)


def _brush(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.rectangle(-0.14, -0.2, 0.14, 0.95, 0.13), colour)
    c.paint(c.rectangle(-0.55, -0.5, 0.55, -0.12, 0.08), colour, 0.85)
    for k in range(6):
        c.paint(c.stroke((-0.46 + 0.184 * k, -0.5), (-0.56 + 0.224 * k, -0.95), 0.13), CREAM, 0.92 - 0.14 * (k % 2))


def _lamp(c: Canvas, colour: Colour, phase: float) -> None:
    if phase > 0:
        c.paint(c.polygon((-0.62, -0.1), (0.62, -0.1), (1.2, 0.9), (-1.2, 0.9)), LIGHT, 1.0, 0.55 * phase)
        c.paint(c.ellipse(0.0, -0.05, 0.6, 0.24), LIGHT, 1.0, phase)
    c.paint(c.rectangle(-0.08, -0.2, 0.08, 0.85), STEEL)
    c.paint(c.ellipse(0.0, 0.84, 0.46, 0.14), STEEL, 0.7)
    c.paint(c.polygon((-0.3, -0.95), (0.3, -0.95), (0.72, -0.1), (-0.72, -0.1)), colour, 0.85 + 0.5 * phase)
    c.paint(c.ellipse(0.0, -0.1, 0.72, 0.13), (90, 88, 84) if phase == 0 else LIGHT)


def _radio(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.stroke((0.6, -0.3), (0.95, -1.05), 0.09), METAL)
    c.paint(c.rectangle(-1.0, -0.35, 1.0, 0.92, 0.14), colour)
    c.paint(c.ellipse(-0.5, 0.3, 0.4, 0.48), INK)
    c.paint(c.ellipse(-0.5, 0.3, 0.2, 0.24), STEEL)
    c.paint(c.rectangle(0.05, -0.15, 0.85, 0.25), (44, 50, 44))
    if phase > 0:
        c.paint(c.rectangle(0.05, -0.15, 0.85, 0.25), (130, 255, 120), 1.0, phase)
        c.paint(c.ellipse(-0.5, 0.3, 0.26, 0.31), (255, 196, 80), 1.0, phase)
    c.paint(c.ellipse(0.28, 0.6, 0.15, 0.18), METAL)
    c.paint(c.ellipse(0.68, 0.6, 0.15, 0.18), METAL)


def _bucket(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.ellipse(0.0, -0.45, 0.84, 0.55) & (c.v < -0.4), STEEL)
    c.erase(c.ellipse(0.0, -0.45, 0.72, 0.44) & (c.v < -0.4))
    side = c.polygon((-0.85, -0.45), (0.85, -0.45), (0.56, 0.94), (-0.56, 0.94))
    c.paint(side, colour)
    c.paint(side & c.rectangle(-0.8, -0.1, 0.8, 0.06), colour, 0.7)
    c.paint(c.ellipse(0.0, -0.45, 0.85, 0.23), colour, 1.2)
    c.paint(c.ellipse(0.0, -0.42, 0.7, 0.15), (40, 90, 130))


def _teapot(c: Canvas, colour: Colour, phase: float) -> None:
    c.paint(c.ellipse(0.72, 0.22, 0.5, 0.5), colour, 0.8)
    c.erase(c.ellipse(0.76, 0.22, 0.28, 0.29))
    c.paint(c.polygon((-1.2, -0.45), (-0.88, -0.55), (-0.3, 0.2), (-0.5, 0.68)), colour, 0.9)
    c.paint(c.ellipse(0.0, 0.35, 0.74, 0.62), colour)
    c.paint(c.ellipse(0.0, -0.18, 0.4, 0.13), INK)
    u, v = lid_place(phase)
    c.paint(c.ellipse(u, v + 0.63 - 0.45 * phase, 0.4, 0.16), colour, 1.25)
    c.paint(c.ellipse(u, v + 0.43 - 0.45 * phase, 0.13, 0.13), CREAM)


def _bag(c: Canvas, colour: Colour, phase: float) -> None:
    spread = 0.2 + 0.62 * phase
    c.paint(c.ellipse(0.0, 0.35, 0.85, 0.62), colour)
    c.paint(c.polygon((-spread, -0.5), (spread, -0.5), (0.8, 0.25), (-0.8, 0.25)), colour)
    c.paint(c.polygon((-spread - 0.12, -0.85), (spread + 0.12, -0.85), (spread, -0.48), (-spread, -0.48)), colour, 1.2)
    if phase < 0.5:
        c.paint(c.rectangle(-spread - 0.05, -0.58, spread + 0.05, -0.4), CREAM)
    if phase > 0:
        c.paint(c.ellipse(0.0, -0.82, spread + 0.12, 0.1 + 0.14 * phase), colour, 1.35)
        c.paint(c.ellipse(0.0, -0.82, spread + 0.02, 0.04 + 0.14 * phase), INK)


def _plank(c: Canvas, colour: Colour, phase: float) -> None:
    c.split(0.28 * phase)
    c.paint(c.polygon((-1.15, 0.3), (1.15, -0.75), (1.15, -0.25), (-1.15, 0.8)), colour)
    for k in range(2):
        c.paint(c.stroke((-1.1, 0.44 + 0.18 * k), (1.1, -0.56 + 0.18 * k), 0.06), colour, 0.6)
    c.paint(c.polygon((-1.15, 0.8), (1.15, -0.25), (1.15, -0.08), (-1.15, 0.97)), colour, 0.55)
    c.paint(c.polygon((-1.15, 0.3), (-0.95, 0.2), (-0.95, 0.88), (-1.15, 0.97)), CREAM, 0.95)
    c.erase(c.parted)


DRAWINGS: dict[str, Draw] = {
    "cup": _cup,
    "bowl": _bowl,
    "bottle": _bottle,
    "box": _box,
    "book": _book,
    "phone": _phone,
    "plate": _plate,
    "apple": _apple,
    "bread": _bread,
    "carrot": _carrot,
    "pan": _pan,
    "knife": _knife,
    "hammer": _hammer,
    "brush": _brush,
    "lamp": _lamp,
    "radio": _radio,
    "bucket": _bucket,
    "teapot": _teapot,
    "bag": _bag,
    "plank": _plank,
}


@lru_cache(maxsize=4096)
def thing_sprite(noun: str, colour: str, pixels: int, angle: int = 0, step: int = 0) -> Sprite:
    """Draw a thing of about `pixels` height, turned by `angle` degrees, at step 0..`PHASES` - 1 of its state."""
    canvas = Canvas(max(4, round(pixels * REACH)), reach=REACH, angle=float(angle))
    DRAWINGS[noun](canvas, COLOURS[colour], step / (PHASES - 1))
    canvas.light_from_above()
    canvas.outline(reach=2 if pixels >= 28 else 1)
    return canvas.finish()
