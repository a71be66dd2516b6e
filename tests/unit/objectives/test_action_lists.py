from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from playhead.objectives.action_lists import action_lists, only_own
from playhead.objectives.ego_nce import action_positives

SHARES = ("noun_and_verb", "noun", "verb")


def some_tags(num_rows, num_tags, share_set, seed):
    drawn = torch.rand(num_rows, num_tags, generator=torch.Generator().manual_seed(seed))
    return drawn < share_set


def as_matrix(lists, block_rows):
    """Collect the positives block by block, each set exactly once."""
    matrix = torch.zeros(len(lists), len(lists), dtype=torch.int64)
    for first in range(0, len(lists), block_rows):
        last = min(first + block_rows, len(lists))
        places = lists.positives(first, last)
        assert (places.diff() > 0).all()
        matrix[first:last].view(-1)[places] += 1
    return matrix


@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(1, 17),
    num_nouns=st.integers(0, 5),
    num_verbs=st.integers(0, 4),
    share_set=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    block_rows=st.integers(1, 20),
    share=st.sampled_from(SHARES),
    seed=st.integers(0, 10_000),
)
def test_lists_say_what_the_matrix_says(num_rows, num_nouns, num_verbs, share_set, block_rows, share, seed):
    nouns, verbs = some_tags(num_rows, num_nouns, share_set, seed), some_tags(num_rows, num_verbs, share_set, seed + 1)
    found = as_matrix(action_lists(nouns, verbs, share), block_rows)
    assert torch.equal(found, action_positives(nouns, verbs, share).long())


def test_a_noun_of_one_row_and_a_verb_of_another_do_not_make_an_action():
    # 0 "cut onion", 1 "cut carrot", 2 "peel onion", 3 "cut onion, peel carrot", 4 no tags, 5 a verb alone
    nouns = torch.tensor([[1, 0], [0, 1], [1, 0], [1, 1], [0, 0], [0, 0]], dtype=torch.bool)
    verbs = torch.tensor([[1, 0], [1, 0], [0, 1], [1, 1], [0, 0], [1, 0]], dtype=torch.bool)
    pairs = as_matrix(action_lists(nouns, verbs), 4).nonzero().tolist()
    assert {(i, k) for i, k in pairs if i < k} == {(0, 3), (1, 3), (2, 3)}


def test_without_actions_each_row_has_itself():
    assert torch.equal(as_matrix(only_own(5), 2), torch.eye(5, dtype=torch.int64))


def test_another_word_for_what_is_shared_is_refused():
    word: Any = "nouns"
    with pytest.raises((ValueError, TypeCheckError), match="share"):
        action_lists(torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool), word)
