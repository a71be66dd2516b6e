"""Videos encoded elsewhere, one job each, give what is encoded here; what fails there is told here."""

import json
import pickle
from functools import partial

import numpy as np
import pytest
import torch

from playhead.apps.clip_features import ClipFeatureSettings, extract_clip_features
from playhead.apps.encoding_jobs import Elsewhere
from playhead.apps.features import extract_features, read_features
from playhead.apps.processes import Failed, run_here
from playhead.apps.windows import WindowSettings
from playhead.data.feature_files import made_features

SMALL_BATCHES = WindowSettings(batch_size=2)


def run_far(work, jobs, progress):
    """Do the jobs here, but with nothing that could not travel."""
    work, *jobs = [pickle.loads(pickle.dumps(one)) for one in (work, *jobs)]
    yield from run_here(work, jobs, progress)


def failing(name, error, work, jobs, progress):
    lost = [job for job in jobs if job.path.endswith(name)]
    yield from run_here(work, [job for job in jobs if job not in lost], progress)
    yield from (Failed(job, "the worker that worked at it died 3 times (WorkerCrashedError).", error) for job in lost)


@pytest.fixture
def videos(tmp_path, make_video):
    make_video(tmp_path / "videos" / "a.mp4", [("red", 2), ("green", 2)])
    make_video(tmp_path / "videos" / "b.mp4", [("blue", 7.5), ("red", 1)])
    (tmp_path / "videos" / "broken.mp4").write_text("no video")
    return tmp_path / "videos"


def test_features_made_elsewhere_are_those_made_here(tmp_path, bundle, videos):
    here = extract_features(bundle, [videos], tmp_path / "here")
    report = extract_features(bundle, [videos], tmp_path / "far", SMALL_BATCHES, elsewhere=Elsewhere(run_far))
    assert report == here
    assert [len(part) for part in (report.written, report.skipped, report.failed)] == [2, 0, 1]
    far, near = read_features(tmp_path / "far"), read_features(tmp_path / "here")
    assert (far.videos, far.failed, far.settings) == (near.videos, near.failed, near.settings)
    for path in near.videos:
        np.testing.assert_allclose(far.read(path).features, near.read(path).features, rtol=1e-5, atol=1e-6)
        assert np.array_equal(far.read(path).spans, near.read(path).spans)
    again = extract_features(bundle, [videos], tmp_path / "far", elsewhere=Elsewhere(run_far))
    assert [len(part) for part in (again.written, again.skipped, again.failed)] == [0, 2, 1]


def test_progress_elsewhere_counts_bytes_and_failures_and_the_largest_begins(tmp_path, bundle, videos):
    seen = []
    extract_features(bundle, [videos], tmp_path / "far", SMALL_BATCHES, elsewhere=Elsewhere(run_far, seen.append))
    shares = [now.share for now in seen]
    assert shares == sorted(shares)
    sizes = [(videos / name).stat().st_size for name in ("a.mp4", "b.mp4", "broken.mp4")]
    first_done = next(now for now in seen if now.videos_done == 1)
    assert first_done.share == pytest.approx(max(sizes) / sum(sizes))
    assert len({now.share for now in seen if now.videos_done == 0}) > 2  # within the first video too
    last = seen[-1]
    assert (last.videos_done, last.num_videos, last.failed, last.share, last.eta_seconds) == (3, 3, 1, 1.0, 0.0)


def test_clips_encoded_elsewhere_are_those_encoded_here_and_one_that_breaks_is_named(tmp_path, bundle, videos):
    places = {"x": (0.0, 3.0), "y": (2.0, 6.0), "late": (90.0, 95.0)}
    clips = [
        {"clip_uid": uid, "video_start_sec": start, "video_end_sec": end, "annotations": []}
        for uid, (start, end) in places.items()
    ]
    nlq = tmp_path / "nlq_val.json"
    nlq.write_text(json.dumps({"videos": [{"video_uid": "b", "clips": clips}]}))
    settings = ClipFeatureSettings(grid="own", windows=SMALL_BATCHES)
    here = extract_clip_features(bundle, nlq, videos, tmp_path / "here", settings)
    far = extract_clip_features(bundle, nlq, videos, tmp_path / "far", settings, elsewhere=Elsewhere(run_far))
    assert far == here
    assert ([name for name, _ in far.failed], set(far.written)) == (["late"], {"x", "y"})
    for clip in ("x", "y"):
        rows = [made_features(tmp_path / where).rows_of("b", clip, *places[clip]).features for where in ("here", "far")]
        np.testing.assert_allclose(rows[1], rows[0], rtol=1e-5, atol=1e-6)


def test_a_video_whose_worker_dies_is_listed_and_another_error_is_raised(tmp_path, bundle, videos):
    died = Elsewhere(partial(failing, "a.mp4", None))
    report = extract_features(bundle, [videos], tmp_path / "out", elsewhere=died)
    assert [path.rpartition("/")[2] for path in report.written] == ["b.mp4"]
    assert dict(report.failed)[str(videos / "a.mp4")].startswith("the worker that worked at it died 3 times")
    stumbled = Elsewhere(partial(failing, "a.mp4", RuntimeError("KeyError: 'x'")))
    with pytest.raises(RuntimeError, match="KeyError: 'x'"):
        extract_features(bundle, [videos], tmp_path / "out", elsewhere=stumbled)
    assert len(extract_features(bundle, [videos], tmp_path / "out").written) == 1  # as if neither had been


def test_a_model_that_is_not_on_the_cpu_does_not_travel(tmp_path, bundle, videos, monkeypatch):
    monkeypatch.setattr("playhead.apps.encoding_jobs.device_of", lambda model: torch.device("cuda", 0))
    with pytest.raises(ValueError, match="the model is on cuda:0; load it on the CPU"):
        extract_features(bundle, [videos], tmp_path / "out", elsewhere=Elsewhere(run_far))
