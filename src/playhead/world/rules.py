"""What can be done in a room as it is, and how the room is afterwards."""

from dataclasses import dataclass, replace

from playhead.world.script import MOVE_BY, SPACING, Event, Item, ItemState
from playhead.world.vocabulary import VERBS, Noun, Verb, noun_named, verb_named

CLEARANCE = 0.36  # that two things in one row of the counter need, in frame heights


@dataclass(frozen=True)
class Action:
    """An action that could happen: a verb, the thing, and what it is put into or taken from."""

    verb: Verb
    item: int
    holder: int | None = None


def suits(verb: Verb, noun: Noun) -> bool:
    """Tell whether an action makes sense for a kind of thing."""
    return verb.common or verb.name in noun.verbs


def possible_actions(items: tuple[Item, ...], states: tuple[ItemState, ...]) -> list[Action]:
    """Return all that can be done with the things of a room."""
    holding = {state.inside for state in states if not state.is_away}
    actions = []
    for k, (item, state) in enumerate(zip(items, states, strict=True)):
        noun = noun_named(item.noun)
        if k in holding:
            continue  # what holds something stays as it is
        for verb in VERBS:
            if suits(verb, noun) and _is_possible(verb.name, state) and _has_room(verb.name, k, states):
                actions.append(Action(verb, k, state.inside if verb.name == "pick up" else None))
        if state.is_away and noun.fits:
            actions += [Action(verb_named("put down"), k, holder) for holder in free_holders(items, states, k)]
    return actions


def _is_possible(verb: str, state: ItemState) -> bool:
    if state.is_away or verb == "put down":
        return state.is_away and verb == "put down"
    if state.inside is not None:
        return verb == "pick up"
    needs = {
        "open": not state.is_open,
        "close": state.is_open,
        "push": not state.far,
        "pull": state.far,
        "cut": not state.is_cut,
        "turn on": not state.is_lit,
        "turn off": state.is_lit,
        "pour": not state.is_open,
        "shake": not state.is_open,
    }
    return needs.get(verb, True)


def free_holders(items: tuple[Item, ...], states: tuple[ItemState, ...], item: int) -> list[int]:
    """Return the bowls, boxes and the like that are there, open and empty."""
    used = {state.inside for state in states}
    return [
        k
        for k, (other, state) in enumerate(zip(items, states, strict=True))
        if k != item and not state.is_away and k not in used and _can_hold(noun_named(other.noun), state)
    ]


def _can_hold(noun: Noun, state: ItemState) -> bool:
    return noun.holds and (state.is_open or "open" not in noun.verbs)


def _has_room(verb: str, item: int, states: tuple[ItemState, ...]) -> bool:
    """Tell whether the place that a thing would be pushed, pulled or moved to is free."""
    state = states[item]
    if verb == "move":
        return bool(free_sides(states, item))
    return verb not in ("push", "pull") or is_free(states, item, state.x, not state.far)


def is_free(states: tuple[ItemState, ...], item: int, x: float, far: bool) -> bool:
    """Tell whether a thing could lie there without touching another one of the same row."""
    others = (state for k, state in enumerate(states) if k != item and not state.is_away and state.inside is None)
    return all(other.far != far or abs(other.x - x) >= CLEARANCE for other in others)


def free_sides(states: tuple[ItemState, ...], item: int) -> list[float]:
    """Return where a thing could be moved to: the places beside it that are free."""
    state = states[item]
    limit = SPACING * len(states)
    places = [state.x - MOVE_BY, state.x + MOVE_BY]
    return [x for x in places if -SPACING <= x <= limit and is_free(states, item, x, state.far)]


def after(states: tuple[ItemState, ...], event: Event) -> tuple[ItemState, ...]:
    """Return the states of a room after an action."""
    state = states[event.item]
    match event.verb:
        case "pick up":
            state = replace(state, is_away=True, inside=None, is_cut=False)
        case "put down":
            state = replace(state, is_away=False, inside=event.holder, x=event.to_x)
        case "push" | "pull":
            state = replace(state, far=event.verb == "push")
        case "open" | "close":
            state = replace(state, is_open=event.verb == "open")
        case "turn on" | "turn off":
            state = replace(state, is_lit=event.verb == "turn on")
        case "cut":
            state = replace(state, is_cut=True)
        case "move":
            state = replace(state, x=event.to_x)
    return (*states[: event.item], state, *states[event.item + 1 :])
