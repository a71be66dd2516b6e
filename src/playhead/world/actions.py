"""How every action moves: where the thing, the hands and the tool are at a moment.

Each verb is one film, a function of the action's progress; "put down", "close", "pull" and "turn off" are the films of
their opposites played backwards, frame for frame. So no single frame, and no set of frames without its order, tells
such a pair apart.

Positions are in frame heights from the spot that the wearer looks at, x to the right and y down.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from playhead.world.script import MOVE_BY, Event, Item
from playhead.world.things import lid_place
from playhead.world.vocabulary import verb_named

REACH_SECONDS = 0.45  # a hand comes before the action and goes after it
NEAR_TO_FAR = 0.22  # between the two rows of the counter
OFF_SCREEN = (0.5, 0.95)
INTO_HOLDER = -0.12  # a thing in a bowl looks out of it


@dataclass(frozen=True)
class Spot:
    """Where a hand is, and its shape: "grip", "flat" or "point"."""

    x: float
    y: float
    shape: str


@dataclass(frozen=True)
class Pose:
    """All that moves, at one moment. `phase` is how far the thing is open, lit or cut; None: as it lies there."""

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    angle: float = 0.0
    lift: float = 0.0
    """How high the thing is held over the counter; its shadow stays below."""
    phase: float | None = None
    is_there: bool = True
    hand: Spot | None = None
    other: Spot | None = None
    tool: str = ""
    mouth: tuple[float, float] | None = None
    """Where water falls from, seen from the thing's middle."""
    foam: bool = False


@dataclass(frozen=True)
class Moment:
    """How far an action has come: the hand reached (0..1), the action proper (0..1), the hand left (0..1)."""

    came: float
    done: float
    left: float
    time: float
    """Seconds since the start of the action, for what oscillates."""


@dataclass(frozen=True)
class Handling:
    """Who handles what: `right` is 1 for the right hand and -1 for the left, `side` the same for where "move" goes."""

    noun: str
    size: float
    right: float
    side: float


Film = Callable[[Moment, Handling], Pose]


def pose_at(event: Event, item: Item, time: float) -> Pose:
    """Return the pose at a time of the video. Outside the action and the reaching for it there are no hands."""
    verb = verb_named(event.verb)
    if verb.reverse_of is not None:
        time = event.start + event.end - time
    length = event.end - event.start
    moment = Moment(
        came=_part(time, event.start - REACH_SECONDS, event.start),
        done=_part(time, event.start, event.end),
        left=_part(time, event.end, event.end + REACH_SECONDS),
        time=min(max(time - event.start, 0.0), length),
    )
    right = 1.0 if event.hand == "right" else -1.0
    handling = Handling(item.noun, item.size, right, math.copysign(1.0, event.to_x - event.from_x))
    pose = FILMS[verb.reverse_of or verb.name](moment, handling)
    if event.holder is not None:
        pose = _from_holder(pose, moment)
    return _with_hands(pose, moment, right, event)


def _part(time: float, start: float, end: float) -> float:
    return min(max((time - start) / (end - start), 0.0), 1.0)


def _ease(part: float) -> float:
    """Start and stop gently, but move all the time: half way between linear and smoothstep."""
    return 0.5 * part + 0.5 * part * part * (3 - 2 * part)


def _between(start: float, end: float, part: float) -> float:
    return start + (end - start) * part


def _with_hands(pose: Pose, moment: Moment, right: float, event: Event) -> Pose:
    """Let the hands come from and go to the lower border; show the second one where it is needed."""
    away = max(1 - moment.came, moment.left)
    if away >= 1:
        return replace(pose, hand=None, other=None, tool="", mouth=None, foam=False)
    carried = event.verb in ("pick up", "put down") and moment.left > 0
    if pose.hand is not None and not carried:
        pose = replace(pose, hand=_towards_border(pose.hand, right, away))
    if event.verb in ("cut", "wash") or (
        event.both_hands and event.verb in ("open", "close", "stir", "turn on", "turn off")
    ):
        held = Spot(pose.x - right * 0.17, pose.y + 0.1, "grip")
        pose = replace(pose, other=_towards_border(held, -right, away))
    return pose


def _towards_border(spot: Spot, right: float, away: float) -> Spot:
    part = _ease(away)
    return replace(spot, x=_between(spot.x, right * OFF_SCREEN[0], part), y=_between(spot.y, OFF_SCREEN[1], part))


def _from_holder(pose: Pose, moment: Moment) -> Pose:
    """Start inside a bowl or box instead of on the counter."""
    inside = INTO_HOLDER * (1 - 0.3 * moment.done)
    hand = None if pose.hand is None else replace(pose.hand, y=pose.hand.y + inside)
    return replace(pose, y=pose.y + inside, hand=hand)


def _grip(x: float, y: float, by: Handling, scale: float = 1.0) -> Spot:
    """Hold a thing at its lower side, so that most of it stays in view."""
    return Spot(x + by.right * 0.3 * by.size * scale, y + 0.34 * by.size * scale, "grip")


