import json

import numpy as np
import pytest
import torch

from playhead.apps import clip_features as module
from playhead.apps.clip_features import (
    ClipFeatureSettings,
    encode_whole_video,
    extract_clip_features,
    extract_text_features,
)
from playhead.apps.clip_windows import cut_clips
from playhead.apps.encoding import PieceWindow
from playhead.apps.features import extract_features
from playhead.apps.windows import WindowSettings
from playhead.data.challenge_clips import ChallengeClip
from playhead.data.feature_files import FeatureSet, TimeBase, made_features
from playhead.data.text_features import TextFeatures
from playhead.errors import AnnotationError, DecodeError, RecipeError, SearchError
from playhead.video.decode import open_video
from playhead.weights.bundle import load_bundle

RED_GREEN, BLUE = [("red", 4), ("green", 4)], [("blue", 5)]


def challenge(**videos):
    """An NLQ file: video -> its clips (id, start, end); each has one question and one without words."""
    questions = [{"query": "Where is the red cup?"}, {}]
    return {
        "version": "1",
        "videos": [
            {
                "video_uid": video,
                "clips": [
                    {
                        "clip_uid": clip,
                        "video_start_sec": start,
                        "video_end_sec": end,
                        "annotations": [{"annotation_uid": "a", "language_queries": questions}],
                    }
                    for clip, start, end in clips
                ],
            }
            for video, clips in videos.items()
        ],
    }


@pytest.fixture
def annotations(tmp_path):
    path = tmp_path / "nlq_val.json"
    path.write_text(json.dumps(challenge(a=[("a1", 0.0, 4.0), ("a2", 3.0, 8.0)], b=[("b1", 0.0, 5.0)])))
    return path


@pytest.fixture
def videos(tmp_path, make_video):
    folder = tmp_path / "videos"
    make_video(folder / "a.mp4", RED_GREEN, fps=30)
    make_video(folder / "deeper" / "b.mp4", BLUE, fps=30)
    return folder


def expected_rows(bundle, path, clip, grid="paper", windows=None):
    with open_video(path) as source:
        cut = list(cut_clips(source, [clip], grid, bundle.preprocess, windows or WindowSettings()))
    pixels = bundle.preprocess(
        torch.stack([torch.stack(window.frames) for window in cut if isinstance(window, PieceWindow)])
    )
    with torch.inference_mode():
        return bundle.model.project_video(pixels).numpy()


def test_each_clip_gets_a_file_that_the_readers_of_heads_open(tmp_path, bundle, annotations, videos):
    report = extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    assert (sorted(report.written), report.failed) == (["a1", "a2", "b1"], ())
    features = made_features(tmp_path / "out")
    assert (features.per, features.width) == ("clip", 3)
    found = features.rows_of("a", "a2", 3.0, 8.0)
    clip = ChallengeClip("a", "a2", 3.0, 8.0)
    np.testing.assert_allclose(found.features, expected_rows(bundle, videos / "a.mp4", clip), rtol=1e-4, atol=1e-5)
    assert len(found.features) == int(5 * 1.87 * 4 + 1) // 4 == 9
    assert report.num_rows == 9 + 9 + 7


def test_rows_show_what_the_clip_shows_at_their_seconds(tmp_path, bundle, annotations, videos):
    extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    found = made_features(tmp_path / "out").rows_of("a", "a2", 3.0, 8.0)
    colours = found.features.argmax(axis=1)  # red, green, blue
    turn = 1.0  # at 4 s of the video the picture turns from red to green
    rows = np.arange(len(colours))
    assert (colours[found.time.end_of(rows) <= turn] == 0).all()
    assert (colours[found.time.start_of(rows) >= turn] == 1).all()
    assert {0, 1} == set(colours)
    assert found.time.step == pytest.approx(5 * 4 / int(5 * 1.87 * 4 + 1))  # stretched over the clip, as the frames are


