"""What the world is made of, in words: rooms, colours, nouns, verbs, their synonyms and their places in the taxonomy.

The taxonomy's labels and groups follow the spelling of Ego4D's `narration_*_taxonomy.csv`: one label per class, with
the words of its group. No word stands in two groups here, so a narration has one meaning.
"""

from dataclasses import dataclass

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (208, 32, 36),
    "orange": (246, 134, 24),
    "yellow": (246, 220, 40),
    "green": (38, 158, 58),
    "blue": (36, 84, 214),
    "purple": (142, 48, 176),
    "brown": (136, 84, 44),
    "white": (244, 244, 240),
    "black": (34, 34, 40),
}


@dataclass(frozen=True, kw_only=True)
class Noun:
    """A kind of object: its words, the colours it comes in, and what can be done with it beyond carrying it about."""

    name: str
    label: str
    """Class of the noun taxonomy."""
    synonyms: tuple[str, ...] = ()
    """Other words that annotators use; they share the class."""
    colours: tuple[str, ...]
    verbs: tuple[str, ...] = ()
    """Verbs that suit only some nouns; every noun can be picked up, put down, pushed, pulled and moved."""
    rooms: tuple[str, ...]
    size: float
    """Height while it is being handled, in frame heights."""
    holds: bool = False
    """Whether other things can be put in it."""
    fits: bool = False
    """Whether it can be put in other things."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A kind of action: how annotators tell it, what it changes, and which verb is the same film backwards."""

    name: str
    label: str
    """Class of the verb taxonomy."""
    group: tuple[str, ...]
    """Words of the class, in base form."""
    phrases: tuple[str, ...]
    """Third person singular, the commonest first."""
    moment: str
    """Class of Moment Queries."""
    weight: float
    """How often it is chosen where it is possible."""
    reverse_of: str | None = None
    """The verb whose film, played backwards, is this verb's film."""
    pnr: float | None = None
    """Where the point of no return of a state change lies, as a part of the action; None: no state changes."""
    common: bool = False
    """Whether it suits every noun."""


ROOMS: tuple[str, ...] = (
    "kitchen",
    "dining room",
    "living room",
    "office",
    "workshop",
    "garage",
    "garden",
    "bathroom",
)

_HOME, _WORK = ("kitchen", "dining room", "living room"), ("workshop", "garage", "garden")