def _pick_up(moment: Moment, by: Handling) -> Pose:
    part, gone = _ease(moment.done), _ease(moment.left)
    x = _between(by.right * 0.08 * part, by.right * 0.75, gone)
    y = _between(-0.34 * part, 0.95, gone)
    scale = 1 + 0.16 * part
    hand = _grip(x, y, by, scale)
    return Pose(x=x, y=y, scale=scale, lift=0.34 * part, is_there=moment.left < 1, hand=hand)


def _push(moment: Moment, by: Handling) -> Pose:
    part = _ease(moment.done)
    y = NEAR_TO_FAR * (0.5 - part)
    scale = _between(1.1, 0.86, part)
    return Pose(y=y, scale=scale, hand=Spot(by.right * 0.06, y + 0.56 * by.size * scale, "flat"))


def _move(moment: Moment, by: Handling) -> Pose:
    x = by.side * MOVE_BY * (_ease(moment.done) - 0.5)
    return Pose(x=x, hand=Spot(x - by.side * 0.02 + by.right * 0.1, 0.15, "grip"))


def _open(moment: Moment, by: Handling) -> Pose:
    reach, part = _part(moment.done, 0.0, 0.3), _part(moment.done, 0.3, 0.95)
    half = by.size / 2
    if by.noun in ("bottle", "teapot"):
        x, y = lid_place(part)
    elif by.noun == "book":  # the cover is turned over to the left
        x, y = 0.55 - 1.3 * part, 0.1 - 0.5 * math.sin(math.pi * part)
    else:  # a flap or the mouth is drawn to the hand's side
        x, y = by.right * (0.35 + 0.8 * part), -0.55 - 0.35 * part
    hand = Spot(x * half + by.right * 0.1, y * half + 0.02 + 0.1 * (1 - reach), "grip")
    return Pose(phase=part, hand=hand)


def _turn_on(moment: Moment, by: Handling) -> Pose:
    nearness = _part(moment.done, 0.0, 0.44) - _part(moment.done, 0.56, 1.0)
    x, y = _between(by.right * 0.26, by.right * 0.07, nearness), _between(0.32, 0.16, nearness)
    return Pose(phase=_part(moment.done, 0.5, 0.62), hand=Spot(x, y, "point"))


def _cut(moment: Moment, by: Handling) -> Pose:
    depth = _part(moment.done, 0.0, 0.6)
    stroke = math.sin(2 * math.pi * 1.8 * moment.time)
    x, y = by.right * (0.17 + 0.05 * stroke), by.size * (0.55 * depth - 0.5) + 0.03 * stroke
    return Pose(phase=_part(moment.done, 0.55, 0.8), hand=Spot(x, y, "grip"), tool="knife")


def _pour(moment: Moment, by: Handling) -> Pose:
    tilt = _ease(_part(moment.done, 0.0, 0.3)) - _ease(_part(moment.done, 0.82, 1.0))
    y = -0.2 * tilt
    has_spout = by.noun == "teapot"  # on its left side, whichever hand holds it
    to = -1.0 if has_spout else -by.right
    mouth = (to * 0.44 * by.size, (0.38 if has_spout else 0.04) * by.size)
    return Pose(
        y=y,
        angle=to * (58 if has_spout else 105) * tilt,
        lift=0.2 * tilt,
        hand=Spot(by.right * 0.17, y + 0.14 - 0.08 * tilt, "grip"),
        mouth=mouth if 0.3 <= moment.done <= 0.82 else None,
    )


def _wash(moment: Moment, by: Handling) -> Pose:
    turn = 2 * math.pi * 1.4 * moment.time
    hand = Spot(by.right * 0.05 + 0.09 * math.cos(turn), 0.08 + 0.07 * math.sin(turn), "flat")
    return Pose(y=-0.03, angle=6 * math.sin(turn), hand=hand, tool="sponge", foam=0.05 < moment.done < 0.95)


def _stir(moment: Moment, by: Handling) -> Pose:
    turn = 2 * math.pi * 1.25 * moment.time
    x = 0.09 * math.cos(turn) + by.right * 0.12
    hand = Spot(x, -0.5 * by.size - 0.08 + 0.035 * math.sin(turn), "grip")
    return Pose(hand=hand, tool="spoon")


def _shake(moment: Moment, by: Handling) -> Pose:
    strength = min(_part(moment.done, 0.0, 0.15), 1 - _part(moment.done, 0.85, 1.0))
    swing = math.sin(2 * math.pi * 1.9 * moment.time) * strength
    x, y = 0.1 * swing, -0.16 * strength + 0.02 * swing
    return Pose(x=x, y=y, angle=26 * swing, lift=0.16 * strength, hand=_grip(x, y, by))


FILMS: dict[str, Film] = {
    "pick up": _pick_up,
    "push": _push,
    "move": _move,
    "open": _open,
    "turn on": _turn_on,
    "cut": _cut,
    "pour": _pour,
    "wash": _wash,
    "stir": _stir,
    "shake": _shake,
}
