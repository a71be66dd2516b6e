import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from playhead.data.feature_files import FeatureSet, TimeBase, official_rows
from playhead.errors import AnnotationError

PAPER = TimeBase(7.48, 4, 4)
OFFICIAL = TimeBase(30, 16, 16)


def numbered(num_rows: int, width: int = 3, first: int = 1) -> torch.Tensor:
    """Rows that carry their number, from `first` on."""
    return torch.arange(first, first + num_rows, dtype=torch.float32)[:, None].expand(-1, width).contiguous()


def features(folder: Path, time: TimeBase = OFFICIAL, **settings) -> FeatureSet:
    return FeatureSet(folders=(folder,), time=time, **settings)


def test_rows_are_where_a_drawing_puts_them():
    time = TimeBase(30, 4, 3, offset=1.0)  # rows see frames 0..3, 3..6, 6..9 of a stream that begins at 1 s
    assert time.start_of(2) == pytest.approx(1 + 6 / 30)
    assert time.end_of(2) == pytest.approx(1 + 10 / 30)
    assert time.center_of(2) == pytest.approx(1 + 8 / 30)
    assert time.grid(1 + 8 / 30) == pytest.approx(2)
    assert time.reach_of(3) == pytest.approx(1 + 10 / 30)  # windows overlap: the last one ends later than a next begins
    assert TimeBase(30, 4, 8).reach_of(3) == pytest.approx(24 / 30)  # windows leave gaps: the next row begins at 24


def test_grid_is_actionformers_mapping_of_seconds_to_rows():
    # ActionFormer: t * fps / stride - 0.5 * num_frames / stride
    time, seconds = TimeBase(30, 32, 16), np.linspace(0, 100, 7)
    np.testing.assert_allclose(time.grid(seconds), seconds * 30 / 16 - 0.5 * 32 / 16)
    np.testing.assert_allclose(time.center_of(time.grid(seconds)), seconds, atol=1e-12)
    assert torch.equal(time.start_of(torch.tensor([0.0, 15.0])), torch.tensor([0.0, 8.0]))


@pytest.mark.parametrize("wrong", [{"fps": 0}, {"frames": -1}, {"stride": float("inf")}, {"offset": float("nan")}])
def test_a_time_base_without_meaning_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TimeBase(**{"fps": 30, "frames": 4, "stride": 4, **wrong})


def test_the_official_rule_takes_one_row_more_than_the_seconds_hold():
    # 322.405 * 1.875 = 604.5; 802.442 * 1.875 = 1504.6, and the reference cuts rows 604 to 1504, both included.
    assert official_rows(322.4052305162948, 802.4419045071802) == slice(604, 1505)
    assert official_rows(0.0, 8.0) == slice(0, 16)


def test_a_clips_file_is_given_whole_in_the_time_of_the_clip(tmp_path):
    torch.save(numbered(16), tmp_path / "c.pt")
    found = features(tmp_path).rows_of("v", "c", 100.0, 108.5)
    np.testing.assert_array_equal(found.features, numbered(16).numpy())
    assert found.features.dtype == np.float32
    assert found.time == OFFICIAL
    assert found.missing == 0.0  # 16 rows speak for 8.53 s


def test_a_clip_is_cut_from_its_videos_file_and_its_time_is_moved(tmp_path):
    np.save(tmp_path / "v.npy", numbered(100, first=0).numpy())
    found = features(tmp_path, per="video").rows_of("v", "c", 10.0, 20.0)
    # 10 * 1.875 = 18.75, 20 * 1.875 = 37.5
    assert found.features[:, 0].tolist() == list(range(18, 38))
    assert found.time.start_of(0) == pytest.approx(18 * 16 / 30 - 10.0)
    assert found.time.step == pytest.approx(16 / 30)


def test_rows_may_be_cut_by_their_centres(tmp_path):
    np.save(tmp_path / "v.npy", numbered(100, first=0).numpy())
    found = features(tmp_path, per="video", slicing="centers").rows_of("v", "c", 10.0, 20.0)
    centres = (np.arange(100) + 0.5) * 16 / 30
    assert found.features[:, 0].tolist() == np.flatnonzero((centres >= 10) & (centres < 20)).tolist()
    assert 0 <= found.time.center_of(0) < 16 / 30


