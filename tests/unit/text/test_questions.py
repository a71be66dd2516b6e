import pytest

from playhead.text.questions import as_narration, third_person


@pytest.mark.parametrize(
    ("question", "narration"),
    [
        ("Where did I put the red cup?", "#C C puts the red cup"),
        ("When did I last open the box", "#C C opens the box"),
        ("Which knife did I cut the apple with?", "#C C cuts the apple with the knife"),
        ("In which drawer did I place the scissors?", "#C C places the scissors in the drawer"),
        ("In what location did I see the keys?", "#C C sees the keys"),
        ("How many times did I shake the bottle?", "#C C shakes the bottle"),
        ("How many eggs did I crack?", "#C C cracks the eggs"),
        ("Did I turn off the lamp?", "#C C turns off the lamp"),
        ("Where is the phone?", "#C C the phone"),
        ("Where was the cup before I washed it?", "#C C the cup"),
        ("I wash my hands", "#C C washes my hands"),
        ("picks up the red cup", "#C C picks up the red cup"),
        ("#O man X opens a door", "#O man X opens a door"),
        ("  ", ""),
    ],
)
def test_a_question_becomes_the_narration_that_answers_it(question, narration):
    assert as_narration(question) == narration


@pytest.mark.parametrize(
    ("verb", "form"), [("put", "puts"), ("wash", "washes"), ("carry", "carries"), ("play", "plays"), ("go", "goes")]
)
def test_third_person_follows_english_spelling(verb, form):
    assert third_person(verb) == form