def test_no_row_is_left_zero_at_the_tail(tmp_path, bundle, make_video):
    # 11 s give 20 rows; at batches of 4 the released loop would leave none, at 12.1 s the last two of 22.
    make_video(tmp_path / "v.mp4", [("red", 13)])
    (tmp_path / "a.json").write_text(json.dumps(challenge(v=[("c", 0.0, 12.1)])))
    settings = ClipFeatureSettings(windows=WindowSettings(batch_size=4))
    extract_clip_features(bundle, tmp_path / "a.json", tmp_path / "v.mp4", tmp_path / "out", settings)
    rows = made_features(tmp_path / "out").rows_of("v", "c", 0.0, 12.1).features
    assert len(rows) == 22
    assert (np.linalg.norm(rows, axis=1) > 0.5).all()


def test_features_per_video_are_cut_to_clips_by_their_reader(tmp_path, bundle, annotations, videos):
    settings = ClipFeatureSettings(grid="official", per="video")
    report = extract_clip_features(bundle, annotations, videos, tmp_path / "out", settings)
    assert sorted(report.written) == ["a", "b"]
    features = made_features(tmp_path / "out")
    assert features.per == "video"
    found = features.rows_of("a", "a2", 3.0, 8.0)
    first = int(3 * 1.875)
    assert found.time.start_of(0) == pytest.approx(first / 1.875 - 3)
    whole = expected_rows(bundle, videos / "a.mp4", ChallengeClip("a", "a", 0.0, 8.0), "official")
    np.testing.assert_allclose(found.features, whole[first : int(8 * 1.875) + 1], rtol=1e-4, atol=1e-5)


def test_an_own_grid_follows_the_window_settings(tmp_path, bundle, annotations, videos):
    settings = ClipFeatureSettings(grid="own", windows=WindowSettings(fps=8.0, stride=2))
    extract_clip_features(bundle, annotations, videos, tmp_path / "out", settings)
    features = made_features(tmp_path / "out")
    assert features.time == TimeBase(8.0, 4.0, 2.0)
    assert len(features.rows_of("a", "a1", 0.0, 4.0).features) == (32 - 4) // 2 + 1


def test_the_manifest_says_how_the_features_were_made(tmp_path, bundle, annotations, videos):
    extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    settings = manifest["settings"]
    assert (settings["model"], settings["grid"], settings["per"]) == (bundle.identity, "paper", "clip")
    assert (settings["fps"], settings["num_frames"], settings["stride"]) == (pytest.approx(7.48), 4, 4)
    assert settings["window_seconds"] == pytest.approx(1 / 1.87)
    entry = manifest["clips"][1]
    assert entry == {
        "clip_id": "a2",
        "video_id": "a",
        "file": "a2.safetensors",
        "start": 3.0,
        "end": 8.0,
        "num_features": 9,
    }


def test_each_video_is_opened_once_for_all_its_clips(tmp_path, bundle, annotations, videos, monkeypatch):
    opened = []

    def noted(path):
        opened.append(path)
        return open_video(path)

    monkeypatch.setattr("playhead.apps.encoding.open_video", noted)
    extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    assert len(opened) == 2


def test_finished_clips_are_skipped_and_those_that_changed_are_made_again(
    tmp_path, bundle, annotations, videos, make_video
):
    extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    make_video(videos / "deeper" / "b.mp4", [("green", 5)], fps=30)
    moved = challenge(a=[("a1", 0.0, 4.0), ("a2", 2.0, 8.0)], b=[("b1", 0.0, 5.0)])
    annotations.write_text(json.dumps(moved))
    report = extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    assert (sorted(report.written), report.skipped) == (["a2", "b1"], ("a1",))
    assert made_features(tmp_path / "out").rows_of("b", "b1", 0.0, 5.0).features[0].argmax() == 1


def test_videos_may_be_put_away_once_their_features_are_there(tmp_path, bundle, annotations, videos):
    extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    (videos / "a.mp4").unlink()
    report = extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    assert (report.written, sorted(report.skipped), report.failed) == ((), ["a1", "a2", "b1"], ())


def test_features_of_what_a_video_no_longer_shows_do_not_stay(tmp_path, bundle, annotations, videos):
    extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    (videos / "deeper" / "b.mp4").write_bytes(b"broken")
    report = extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    assert [clip for clip, _ in report.failed] == ["b1"]
    assert not made_features(tmp_path / "out").has("b", "b1")


