"""Scripts: what happens is possible, nothing overlaps, and `train` never shows what is held out."""

from dataclasses import replace
from itertools import pairwise

import pytest

from playhead.world.author import choose_held_out, write_script
from playhead.world.config import SPLITS, WorldConfig
from playhead.world.script import MOVE_BY
from playhead.world.vocabulary import NOUNS, OTHER_NOUNS, OTHER_VERBS, VERBS, noun_named, verb_named

CONFIG = WorldConfig(train_videos=12, val_videos=6, test_videos=4)


@pytest.fixture(scope="module")
def scripts():
    held_out = choose_held_out(CONFIG)
    return [write_script(CONFIG, split, k, held_out) for split in SPLITS for k in range(CONFIG.num_videos(split))]


def happenings(scripts):
    return [(script, scene, event) for script in scripts for scene, event in script.events]


def test_what_happens_is_possible(scripts):
    """Replay every room with a plain set of rules, kept apart from those that the author draws from."""
    for script in scripts:
        for scene in script.scenes:
            away = {k for k, state in enumerate(scene.states[0]) if state.is_away}
            opened = {k for k, state in enumerate(scene.states[0]) if state.is_open}
            lit = {k for k, state in enumerate(scene.states[0]) if state.is_lit}
            far = {k for k, state in enumerate(scene.states[0]) if state.far}
            for event in scene.events:
                k = event.item
                assert (event.verb == "put down") == (k in away)
                toggles = {
                    "pick up": (away, True),
                    "put down": (away, False),
                    "open": (opened, True),
                    "close": (opened, False),
                    "turn on": (lit, True),
                    "turn off": (lit, False),
                    "push": (far, True),
                    "pull": (far, False),
                }
                if event.verb in toggles:
                    group, joins = toggles[event.verb]
                    assert (k in group) != joins
                    group ^= {k}
                verb, noun = verb_named(event.verb), noun_named(scene.items[k].noun)
                assert verb.common or verb.name in noun.verbs


def test_states_tell_what_events_did(scripts):
    for _, scene, event in happenings(scripts):
        number = scene.events.index(event)
        before, after = scene.states[number], scene.states[number + 1]
        assert len(scene.states) == len(scene.events) + 1
        assert all(a == b for k, (a, b) in enumerate(zip(before, after, strict=True)) if k != event.item)
        if event.verb == "move":
            assert abs(abs(after[event.item].x - before[event.item].x) - MOVE_BY) < 1e-9
        if event.holder is not None:
            held = before if event.verb == "pick up" else after
            assert held[event.item].inside == event.holder
            assert noun_named(scene.items[event.holder].noun).holds


def test_actions_follow_each_other_with_room_for_the_hands_between(scripts):
    for script in scripts:
        times = [(event.start, event.end) for _, event in script.events]
        assert times[0][0] > 0 and times[-1][1] < script.seconds
        for (_, end), (start, _) in pairwise(times):
            assert start - end >= CONFIG.gap_seconds[0] - 1e-9
        for start, end in times:
            assert CONFIG.action_seconds[0] <= end - start <= CONFIG.action_seconds[1]


def test_train_never_shows_what_is_held_out_and_the_other_splits_do(scripts):
    held_out = choose_held_out(CONFIG)
    assert held_out.noun_verbs and held_out.noun_colours
    new = {"train": 0, "val": 0, "test": 0}
    for script, scene, event in happenings(scripts):
        item = scene.items[event.item]
        is_new = (item.noun, event.verb) in held_out.noun_verbs or (item.noun, item.colour) in held_out.noun_colours
        assert event.is_new == is_new
        new[script.split] += is_new
    assert new["train"] == 0 and new["val"] > 0 and new["test"] > 0
    train_colours = {
        (item.noun, item.colour)
        for script in scripts
        if script.split == "train"
        for scene in script.scenes
        for item in (*scene.items, *scene.clutter)
    }
    assert not train_colours & held_out.noun_colours


def test_a_script_does_not_depend_on_how_many_others_there_are():
    held_out = choose_held_out(CONFIG)
    more = replace(CONFIG, train_videos=500, time_jitter=0.1, missed=0.5)
    assert write_script(more, "train", 3, choose_held_out(more)) == write_script(CONFIG, "train", 3, held_out)


def test_a_verb_and_its_reverse_are_about_as_frequent(scripts):
    verbs = [event.verb for _, _, event in happenings(scripts)]
    for verb in VERBS:
        assert verbs.count(verb.name) > 0
        if verb.reverse_of is not None:
            assert 0.5 < verbs.count(verb.name) / verbs.count(verb.reverse_of) < 2


def test_a_small_room_that_runs_out_of_things_to_do_ends_early_and_does_not_fail():
    config = WorldConfig(objects_per_scene=3, held_out=0.5, seconds=60.0)
    held_out = choose_held_out(config)
    scripts = [write_script(config, "train", k, held_out) for k in range(60)]
    assert all(script.scenes for script in scripts)


def test_no_word_stands_for_two_classes():
    for classes in (
        [(noun.label, {noun.name, *noun.synonyms}) for noun in NOUNS] + [(a, set(b)) for a, b in OTHER_NOUNS],
        [(verb.label, set(verb.group)) for verb in VERBS] + [(a, set(b)) for a, b in OTHER_VERBS],
    ):
        words = [word for _, group in classes for word in group]
        assert len(words) == len(set(words))
        assert len({label for label, _ in classes}) == len(classes)