def test_a_slice_past_the_videos_last_row_ends_there(tmp_path):
    np.save(tmp_path / "v.npy", numbered(37, first=0).numpy())
    found = features(tmp_path, per="video").rows_of("v", "c", 10.0, 20.0)
    assert found.features[:, 0].tolist() == list(range(18, 37))
    assert found.missing == pytest.approx(20 - 37 * 16 / 30)


def test_several_sets_are_laid_side_by_side(tmp_path):
    for name, rows in (("slowfast", numbered(16, 4)), ("egovlp", numbered(16, 2, first=101))):
        (tmp_path / name).mkdir()
        torch.save(rows, tmp_path / name / "c.pt")
    both = FeatureSet(folders=(tmp_path / "slowfast", tmp_path / "egovlp"), time=OFFICIAL, widths=(4, 2))
    assert both.width == 6
    assert both.rows_of("v", "c", 0.0, 8.5).features[0].tolist() == [1, 1, 1, 1, 101, 101]


def test_sets_that_differ_by_up_to_two_rows_are_cut_to_the_shortest_and_it_is_said(tmp_path):
    for name, num_rows in (("a", 16), ("b", 18), ("c", 19)):
        (tmp_path / name).mkdir()
        torch.save(numbered(num_rows), tmp_path / name / "c.pt")
    near = FeatureSet(folders=(tmp_path / "a", tmp_path / "b"), time=OFFICIAL).rows_of("v", "c", 0.0, 8.5)
    assert (near.features.shape, near.uneven) == ((16, 6), 2)
    with pytest.raises(AnnotationError, match=r"a 16, .*c 19"):
        FeatureSet(folders=(tmp_path / "a", tmp_path / "c"), time=OFFICIAL).rows_of("v", "c", 0.0, 8.5)


def test_the_zero_tail_of_the_released_extractor_is_cut_off_or_kept(tmp_path):
    rows = torch.cat([numbered(894), torch.zeros(3, 3)])  # 897 rows, of which the loop leaves a rest of its batches
    torch.save(rows, tmp_path / "c.pt")
    cut = features(tmp_path, PAPER).rows_of("v", "c", 0.0, 480.0)
    assert (len(cut.features), cut.zero_tail) == (894, 3)
    assert cut.missing == pytest.approx(480 - 894 * 4 / 7.48)
    kept = features(tmp_path, PAPER, zero_tail="keep").rows_of("v", "c", 0.0, 480.0)
    assert (len(kept.features), kept.zero_tail) == (897, 0)


def test_features_far_shorter_than_the_clip_are_an_error_past_the_tolerance(tmp_path):
    torch.save(numbered(16), tmp_path / "c.pt")  # 8.53 s
    assert features(tmp_path).rows_of("v", "c", 0.0, 11.5).missing == pytest.approx(11.5 - 16 * 16 / 30)
    with pytest.raises(AnnotationError, match=r"end 3\.47 s before clip 'c', which lasts 12\.00 s"):
        features(tmp_path).rows_of("v", "c", 0.0, 12.0)
    assert len(features(tmp_path, short_by=10.0).rows_of("v", "c", 0.0, 12.0).features) == 16


def test_features_that_go_on_past_the_clip_are_an_error_past_the_tolerance(tmp_path):
    torch.save(numbered(897), tmp_path / "c.pt")  # 480 s at 1.87 a second, 957 s at half of it
    with pytest.raises(AnnotationError, match=r"go on to 956\.80 s, but clip 'c' lasts 480\.00 s"):
        features(tmp_path, TimeBase(7.5, 8, 8)).rows_of("v", "c", 0.0, 480.0)
    assert len(features(tmp_path, TimeBase(7.5, 4, 4)).rows_of("v", "c", 0.0, 476.0).features) == 897


def test_a_video_that_ends_before_the_clip_begins_is_an_error(tmp_path):
    torch.save(numbered(16), tmp_path / "v.pt")
    with pytest.raises(AnnotationError, match="no row of it is in clip 'c'"):
        features(tmp_path, per="video", short_by=1e9).rows_of("v", "c", 100.0, 108.0)


