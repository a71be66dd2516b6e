"""The wearer's hands with their arms, the tools in them, and the small things that fly about: drops, foam, shadows."""

from dataclasses import dataclass
from functools import lru_cache

from playhead.world.canvas import METAL, WOOD, Canvas, Colour, Sprite

ARM_REACH = 0.85  # from the palm to the edge of the arm's picture, in frame heights
PALM = 0.1  # half a palm's width, in frame heights


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the wearer's hands look like."""

    skin: Colour
    sleeve: Colour
    is_short: bool
    """Whether the sleeve leaves the forearm bare."""


# Skins, a grey and a black work glove; sleeves are dull, so that no arm is taken for a coloured thing.
LOOKS: tuple[Look, ...] = (
    Look(skin=(236, 188, 152), sleeve=(92, 100, 120), is_short=False),
    Look(skin=(206, 150, 112), sleeve=(128, 124, 116), is_short=False),
    Look(skin=(146, 96, 66), sleeve=(188, 184, 172), is_short=False),
    Look(skin=(98, 62, 44), sleeve=(84, 104, 96), is_short=True),
    Look(skin=(226, 172, 140), sleeve=(70, 66, 74), is_short=True),
    Look(skin=(176, 120, 84), sleeve=(120, 96, 100), is_short=True),
    Look(skin=(150, 150, 156), sleeve=(86, 92, 84), is_short=False),
    Look(skin=(66, 68, 76), sleeve=(136, 128, 110), is_short=False),
)


@lru_cache(maxsize=1024)
def hand_sprite(look: int, shape: str, pixels: int, angle: int, is_left: bool) -> Sprite:
    """Draw a hand with its arm; the palm is in the middle and the arm comes from below, turned by `angle`.

    `shape` is "grip", "flat" or "point"; `pixels` is the frame's height.
    """
    if is_left:
        return hand_sprite(look, shape, pixels, -angle, False).mirrored()
    canvas = Canvas(round(2 * ARM_REACH * pixels), reach=ARM_REACH / PALM, angle=float(angle))
    style = LOOKS[look]
    elbow = ARM_REACH / PALM * 1.3
    canvas.paint(canvas.stroke((0.1, 0.8), (0.3, elbow), 1.25, 1.5), style.skin, 0.94)
    cuff = 4.5 if style.is_short else 1.9
    canvas.paint(canvas.stroke((0.1, 0.8), (0.3, elbow), 1.6, 1.5) & (canvas.v > cuff), style.sleeve)
    canvas.paint(canvas.ellipse(0.0, 0.35, 0.82, 0.8), style.skin)
    _paint_fingers(canvas, shape, style.skin)
    canvas.outline(reach=1)
    return canvas.finish()


def _paint_fingers(canvas: Canvas, shape: str, skin: Colour) -> None:
    if shape == "flat":
        for k, length in enumerate((1.0, 1.25, 1.2, 0.95)):
            u = -0.62 + 0.4 * k
            canvas.paint(canvas.stroke((u, 0.0), (u * 1.25, -length), 0.36), skin, 1.06 - 0.05 * (k % 2))
        canvas.paint(canvas.stroke((-0.6, 0.5), (-1.15, 0.0), 0.38), skin, 0.96)
    elif shape == "point":
        for k in range(3):
            canvas.paint(canvas.ellipse(-0.05 + 0.34 * k, -0.2, 0.24, 0.32), skin, 1.02 - 0.06 * (k % 2))
        canvas.paint(canvas.stroke((-0.45, 0.1), (-0.55, -1.5), 0.36), skin, 1.08)
        canvas.paint(canvas.stroke((-0.5, 0.5), (0.1, 0.35), 0.34), skin, 0.92)
    else:
        for k in range(4):
            canvas.paint(canvas.ellipse(-0.6 + 0.4 * k, -0.28, 0.25, 0.42), skin, 1.06 - 0.07 * (k % 2))
        canvas.paint(canvas.stroke((-0.75, 0.45), (-0.15, 0.1), 0.36), skin, 0.92)


@lru_cache(maxsize=256)
def tool_sprite(name: str, pixels: int, is_left: bool) -> Sprite:
    """Draw a tool, "knife", "spoon" or "sponge", in a square of `pixels`; it is held at its middle."""
    if is_left:
        return tool_sprite(name, pixels, False).mirrored()
    canvas = Canvas(pixels)
    if name == "knife":
        canvas.paint(canvas.polygon((-0.98, -0.1), (0.25, -0.2), (0.25, 0.18), (-0.75, 0.14)), METAL, 1.1)
        canvas.paint(canvas.rectangle(0.2, -0.16, 0.9, 0.14, 0.1), (52, 46, 44))
    elif name == "spoon":
        canvas.paint(canvas.stroke((0.0, -0.7), (0.0, 0.6), 0.16), WOOD)
        canvas.paint(canvas.ellipse(0.0, 0.72, 0.22, 0.26), WOOD, 1.15)
    else:
        canvas.paint(canvas.rectangle(-0.7, -0.4, 0.7, 0.4, 0.15), (246, 214, 96))
        canvas.paint(canvas.rectangle(-0.7, 0.1, 0.7, 0.4, 0.1), (92, 150, 96))
    canvas.outline(reach=1)
    return canvas.finish()


@lru_cache(maxsize=256)
def dot_sprite(name: str, pixels: int) -> Sprite:
    """Draw a "drop" of water, a ball of "foam", a "shadow" on the counter, or a "leaf" close to the eye."""
    canvas = Canvas(max(3, pixels))
    if name == "drop":
        canvas.paint(canvas.ellipse(0.0, 0.0, 0.6, 0.95), (70, 160, 240))
        canvas.paint(canvas.ellipse(-0.15, -0.2, 0.2, 0.3), (220, 240, 255))
    elif name == "foam":
        canvas.paint(canvas.ellipse(0.0, 0.0, 0.95, 0.95), (236, 246, 252), 1.0, 0.85)
        canvas.paint(canvas.ellipse(-0.25, -0.3, 0.3, 0.3), (255, 255, 255))
    elif name == "shadow":
        canvas.paint(canvas.ellipse(0.0, 0.0, 0.98, 0.34), (20, 18, 20), 1.0, 0.18)
        canvas.paint(canvas.ellipse(0.0, 0.0, 0.8, 0.25), (20, 18, 20), 1.0, 0.22)
    else:
        canvas.paint(canvas.ellipse(0.0, 0.0, 0.96, 0.96), (58, 60, 52), 1.0, 0.5)
        canvas.paint(canvas.ellipse(0.0, 0.0, 0.86, 0.86), (58, 60, 52), 1.0, 0.85)
    return canvas.finish()
