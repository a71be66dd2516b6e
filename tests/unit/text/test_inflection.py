import pytest

from playhead.text.inflection import GUESSED, REGULAR, noun_forms, verb_forms

VERBS = """
pick picks picked picking
carry carries carried carrying
play plays played playing
wash washes washed washing
press presses pressed pressing
fix fixes fixed fixing
slice slices sliced slicing
free frees freed freeing
chop chops chopped chopping
peel peels peeled peeling
open opens opened opening
unzip unzips unzipped unzipping
unplug unplugs unplugged unplugging
cut cuts cut cutting
take takes took taken taking
tie ties tied tying
hold holds held holding
throw throws threw thrown throwing
unwind unwinds unwound unwinding
rewrite rewrites rewrote rewritten rewriting
draw draws drew drawn drawing
have has had having
go goes went gone going
mix mixes mixed mixing
"""

NOUNS = """
cup cups
glass glasses
box boxes
dish dishes
brush brushes
berry berries
tray trays
knife knives
leaf leaves
loaf loaves
tomato tomatoes
photo photos
woman women
person people
foot feet
mouse mice
"""


@pytest.mark.parametrize("line", VERBS.split("\n")[1:-1])
def test_a_verb_has_the_forms_of_the_grammar(line):
    verb, *forms = line.split()
    regular = {form for form, rank in verb_forms(verb).items() if rank <= REGULAR}
    assert set(forms) <= regular
    # The regular past of an irregular verb ("throwed") may be there too, as children and some annotators write it.
    assert len(regular - {verb, *forms}) <= 1


@pytest.mark.parametrize("line", NOUNS.split("\n")[1:-1])
def test_a_noun_has_its_plural(line):
    noun, plural = line.split()
    assert {form for form, rank in noun_forms(noun).items() if rank <= REGULAR} == {noun, plural}


def test_misspelt_doubling_is_a_guess():
    assert verb_forms("cut")["cuting"] == GUESSED
    assert verb_forms("peel")["peelling"] == GUESSED


def test_a_listed_inflected_form_leads_back_to_the_others():
    assert noun_forms("crumbs")["crumb"] == GUESSED
    assert verb_forms("makes")["making"] == GUESSED
    assert verb_forms("carries")["carried"] == GUESSED
    assert "pres" not in verb_forms("press")
    assert "glas" not in noun_forms("glass")
