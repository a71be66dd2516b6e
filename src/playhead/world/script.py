"""What a script is: the rooms of a video, the things in them, and the actions one after the other.

Everything is in seconds and in frame heights, so a script says nothing about pixels. A room is one long counter; `x`
runs along it. A thing lies near the wearer or far, is open, lit, cut or none of these, lies inside another thing, or
is away (carried out of view).
"""

from dataclasses import dataclass

MOVE_BY = 0.5  # how far "move" carries a thing along the counter, in frame heights
SPACING = 0.56  # between neighbours on the counter
WALK_SECONDS = 1.2  # to leave a room and enter the next


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing of a room; what changes about it is its `ItemState`."""

    noun: str
    colour: str
    size: float
    """Height while it is handled, in frame heights."""

    @property
    def words(self) -> str:
        """Colour and noun: "red cup"."""
        return f"{self.colour} {self.noun}"


@dataclass(frozen=True, kw_only=True)
class ItemState:
    """Where a thing lies and how it is."""

    x: float
    far: bool
    is_open: bool = False
    is_lit: bool = False
    is_cut: bool = False
    is_away: bool = False
    inside: int | None = None
    """Index of the thing that holds it."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One action: [start, end) is its visible motion, `pnr` the moment of its state change, if it has one."""

    verb: str
    item: int
    start: float
    end: float
    pnr: float | None
    hand: str
    """"right" or "left"."""
    both_hands: bool
    holder: int | None
    """The thing that the item is put into or taken from."""
    from_x: float
    to_x: float
    """Where the thing is along the counter before and after it."""
    is_hidden: bool
    """Whether something in the foreground hides a part of the view."""
    is_new: bool
    """Whether its noun-verb or noun-colour combination never occurs in `train`."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A stay in one room. `states[k]` holds before event k, `states[-1]` after the last."""

    room: str
    start: float
    end: float
    items: tuple[Item, ...]
    clutter: tuple[Item, ...]
    clutter_x: tuple[float, ...]
    events: tuple[Event, ...]
    states: tuple[tuple[ItemState, ...], ...]
    seed: str


@dataclass(frozen=True, kw_only=True)
class Script:
    """One video."""

    uid: str
    split: str
    index: int
    seconds: float
    scenes: tuple[Scene, ...]

    @property
    def events(self) -> tuple[tuple[Scene, Event], ...]:
        """All actions with their rooms, in time order."""
        return tuple((scene, event) for scene in self.scenes for event in scene.events)


@dataclass(frozen=True)
class HeldOut:
    """The combinations that `train` never shows."""

    noun_verbs: frozenset[tuple[str, str]]
    noun_colours: frozenset[tuple[str, str]]
