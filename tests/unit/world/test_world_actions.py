from dataclasses import replace

import numpy as np
import pytest

from playhead.world.actions import REACH_SECONDS, pose_at
from playhead.world.config import WorldConfig
from playhead.world.render import render
from playhead.world.rules import after
from playhead.world.script import Event, Item, ItemState, Scene, Script
from playhead.world.vocabulary import VERBS, noun_named

START, END = 4.0, 6.0
PAIRS = [("pick up", "put down"), ("open", "close"), ("push", "pull"), ("turn on", "turn off")]
NOUN_OF = {"open": "bottle", "close": "bottle", "turn on": "lamp", "turn off": "lamp", "cut": "apple"}


def event_of(verb, **changes):
    event = Event(
        verb=verb,
        item=0,
        start=START,
        end=END,
        pnr=None,
        hand="right",
        both_hands=True,
        holder=None,
        from_x=0.5,
        to_x=1.0 if verb == "move" else 0.5,
        is_hidden=False,
        is_new=False,
    )
    return replace(event, **changes)


def item_of(verb):
    return Item(noun=NOUN_OF.get(verb, "bottle"), colour="green", size=0.4)


def numbers(pose):
    hands = [(spot.x, spot.y) if spot else (-9, -9) for spot in (pose.hand, pose.other)]
    phase = -1 if pose.phase is None else pose.phase
    return [pose.x, pose.y, pose.scale, pose.angle, pose.lift, phase, pose.is_there, *hands[0], *hands[1]]


@pytest.mark.parametrize(("forwards", "backwards"), PAIRS)
def test_the_reverse_of_a_verb_is_its_film_backwards(forwards, backwards):
    for time in np.linspace(START - 1, END + 1, 61).tolist():
        mirrored = pose_at(event_of(backwards), item_of(backwards), START + END - time)
        assert numbers(pose_at(event_of(forwards), item_of(forwards), time)) == pytest.approx(numbers(mirrored))


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_hands_come_only_for_the_action(verb):
    for time in (START - REACH_SECONDS - 0.01, END + REACH_SECONDS + 0.01):
        pose = pose_at(event_of(verb), item_of(verb), time)
        assert pose.hand is None and pose.other is None and pose.tool == ""
    assert pose_at(event_of(verb), item_of(verb), (START + END) / 2).hand is not None


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.pnr is not None and verb.name != "pour"])
def test_a_state_begins_or_ceases_to_change_at_the_point_of_no_return(verb):
    pnr = START + verb.pnr * (END - START)
    just_before, just_after = (
        pose_at(event_of(verb.name), item_of(verb.name), pnr + step).phase for step in (-0.01, 0.03)
    )
    if verb.reverse_of is None:
        assert just_before == 0 and 0 < just_after < 0.5
    elif verb.name == "close":
        assert 0 < just_before < 0.1 and just_after == 0
    else:
        assert 0 < just_before < 0.2 and just_after == 0


def test_water_falls_from_the_point_of_no_return_on():
    pour = next(verb for verb in VERBS if verb.name == "pour")
    pnr = START + pour.pnr * (END - START)
    assert pose_at(event_of("pour"), item_of("pour"), pnr - 0.01).mouth is None
    assert pose_at(event_of("pour"), item_of("pour"), pnr + 0.01).mouth is not None


@pytest.mark.parametrize("verb", ["pick up", "put down", "push", "pull", "move"])
def test_within_a_second_around_the_middle_a_thing_moves_steadily(verb):
    times = np.linspace(4.5, 5.5, 9).tolist()
    poses = [pose_at(event_of(verb), item_of(verb), time) for time in times]
    steps = np.diff([pose.x if verb == "move" else pose.y for pose in poses])
    assert (np.sign(steps) == np.sign(steps[0])).all()
    assert np.abs(steps).sum() > 0.1 and np.abs(steps).min() > 0.3 * np.abs(steps).max()


def film_of(verb, states_before):
    event = event_of(verb)
    items = (item_of(verb), Item(noun="box", colour="red", size=0.4))
    scene = Scene(
        room="kitchen",
        start=0.0,
        end=10.0,
        items=items,
        clutter=(),
        clutter_x=(),
        events=(event,),
        states=(states_before, after(states_before, event)),
        seed="one room",
    )
    script = Script(uid="u", split="train", index=0, seconds=10.0, scenes=(scene,))
    config = WorldConfig(camera_motion=0.0, size=(48, 64), fps=10)
    return np.stack([frame[..., :3].copy() for frame in render(script, config)])


@pytest.mark.parametrize(("forwards", "backwards"), PAIRS)
def test_no_set_of_frames_without_its_order_tells_a_verb_from_its_reverse(forwards, backwards):
    neighbour = ItemState(x=0.9, far=True)
    on_counter = ItemState(x=0.5, far=False)
    there = {
        "pick up": replace(on_counter, is_away=True),
        "push": replace(on_counter, far=True),
        "open": replace(on_counter, is_open=True),
        "turn on": replace(on_counter, is_lit=True),
    }[forwards]
    film = film_of(forwards, (on_counter, neighbour))
    reverse = film_of(backwards, (there, neighbour))
    first, last = round((START - 0.1) * 10), round((END + 0.1) * 10)  # the head is still turning before and after
    window = film[first : last + 1]
    assert (window == reverse[first : last + 1][::-1]).all()
    assert (window[0] != window[-1]).any()


def test_a_held_still_camera_shows_the_same_frame_until_something_is_done():
    film = film_of("push", (ItemState(x=0.5, far=False), ItemState(x=0.9, far=True)))
    again = film_of("push", (ItemState(x=0.5, far=False), ItemState(x=0.9, far=True)))
    assert film.shape == (100, 48, 64, 3) and film.dtype == np.uint8
    assert (film == again).all()
    assert (film[39] != film[60]).any()


def test_every_special_verb_has_a_noun_and_every_room_enough_of_them():
    for verb in VERBS:
        assert verb.common or any(verb.name in noun_named(name).verbs for name in ("bottle", "lamp", "apple", "cup"))
