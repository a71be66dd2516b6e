import numpy as np
import pytest

from playhead.data.stitching import Stitching

SMALL = Stitching(num_steps=100, short_ratio=0.3, gap=5)


def ramp(num_rows):
    """Features that say in two channels at which step of the clip their middle is."""
    middles = np.arange(num_rows, dtype=np.float32) + 0.5
    return np.stack([middles, 2 * middles], axis=1)


def test_a_clip_stands_beside_its_copy():
    clip = SMALL.stitch(ramp(20))
    assert clip.features.shape == (100, 2)
    assert (clip.own, clip.gap, clip.magnified) == (20, 5, 75)
    np.testing.assert_array_equal(clip.features[:20], ramp(20))
    assert not clip.features[20:25].any()
    assert np.flatnonzero(~clip.mask).tolist() == [20, 21, 22, 23, 24]


def test_the_copy_shows_at_each_step_what_the_clip_shows_at_that_time():
    clip = SMALL.stitch(ramp(20))
    middles = np.arange(25, 100) + 0.5
    times = clip.unstitch(np.stack([middles, middles], axis=1))[:, 0]
    # Beyond the middles of the first and last step there is nothing to mix with.
    np.testing.assert_allclose(clip.features[25:, 0], times.clip(0.5, 19.5), rtol=1e-5)


def test_boxes_stand_twice_and_come_back():
    clip, boxes = SMALL.stitch(ramp(20)), np.array([[2.0, 5.5], [0.0, 16.0]])
    twice = clip.repeat(boxes)
    assert twice[:2].tolist() == boxes.tolist()
    assert twice[2].tolist() == [25 + 2 * 3.75, 25 + 5.5 * 3.75]
    np.testing.assert_allclose(clip.unstitch(twice), np.concatenate([boxes, boxes]))


def test_boxes_do_not_leave_their_part():
    clip = SMALL.stitch(ramp(20))
    assert clip.repeat(np.array([[-3.0, 30.0]])).tolist() == [[0, 19], [25, 99]]


@pytest.mark.parametrize("own", [1, 30])
def test_the_shortest_and_the_longest_clip_fill_the_input(own):
    clip = SMALL.stitch(ramp(own))
    assert clip.own + clip.gap + clip.magnified == 100
    assert np.isfinite(clip.features).all()


@pytest.mark.parametrize("own", [0, 31])
def test_a_clip_that_is_not_short_is_refused(own):
    with pytest.raises(ValueError, match="only 1 to 30"):
        SMALL.stitch(ramp(own))


def test_a_short_clip_is_one_window():
    boxes = np.array([[1.0, 4.0]])
    assert SMALL.training_windows(30, boxes, seed=0) == [(0, 30)]
    assert SMALL.answer_windows(30) == [(0, 30)]


@pytest.mark.parametrize("seed", range(30))
def test_every_short_segment_of_a_long_clip_is_whole_in_a_short_window(seed):
    generator = np.random.default_rng(seed)
    starts = generator.uniform(0, 190, 8)
    boxes = np.stack([starts, np.minimum(starts + generator.exponential(15, 8), 199)], axis=1)
    whole, *windows = SMALL.training_windows(200, boxes, seed=seed)
    assert whole == (0, 200)
    assert all(0 <= first < last <= 200 and last - first <= SMALL.longest for first, last in windows)
    for start, end in boxes[boxes[:, 1] - boxes[:, 0] <= SMALL.longest - 1]:
        assert any(first <= start and end <= last for first, last in windows)
    assert SMALL.training_windows(200, boxes, seed=seed)[1:] == windows


@pytest.mark.parametrize("seed", range(30))
def test_windows_cut_no_segment_where_segments_are_apart(seed):
    generator = np.random.default_rng(seed)
    ends = np.sort(generator.integers(0, 200, 12)).astype(float)
    boxes = ends.reshape(6, 2)
    for first, last in SMALL.training_windows(200, boxes, seed=seed):
        sticking_out = [(s, e) for s, e in boxes if s < first < e or s < last < e]
        assert sticking_out == []


def test_two_neighbouring_segments_can_share_a_window():
    windows = {
        tuple(SMALL.training_windows(200, np.array([[50.0, 52.0], [53.0, 54.0]]), seed=s)[1:]) for s in range(40)
    }
    assert 1 in {len(each) for each in windows}


@pytest.mark.parametrize("num_rows", [31, 45, 99, 100, 101, 257])
def test_answer_windows_of_both_lengths_cover_the_clip(num_rows):
    windows = SMALL.answer_windows(num_rows)
    for length in (100, 30):
        rows = [range(first, last) for first, last in windows if last - first == min(length, num_rows)]
        assert {row for each in rows for row in each} == set(range(num_rows))
    assert len(windows) == len(set(windows))


def test_settings_without_room_are_refused():
    with pytest.raises(ValueError, match="no room to magnify"):
        Stitching(num_steps=100, short_ratio=0.5, gap=5)
    for wrong in ({"gap": 0}, {"short_ratio": 0.0}, {"num_steps": 2}):
        with pytest.raises(ValueError, match="short_ratio"):
            Stitching(**wrong)
