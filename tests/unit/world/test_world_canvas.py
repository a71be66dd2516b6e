from itertools import pairwise

import numpy as np
import pytest

from playhead.world.canvas import Canvas, Sprite, lay
from playhead.world.things import DRAWINGS, PHASES, thing_sprite
from playhead.world.vocabulary import COLOURS, NOUNS


def lay_pixel_by_pixel(frame, sprite, x, y):
    height, width = sprite.rest.shape[:2]
    left, top = round(x - width / 2), round(y - height / 2)
    for row in range(height):
        for column in range(width):
            if 0 <= row + top < frame.shape[0] and 0 <= column + left < frame.shape[1]:
                old = frame[row + top, column + left].astype(int)
                new = old * int(sprite.rest[row, column, 0]) // 256 + sprite.rgb[row, column].astype(int)
                frame[row + top, column + left] = new


@pytest.mark.parametrize("place", [(10.0, 10.0), (0.0, 0.0), (39.0, 29.5), (-3.0, 12.0), (200.0, 5.0), (-90.0, -90.0)])
def test_laying_a_sprite_equals_mixing_pixel_by_pixel(place):
    canvas = Canvas(12)
    canvas.paint(canvas.ellipse(0.0, 0.0, 0.9, 0.7), (200, 40, 90), 1.0, 0.6)
    sprite = canvas.finish()
    fast = np.random.default_rng(0).integers(0, 256, (30, 40, 4), dtype=np.uint8)
    slow = fast.copy()
    lay(fast, sprite, *place)
    lay_pixel_by_pixel(slow, sprite, *place)
    assert (fast == slow).all()


def test_white_on_white_never_overflows():
    for cover in np.linspace(0.05, 1.0, 40):
        canvas = Canvas(8)
        canvas.paint(canvas.ellipse(0.0, 0.0, 0.8, 0.8), (255, 255, 255), 1.0, float(cover))
        frame = np.full((8, 8, 4), 255, np.uint8)
        lay(frame, canvas.finish(), 4.0, 4.0)
        assert frame[..., :3].min() >= 252


def test_a_rectangle_covers_the_pixels_that_it_should():
    canvas = Canvas(10)
    canvas.paint(canvas.rectangle(-1.0, -1.0, 0.0, 0.6), (100, 0, 0))
    sprite = canvas.finish()
    assert (sprite.rest[:8, :5] == 0).all() and (sprite.rest[8:] == 256).all() and (sprite.rest[:, 5:] == 256).all()
    assert (sprite.rgb[:8, :5, 0] == 100).all()


def test_every_noun_is_drawn_with_a_silhouette_of_its_own():
    assert set(DRAWINGS) == {noun.name for noun in NOUNS}
    shapes = {noun.name: thing_sprite(noun.name, noun.colours[0], 40).rest[..., 0] < 128 for noun in NOUNS}
    for one, here in shapes.items():
        for other, there in shapes.items():
            if one != other:
                assert (here & there).sum() / (here | there).sum() < 0.93, (one, other)


def test_the_colour_of_a_thing_is_the_one_most_seen():
    for noun in NOUNS:
        if noun.name in ("knife", "hammer", "phone", "pan", "radio"):
            continue  # mostly metal or glass; their colour is on the handle, the rim or the case
        for colour in noun.colours:
            sprite = thing_sprite(noun.name, colour, 40)
            seen = sprite.rgb[..., :3][sprite.rest[..., 0] == 0].astype(float)
            distances = {name: np.abs(seen - rgb).sum(axis=1) for name, rgb in COLOURS.items() if name in noun.colours}
            nearest = min(distances, key=lambda name: np.median(distances[name]))
            assert nearest == colour, (noun.name, colour)


def test_things_that_open_light_up_or_are_cut_look_different_at_every_step():
    for noun in NOUNS:
        if {"open", "turn on", "cut"} & set(noun.verbs):
            steps = [thing_sprite(noun.name, noun.colours[0], 40, 0, step) for step in range(PHASES)]
            assert all((a.rgb != b.rgb).any() for a, b in pairwise(steps)), noun.name


def test_a_mirrored_sprite_mirrored_is_itself():
    canvas = Canvas(9)
    canvas.paint(canvas.polygon((-0.8, -0.8), (0.9, -0.2), (-0.1, 0.9)), (10, 20, 30))
    sprite = canvas.finish()
    twice = sprite.mirrored().mirrored()
    assert isinstance(twice, Sprite) and (twice.rgb == sprite.rgb).all() and (twice.rest == sprite.rest).all()
    assert (sprite.mirrored().rest[:, ::-1] == sprite.rest).all()
