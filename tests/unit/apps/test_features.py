import json
import os
import shutil

import numpy as np
import pytest
import torch

from playhead.apps import features as features_module
from playhead.apps.features import extract_features, read_features
from playhead.apps.windows import WindowSettings, stream_windows
from playhead.errors import AnnotationError, RecipeError, SearchError
from playhead.video.decode import open_video
from playhead.weights.bundle import load_bundle


@pytest.fixture
def videos(tmp_path, make_video):
    folder = tmp_path / "videos"
    make_video(folder / "a.mp4", [("red", 2), ("green", 2)])
    make_video(folder / "b.mp4", [("blue", 2.5)])
    make_video(folder / "sub" / "a.mp4", [("green", 1)])
    return folder


def names(paths):
    return [os.path.basename(path) for path in paths]


def test_each_video_gets_the_rows_of_its_windows(tmp_path, bundle, videos):
    report = extract_features(bundle, [videos], tmp_path / "out")
    assert names(report.written) == ["a.mp4", "b.mp4", "a.mp4"]
    got = read_features(tmp_path / "out").read(videos / "b.mp4")
    windows = list(stream_windows(open_video(videos / "b.mp4"), bundle.preprocess, WindowSettings()))
    pixels = bundle.preprocess(torch.stack([frames for _, frames in windows]))
    with torch.inference_mode():
        np.testing.assert_allclose(got.features, bundle.model.project_video(pixels).numpy(), rtol=1e-4)
    assert got.spans.tolist() == [[0.0, 1.0], [1.0, 2.0], [1.5, 2.5]]


def test_no_row_is_left_zero_at_the_tail(tmp_path, bundle, make_video):
    # 11 frames at a batch of 4 windows: the released extractor leaves the remainder of n % 4 rows zero.
    make_video(tmp_path / "v.mp4", [("red", 11)])
    extract_features(bundle, [tmp_path / "v.mp4"], tmp_path / "out", WindowSettings(batch_size=4))
    rows = read_features(tmp_path / "out").read("v").features
    assert len(rows) == 11
    assert (np.linalg.norm(rows, axis=1) > 0.5).all()


def test_features_of_the_tower_itself_are_not_projected(tmp_path, bundle, videos):
    extract_features(bundle, [videos / "b.mp4"], tmp_path / "out", WindowSettings(projected=False))
    folder = read_features(tmp_path / "out")
    assert folder.read("b").features.shape == (3, 8)
    assert folder.settings["projected"] is False


def test_the_manifest_says_how_the_features_were_made(tmp_path, bundle, videos):
    extract_features(bundle, [videos], tmp_path / "out", WindowSettings(stride=2))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["settings"] == {
        "model": bundle.identity,
        "projected": True,
        "normalised": False,
        "precision": "fp32",
        "num_frames": 4,
        "fps": 4.0,
        "stride": 2,
        "window_seconds": 1.0,
        "preprocess": bundle.preprocess.to_dict(),
    }
    entry = next(video for video in manifest["videos"] if video["path"].endswith("b.mp4"))
    assert (entry["file"], entry["num_features"], entry["start"], entry["end"]) == ("b.safetensors", 4, 0.0, 2.5)
    assert entry["duration"] == pytest.approx(2.5, abs=0.13)


def test_two_videos_of_one_name_get_two_files(tmp_path, bundle, videos):
    extract_features(bundle, [videos], tmp_path / "out")
    folder = read_features(tmp_path / "out")
    assert len(folder.read(videos / "a.mp4").features) == 4
    assert len(folder.read(videos / "sub" / "a.mp4").features) == 1
    with pytest.raises(AnnotationError, match="2 videos of that name"):
        folder.read("a")


def test_finished_videos_are_skipped_and_changed_ones_made_again(tmp_path, bundle, videos, make_video):
    extract_features(bundle, [videos], tmp_path / "out")
    make_video(videos / "b.mp4", [("red", 5)])
    report = extract_features(bundle, [videos], tmp_path / "out")
    assert (names(report.written), names(report.skipped)) == (["b.mp4"], ["a.mp4", "a.mp4"])
    assert len(read_features(tmp_path / "out").read("b").features) == 5
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == 3


def test_a_run_that_was_cut_short_goes_on_where_it_stopped(tmp_path, bundle, videos, monkeypatch):
    class KilledError(Exception):
        pass

    original = features_module.encode_videos

    def only_two(*arguments):
        for count, result in enumerate(original(*arguments)):
            if count == 2:
                raise KilledError
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(features_module, "encode_videos", only_two)
        with pytest.raises(KilledError):
            extract_features(bundle, [videos], tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()  # as after SIGKILL, which leaves no time to write it
    report = extract_features(bundle, [videos], tmp_path / "out")
    assert (len(report.written), len(report.skipped)) == (1, 2)
    assert len(read_features(tmp_path / "out").videos) == 3


def test_broken_videos_are_listed_with_the_reason_and_stop_nothing(tmp_path, bundle, videos, make_cut_video):
    make_cut_video(videos / "aa_cut.mp4")
    (videos / "empty.mp4").write_bytes(b"")
    report = extract_features(bundle, [videos], tmp_path / "out")
    assert names(path for path, _ in report.failed) == ["aa_cut.mp4", "empty.mp4"]
    assert len(report.written) == 3
    folder = read_features(tmp_path / "out")
    assert names(folder.failed) == ["aa_cut.mp4", "empty.mp4"]
    assert len(folder.videos) == 3
    assert not list((tmp_path / "out").glob("aa_cut*"))


def test_a_failure_leaves_the_manifest_once_the_video_is_whole(tmp_path, bundle, videos):
    (videos / "late.mp4").write_bytes(b"")
    extract_features(bundle, [videos], tmp_path / "out")
    shutil.copy(videos / "b.mp4", videos / "late.mp4")
    assert extract_features(bundle, [videos], tmp_path / "out").failed == ()
    assert read_features(tmp_path / "out").failed == {}


def test_features_of_another_make_are_not_mixed(tmp_path, bundle, videos, make_bundle):
    extract_features(bundle, [videos], tmp_path / "out")
    with pytest.raises(RecipeError, match=r"fps 4\.0.*asked for fps 2\.0.*another folder"):
        extract_features(bundle, [videos], tmp_path / "out", WindowSettings(fps=2.0))
    other = load_bundle(make_bundle(tmp_path / "other", dust=0.01))
    with pytest.raises(RecipeError, match=bundle.identity):
        extract_features(other, [videos], tmp_path / "out")


def test_what_is_no_feature_folder_is_said(tmp_path, bundle):
    with pytest.raises(AnnotationError, match="no manifest"):
        read_features(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_features(tmp_path)
    with pytest.raises(SearchError, match="no such file"):
        extract_features(bundle, [tmp_path / "nowhere"], tmp_path / "out")