def test_rows_may_be_spread_evenly_over_the_clip(tmp_path):
    # The released MQ reader: fps = rows / seconds of the clip.
    torch.save(numbered(897), tmp_path / "c.pt")
    time = features(tmp_path, PAPER, spread=True).rows_of("v", "c", 0.0, 480.0).time
    assert time.step == pytest.approx(480 / 897)
    assert time.end_of(896) == pytest.approx(480)


def test_a_video_may_have_a_rate_of_its_own(tmp_path):
    torch.save(numbered(16), tmp_path / "v.pt")
    found = features(tmp_path, per="video", short_by=9.0).rows_of("v", "c", 0.0, 16.0, fps=25.0)
    assert found.time.fps == 25.0


def test_files_may_be_named_by_a_pattern_and_lie_the_other_way_round(tmp_path):
    np.save(tmp_path / "v_abc.npy", numbered(16).numpy().T)
    found = features(tmp_path, file_name="v_{id}", widths=(3,)).rows_of("v", "abc", 0.0, 8.5)
    np.testing.assert_array_equal(found.features, numbered(16).numpy())


def test_a_missing_file_and_two_files_of_one_clip_are_told_apart(tmp_path):
    with pytest.raises(AnnotationError, match="features of clip 'c' asked for, there are none"):
        features(tmp_path).rows_of("v", "c", 0.0, 8.0)
    torch.save(numbered(16), tmp_path / "c.pt")
    np.save(tmp_path / "c.npy", numbered(16).numpy())
    with pytest.raises(AnnotationError, match=r"found c\.pt and c\.npy; keep one"):
        features(tmp_path).rows_of("v", "c", 0.0, 8.0)


def test_a_survey_counts_what_is_odd_and_raises_nothing(tmp_path):
    torch.save(numbered(16), tmp_path / "good.pt")
    torch.save(torch.cat([numbered(14), torch.zeros(2, 3)]), tmp_path / "tail.pt")
    torch.save(torch.full((16, 3), float("nan")), tmp_path / "nan.pt")
    survey = features(tmp_path).survey([("v", name, 0.0, 8.5) for name in ("good", "tail", "nan", "gone")])
    assert survey.num_clips == 4
    assert list(survey.unusable) == ["nan", "gone"]
    assert "feature row 0" in survey.unusable["nan"]
    assert survey.zero_tails == {"tail": 2}
    assert survey.short == {"tail": pytest.approx(8.5 - 14 * 16 / 30)}
    assert survey.lines()[0].startswith("2 of 4 clips have no usable features (first: nan: ")


def test_one_float32_file_is_given_as_a_view_of_the_mapping(tmp_path):
    torch.save(numbered(16), tmp_path / "c.pt")
    first, again = (features(tmp_path).rows_of("v", "c", 0.0, 8.5).features for _ in range(2))
    assert np.shares_memory(first, again)
    torch.from_numpy(first)  # without a warning that it is read-only


def test_half_precision_comes_as_float32(tmp_path):
    torch.save(numbered(16).bfloat16(), tmp_path / "c.pt")
    assert features(tmp_path).rows_of("v", "c", 0.0, 8.5).features.dtype == np.float32


def test_a_feature_set_goes_to_a_worker_as_its_settings(tmp_path):
    torch.save(numbered(16), tmp_path / "c.pt")
    sent = pickle.loads(pickle.dumps(features(tmp_path)))
    assert sent == features(tmp_path)
    assert len(pickle.dumps(sent)) < 1000


@pytest.mark.parametrize(
    "wrong",
    [
        {"folders": ()},
        {"widths": (1, 2)},
        {"file_name": "x"},
        {"per": "video", "spread": True},
        {"uneven": -1},
        {"short_by": -1.0},
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError):
        FeatureSet(**{"folders": (tmp_path,), "time": OFFICIAL, **wrong})


def test_the_width_is_unknown_where_it_is_not_given(tmp_path):
    with pytest.raises(ValueError, match="set `widths`"):
        _ = features(tmp_path).width


def test_a_clip_without_length_is_an_error(tmp_path):
    with pytest.raises(AnnotationError, match=r"lasts from 3\.0 to 3\.0 s"):
        features(tmp_path).rows_of("v", "c", 3.0, 3.0)
