import os
import shutil

import numpy as np
import pytest

from playhead.apps.index import VideoIndex
from playhead.apps.search import relevance, search
from playhead.apps.windows import WindowSettings
from playhead.errors import SearchError
from playhead.types import Span
from playhead.weights.bundle import load_bundle


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_video):
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "a.mp4", [("green", 6), ("red", 3), ("green", 6)])
    make_video(folder / "b.mp4", [("blue", 4), ("green", 4), ("blue", 4)])
    make_video(folder / "c.mp4", [("green", 5), ("blue", 2), ("green", 5), ("blue", 3), ("green", 5)])
    return folder


@pytest.fixture(scope="module")
def index(tmp_path_factory, bundle, videos):
    index = VideoIndex.create(tmp_path_factory.mktemp("search") / "index", bundle)
    index.update([videos], bundle)
    return index


def told(moments):
    return [(os.path.basename(moment.video_id), moment.span) for moment in moments]


def test_the_first_moment_is_where_the_colour_is_shown(index, bundle):
    moments = search(index, bundle, "red", top=1)
    assert told(moments) == [("a.mp4", Span(6.0, 9.0))]
    assert moments[0].score == pytest.approx(1.0, abs=0.02)
    assert moments[0].label == "red"


def test_all_moments_of_a_colour_come_before_all_others(index, bundle):
    found = told(search(index, bundle, "blue", top=4))
    assert sorted(found) == [
        ("b.mp4", Span(0.0, 4.0)),
        ("b.mp4", Span(8.0, 12.0)),
        ("c.mp4", Span(5.0, 7.0)),
        ("c.mp4", Span(12.0, 15.0)),
    ]


def test_overlapping_windows_find_the_same_moment_once(tmp_path, bundle, videos):
    dense = VideoIndex.create(tmp_path / "dense", bundle, WindowSettings(stride=1))
    dense.update([videos], bundle)
    found = told(search(dense, bundle, "red", top=3))
    assert found[0][0] == "a.mp4"
    assert found[0][1].iou(Span(6.0, 9.0)) > 0.7
    assert [name for name, span in found if Span(5.0, 10.0).overlap(span)].count("a.mp4") == 1


def test_the_order_of_the_answers_is_always_the_same_and_top_cuts_it(index, bundle):
    all_moments = search(index, bundle, "green", top=50)
    assert all_moments == search(index, bundle, "green", top=50)
    order = [(-moment.score, moment.video_id, moment.span.start) for moment in all_moments]
    assert order == sorted(order)
    for top in (1, 2, 3, 5):
        assert search(index, bundle, "green", top=top) == all_moments[:top]


def test_equal_scores_come_in_order_of_path_and_time(tmp_path, bundle, make_video):
    for name in ("z", "m", "a"):
        path = make_video(tmp_path / "v" / f"{name}.mp4", [("red", 2), ("blue", 2), ("red", 2)])
        with open(path, "ab") as file:
            file.write(name.encode())  # other content, the same pictures
    index = VideoIndex.create(tmp_path / "index", bundle)
    index.update([tmp_path / "v"], bundle)
    moments = search(index, bundle, "blue", top=3)
    assert len({moment.score for moment in moments}) == 1
    assert told(moments) == [(name, Span(2.0, 4.0)) for name in ("a.mp4", "m.mp4", "z.mp4")]


def test_copies_of_one_file_give_one_answer(tmp_path, bundle, videos):
    shutil.copytree(videos, tmp_path / "v")
    shutil.copy(videos / "a.mp4", tmp_path / "v" / "copy.mp4")
    index = VideoIndex.create(tmp_path / "index", bundle)
    index.update([tmp_path / "v"], bundle)
    found = [moment for moment in search(index, bundle, "red", top=5) if moment.score > 0.9]
    assert told(found) == [("a.mp4", Span(6.0, 9.0))]
    times, _ = relevance(index, bundle, "red", tmp_path / "v" / "copy.mp4")
    assert len(times) == 15


def test_a_small_top_gives_the_same_as_ranking_every_moment_of_every_video(tmp_path, bundle, make_video):
    generator = np.random.default_rng(0)
    for number in range(12):
        shots = [
            (str(generator.choice(["red", "green", "blue", "gray"])), 1 + 0.5 * generator.integers(4)) for _ in "12345"
        ]
        make_video(tmp_path / "v" / f"v{number}.mp4", shots)
    index = VideoIndex.create(tmp_path / "index", bundle)
    index.update([tmp_path / "v"], bundle)
    for text in ("red", "green blue"):
        everything = search(index, bundle, text, top=10_000)
        assert len(everything) > 12
        assert search(index, bundle, text, top=4) == everything[:4]


def test_the_relevance_curve_is_high_where_the_colour_is(index, bundle, videos):
    times, scores = relevance(index, bundle, "red", videos / "a.mp4")
    assert times.tolist() == [second + 0.5 for second in range(15)]
    assert set(np.flatnonzero(scores > 0.9)) == {6, 7, 8}


def test_a_long_query_is_cut_and_not_refused(index, bundle):
    moments = search(index, bundle, "red " * 10_000, top=1)
    assert told(moments) == [("a.mp4", Span(6.0, 9.0))]


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_query_is_refused(index, bundle, text):
    with pytest.raises(SearchError, match="empty"):
        search(index, bundle, text)


def test_a_video_that_is_not_in_the_index_is_named(index, bundle, tmp_path):
    with pytest.raises(SearchError, match=r"other\.mp4.*does not hold"):
        relevance(index, bundle, "red", tmp_path / "other.mp4")


def test_another_model_may_not_ask(index, make_bundle, tmp_path):
    other = load_bundle(make_bundle(tmp_path / "other", dust=0.01))
    with pytest.raises(SearchError, match="the index holds vectors of model"):
        search(index, other, "red")


def test_an_empty_index_answers_nothing(tmp_path, bundle):
    assert search(VideoIndex.create(tmp_path / "empty", bundle), bundle, "red") == []


def test_no_answers_cannot_be_asked_for(index, bundle):
    with pytest.raises(ValueError, match="top"):
        search(index, bundle, "red", top=0)
