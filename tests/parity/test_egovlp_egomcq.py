import numpy as np
import pytest
from egovlp_cases import case_name, find_cases

from playhead.data.egomcq import KIND_OF_TYPE
from playhead.metrics.choice import multiple_choice_accuracy

CASES = find_cases("d_egomcq*.npz")


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_accuracy_by_kind_is_the_recorded_accuracy_by_type(case):
    recorded = np.load(case)
    types = recorded["type"]
    kinds = [KIND_OF_TYPE[int(number)] for number in types]
    scores = multiple_choice_accuracy(recorded["sims"], recorded["answer"], kinds)
    for number in np.unique(types):
        assert scores[KIND_OF_TYPE[int(number)]] == pytest.approx(float(recorded[f"acc_type{number}"]), abs=1e-9)
        assert scores[f"questions_{KIND_OF_TYPE[int(number)]}"] == (types == number).sum()


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_the_released_names_are_ours_swapped(case):
    recorded = np.load(case)
    kinds = [KIND_OF_TYPE[int(number)] for number in recorded["type"]]
    scores = multiple_choice_accuracy(recorded["sims"], recorded["answer"], kinds)
    if {"ref_named_inter", "ref_named_intra"} <= set(recorded.files):
        assert scores["intra"] == pytest.approx(float(recorded["ref_named_inter"]), abs=1e-9)
        assert scores["inter"] == pytest.approx(float(recorded["ref_named_intra"]), abs=1e-9)


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_questions_of_one_kind_keep_their_own_name(case):
    recorded = np.load(case)
    intra = recorded["type"] == 2
    scores = multiple_choice_accuracy(recorded["sims"][intra], recorded["answer"][intra], ["intra"] * int(intra.sum()))
    assert scores.keys() == {"intra", "questions_intra"}
    assert scores["intra"] == pytest.approx(float(recorded["acc_type2"]), abs=1e-9)


def test_there_are_cases():
    assert CASES
