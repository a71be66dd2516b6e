"""Which rows tell of the same action, as lists of rows and never as an N x N matrix."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class ActionLists:
    """The actions of each row and the rows of each action, both as one list with the places where its parts begin.

    Row i has the actions `actions[action_starts[i] : action_starts[i + 1]]`; action a was told by the rows
    `rows[row_starts[a] : row_starts[a + 1]]`. A row without actions is a positive of itself alone.
    """

    actions: Int[Tensor, " A"]
    action_starts: Int[Tensor, " N_1"]
    rows: Int[Tensor, " A"]
    row_starts: Int[Tensor, " K_1"]

    def __len__(self) -> int:
        return len(self.action_starts) - 1

    def positives(self, first: int, last: int) -> Int[Tensor, " P"]:
        """Return where the positives of rows `first` to `last - 1` lie in their block of the matrix.

        A place is `(i - first) * N + k` for clip i and narration k; places rise, and each comes once.
        """
        num_rows, device = len(self), self.actions.device
        begin, end = self.action_starts[[first, last]].tolist()
        lengths = torch.diff(self.action_starts[first : last + 1])
        of_row = torch.repeat_interleave(torch.arange(last - first, device=device), lengths, output_size=end - begin)
        actions = self.actions[begin:end]
        entry, at = _ragged(self.row_starts[actions], torch.diff(self.row_starts)[actions])
        shared = of_row[entry] * num_rows + self.rows[at]
        own = torch.arange(last - first, device=device) * (num_rows + 1) + first
        return torch.unique(torch.cat([shared, own]))  # two rows may share several actions


def action_lists(
    nouns: Bool[Tensor, "N Kn"],
    verbs: Bool[Tensor, "N Kv"],
    share: Literal["noun_and_verb", "noun", "verb"] = "noun_and_verb",
) -> ActionLists:
    """List who shares a noun and a verb, or only the one named; the positives are those of `action_positives`.

    `nouns` and `verbs` are multi-hot over the taxonomy. To share a noun and a verb is to share a pair of both, so the
    actions of a row are all pairs of its nouns with its verbs.

    Raises:
        ValueError: `share` is none of the three.

    Source: EgoVLP (Lin et al., 2022), section 4.2.
    """
    if share == "noun":
        rows, tags = nouns.nonzero(as_tuple=True)
    elif share == "verb":
        rows, tags = verbs.nonzero(as_tuple=True)
    elif share == "noun_and_verb":
        rows, tags = _pairs_of_tags(nouns, verbs)
    else:
        raise ValueError(f"`share` must be 'noun_and_verb', 'noun' or 'verb', got {share!r}.")
    return _listed(rows, tags, num_rows=len(nouns))


def only_own(num_rows: int, device: torch.device | str = "cpu") -> ActionLists:
    """List rows of which each is a positive of itself alone: EgoNCE with these lists is InfoNCE."""
    nothing = torch.zeros(0, dtype=torch.int64, device=device)
    return _listed(nothing, nothing, num_rows)


def _pairs_of_tags(nouns: Tensor, verbs: Tensor) -> tuple[Tensor, Tensor]:
    noun_rows, noun_tags = nouns.nonzero(as_tuple=True)
    verb_tags, verb_counts = verbs.nonzero(as_tuple=True)[1], verbs.sum(dim=1)
    verb_starts = verb_counts.cumsum(0) - verb_counts
    entry, at = _ragged(verb_starts[noun_rows], verb_counts[noun_rows])
    return noun_rows[entry], noun_tags[entry] * verbs.shape[1] + verb_tags[at]


def _listed(rows: Tensor, tags: Tensor, num_rows: int) -> ActionLists:
    """Make both lists of the entries (row, tag), which come row by row; tags may be any whole numbers."""
    actions = torch.unique(tags, return_inverse=True)[1]
    num_actions = int(actions.max()) + 1 if len(actions) else 0
    order = torch.argsort(actions, stable=True)
    return ActionLists(actions, _starts(rows, num_rows), rows[order], _starts(actions, num_actions))


def _starts(owners: Tensor, num_owners: int) -> Tensor:
    """Return where each owner's entries begin, and where the last one's end."""
    ends = torch.bincount(owners, minlength=num_owners).cumsum(0)
    return torch.cat([ends.new_zeros(1), ends])


def _ragged(starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return every place of the ranges `starts[e] .. starts[e] + lengths[e]`, one after the other: first all e."""
    ends = lengths.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    entry = torch.repeat_interleave(torch.arange(len(lengths), device=starts.device), lengths, output_size=total)
    return entry, torch.arange(total, device=starts.device) + (starts - ends + lengths)[entry]
