"""What two annotators write about a video, each with habits of their own: other words, other details, other times."""

from dataclasses import dataclass

import numpy as np

from playhead.world.config import WorldConfig, random_stream
from playhead.world.script import WALK_SECONDS, Event, Item, Scene, Script
from playhead.world.vocabulary import Verb, noun_named, verb_named


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How an annotator writes; every number is a chance."""

    name: str
    usual_verb: float
    """Uses the commonest phrase of a verb."""
    usual_noun: float
    """Uses the commonest word of a noun."""
    colour: float
    """Tells the colour."""
    the: float
    """Writes "the" rather than "a"."""
    hand: float
    """Tells which hand."""
    detail: float
    """Tells the tool or the place."""
    split_particle: float
    """Writes "turns the lamp on" for "turns on the lamp"."""
    unsure: float
    """Does not recognise the thing, and tags it so."""
    short: float
    """Leaves the thing out."""
    walks: float
    """Tells that the wearer enters a room."""
    asides: float
    """Tells something between two actions."""


ANNOTATORS: tuple[Habits, ...] = (
    Habits(
        name="narration_pass_1",
        usual_verb=0.7,
        usual_noun=0.85,
        colour=0.85,
        the=0.85,
        hand=0.08,
        detail=0.2,
        split_particle=0.0,
        unsure=0.008,
        short=0.008,
        walks=0.5,
        asides=0.01,
    ),
    Habits(
        name="narration_pass_2",
        usual_verb=0.4,
        usual_noun=0.6,
        colour=0.6,
        the=0.6,
        hand=0.25,
        detail=0.12,
        split_particle=0.06,
        unsure=0.02,
        short=0.01,
        walks=0.3,
        asides=0.02,
    ),
)

TOOLS = {"cut": "with a knife", "stir": "with a spoon"}
SURFACES = ("on the table", "on the counter")
ASIDES = ("#C C looks around", "#C C looks around the {room}", "#O A man X walks past", "#O a woman Y talks to C")


@dataclass(frozen=True)
class Told:
    """One narration; `event` is the action it tells, if it tells one."""

    time: float
    text: str
    event: Event | None


def narrate(script: Script, config: WorldConfig, habits: Habits) -> list[Told]:
    """Return what an annotator writes about a video, in time order.

    A narration's time lies within `config.time_jitter` of the middle of its action.
    """
    draws = random_stream(config.seed, script.split, script.index, habits.name)
    possessive = "his" if random_stream(script.uid, "wearer").random() < 0.5 else "her"
    told: list[Told] = []
    for scene in script.scenes:
        if draws.random() < habits.walks:
            told.append(Told(scene.start + WALK_SECONDS / 4, f"#C C walks into the {scene.room}", None))
        for event in scene.events:
            if draws.random() >= config.missed:
                time = (event.start + event.end) / 2 + draws.uniform(-1, 1) * config.time_jitter
                told.append(Told(float(time), _sentence(scene, event, habits, possessive, draws), event))
            if draws.random() < habits.asides:
                aside = str(draws.choice(ASIDES)).format(room=scene.room)
                told.append(Told(min(event.end + 0.4, script.seconds), aside, None))
    return sorted(told, key=lambda one: one.time)


def summarize_scene(scene: Scene) -> str:
    """Return the summary of a stay in a room, as Ego4D's annotators write one every few minutes."""
    nouns = list(dict.fromkeys(scene.items[event.item].noun for event in scene.events))
    things = " and ".join(f"the {noun}" for noun in nouns[:3]) or "nothing"
    return f"#Summary C was in the {scene.room} and handled {things}."


def plain_caption(scene: Scene, event: Event) -> str:
    """Return an action as a caption of a general data set would tell it: "a person picks up a red cup"."""
    item = scene.items[event.item]
    words = f"{_article(item.colour)} {item.words}"
    return f"a person {verb_named(event.verb).phrases[0]} {words} in {_article(scene.room)} {scene.room}"


def _sentence(scene: Scene, event: Event, habits: Habits, possessive: str, draws: np.random.Generator) -> str:
    verb = verb_named(event.verb)
    phrase = verb.phrases[0]
    if draws.random() >= habits.usual_verb:
        phrase = str(draws.choice(verb.phrases[1:]))
    if draws.random() < habits.short:
        return f"#C C {phrase}"
    thing = "the #unsure" if draws.random() < habits.unsure else _thing(scene.items[event.item], habits, draws)
    words = ["#C C", _join(phrase, thing, verb, event, habits, draws)]
    if event.holder is not None:
        holder = _thing(scene.items[event.holder], habits, draws)
        words.append(f"{'in' if event.verb == 'put down' else 'from'} {holder}")
    elif draws.random() < habits.detail:
        if event.verb in TOOLS:
            words.append(TOOLS[event.verb])
        elif event.verb in ("put down", "pick up"):
            surface = str(draws.choice(SURFACES))
            words.append(surface if event.verb == "put down" else surface.replace("on the", "from the"))
    if draws.random() < habits.hand:
        words.append(f"with {possessive} {event.hand} hand")
    return " ".join(words)


def _join(phrase: str, thing: str, verb: Verb, event: Event, habits: Habits, draws: np.random.Generator) -> str:
    """Put verb and thing together; "pours water from", and a particle before or after the thing."""
    if verb.name == "pour" and phrase == "pours":
        return f"pours water from {thing}"
    if event.holder is not None and event.verb == "put down":
        phrase = phrase.removesuffix(" down")  # "puts the apple in the bowl"
    first, _, particle = phrase.partition(" ")
    if particle in ("up", "down", "on", "off") and draws.random() < habits.split_particle:
        return f"{first} {thing} {particle}"
    return f"{phrase} {thing}"


def _thing(item: Item, habits: Habits, draws: np.random.Generator) -> str:
    noun = noun_named(item.noun)
    word = noun.name
    if noun.synonyms and draws.random() >= habits.usual_noun:
        word = str(draws.choice(noun.synonyms))
    if draws.random() < habits.colour:
        word = f"{item.colour} {word}"
    return f"the {word}" if draws.random() < habits.the else f"{_article(word)} {word}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
