"""From a script to frames: a moving camera over a room, things at rest in it, and the action in front.

What lies still is painted into the room once and painted anew only when it changes; a frame is a cut-out of the room,
sampled at the camera's zoom, with the few moving pictures laid over it. That keeps a frame below a millisecond.
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int, UInt8

from playhead.world.actions import INTO_HOLDER, NEAR_TO_FAR, REACH_SECONDS, Pose, Spot, pose_at
from playhead.world.canvas import Sprite, lay
from playhead.world.config import WorldConfig, random_stream
from playhead.world.hands import LOOKS, dot_sprite, hand_sprite, tool_sprite
from playhead.world.scenes import MARGIN, ROOM_HEIGHT, paint_room
from playhead.world.script import SPACING, WALK_SECONDS, Event, Item, ItemState, Scene, Script
from playhead.world.things import PHASES, thing_sprite
from playhead.world.vocabulary import noun_named

FAR_ROW = 0.64  # where the two rows of the counter lie, in frame heights from the top of the room
NEAR_ROW = FAR_ROW + NEAR_TO_FAR
AT_REST = 0.62  # a thing looks this much smaller before the wearer leans in
LEAN_SECONDS = 0.55
LOOK_AT = 0.56  # where on the screen the wearer holds what they look at, from the top
SHOULDER = (0.72, 1.25)  # where an arm comes from, right of the middle and below the top, in frame heights
# From here before an action to here after it, its thing is drawn by itself and not as a part of the room.
ATTENTION = REACH_SECONDS + LEAN_SECONDS
SMOOTH_SECONDS = 0.3  # over which the head starts and stops
# Where a tool lies from the hand (towards the thumb's side, below) and how large it is, in frame heights.
TOOL_PLACES = {"knife": (-0.18, -0.02, 0.4), "spoon": (-0.06, 0.12, 0.34), "sponge": (0.0, -0.03, 0.2)}


def render(script: Script, config: WorldConfig) -> Iterator[UInt8[np.ndarray, "H W 4"]]:
    """Yield the frames of a video, RGBA with an idle fourth channel; frame i is what is seen at i / fps seconds.

    The array is used again for the next frame: copy what must stay.
    """
    look = int(random_stream(config.seed, script.split, script.index, "look").integers(len(LOOKS)))
    total = round(script.seconds * config.fps)
    for scene in script.scenes:
        last = total if scene is script.scenes[-1] else math.ceil(scene.end * config.fps)
        times = np.arange(math.ceil(scene.start * config.fps), last) / config.fps
        yield from _Room(scene, config, look).frames(times)


class _Room:
    """The renderer of one scene. Actions go by their number in it."""

    def __init__(self, scene: Scene, config: WorldConfig, look: int):
        self.scene, self.look = scene, look
        self.height, self.width = config.size
        self.motion = config.camera_motion
        self.draws = random_stream(scene.seed, "room")
        self.focus = [self._focus(number) for number in range(len(scene.events))]
        self.ground = paint_room(scene.room, len(scene.items) * SPACING, self.height, self.draws)
        for item, x in zip(scene.clutter, scene.clutter_x, strict=True):
            self._lay_at_rest(self.ground, item, ItemState(x=x, far=True), FAR_ROW - 0.1)
        self.layer = self.ground
        self.shown: tuple[int, ...] | None = None

    def frames(self, times: Float[np.ndarray, " T"]) -> Iterator[UInt8[np.ndarray, "H W 4"]]:
        """Yield one frame per time."""
        camera, zoom, light = self._camera_path(times)
        for k, time in enumerate(times.tolist()):
            active = self._active(time)
            if active != self.shown:
                self.layer, self.shown = self._paint_rest(time, active), active
            view = _View(self.layer, camera[k], float(zoom[k]), self.height, self.width)
            for number in self._one_per_item(active, time):
                self._draw_action(view, number, time)
            yield _tone(round(float(light[k]) * 64)).take(view.frame)

    def _focus(self, number: int) -> tuple[float, float]:
        """Return the spot of the room that an action happens at."""
        event, before = self.scene.events[number], self.scene.states[number]
        state = before[event.item if event.holder is None else event.holder]
        if event.verb == "put down":
            return event.to_x, _row(state)
        if event.verb in ("push", "pull"):
            return state.x, (FAR_ROW + NEAR_ROW) / 2
        return (state.x + event.to_x) / 2, _row(state)

    def _camera_path(
        self, times: Float[np.ndarray, " T"]
    ) -> tuple[Float[np.ndarray, "T 2"], Float[np.ndarray, " T"], Float[np.ndarray, " T"]]:
        """Return the middle of the view, its zoom and its light over time: from action to action, never quite still."""
        keys, places = [self.scene.start], [(-0.9, 0.6)]
        for event, (x, y) in zip(self.scene.events, self.focus, strict=True):
            aside, below = self.draws.uniform(-0.1, 0.1), self.draws.uniform(-0.05, 0.05)
            keys += [event.start - REACH_SECONDS, event.end + REACH_SECONDS]
            places += [(x + aside, y + 0.5 - LOOK_AT + below)] * 2
        keys.append(self.scene.end)
        places.append((len(self.scene.items) * SPACING + 0.5, 0.6))
        path = np.stack([np.interp(times, keys, [place[axis] for place in places]) for axis in (0, 1)], axis=1)
        if len(times) > 1:
            path = _smooth(path, max(1, round(SMOOTH_SECONDS / (times[1] - times[0]))))
        path += self.motion * np.stack([self._sway(times, 0.03), self._sway(times, 0.02)], axis=1)
        path[:, 1] = path[:, 1].clip(0.54, ROOM_HEIGHT - 0.54)  # so that no zoom looks beyond the room
        zoom = (1 + self.motion * self._sway(times, 0.025)).clip(0.93, 1.07)
        doorway = np.minimum(times - self.scene.start, self.scene.end - times) / (WALK_SECONDS / 2)
        light = (1 + self.motion * self._sway(times, 0.05)) * (0.25 + 0.75 * doorway.clip(0, 1))
        return path, zoom, light

    def _sway(self, times: Float[np.ndarray, " T"], size: float) -> Float[np.ndarray, " T"]:
        """Return a smooth wander of about this size."""
        speeds, starts = self.draws.uniform((0.1, 0.35, 0.9), (0.3, 0.8, 1.6)), self.draws.uniform(0, 2 * np.pi, 3)
        waves = np.sin(2 * np.pi * times[:, None] * speeds + starts) * np.array((0.6, 0.3, 0.1))
        return size * waves.sum(axis=1) * 1.6

    def _active(self, time: float) -> tuple[int, ...]:
        """Return the actions that the wearer attends to: before their start, during them, and after their end."""
        events = self.scene.events
        return tuple(k for k, e in enumerate(events) if e.start - ATTENTION <= time < e.end + ATTENTION)

    def _one_per_item(self, active: tuple[int, ...], time: float) -> list[int]:
        """Leave out an action whose thing is in another action that is nearer in time; the nearest is drawn last."""
        events = self.scene.events
        chosen: list[int] = []
        for number in sorted(active, key=lambda k: max(events[k].start - time, time - events[k].end)):
            touched = _touched(events[number])
            if not any(touched & _touched(events[other]) for other in chosen):
                chosen.append(number)
        return chosen[::-1]

    def _paint_rest(self, time: float, active: tuple[int, ...]) -> UInt8[np.ndarray, "H W 4"]:
        """Paint what lies still into the room: the far row first, what is inside something before what holds it."""
        states = self.scene.states[sum(event.start - ATTENTION <= time for event in self.scene.events)]
        moving = set().union(*(_touched(self.scene.events[number]) for number in active))
        resting = [
            k for k, state in enumerate(states) if not state.is_away and k not in moving and state.inside not in moving
        ]
        layer = self.ground.copy()
        for k in sorted(resting, key=lambda k: (not states[k].far, states[k].inside is None, k)):
            holder = states[k].inside
            y = _row(states[k]) if holder is None else _row(states[holder]) + INTO_HOLDER * AT_REST
            self._lay_at_rest(layer, self.scene.items[k], states[k], y)
        return layer

    def _lay_at_rest(self, layer: UInt8[np.ndarray, "H W 4"], item: Item, state: ItemState, y: float) -> None:
        x, size = (state.x + MARGIN) * self.height, item.size * AT_REST * self.height
        lay(layer, dot_sprite("shadow", _even(size * 1.3)), x, y * self.height + 0.46 * size)
        lay(layer, thing_sprite(item.noun, item.colour, _even(size), 0, _step(item, state)), x, y * self.height)

    def _draw_action(self, view: "_View", number: int, time: float) -> None:
        event, (x, y) = self.scene.events[number], self.focus[number]
        item, state = self.scene.items[event.item], self.scene.states[number + (time >= event.end)][event.item]
        pose = pose_at(event, item, time)
        if pose.is_there:
            size = item.size * _leaning(event, time, pose.scale) * self.height
            shadow = dot_sprite("shadow", _even(size * (1.3 - pose.lift)))
            view.lay(shadow, x + pose.x, y + pose.y + pose.lift + 0.46 * size / self.height)
            step = _step(item, state) if pose.phase is None else round(pose.phase * (PHASES - 1))
            sprite = thing_sprite(item.noun, item.colour, _even(size), 15 * round(pose.angle / 15), step)
            view.lay(sprite, x + pose.x, y + pose.y)
        if event.holder is not None:
            holder = self.scene.items[event.holder]
            size = holder.size * _leaning(event, time, 1.0) * self.height
            step = _step(holder, self.scene.states[number][event.holder])
            view.lay(thing_sprite(holder.noun, holder.colour, _even(size), 0, step), x, y + 0.04)
        self._draw_effects(view, x + pose.x, y + pose.y, pose, time)
        self._draw_hands(view, (x, y), pose, event)
        if event.is_hidden:
            drift, side = 0.06 * math.sin(2.1 * time), -1 if event.hand == "right" else 1
            leaf = dot_sprite("leaf", _even(0.62 * self.height))
            lay(view.frame, leaf, self.width * (0.5 + side * (0.52 + drift)), self.height * (0.22 + drift))

    def _draw_effects(self, view: "_View", x: float, y: float, pose: Pose, time: float) -> None:
        """Draw what pours and what foams."""
        if pose.mouth is not None:
            drop = dot_sprite("drop", _even(0.075 * self.height))
            for k in range(6):
                fall = (time * 2.2 + k / 6) % 1.0
                view.lay(drop, x + pose.mouth[0], y + pose.mouth[1] + (0.46 - pose.mouth[1]) * fall)
        if pose.foam:
            for k in range(8):
                turn = 0.785 * k + math.floor(time * 6 + 0.4 * k)
                bubble = dot_sprite("foam", _even((0.07 + 0.03 * (k % 3)) * self.height))
                view.lay(bubble, x + 0.2 * math.cos(turn), y + 0.02 + 0.15 * math.sin(turn))

    def _draw_hands(self, view: "_View", focus: tuple[float, float], pose: Pose, event: Event) -> None:
        right = 1 if event.hand == "right" else -1
        if pose.other is not None:
            self._draw_hand(view, focus, pose.other, is_left=right > 0)
        if pose.hand is None:
            return
        if pose.tool:
            aside, below, size = TOOL_PLACES[pose.tool]
            tool = tool_sprite(pose.tool, _even(size * self.height), right < 0)
            view.lay(tool, focus[0] + pose.hand.x + right * aside, focus[1] + pose.hand.y + below)
        self._draw_hand(view, focus, pose.hand, is_left=right < 0)

    def _draw_hand(self, view: "_View", focus: tuple[float, float], spot: Spot, is_left: bool) -> None:
        """Draw a hand whose arm comes from the shoulder of its side."""
        x, y = view.screen(focus[0] + spot.x, focus[1] + spot.y)
        aside = self.width / 2 + (-1 if is_left else 1) * SHOULDER[0] * self.height - x
        below = max(SHOULDER[1] * self.height - y, 1.0)
        angle = 10 * round(math.degrees(math.atan2(-aside, below)) / 10)
        lay(view.frame, hand_sprite(self.look, spot.shape, self.height, angle, is_left), x, y)


class _View:
    """One frame while it is painted: a cut-out of the room around the camera's middle, and the way to its pixels."""

    def __init__(
        self, layer: UInt8[np.ndarray, "H W 4"], camera: Float[np.ndarray, "2"], zoom: float, height: int, width: int
    ):
        self.zoom, self.pixels = zoom, height
        self.left = (float(camera[0]) + MARGIN) * height - width / 2 / zoom
        self.top = float(camera[1]) * height - height / 2 / zoom
        columns = _positions(self.left, zoom, width, layer.shape[1])
        rows = _positions(self.top, zoom, height, layer.shape[0])
        words = layer.view(np.uint32)[..., 0]
        first = int(columns[0])
        strip = words[:, first : int(columns[-1]) + 1].take(rows, axis=0)
        self.frame = strip.take(columns - first, axis=1).view(np.uint8).reshape(height, width, 4)

    def screen(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixel of a spot of the room."""
        return ((x + MARGIN) * self.pixels - self.left) * self.zoom, (y * self.pixels - self.top) * self.zoom

    def lay(self, sprite: Sprite, x: float, y: float) -> None:
        """Lay a sprite with its middle at a spot of the room."""
        lay(self.frame, sprite, *self.screen(x, y))


def _positions(start: float, zoom: float, count: int, limit: int) -> Int[np.ndarray, " N"]:
    return (start + (np.arange(count) + 0.5) / zoom).astype(np.intp).clip(0, limit - 1)


def _row(state: ItemState) -> float:
    return FAR_ROW if state.far else NEAR_ROW


def _touched(event: Event) -> set[int]:
    return {event.item} if event.holder is None else {event.item, event.holder}


def _leaning(event: Event, time: float, scale: float) -> float:
    """Return how large a thing looks: small at rest, and `scale` once the wearer has leant in."""
    near = min(time - event.start + ATTENTION, event.end + ATTENTION - time) / LEAN_SECONDS
    return AT_REST + (scale - AT_REST) * min(max(near, 0.0), 1.0)


def _step(item: Item, state: ItemState) -> int:
    """Return the step at which a thing at rest is drawn: open, lit and cut things at the last, others at the first."""
    verbs = noun_named(item.noun).verbs
    flags = (("open", state.is_open), ("turn on", state.is_lit), ("cut", state.is_cut))
    return PHASES - 1 if any(verb in verbs and flag for verb, flag in flags) else 0


def _even(pixels: float) -> int:
    """Round to an even number: fewer sizes to draw, and a middle between two pixels for all of them."""
    return max(4, 2 * round(pixels / 2))


def _smooth(path: Float[np.ndarray, "T 2"], reach: int) -> Float[np.ndarray, "T 2"]:
    window = np.hanning(2 * reach + 3)[1:-1]
    padded = np.pad(path, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([np.convolve(padded[:, k], window / window.sum(), "valid") for k in (0, 1)], axis=1)


@lru_cache(maxsize=128)
def _tone(light: int) -> UInt8[np.ndarray, "256"]:
    """Return what every brightness becomes in a light of so many 64ths."""
    return (np.arange(256) * (light / 64)).clip(0, 255).astype(np.uint8)
