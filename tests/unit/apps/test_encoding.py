import threading

import numpy as np
import pytest
import torch

from playhead.apps.encoding import EncodedVideo, FailedVideo, encode_videos
from playhead.apps.windows import WindowSettings
from playhead.video.transforms import Preprocess

PREPROCESS = Preprocess(num_frames=4, image_size=16, resize=16, window=1.0)
CPU = torch.device("cpu")


def mean_colour(pixels):
    return pixels.mean(dim=(1, 3, 4))


@pytest.fixture
def videos(tmp_path, make_video):
    shots = {"a": ("red", 3.5), "b": ("blue", 1), "c": ("green", 5), "d": ("gray", 0.25)}
    sizes = {"a": (32, 24), "b": (24, 48), "c": (64, 24), "d": (32, 32)}
    return [str(make_video(tmp_path / f"{name}.mp4", [shot], size=sizes[name])) for name, shot in shots.items()]


def encode(videos, batch_size=16, decoders=1, encoder=mean_colour):
    settings = WindowSettings(batch_size=batch_size, decoders=decoders)
    return list(encode_videos(videos, encoder, PREPROCESS, settings, CPU))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("decoders", [1, 3])
def test_rows_belong_to_their_video_whatever_the_batches(videos, batch_size, decoders):
    expected = {video.path: video for video in encode(videos, batch_size=1)}
    assert [len(expected[path].rows) for path in videos] == [4, 1, 5, 1]
    results = encode(videos, batch_size, decoders)
    assert sorted(result.path for result in results) == videos
    for result in results:
        np.testing.assert_allclose(result.rows, expected[result.path].rows, atol=1e-5)
        np.testing.assert_array_equal(result.spans, expected[result.path].spans)


def test_a_batch_holds_windows_of_several_videos_and_of_several_sizes(videos):
    sizes = []

    def encoder(pixels):
        sizes.append(len(pixels))
        return mean_colour(pixels)

    encode(videos, batch_size=4, encoder=encoder)
    assert sizes == [4, 4, 3]


def test_a_video_that_breaks_on_the_way_gives_no_rows_and_takes_none_from_others(tmp_path, videos, make_cut_video):
    cut = make_cut_video(tmp_path / "cut.mp4")
    results = {result.path: result for result in encode([videos[0], str(cut), *videos[1:]], batch_size=4)}
    failed = results.pop(str(cut))
    assert isinstance(failed, FailedVideo)
    assert "should last 30.00 s" in failed.reason
    expected = {video.path: video for video in encode(videos)}
    assert results.keys() == expected.keys()
    for path, result in results.items():
        np.testing.assert_allclose(result.rows, expected[path].rows, atol=1e-5)


def test_bf16_gives_the_same_rows_to_two_digits(videos, bundle):
    rows = []
    for precision in ("fp32", "bf16"):
        settings = WindowSettings(precision=precision)
        results = encode_videos(videos, bundle.model.encode_video, bundle.preprocess, settings, CPU)
        rows.append(np.concatenate([result.rows for result in results]))
    assert rows[1].dtype == np.float32
    assert not np.array_equal(rows[0], rows[1])
    assert ((rows[0] * rows[1]).sum(axis=1) > 0.999).all()


def test_a_video_asked_twice_is_given_once(videos):
    assert [result.path for result in encode([videos[1], videos[1]])] == [videos[1]]


def test_a_fault_of_the_model_is_raised_and_the_decoders_end(videos):
    def broken(pixels):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        encode(videos, batch_size=1, encoder=broken)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("playhead-decode")]


def test_a_fault_in_a_decoding_thread_is_raised_here(videos, monkeypatch):
    def broken(path):
        raise ZeroDivisionError

    monkeypatch.setattr("playhead.apps.encoding.open_video", broken)
    with pytest.raises(ZeroDivisionError):
        encode(videos, decoders=2)


def test_who_stops_listening_ends_the_decoders(videos):
    results = encode_videos(videos, mean_colour, PREPROCESS, WindowSettings(batch_size=1), CPU)
    assert isinstance(next(results), EncodedVideo)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("playhead-decode")]


def test_no_videos_give_nothing():
    assert encode([]) == []
