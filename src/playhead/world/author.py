"""Writes scripts: draws the things of every room, and one action after the other among those that the room allows."""

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import TypeVar

import numpy as np

from playhead.world.config import WorldConfig, make_uid, random_stream
from playhead.world.rules import Action, after, free_holders, free_sides, is_free, possible_actions, suits
from playhead.world.script import SPACING, WALK_SECONDS, Event, HeldOut, Item, ItemState, Scene, Script
from playhead.world.vocabulary import NOUNS, ROOMS, VERBS, Noun, noun_named

T = TypeVar("T")

INTO_HOLDER = 0.6  # chance of each bowl or box, where putting down on the counter has 1


def choose_held_out(config: WorldConfig) -> HeldOut:
    """Draw the combinations that only `val` and `test` show; every noun keeps most of its verbs and colours."""
    draws = random_stream(config.seed, "held out")
    noun_verbs, noun_colours = set(), set()
    for noun in NOUNS:
        verbs = [verb.name for verb in VERBS if suits(verb, noun)]
        for pool, chosen in ((verbs, noun_verbs), (list(noun.colours), noun_colours)):
            number = min(int(draws.binomial(len(pool), config.held_out)), len(pool) // 3)
            chosen.update((noun.name, pool[k]) for k in draws.choice(len(pool), number, replace=False))
    return HeldOut(frozenset(noun_verbs), frozenset(noun_colours))


def write_script(config: WorldConfig, split: str, index: int, held_out: HeldOut) -> Script:
    """Write the script of one video; it depends on the settings, the split and the index alone."""
    draws = random_stream(config.seed, split, index, "script")
    forbidden = held_out if split == "train" else HeldOut(frozenset(), frozenset())
    number = int(np.clip(round(config.seconds / config.scene_seconds), 1, len(ROOMS)))
    bounds = np.linspace(0.0, config.seconds, number + 1)
    bounds[1:-1] += draws.uniform(-0.12, 0.12, number - 1) * config.scene_seconds
    scenes = []
    for k, room in enumerate(draws.permutation(ROOMS)[:number]):
        seed = f"{config.seed}/{split}/{index}/scene {k}"
        stay = (float(bounds[k]), float(bounds[k + 1]))
        scenes.append(_write_scene(config, str(room), stay, draws, forbidden, held_out, seed))
    uid = make_uid(config.seed, split, index)
    return Script(uid=uid, split=split, index=index, seconds=config.seconds, scenes=tuple(scenes))


def _write_scene(
    config: WorldConfig,
    room: str,
    stay: tuple[float, float],
    draws: np.random.Generator,
    forbidden: HeldOut,
    held_out: HeldOut,
    seed: str,
) -> Scene:
    items = _choose_items(config, room, draws, forbidden)
    states = [_first_states(items, draws)]
    events: list[Event] = []
    time = stay[0] + WALK_SECONDS / 2 + float(draws.uniform(*config.gap_seconds))
    while True:
        length = float(draws.uniform(*config.action_seconds))
        if time + length + config.gap_seconds[0] / 2 + WALK_SECONDS / 2 > stay[1]:
            break
        if (drawn := _draw_action(items, states[-1], events, draws, forbidden)) is None:
            break
        event = _make_event(config, items, states[-1], drawn, time, length, draws, held_out)
        events.append(event)
        states.append(after(states[-1], event))
        time = event.end + float(draws.uniform(*config.gap_seconds))
    clutter = tuple(_make_item(_any(NOUNS, draws), draws, forbidden, 0.5) for _ in range(config.num_distractors))
    spread = len(items) * SPACING
    return Scene(
        room=room,
        start=stay[0],
        end=stay[1],
        items=items,
        clutter=clutter,
        clutter_x=tuple(float(x) for x in draws.uniform(-0.3, spread - 0.2, len(clutter))),
        events=tuple(events),
        states=tuple(states),
        seed=seed,
    )


def _choose_items(config: WorldConfig, room: str, draws: np.random.Generator, forbidden: HeldOut) -> tuple[Item, ...]:
    """Draw the things of a room: its usual kinds, and those again in other colours if it needs more."""
    usual = [noun for noun in NOUNS if room in noun.rooms]
    order = [usual[k] for k in draws.permutation(len(usual))]
    items: list[Item] = []
    for k in range(config.objects_per_scene):
        noun = order[k % len(order)]
        items.append(_make_item(noun, draws, forbidden, 1.0, {item.colour for item in items if item.noun == noun.name}))
    return tuple(items)


def _make_item(
    noun: Noun, draws: np.random.Generator, forbidden: HeldOut, scale: float, taken: Set[str] = frozenset()
) -> Item:
    colours = [colour for colour in noun.colours if (noun.name, colour) not in forbidden.noun_colours]
    size = noun.size * scale * float(draws.choice((0.92, 1.0, 1.08)))
    return Item(noun=noun.name, colour=_any([c for c in colours if c not in taken] or colours, draws), size=size)


def _first_states(items: tuple[Item, ...], draws: np.random.Generator) -> tuple[ItemState, ...]:
    """Lay the things along the counter, some away, and one perhaps inside another, so that nothing tells what comes."""
    order = draws.permutation(len(items))
    away = set(draws.choice(len(items), int(draws.integers(1, 3)), replace=False).tolist())
    states = tuple(
        ItemState(
            x=float(order[k] * SPACING + draws.uniform(-0.08, 0.08)),
            far=bool(draws.random() < 0.5),
            is_open=bool(draws.random() < 0.5),
            is_lit=bool(draws.random() < 0.5),
            is_away=k in away,
        )
        for k in range(len(items))
    )
    small = [k for k, item in enumerate(items) if noun_named(item.noun).fits and k not in away]
    if small and draws.random() < 0.3:
        item = _any(small, draws)
        if holders := free_holders(items, states, item):
            inside = replace(states[item], inside=(holder := _any(holders, draws)), x=states[holder].x)
            states = (*states[:item], inside, *states[item + 1 :])
    return states


def _draw_action(
    items: tuple[Item, ...],
    states: tuple[ItemState, ...],
    events: list[Event],
    draws: np.random.Generator,
    forbidden: HeldOut,
) -> Action | None:
    """Draw a thing among those that something can be done with, then one of the actions that it allows.

    None when nothing is left to do: all things are away, and `train` may not show them coming back.
    """
    possible = [
        action
        for action in possible_actions(items, states)
        if (items[action.item].noun, action.verb.name) not in forbidden.noun_verbs
    ]
    if not possible:
        return None
    recent = {event.item for event in events[-2:]} if len({action.item for action in possible}) > 2 else set()
    item = _any(sorted({action.item for action in possible} - recent), draws)
    actions = [action for action in possible if action.item == item]
    weights = np.array([_weight(action, events) for action in actions])
    return actions[int(draws.choice(len(actions), p=weights / weights.sum()))]


def _weight(action: Action, events: list[Event]) -> float:
    weight = action.verb.weight * (0.5 if events and events[-1].verb == action.verb.name else 1.0)
    return weight * INTO_HOLDER if action.holder is not None and action.verb.name == "put down" else weight


def _landing(states: tuple[ItemState, ...], action: Action, draws: np.random.Generator) -> float:
    """Return where a thing will lie: beside the others, not on them, as far as the counter has room."""
    state = states[action.item]
    if action.verb.name == "move":
        return _any(free_sides(states, action.item), draws)
    if action.verb.name != "put down":
        return state.x
    if action.holder is not None:
        return states[action.holder].x
    grid = [state.x, *(float(x) for x in draws.permutation(np.arange(0, SPACING * len(states), SPACING / 4)))]
    return next((x for x in grid if is_free(states, action.item, x, state.far)), state.x)


def _make_event(
    config: WorldConfig,
    items: tuple[Item, ...],
    states: tuple[ItemState, ...],
    action: Action,
    start: float,
    length: float,
    draws: np.random.Generator,
    held_out: HeldOut,
) -> Event:
    item = items[action.item]
    is_new = (item.noun, action.verb.name) in held_out.noun_verbs or (item.noun, item.colour) in held_out.noun_colours
    return Event(
        verb=action.verb.name,
        item=action.item,
        start=start,
        end=start + length,
        pnr=None if action.verb.pnr is None else start + action.verb.pnr * length,
        hand="right" if draws.random() < 0.7 else "left",
        both_hands=bool(draws.random() < 0.3),
        holder=action.holder,
        from_x=states[action.item].x,
        to_x=_landing(states, action, draws),
        is_hidden=bool(draws.random() < config.occlusion),
        is_new=is_new,
    )


def _any(pool: Sequence[T], draws: np.random.Generator) -> T:
    return pool[int(draws.integers(len(pool)))]
