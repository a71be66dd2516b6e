import os
import pickle
from pathlib import Path

import pytest

from playhead.text.tagging import Tagger, Tags, count_words, is_unsure, normalize
from playhead.text.taxonomy import Taxonomy

DATA = Path(os.environ.get("PLAYHEAD_DATA", Path(__file__).parents[3] / "../shared/data"))

NOUNS = {
    "bottle": ["bottle"],
    "bowl": ["bowl"],
    "chopping_board": ["chopping board", "chop board"],
    "cloth": ["cloth"],
    "cup": ["cup", "mug"],
    "drill": ["drill"],
    "faucet": ["faucet", "tap"],
    "hand": ["hand"],
    "hole": ["hole"],
    "iron": ["iron", "pressing iron"],
    "knife": ["knife"],
    "lid": ["lid"],
    "light": ["light"],
    "nail": ["nail"],
    "oil": ["oil", "olive oil"],
    "olive": ["olive"],
    "paintbrush": ["paint brush", "brush"],
    "pan": ["pan", "frying pan"],
    "peel": ["peel"],
    "person": ["man", "person", "woman"],
    "plant": ["plant"],
    "plate": ["plate"],
    "pot": ["pot"],
    "table": ["table"],
    "tomato": ["tomato"],
    "water": ["water"],
    "wood": ["wood", "piece of wood"],
}
VERBS = {
    "adjust_(regulate,_increase/reduce,_change)": ["adjust", "change", "increase/reduce", "regulate"],
    "carry": ["carry", "carries"],
    "clean_(sweep,_brush)": ["brush", "clean", "sweep"],
    "close": ["close", "shut"],
    "cut_(trim,_slice,_chop)": ["chop", "cut", "slice"],
    "drill": ["drill", "makes a hole"],
    "hit": ["hit", "nail"],
    "hold": ["hold"],
    "iron": ["iron"],
    "let_go": ["let go"],
    "look": ["look"],
    "mix": ["mix", "stir"],
    "open": ["open"],
    "peel": ["peel"],
    "plant": ["plant"],
    "put_(place,_leave,_drop)": ["drop", "leave", "place", "put", "put aside"],
    "stand_up": ["stand up"],
    "take_(pick,_grab,_get)": ["get", "pick", "pick out", "take"],
    "talk": ["talk"],
    "turn_(spin,_rotate)": ["rotate", "turn"],
    "turn_off": ["turn_off", "put off"],
    "turn_on": ["turn_on", "put on", "light"],
    "walk": ["walk"],
    "wash": ["wash"],
    "water": ["water"],
}

CASES = [
    # the tags of annotators
    ("#C C picks up the knife", "take", "knife"),
    ("#c c picks up the knife.", "take", "knife"),
    ("# C C picks the knife #unsure", "take", "knife"),
    ("#Unsure", "", ""),
    ("#O A man X talks to C", "talk", "person"),
    ("#O X walks around", "walk", ""),
    ("C OPENS THE BOTTLE!", "open", "bottle"),
    ("", "", ""),
    # inflections
    ("#C C carries the pots", "carry", "pot"),
    ("#C C is slicing tomatoes", "cut", "tomato"),
    ("#C C took the knives from the table", "take", "knife table"),
    ("#C C dropped the plates", "put", "plate"),
    ("#C C held the cup", "hold", "cup"),
    ("peeling tomatoes", "peel", "tomato"),
    ("two women walk", "walk", "person"),
    # the longest noun
    ("#C C puts the olive oil on the chopping board", "put", "oil chopping_board"),
    ("#C C takes an olive", "take", "olive"),
    ("#C C washes the frying pans and the paintbrush", "wash", "pan paintbrush"),
    ("#C C cleans pieces of wood", "clean", "wood"),
    # particles, near and far
    ("#C C turns on the tap", "turn_on", "faucet"),
    ("#C C turns the tap off", "turn_off", "faucet"),
    ("#C C turns the water in the pot", "turn", "water pot"),
    ("#C C picks the cup up", "take", "cup"),
    ("#C C puts the lid down", "put", "lid"),
    ("#C C puts the lid on the pot", "put", "lid pot"),
    ("#C C puts the light on", "turn_on", "light"),
    ("#C C puts the cloth aside", "put", "cloth"),
    ("#C C stands up", "stand_up", ""),
    ("#C C stands at the table", "", "table"),
    ("#C C lets go of the lid", "let_go", "lid"),
    ("#C C makes a hole in the wood", "drill", "wood"),
    # a tap is opened to turn it on, a bottle of water is not
    ("#C C opens the tap", "turn_on", "faucet"),
    ("#C C closes the tap and opens the bottle of water", "turn_off open", "faucet bottle water"),
    # words that are noun and verb
    ("#C C peels the peel", "peel", "peel"),
    ("#C C drills a hole with the drill", "drill", "hole drill"),
    ("#C C waters the plants with water", "water", "plant water"),
    ("#C C irons the cloth with a pressing iron", "iron", "cloth iron"),
    ("#C C brushes the wood with a brush", "clean", "wood paintbrush"),
    ("#C C takes the nail and the drill", "take", "nail drill"),
    ("#C C takes plate and iron", "take", "plate iron"),
    ("the water is in the pot", "", "water pot"),
    # several verbs
    ("#C C washes and cuts the tomato", "wash cut", "tomato"),
    ("#C C picks a cup from the table and puts it in the bowl", "take put", "cup table bowl"),
    ("#C C drops the knife, takes the pan", "put take", "knife pan"),
    ("#C C looks around then drills the wood", "look drill", "wood"),
    ("#C C walks to the table to pick a mug", "walk take", "table cup"),
    ("#C C holds the cut tomato", "hold", "tomato"),
    ("#C C mixes peeled tomatoes and chopped olives", "mix", "tomato olive"),
    # labels' own words
    ("#C C increases the light", "adjust", "light"),
    ("#C C drops the chopping-board", "put", "chopping_board"),
]


