import os
import pickle

import pytest
from made_videos import write_video

from playhead.errors import DecodeError
from playhead.video.decode import DecoderCache


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return [write_video(folder / f"{number}.mp4", num_frames=3) for number in range(4)]


@pytest.fixture
def closed(monkeypatch):
    """Names of the files whose decoder was closed."""
    names = []
    monkeypatch.setattr(
        "playhead.video.decode.Decoder.close", lambda self: names.append(os.path.basename(self.info.path))
    )
    return names


def test_a_source_is_opened_once(paths):
    cache = DecoderCache(2)
    assert cache.get(paths[0]) is cache.get(str(paths[0]))
    cache.close()


def test_the_one_unused_for_longest_is_closed(paths, closed):
    cache = DecoderCache(2)
    for number in (0, 1, 0, 2):
        cache.get(paths[number])
    assert closed == ["1.mp4"]
    assert len(cache) == 2


def test_never_more_are_open_than_the_capacity(paths, closed):
    cache = DecoderCache(2)
    for number in (0, 1, 2, 3, 0, 1, 2, 3):
        cache.get(paths[number])
        assert len(cache) <= 2
    assert len(closed) == 6


def test_a_file_that_cannot_be_opened_evicts_none(paths, closed, tmp_path):
    cache = DecoderCache(1)
    cache.get(paths[0])
    with pytest.raises(DecodeError):
        cache.get(tmp_path / "missing.mp4")
    assert (len(cache), closed) == (1, [])


def test_a_copy_for_another_process_starts_empty(paths):
    cache = DecoderCache(3, fps=5.0, threads=2)
    cache.get(paths[0])
    copy = pickle.loads(pickle.dumps(cache))
    assert (len(copy), copy.capacity) == (0, 3)
    assert len(cache) == 1


def test_a_fork_starts_empty_and_leaves_its_parent_alone(paths, monkeypatch):
    cache = DecoderCache(2)
    inherited = cache.get(paths[0])
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    assert len(cache) == 0
    assert cache.get(paths[0]) is not inherited
    inherited.frames_at([0.0])  # still open


def test_a_capacity_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        DecoderCache(0)
