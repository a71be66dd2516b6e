"""Which rows of a whole video's features the reference gives a clip: every clip of every `expected_prepared.json`."""

import json

import numpy as np
import pytest
from grounding_cases import case_name, find_files

from playhead.data.feature_files import FeatureSet, TimeBase, official_rows

CASES = [
    pytest.param(content["feature_slices"], content["features_per_sec"], id=case_name(path.parent))
    for path in find_files("**/expected_prepared.json")
    if "feature_slices" in (content := json.loads(path.read_text()))
]


@pytest.mark.parametrize(("slices", "rate"), CASES)
def test_the_rows_of_every_clip_are_the_recorded_ones(slices, rate):
    for clip in slices:
        rows = official_rows(clip["start_sec"], clip["end_sec"], rate)
        assert (rows.start, rows.stop - 1) == (clip["first"], clip["last_inclusive"])


@pytest.mark.parametrize(("slices", "rate"), CASES)
def test_a_feature_set_of_whole_videos_gives_the_recorded_rows(slices, rate, tmp_path):
    longest = max(clip["last_inclusive"] for clip in slices) + 10
    for video in {clip["video_uid"] for clip in slices}:
        np.save(tmp_path / f"{video}.npy", np.arange(longest, dtype=np.float32)[:, None] + 1)
    features = FeatureSet(folders=(tmp_path,), per="video", time=TimeBase(rate, 1, 1), widths=(1,))
    for clip in slices:
        found = features.rows_of(clip["video_uid"], clip["clip_uid"], clip["start_sec"], clip["end_sec"])
        assert found.features[:, 0].tolist() == list(range(clip["first"] + 1, clip["last_inclusive"] + 2))
        assert found.time.start_of(0) == pytest.approx(clip["first"] / rate - clip["start_sec"])
