import pytest
import torch
from torch.testing import assert_close

from playhead.decoding.language_spans import rank_cells, spans_in_seconds, top_spans


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def best_of_all_runs(start, end, num_rows, top):
    """Every run of one sample with its probability, best first, earlier rows first of equals."""
    start, end = start[:num_rows].softmax(dim=0), end[:num_rows].softmax(dim=0)
    runs = [(float(start[i] * end[j]), i, j) for i in range(num_rows) for j in range(i, num_rows)]
    return sorted(runs, key=lambda run: (-round(run[0], 12), run[1], run[2]))[:top]


def lengths_to_mask(lengths, num_rows):
    return torch.arange(num_rows) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("top", [1, 5, 40])
@pytest.mark.parametrize("seed", range(10))
def test_the_best_runs_are_those_of_a_search_through_all(seed, top):
    lengths = [12, 7, 3, 1]
    start, end = noise(4, 12, seed=seed) * 3, noise(4, 12, seed=seed + 99) * 3
    ranked = top_spans(start, end, lengths_to_mask(lengths, 12), top)
    for sample, num_rows in enumerate(lengths):
        expected = best_of_all_runs(start[sample], end[sample], num_rows, top)
        found = ranked.found[sample]
        assert found.tolist() == [True] * len(expected) + [False] * (top - len(expected))
        assert ranked.first[sample, found].tolist() == [first for _, first, _ in expected]
        assert ranked.last[sample, found].tolist() == [last for _, _, last in expected]
        assert_close(ranked.scores[sample, found], torch.tensor([score for score, _, _ in expected]))
        assert (ranked.scores[sample, ~found] == 0).all()


@pytest.mark.parametrize("seed", range(10))
def test_of_equal_runs_the_earlier_goes_first(seed):
    start, end = (torch.randint(0, 3, (1, 9), generator=torch.Generator().manual_seed(s)) for s in (seed, seed + 50))
    ranked = top_spans(start.double(), end.double(), lengths_to_mask([9], 9), 12)
    expected = best_of_all_runs(start[0].double(), end[0].double(), 9, 12)
    assert ranked.first[0].tolist() == [first for _, first, _ in expected]
    assert ranked.last[0].tolist() == [last for _, _, last in expected]


def test_a_sure_network_still_ranks_what_float32_cannot_tell_from_zero():
    start, end = torch.tensor([[0.0, -400.0, -500.0]]), torch.tensor([[0.0, -300.0, -200.0]])
    ranked = top_spans(start, end, lengths_to_mask([3], 3), 4)
    assert list(zip(ranked.first[0].tolist(), ranked.last[0].tolist(), strict=True)) == [(0, 0), (0, 2), (0, 1), (1, 2)]
    assert ranked.found.all()


def test_scores_under_masks_of_minus_1e30_are_as_without_the_padding():
    start, end = noise(1, 5), noise(1, 5, seed=1)
    padded = [torch.nn.functional.pad(logits, (0, 4), value=-1e30) for logits in (start, end)]
    alone, among = top_spans(start, end, lengths_to_mask([5], 5)), top_spans(*padded, lengths_to_mask([5], 9))
    assert torch.equal(alone.first, among.first)
    assert torch.equal(alone.last, among.last)
    assert_close(alone.scores, among.scores)


def test_no_answer_is_asked_for_or_possible():
    with pytest.raises(ValueError, match="`top` must be at least 1, got 0"):
        top_spans(noise(1, 4), noise(1, 4), lengths_to_mask([4], 4), 0)
    with pytest.raises(ValueError, match="sample 1 has no real row"):
        top_spans(noise(2, 4), noise(2, 4), lengths_to_mask([4, 0], 4))


def test_rows_become_seconds_of_their_own_sample():
    start = torch.tensor([[9.0, 0, 0, 0], [0, 0, 9.0, -1e30]])
    end = torch.tensor([[0, 9.0, 0, 0], [0, 0, 9.0, -1e30]])
    ranked = top_spans(start, end, lengths_to_mask([4, 3], 4), 1)
    seconds = spans_in_seconds(ranked, torch.tensor([4, 3]), torch.tensor([10.0, 10.0]))
    assert_close(seconds[:, 0], torch.tensor([[0.0, 5.0], [20 / 3, 10.0]], dtype=torch.float64), atol=1e-6, rtol=0)


def test_cells_are_ranked_by_score_and_then_by_time():
    cells = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 1]]) > 0
    logits = torch.tensor([[[0.0, 2.0, 99.0], [99.0, 2.0, -1.0], [99.0, 99.0, 3.0]]])
    spans, scores = rank_cells(logits, cells, 6.0)
    assert spans.tolist() == [[[4.0, 6.0], [0.0, 4.0], [2.0, 4.0], [0.0, 2.0], [2.0, 6.0]]]
    assert_close(scores, torch.tensor([[3.0, 2.0, 2.0, 0.0, -1.0]]).sigmoid())