def taxonomy():
    return Taxonomy(
        nouns=tuple(NOUNS),
        verbs=tuple(VERBS),
        noun_phrases=tuple(map(tuple, NOUNS.values())),
        verb_phrases=tuple(
            tuple(part.replace("_", " ") for phrase in group for part in phrase.split("/")) for group in VERBS.values()
        ),
    )


@pytest.fixture(scope="module")
def tagger():
    return Tagger(taxonomy())


@pytest.mark.parametrize(("text", "verbs", "nouns"), CASES)
def test_hand_counted_tags(tagger, text, verbs, nouns):
    tags = tagger.tag(text)
    assert {list(VERBS)[verb].split("_(")[0] for verb in tags.verbs} == set(verbs.split())
    assert {list(NOUNS)[noun] for noun in tags.nouns} == set(nouns.split())


def test_ids_are_sorted_and_tag_all_keeps_the_order(tagger):
    texts = [text for text, _, _ in CASES]
    all_tags = list(tagger.tag_all(iter(texts)))
    assert all_tags == [tagger.tag(text) for text in texts]
    assert all(list(ids) == sorted(set(ids)) for tags in all_tags for ids in (tags.nouns, tags.verbs))


def test_a_tagger_travels(tagger):
    assert pickle.loads(pickle.dumps(tagger)).tag("#C C cuts wood") == tagger.tag("#C C cuts wood") != Tags((), ())


def test_nothing_is_found_that_no_group_lists(tagger):
    assert tagger.tag("#C C juggles seven chainsaws in the circus") == Tags((), ())


@pytest.mark.parametrize(
    ("text", "plain", "words"),
    [
        ("#C C picks up the knife", "picks up the knife", 4),
        ("#c c  picks  up ", "picks up", 2),
        ("# C C cuts", "cuts", 1),
        ("#O A man X talks to C", "A man X talks to C", 6),
        ("#O X walks", "walks", 1),
        ("#C C cuts the #unsure", "cuts the", 2),
        ("#Unsure", "", 0),
        ("C opens the sun-dried tomatoes", "opens the sun-dried tomatoes", 4),
        ("#Summary C makes dinner", "C makes dinner", 3),
        ("cup of tea", "cup of tea", 3),
        ("", "", 0),
        ("#", "", 0),
    ],
)
def test_tags_are_stripped_and_do_not_count(text, plain, words):
    assert normalize(text) == plain
    assert count_words(text) == words


def test_doubt_is_seen_in_any_case():
    assert all(map(is_unsure, ["#C C cuts #unsure", "#Unsure", "#UNSURE.", "# unsure"]))
    assert not any(map(is_unsure, ["#C C is unsure", "", "#C C cuts #unsured"]))


@pytest.mark.skipif(not (DATA / "annotations/epic100").is_dir(), reason=f"no EPIC-KITCHENS-100 below {DATA}")
def test_epic_classes_are_found_in_narrations_not_read_before():
    epic = DATA / "annotations/epic100"
    tagger = Tagger(Taxonomy.from_epic(epic / "EPIC_100_verb_classes.csv", epic / "EPIC_100_noun_classes.csv"))
    # rows of the validation file, with their verb_class and all_noun_classes
    assert tagger.tag("put down plate") == Tags((2,), (1,))
    assert tagger.tag("take paper") == Tags((49,), (0,))


@pytest.mark.skipif(not (DATA / "annotations/egoexolearn").is_dir(), reason=f"no EgoExoLearn below {DATA}")
def test_a_published_taxonomy_in_ego4d_layout_is_read_whole():
    folder = DATA / "annotations/egoexolearn"
    read = Taxonomy.read(folder / "narration_noun_taxonomy.csv", folder / "narration_verb_taxonomy.csv")
    tags = Tagger(read).tag("#C C cuts the onion with a knife on the chopping board")
    assert [read.verbs[verb] for verb in tags.verbs] == ["cut_(trim,_slice,_chop)"]
    assert "chopping_board" in [read.nouns[noun] for noun in tags.nouns]
    assert (len(read.nouns), len(read.verbs)) == (627, 125)