NOUNS: tuple[Noun, ...] = (
    Noun(
        name="cup",
        label="cup_(cup,_mug,_tumbler)",
        synonyms=("mug", "coffee mug"),
        colours=("red", "blue", "yellow", "white", "green"),
        verbs=("pour", "stir", "wash"),
        rooms=("kitchen", "dining room", "office", "living room"),
        size=0.4,
        fits=True,
    ),
    Noun(
        name="bowl",
        label="bowl",
        synonyms=("mixing bowl",),
        colours=("red", "blue", "green", "white", "purple"),
        verbs=("stir", "wash"),
        rooms=("kitchen", "dining room", "bathroom", "living room"),
        size=0.41,
        holds=True,
    ),
    Noun(
        name="bottle",
        label="bottle_(bottle,_flask)",
        synonyms=("flask", "water bottle"),
        colours=("green", "blue", "purple", "orange", "black"),
        verbs=("open", "close", "pour", "shake"),
        rooms=("kitchen", "office", "bathroom", "garage"),
        size=0.46,
        fits=True,
    ),
    Noun(
        name="box",
        label="container_(box,_carton,_case)",
        synonyms=("carton", "case"),
        colours=("brown", "blue", "red", "white", "purple"),
        verbs=("open", "close", "shake"),
        rooms=("living room", "office", "workshop", "garage"),
        size=0.4,
        holds=True,
    ),
    Noun(
        name="book",
        label="book_(book,_magazine,_notebook)",
        synonyms=("notebook", "magazine"),
        colours=("red", "green", "blue", "black", "yellow"),
        verbs=("open", "close"),
        rooms=("living room", "office", "dining room", "bathroom"),
        size=0.38,
        fits=True,
    ),
    Noun(
        name="phone",
        label="phone_(cellphone,_phone,_smartphone)",
        synonyms=("smartphone", "cell phone"),
        colours=("black", "white", "red", "blue"),
        verbs=("turn on", "turn off"),
        rooms=("living room", "office", "bathroom"),
        size=0.4,
        fits=True,
    ),
    Noun(
        name="plate",
        label="plate_(dish,_plate,_platter)",
        synonyms=("dish",),
        colours=("white", "blue", "yellow", "green"),
        verbs=("wash",),
        rooms=("kitchen", "dining room", "living room", "garden"),
        size=0.43,
        fits=True,
    ),
    Noun(
        name="apple",
        label="apple",
        colours=("red", "green", "yellow"),
        verbs=("cut", "wash"),
        rooms=("kitchen", "dining room", "garden"),
        size=0.38,
        fits=True,
    ),
    Noun(
        name="bread",
        label="bread_(bread,_bun,_loaf)",
        synonyms=("loaf",),
        colours=("brown", "white", "orange"),
        verbs=("cut",),
        rooms=("kitchen", "dining room"),
        size=0.4,
        fits=True,
    ),
    Noun(
        name="carrot",
        label="carrot",
        colours=("orange", "purple", "yellow"),
        verbs=("cut", "wash"),
        rooms=("kitchen", "dining room", "garden"),
        size=0.46,
        fits=True,
    ),
    Noun(
        name="pan",
        label="pan_(frypan,_pan,_saucepan)",
        synonyms=("frying pan", "saucepan"),
        colours=("black", "red", "blue", "green"),
        verbs=("stir", "wash"),
        rooms=("kitchen", "dining room", "garden"),
        size=0.43,
        holds=True,
    ),
    Noun(
        name="knife",
        label="knife_(knife,_machete)",
        synonyms=("kitchen knife",),
        colours=("black", "red", "green", "yellow"),
        verbs=("wash",),
        rooms=("kitchen", "dining room", "garden"),
        size=0.48,
        fits=True,
    ),
    Noun(
        name="hammer",
        label="hammer_(hammer,_mallet)",
        synonyms=("mallet",),
        colours=("red", "yellow", "blue", "brown"),
        rooms=_WORK,
        size=0.46,
        fits=True,
    ),
    Noun(
        name="brush",
        label="brush",
        synonyms=("scrubbing brush",),
        colours=("blue", "red", "green", "white"),
        verbs=("shake", "wash"),
        rooms=("bathroom", *_WORK),
        size=0.46,
        fits=True,
    ),
    Noun(
        name="lamp",
        label="light_(bulb,_lamp,_light)",
        synonyms=("desk lamp",),
        colours=("red", "green", "blue", "white", "black"),
        verbs=("turn on", "turn off"),
        rooms=("living room", "office", "workshop"),
        size=0.46,
    ),
    Noun(
        name="radio",
        label="radio",
        synonyms=("radio set",),
        colours=("red", "brown", "yellow", "blue"),
        verbs=("turn on", "turn off"),
        rooms=("living room", "workshop", "garage", "bathroom"),
        size=0.41,
    ),
    Noun(
        name="bucket",
        label="bucket",
        synonyms=("pail",),
        colours=("blue", "red", "yellow", "green", "black"),
        verbs=("pour", "stir", "wash"),
        rooms=("bathroom", *_WORK),
        size=0.4,
        holds=True,
    ),
    Noun(
        name="teapot",
        label="teapot",
        synonyms=("tea pot",),
        colours=("white", "red", "blue", "purple"),
        verbs=("open", "close", "pour", "wash"),
        rooms=_HOME,
        size=0.43,
    ),
    Noun(
        name="bag",
        label="bag_(bag,_pouch,_sack)",
        synonyms=("pouch", "sack"),
        colours=("brown", "black", "green", "purple", "orange"),
        verbs=("open", "close", "shake"),
        rooms=("living room", "office", "garage", "garden"),
        size=0.44,
    ),
    Noun(
        name="plank",
        label="wood_(log,_plank,_wood)",
        synonyms=("wood plank",),
        colours=("brown", "white", "orange"),
        verbs=("cut",),
        rooms=_WORK,
        size=0.46,
    ),
)

