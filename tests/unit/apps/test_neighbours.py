"""An index of more windows than are scanned one by one must answer as the one that scans them."""

import numpy as np
import pytest

from playhead.apps import neighbours
from playhead.apps.calibration import Calibration, calibrate
from playhead.apps.matrix import MARGIN, LargeWindows, WindowMatrix, load_matrix, load_windows
from playhead.apps.neighbours import keep_up, nearest, one_of
from playhead.apps.place import find_place
from playhead.apps.search import Asked, _best_moments
from playhead.apps.store import IndexSettings, IndexStore, VideoRow

WIDTH, VIDEOS, WINDOWS = 16, 12, 250


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def add_video(store, name, seed, number=WINDOWS):
    """A video of `number` windows whose vectors wander, so that neighbours are alike, as in a film."""
    generator = np.random.default_rng(seed)
    steps = generator.standard_normal((number, WIDTH)) * 0.3
    rows = unit(np.cumsum(steps, axis=0) + generator.standard_normal(WIDTH))
    starts = np.arange(number) * 0.5
    store.add_windows(f"id_{name}", np.stack([starts, starts + 1.0], axis=1), rows)
    row = VideoRow(f"/v/{name}", f"id_{name}", "/v", 1, 1, "done", duration=number / 2, num_windows=number)
    store.put_videos([row], are_new=True)


@pytest.fixture
def store(tmp_path):
    place = find_place(tmp_path / "index")
    place.make()
    store = IndexStore.create(place, IndexSettings(model="m", width=WIDTH, num_frames=4, fps=4.0, stride=2))
    for number in range(VIDEOS):
        add_video(store, f"{number:02}.mp4", number)
    return store


@pytest.fixture
def queries():
    return unit(np.random.default_rng(99).standard_normal((20, WIDTH)))


def nothing_known(texts):
    return unit(np.random.default_rng(7).standard_normal((len(texts), WIDTH)))


def told(found):
    return [(one.video, one.span, pytest.approx(one.standing, abs=1e-4)) for one in found]


def test_no_approximate_index_is_made_of_few_windows(store):
    assert not keep_up(store.windows)
    assert not store.coverage().exists
    assert isinstance(load_windows(store, exact_up_to=100), WindowMatrix)  # since there is no index to ask


def test_a_large_index_finds_the_moments_that_scoring_every_window_finds(store, queries):
    assert keep_up(store.windows, exact_up_to=100)
    large, exact = load_windows(store, exact_up_to=100), load_matrix(store)
    assert isinstance(large, LargeWindows)
    calibration = calibrate(exact, nothing_known)
    for query in queries:
        asked = Asked(query[None], 1, calibration)
        expected = _best_moments(exact, asked, None, 5, 0.5)
        found = _best_moments(large, asked, None, 5, 0.5)
        # The video's background is estimated from some of its windows, so ends may differ by a little.
        assert told(found)[0][::2] == told(expected)[0][::2]
        assert found[0].span.iou(expected[0].span) > 0.75
        assert {one.video for one in found} & {one.video for one in expected}


def test_vectors_and_background_of_a_large_index_are_those_of_the_exact_one(store):
    keep_up(store.windows, exact_up_to=100)
    large, exact = load_windows(store, exact_up_to=100), load_matrix(store)
    wanted = np.array([0, 1, 249, 250, 1777, VIDEOS * WINDOWS - 1])
    np.testing.assert_array_equal(large.read(wanted), exact.vectors[wanted])
    ours, theirs = calibrate(large, nothing_known), calibrate(exact, nothing_known)
    assert ours.best == pytest.approx(theirs.best, abs=0.02)
    np.testing.assert_array_equal(ours.sample, theirs.sample)


def test_stretches_lie_around_the_best_windows_and_within_their_video(store, queries):
    keep_up(store.windows, exact_up_to=100)
    large, exact = load_windows(store, exact_up_to=100), load_matrix(store)
    stretches = large.stretches(queries[:1], 1, None, 10)
    best = np.argsort(-(exact.vectors @ queries[0]))[:10]
    covered = np.concatenate([np.arange(stretch.first, stretch.stop) for stretch in stretches])
    assert len(np.intersect1d(best, covered)) >= 9
    assert len(np.unique(covered)) == len(covered) <= 10 * (2 * MARGIN + 1)
    for stretch in stretches:
        assert set(exact.times.video_of(np.arange(stretch.first, stretch.stop)).tolist()) == {stretch.video}
        expected = exact.vectors[stretch.first : stretch.stop] @ queries[:1].T
        np.testing.assert_allclose(stretch.scores, expected, atol=1e-5)


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_a_filter_is_applied_before_the_search(store, queries, share):
    keep_up(store.windows, exact_up_to=100)
    large = load_windows(store, exact_up_to=100)
    allowed = np.arange(VIDEOS) < share * VIDEOS
    for query in queries:
        stretches = large.stretches(query[None], 1, allowed, 8)
        assert stretches and all(allowed[stretch.video] for stretch in stretches)


def test_rows_added_later_are_found_at_once_and_taken_in_without_a_rebuild(store):
    keep_up(store.windows, exact_up_to=100)
    before = store.coverage()
    add_video(store, "new.mp4", seed=1000, number=200)
    assert (before.unindexed, store.coverage().unindexed) == (0, 200)
    large, exact = load_windows(store, exact_up_to=100), load_matrix(store)
    place = large.times.paths.index("/v/new.mp4")
    target = exact.vectors[exact.offsets[place] + 100]
    ((row_ids, scores),) = nearest(store.windows, target[None], 1)
    assert large._numbers(row_ids).tolist() == [int(exact.offsets[place]) + 100]
    assert scores[0] == pytest.approx(1.0, abs=1e-4)
    assert keep_up(store.windows, exact_up_to=100)
    assert store.coverage().unindexed == 0
    assert not keep_up(store.windows, exact_up_to=100)


def test_recall_of_ten_neighbours_is_nearly_complete(store, queries):
    keep_up(store.windows, exact_up_to=100)
    large, exact = load_windows(store, exact_up_to=100), load_matrix(store)
    found = 0
    for query, (row_ids, _) in zip(queries, nearest(store.windows, queries, 10), strict=True):
        best = np.argsort(-(exact.vectors @ query), kind="stable")[:10]
        found += len(np.intersect1d(best, large._numbers(row_ids)))
    assert found >= 0.99 * 10 * len(queries)


def test_an_index_with_an_approximate_one_still_follows_its_files(store, tmp_path, monkeypatch):
    monkeypatch.setattr(neighbours, "EXACT_UP_TO", 100)
    assert store.keep_neighbours()
    store.delete_videos(["/v/00.mp4"])
    store.repair()
    times = load_windows(store, exact_up_to=100).times
    assert "/v/00.mp4" not in times.paths
    assert len(times) == (VIDEOS - 1) * WINDOWS


def test_names_with_quotes_do_not_end_a_condition():
    assert one_of("path", ["it's", "b"], negated=True) == "path NOT IN ('it''s', 'b')"


def test_calibration_of_nothing_is_no_error():
    empty = Calibration(np.zeros((0, WIDTH), np.float32), 0.0, 1.0, 0.0, 1.0)
    assert empty.background(np.zeros(0, np.float32)).standing(np.array([1.0])) == 1.0
    assert empty.confidence(0.0) == 0.5
