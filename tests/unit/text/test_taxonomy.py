import pytest

from playhead.errors import AnnotationError
from playhead.text.taxonomy import Taxonomy


def write(path, *rows):
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def verbs(tmp_path):
    return write(tmp_path / "verbs.csv", "label,group", "cut,['cut']")


def read_nouns(tmp_path, verbs, *rows):
    return Taxonomy.read(write(tmp_path / "nouns.csv", "label,group", *rows), verbs)


def test_ids_are_the_order_of_the_rows(tmp_path, verbs):
    taxonomy = read_nouns(tmp_path, verbs, "cup,['cup']", "\"knife_(knife,_machete)\",\"['knife', 'machete']\"")
    assert taxonomy.nouns == ("cup", "knife_(knife,_machete)")
    assert taxonomy.verbs == ("cut",)
    assert taxonomy.noun_phrases == (("cup",), ("knife", "machete"))


def test_labels_and_synonyms_are_read_as_plain_words(tmp_path):
    nouns = write(tmp_path / "nouns.csv", "label,group", 'tool_box,"[\'bolt-box\', ""bicycle\'s rim""]"')
    label = '"adjust_(regulate,_increase/reduce,_change)"'
    verbs = write(
        tmp_path / "verbs.csv", "label,group", f"{label},\"['Adjust', 'turn_over']\"", "file_(with_tool),['file']"
    )
    taxonomy = Taxonomy.read(nouns, verbs)
    assert taxonomy.noun_phrases == (("bolt box", "bicycle s rim", "tool box"),)
    assert taxonomy.verb_phrases == (("adjust", "turn over", "regulate", "increase", "reduce", "change"), ("file",))


def test_a_synonym_of_two_groups_goes_to_the_one_named_so(tmp_path, verbs):
    taxonomy = read_nouns(
        tmp_path,
        verbs,
        "napkin,\"['napkin', 'hand', 'board']\"",
        "\"wood_(log,_board)\",\"['log', 'board']\"",
        "hand,['hand']",
        "plank,\"['plank', 'board', 'beam']\"",
        "rafter,\"['rafter', 'beam']\"",
    )
    assert taxonomy.noun_phrases == (("napkin",), ("log", "board", "wood"), ("hand",), ("plank", "beam"), ("rafter",))


def test_the_annotators_doubt_is_no_noun(tmp_path, verbs):
    assert read_nouns(tmp_path, verbs, "pen,\"['pen', 'unsure']\"").noun_phrases == (("pen",),)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["label,words", "cup,['cup']"], r"row 1: columns label, group needed, group missing; found label, words"),
        (["label,group", "cup,['cup']", "mug,[mug]"], r"row 3: a list like .* found '\[mug\]'"),
        (["label,group", "cup,__import__('os')"], r"row 2: a list like"),
        (["label,group", "cup,('cup')"], r"row 2: a list of strings needed"),
        (["label,group", "cup,[1]"], r"row 2: a list of strings needed"),
        (["label,group", "cup,['cup']", "cup,['mug']"], r"row 3: 'cup' stands in an earlier row"),
        (["label,group", ",['cup']"], r"row 2: the label is empty"),
        (["label,group", "cup"], r"row 2: 2 fields expected"),
        (["label,group", "cup,['cup', 'mug']"], r"row 2: 2 fields expected"),
        (["label,group"], r"no row below the heading"),
    ],
)
def test_a_broken_file_is_named_with_its_row(tmp_path, verbs, rows, message):
    with pytest.raises(AnnotationError, match=message) as caught:
        Taxonomy.read(write(tmp_path / "nouns.csv", *rows), verbs)
    assert str(tmp_path / "nouns.csv") in str(caught.value)


def test_a_missing_and_a_binary_file_are_named(tmp_path, verbs):
    with pytest.raises(AnnotationError, match=r"nowhere\.csv: no taxonomy can be read"):
        Taxonomy.read(tmp_path / "nowhere.csv", verbs)
    (tmp_path / "binary.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(AnnotationError, match=r"binary\.csv: no taxonomy can be read"):
        Taxonomy.read(tmp_path / "binary.csv", verbs)


def test_epic_nouns_have_their_head_first(tmp_path):
    nouns = write(
        tmp_path / "nouns.csv",
        "id,key,instances,category",
        "0,tap,\"['tap', 'tap:water']\",appliances",
        "1,board:chopping,\"['board:wooden:chopping', 'hob/stove']\",utensils",
    )
    verbs = write(tmp_path / "verbs.csv", "id,key,instances,category", "0,take,\"['take', 'pick-up']\",retrieve")
    taxonomy = Taxonomy.from_epic(verbs, nouns)
    assert taxonomy.nouns == ("tap", "board:chopping")
    assert taxonomy.verb_phrases == (("take", "pick up"),)
    assert taxonomy.noun_phrases[0] == ("tap", "water tap", "tap of water")
    assert taxonomy.noun_phrases[1] == (
        "wooden chopping board", "board of wooden chopping", "hob", "stove", "chopping board", "board of chopping",
    )  # fmt: skip


def test_epic_ids_must_follow_the_rows(tmp_path):
    verbs = write(tmp_path / "verbs.csv", "id,key,instances", "0,take,['take']", "2,put,['put']")
    with pytest.raises(AnnotationError, match="row 3: id 1 expected, found '2'"):
        Taxonomy.from_epic(verbs, verbs)