def test_a_run_that_was_cut_short_goes_on_where_it_stopped(tmp_path, bundle, annotations, videos, monkeypatch):
    class KilledError(Exception):
        pass

    original = module.encode_pieces

    def only_one(*arguments):
        for count, result in enumerate(original(*arguments)):
            if count == 1:
                raise KilledError
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(module, "encode_pieces", only_one)
        with pytest.raises(KilledError):
            extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    report = extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    assert (len(report.written), len(report.skipped)) == (2, 1)


def test_features_of_another_make_are_not_mixed(tmp_path, bundle, annotations, videos, make_bundle):
    extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    with pytest.raises(RecipeError, match=r"grid paper.*asked for.*grid official.*another folder"):
        extract_clip_features(bundle, annotations, videos, tmp_path / "out", ClipFeatureSettings(grid="official"))
    other = load_bundle(make_bundle(tmp_path / "other", dust=0.01))
    with pytest.raises(RecipeError, match=bundle.identity):
        extract_clip_features(other, annotations, videos, tmp_path / "out")


def test_clips_that_cannot_be_encoded_are_listed_with_the_reason_and_stop_nothing(
    tmp_path, bundle, videos, make_cut_video, make_video
):
    make_cut_video(videos / "cut.mp4")
    make_video(videos / "twice" / "a.mp4", BLUE)
    (videos / "empty.mp4").write_bytes(b"")
    named = {
        "a": [("a1", 0.0, 4.0)],
        "b": [("b1", 0.0, 5.0), ("b2", 50.0, 60.0)],
        "cut": [("early", 0.0, 5.0), ("late", 0.0, 30.0)],
        "empty": [("e", 0.0, 1.0)],
        "gone": [("g", 0.0, 1.0)],
    }
    (tmp_path / "a.json").write_text(json.dumps(challenge(**named)))
    report = extract_clip_features(bundle, tmp_path / "a.json", videos, tmp_path / "out")
    assert report.written == ("b1", "early")
    reasons = dict(report.failed)
    assert reasons.keys() == {"a1", "b2", "late", "e", "g"}
    assert "2 files are named so" in reasons["a1"]
    assert "but the video lasts 5.00 s" in reasons["b2"]
    assert "none of 5 is named so" in reasons["g"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {failure["clip_id"]: failure["reason"] for failure in manifest["failed"]} == reasons
    make_video(videos / "gone.mp4", BLUE)
    assert "g" in extract_clip_features(bundle, tmp_path / "a.json", videos, tmp_path / "out").written


def test_a_file_named_by_the_clip_is_taken_to_hold_the_clip_alone(tmp_path, bundle, annotations, videos, make_video):
    (videos / "a.mp4").unlink()
    make_video(videos / "a2.mp4", [("blue", 5)], fps=30)
    report = extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    assert sorted(report.written) == ["a2", "b1"]
    rows = made_features(tmp_path / "out").rows_of("a", "a2", 3.0, 8.0).features
    assert (rows.argmax(axis=1) == 2).all()


def test_features_of_whole_videos_are_read_without_the_row_that_is_off_the_grid(tmp_path, bundle, videos):
    # 5 s in windows of 0.8 s: six on the grid, and one aligned to the end
    extract_features(bundle, [videos / "deeper"], tmp_path / "out", WindowSettings(fps=5.0))
    found = made_features(tmp_path / "out").rows_of("b", "any", 0.0, 4.9)
    assert len(found.features) == 6
    assert found.time.step == pytest.approx(0.8)
    assert found.missing == pytest.approx(0.1)


def test_a_wrong_time_base_for_our_own_files_is_refused(tmp_path, bundle, annotations, videos):
    extract_clip_features(bundle, annotations, videos, tmp_path / "out")
    wrong = FeatureSet(folders=(tmp_path / "out",), time=TimeBase(30, 32, 32))
    with pytest.raises(AnnotationError, match=r"0\.5333 s apart, as it says itself; asked for 1\.0667 s"):
        wrong.rows_of("a", "a1", 0.0, 4.0)


def test_two_of_our_folders_are_laid_side_by_side_if_they_fit(tmp_path, bundle, annotations, videos):
    extract_clip_features(bundle, annotations, videos, tmp_path / "one")
    tower = ClipFeatureSettings(windows=WindowSettings(projected=False))
    extract_clip_features(bundle, annotations, videos, tmp_path / "two", tower)
    both = made_features(tmp_path / "one", tmp_path / "two")
    assert both.widths == (3, 8)
    assert both.rows_of("a", "a1", 0.0, 4.0).features.shape[1] == 11
    dense = ClipFeatureSettings(grid="own", windows=WindowSettings(fps=8.0, stride=1))
    extract_clip_features(bundle, annotations, videos, tmp_path / "three", dense)
    with pytest.raises(AnnotationError, match="extract them alike"):
        made_features(tmp_path / "one", tmp_path / "three")


def test_a_whole_video_is_encoded_without_writing(bundle, videos, make_cut_video, tmp_path):
    found = encode_whole_video(bundle, videos / "a.mp4")
    assert len(found.features) == int(8 * 1.87 * 4 + 1) // 4
    assert (found.features[: len(found.features) // 2 - 1].argmax(axis=1) == 0).all()
    assert found.time.reach_of(len(found.features)) == pytest.approx(8.0, abs=0.55)
    with pytest.raises(DecodeError, match=r"cut\.mp4"):
        encode_whole_video(bundle, make_cut_video(tmp_path / "cut.mp4"))


def test_fps_and_stride_belong_to_the_own_grid():
    with pytest.raises(ValueError, match="choose grid 'own'"):
        ClipFeatureSettings(windows=WindowSettings(stride=2))


def test_what_is_missing_is_said_before_anything_is_encoded(tmp_path, bundle, annotations, videos):
    with pytest.raises(SearchError, match="no such file"):
        extract_clip_features(bundle, annotations, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(AnnotationError, match="videos with their clips needed"):
        extract_clip_features(bundle, tmp_path / "bad.json", videos, tmp_path / "out")
    with pytest.raises(AnnotationError, match="cannot be read"):
        made_features(tmp_path / "nothing")
    (tmp_path / "silent.json").write_text(json.dumps(challenge(v=[])))
    with pytest.raises(AnnotationError, match=r"silent\.json: no query has a text"):
        extract_text_features(bundle, tmp_path / "silent.json", tmp_path / "text")


def test_words_of_every_question_are_those_of_the_text_tower(tmp_path, bundle):
    path = tmp_path / "nlq.json"
    path.write_text(json.dumps(challenge(v=[("c", 0.0, 4.0)])))
    report = extract_text_features(bundle, path, tmp_path / "text")
    tokens = bundle.tokenizer(["where is the red cup?"])  # [CLS] where is the red cup ? [SEP]
    assert (report.num_texts, report.num_tokens, report.num_encoded) == (1, 8, 1)
    with torch.inference_mode():
        expected = bundle.model.project_words(tokens)[0].numpy()
    features = TextFeatures.open(tmp_path / "text")
    np.testing.assert_allclose(features.of("Where is the red cup?"), expected, atol=1e-6)
    assert features.settings["model"] == bundle.identity


def test_words_do_not_depend_on_the_texts_beside_them(bundle):
    texts = ["red", "where is the green cup that i had yesterday?", "blue?"]
    together, alone = module.encode_words(bundle, texts), [module.encode_words(bundle, [text])[0] for text in texts]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_texts_that_are_there_are_kept_unless_the_model_or_the_wording_differs(tmp_path, bundle, make_bundle):
    content = challenge(v=[("c", 0.0, 4.0)])
    (tmp_path / "1.json").write_text(json.dumps(content))
    content["videos"][0]["clips"][0]["annotations"][0]["language_queries"].append({"query": "a blue cup"})
    (tmp_path / "2.json").write_text(json.dumps(content))

    def encoded(name, model=bundle, **settings):
        return extract_text_features(model, tmp_path / name, tmp_path / "text", **settings).num_encoded

    assert [encoded("1.json"), encoded("2.json"), encoded("1.json"), encoded("2.json")] == [1, 1, 0, 0]
    features = TextFeatures.open(tmp_path / "text")
    assert features.texts == ("where is the red cup?", "a blue cup?")
    np.testing.assert_allclose(features.of("a blue cup"), module.encode_words(bundle, ["a blue cup?"])[0], atol=1e-6)
    assert encoded("1.json", wording="narration") == 1
    other = load_bundle(make_bundle(tmp_path / "other", dust=0.01))
    assert encoded("1.json", other, wording="narration") == 1
    assert len(TextFeatures.open(tmp_path / "text")) == 1
