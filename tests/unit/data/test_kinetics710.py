import pytest

from playhead.data.kinetics import KineticsRow
from playhead.data.kinetics710 import current_name, head_rows, merge_kinetics, published_classes
from playhead.errors import AnnotationError


def row(name, label="abseiling", split="train"):
    return KineticsRow(label, name, 0, 10, split)


def sets(**changes):
    plain = {
        "k400": {"train": [row("a", "tying tie"), row("b")], "val": [row("v4", split="val")]},
        "k600": {"train": [row("a", "tying tie"), row("c")], "val": [row("v6", split="val")]},
    }
    return plain | changes


def test_each_video_is_kept_once_under_todays_name_of_its_class():
    merged = merge_kinetics(sets())
    assert [(one.youtube_id, one.label) for one in merged.train] == [
        ("a", "tying necktie"),
        ("b", "abseiling"),
        ("c", "abseiling"),
    ]
    assert [one.youtube_id for one in merged.val] == ["v4", "v6"]
    assert merged.left_out == {"train rows of videos that stand there already": 1}


def test_no_video_is_trained_on_that_any_set_validates_or_tests_with():
    k600 = {"train": [row("c"), row("v4"), row("t6")], "val": [row("v6"), row("t4")], "test": [row("t6")]}
    k400 = {"train": [row("v6"), row("b")], "val": [row("v4")], "test": [row("t4")]}
    merged = merge_kinetics({"k400": k400, "k600": k600})
    assert {one.youtube_id for one in merged.train} == {"b", "c"}
    assert {one.youtube_id for one in merged.val} == {"v4", "v6"}
    assert merged.left_out == {
        "training videos that another set validates with": 2,
        "training videos that another set tests with": 1,
        "validation videos that another set tests with": 1,
    }


def test_of_a_video_whose_class_changed_the_newest_set_counts():
    k600 = {"train": [row("a", "abseiling")], "val": [row("v6")]}
    merged = merge_kinetics(sets(k600=k600))
    assert merged.train[0].label == "abseiling"
    assert merged.left_out["train videos whose class changed, the newest taken"] == 1


def test_a_class_that_the_published_order_lacks_is_left_out_and_any_other_is_an_error():
    k600 = {"train": [row("d", "chopping vegetables")], "val": [row("v6")]}
    merged = merge_kinetics(sets(k600=k600))
    assert merged.left_out["train rows of the class 'chopping vegetables', which the published order lacks"] == 1
    with pytest.raises(AnnotationError, match="class 'flying' is none of Kinetics-710"):
        merge_kinetics(sets(k600={"train": [row("d", "flying")], "val": [row("v6")]}))
    with pytest.raises(AnnotationError, match="k600 has no rows of 'val'"):
        merge_kinetics(sets(k600={"train": [row("d")]}))


def test_heads_are_matched_by_name_whatever_the_order():
    source = ["walk", "tying necktie", "run"]
    assert head_rows(source, ["run", "tying tie", "fly", "walk"]) == [2, 1, None, 0]


def test_the_alphabetical_list_of_kinetics_400_finds_every_class():
    alphabetical = sorted(published_classes("k400"))
    rows = head_rows(published_classes("k710"), alphabetical)
    assert None not in rows and len(set(rows)) == 400
    assert [published_classes("k710")[place] for place in rows] == alphabetical


def test_two_old_names_follow_the_table_and_not_the_published_map():
    assert current_name("hugging") == "hugging (not baby)"
    assert current_name("opening bottle") == "opening bottle (not wine)"
    assert current_name("throwing ball") == "throwing ball"  # a class of its own in the published order
