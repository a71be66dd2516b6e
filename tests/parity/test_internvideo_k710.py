import json

import pytest
from recognition_cases import case_name, find_cases

from playhead.data.kinetics710 import current_name, head_rows, published_classes

CASES = find_cases("*k710_label_maps.json")
SETS = ("k400", "k600", "k700")


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_the_packaged_order_is_the_published_one(case):
    recorded = json.loads(case.read_text())
    assert list(published_classes("k710")) == recorded["opengvlab_k710_names"]
    for name in SETS:
        assert list(published_classes(name)) == recorded[f"opengvlab_{name}_names"]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_rows_found_by_class_name_are_those_of_the_published_maps(case, name):
    recorded = json.loads(case.read_text())
    source, target = recorded["opengvlab_k710_names"], recorded[f"opengvlab_{name}_names"]
    assert head_rows(source, target) == recorded[f"opengvlab_{name.replace('k', '710to')}"]


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_renamed_classes_have_the_recorded_names(case):
    recorded = json.loads(case.read_text())
    classes = recorded["opengvlab_k710_names"]
    for old, new in recorded["opengvlab_identical_label_merge"].items():
        assert current_name(old) == (old if old in classes else new)


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_the_other_published_order_is_translated_but_for_the_class_that_the_first_lacks(case):
    recorded = json.loads(case.read_text())
    ours, theirs = recorded["opengvlab_k710_names"], recorded["mmaction2_k710_names"]
    rows = head_rows(ours, theirs)
    lacking = [name for name, row in zip(theirs, rows, strict=True) if row is None]
    assert lacking == sorted(set(theirs) - set(ours))
    assert all(ours[row] == current_name(name) for name, row in zip(theirs, rows, strict=True) if row is not None)