VERBS: tuple[Verb, ...] = (
    Verb(
        name="pick up",
        label="take_(pick,_grab,_get)",
        group=("collect", "get", "grab", "lift", "pick", "pick up", "take"),
        phrases=("picks up", "takes", "lifts", "picks", "grabs"),
        moment="pick_up_/_take_an_object",
        weight=1.3,
        common=True,
    ),
    Verb(
        name="put down",
        label="put_(place,_leave,_drop)",
        group=("drop", "keep", "leave", "place", "put", "put down"),
        phrases=("puts down", "places", "puts", "drops", "keeps"),
        moment="put_down_/_place_an_object",
        weight=1.0,
        reverse_of="pick up",
        common=True,
    ),
    Verb(
        name="open",
        label="open",
        group=("open", "unseal"),
        phrases=("opens", "opens up", "unseals"),
        moment="open_a_container_/_book",
        weight=3.5,
        pnr=0.3,
    ),
    Verb(
        name="close",
        label="close",
        group=("close", "seal", "shut"),
        phrases=("closes", "shuts", "seals"),
        moment="close_a_container_/_book",
        weight=3.5,
        reverse_of="open",
        pnr=0.7,
    ),
    Verb(
        name="push",
        label="push",
        group=("push", "shove"),
        phrases=("pushes", "pushes away", "shoves"),
        moment="push_an_object_away",
        weight=1.1,
        common=True,
    ),
    Verb(
        name="pull",
        label="pull",
        group=("drag", "pull"),
        phrases=("pulls", "pulls closer", "drags"),
        moment="pull_an_object_closer",
        weight=1.1,
        reverse_of="push",
        common=True,
    ),
    Verb(
        name="move",
        label="move_(transfer,_pass,_exchange)",
        group=("move", "slide", "transfer"),
        phrases=("moves", "slides", "transfers"),
        moment="move_an_object_to_the_side",
        weight=0.7,
        common=True,
    ),
    Verb(
        name="cut",
        label="cut_(trim,_slice,_chop)",
        group=("chop", "cut", "slice"),
        phrases=("cuts", "slices", "chops"),
        moment="cut_/_slice_an_object",
        weight=6.0,
        pnr=0.55,
    ),
    Verb(
        name="pour",
        label="pour",
        group=("empty", "pour"),
        phrases=("pours", "pours out", "empties"),
        moment="pour_from_a_container",
        weight=6.0,
        pnr=0.3,
    ),
    Verb(
        name="wash",
        label="wash",
        group=("rinse", "wash"),
        phrases=("washes", "rinses"),
        moment="wash_/_rinse_an_object",
        weight=1.8,
    ),
    Verb(
        name="stir",
        label="mix",
        group=("mix", "stir"),
        phrases=("stirs", "mixes"),
        moment="stir_/_mix_in_a_container",
        weight=3.0,
    ),
    Verb(
        name="shake",
        label="shake",
        group=("shake", "vibrate"),
        phrases=("shakes", "shakes up"),
        moment="shake_an_object",
        weight=3.0,
    ),
    Verb(
        name="turn on",
        label="turn_on_(switch_on,_start,_light)",
        group=("start", "switch on", "switch_on", "turn on", "turn_on"),
        phrases=("turns on", "switches on", "starts"),
        moment="turn_on_a_device",
        weight=4.0,
        pnr=0.5,
    ),
    Verb(
        name="turn off",
        label="turn_off_(turn_off,_switch_off)",
        group=("switch off", "switch_off", "turn off", "turn_off"),
        phrases=("turns off", "switches off"),
        moment="turn_off_a_device",
        weight=4.0,
        reverse_of="turn on",
        pnr=0.5,
    ),
)

# Classes that only narrations between the actions speak of.
OTHER_NOUNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("counter", ("counter",)),
    ("hand_(finger,_hand,_palm)", ("finger", "hand", "palm")),
    ("house_(room)", ("bathroom", "dining room", "garage", "garden", "kitchen", "living room", "office", "workshop")),
    ("person_(man,_person,_woman)", ("man", "person", "woman")),
    ("spoon", ("spoon",)),
    ("table", ("table",)),
    ("water", ("water",)),
)
OTHER_VERBS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("inspect_(check,_look,_examine,_view)", ("look", "look around")),
    ("talk_(talk,_interact,_converse)", ("interact", "talk")),
    ("walk", ("enter", "walk")),
)


def noun_named(name: str) -> Noun:
    """Return the noun of that name.

    Raises:
        KeyError: no noun has that name.
    """
    for noun in NOUNS:
        if noun.name == name:
            return noun
    raise KeyError(name)


def verb_named(name: str) -> Verb:
    """Return the verb of that name.

    Raises:
        KeyError: no verb has that name.
    """
    for verb in VERBS:
        if verb.name == name:
            return verb
    raise KeyError(name)
