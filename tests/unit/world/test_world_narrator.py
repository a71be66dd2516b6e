import pytest

from playhead.world.author import choose_held_out, write_script
from playhead.world.config import WorldConfig
from playhead.world.narrator import ANNOTATORS, narrate, plain_caption
from playhead.world.vocabulary import noun_named, verb_named

CONFIG = WorldConfig(train_videos=6, val_videos=0, test_videos=0)


@pytest.fixture(scope="module")
def told():
    held_out = choose_held_out(CONFIG)
    scripts = [write_script(CONFIG, "train", k, held_out) for k in range(CONFIG.train_videos)]
    return [
        (habits, script, scene, one)
        for habits in ANNOTATORS
        for script in scripts
        for one in narrate(script, CONFIG, habits)
        for scene in script.scenes
        if one.event is None or one.event in scene.events
    ]


def test_narrations_lie_near_the_middle_of_their_action_and_in_order():
    held_out = choose_held_out(CONFIG)
    for habits in ANNOTATORS:
        script = write_script(CONFIG, "train", 0, held_out)
        narrations = narrate(script, CONFIG, habits)
        times = [one.time for one in narrations]
        assert times == sorted(times) and times[0] >= 0 and times[-1] <= script.seconds
        for one in narrations:
            if one.event is not None:
                assert abs(one.time - (one.event.start + one.event.end) / 2) <= CONFIG.time_jitter


def test_a_narration_tells_its_verb_and_its_noun(told):
    for _, _, scene, one in told:
        if one.event is None:
            continue
        verb = verb_named(one.event.verb)
        noun = noun_named(scene.items[one.event.item].noun)
        first_words = {phrase.split()[0] for phrase in verb.phrases}
        assert one.text.startswith("#C C ") and one.text.split()[2] in first_words
        short = len(one.text.split()) <= 4
        assert short or "#unsure" in one.text or any(word in one.text for word in (noun.name, *noun.synonyms))


def test_a_told_colour_and_hand_are_true(told):
    colours = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "white", "black")
    for _, _, scene, one in told:
        if one.event is None:
            continue
        words = one.text.split()
        true = {scene.items[one.event.item].colour}
        if one.event.holder is not None:
            true.add(scene.items[one.event.holder].colour)
        assert {word for word in words if word in colours} <= true
        for hand in ("left", "right"):
            assert hand not in words or one.event.hand == hand


def test_the_two_annotators_write_differently(told):
    by_name = {
        habits.name: [one.text for who, _, _, one in told if who is habits and one.event] for habits in ANNOTATORS
    }
    first, second = (by_name[habits.name] for habits in ANNOTATORS)
    assert len(set(first) & set(second)) < 0.5 * min(len(set(first)), len(set(second)))
    for texts in (first, second):
        assert 0 < sum("#unsure" in text for text in texts) < 0.1 * len(texts)
    share = [sum(" hand" in text for text in texts) / len(texts) for texts in (first, second)]
    assert share[0] < share[1]


def test_about_the_stated_share_of_the_actions_is_missed(told):
    for habits in ANNOTATORS:
        number = sum(who is habits and one.event is not None for who, _, _, one in told)
        held_out = choose_held_out(CONFIG)
        scripts = [write_script(CONFIG, "train", k, held_out) for k in range(CONFIG.train_videos)]
        total = sum(len(script.events) for script in scripts)
        assert 0.8 < number / total < 0.97


def test_a_caption_tells_one_action(told):
    _, _, scene, one = next(row for row in told if row[3].event is not None)
    item = scene.items[one.event.item]
    caption = plain_caption(scene, one.event)
    assert caption.startswith("a person ") and item.words in caption and scene.room in caption
