import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import lancedb
import numpy as np
import pytest

from playhead.apps import index as index_module
from playhead.apps.index import VideoIndex
from playhead.apps.windows import WindowSettings
from playhead.errors import SearchError
from playhead.weights.bundle import load_bundle


@pytest.fixture
def videos(tmp_path, make_video):
    folder = tmp_path / "videos"
    make_video(folder / "a.mp4", [("red", 2), ("green", 2)])
    make_video(folder / "b.mp4", [("blue", 3)])
    make_video(folder / "sub" / "c.mp4", [("green", 1), ("blue", 1), ("red", 1)])
    return folder


@pytest.fixture
def index(tmp_path, bundle):
    return VideoIndex.create(tmp_path / "index", bundle)


def names(paths):
    return [os.path.basename(path) for path in paths]


def stored(index):
    """How many windows lie in the table for each file, whatever its row says."""
    counts = Counter(index._store.read_windows()["video_id"].to_pylist())
    return {os.path.basename(row.path): counts[row.video_id] for row in index.videos()}


def count_encoded(monkeypatch):
    """Record which files are decoded from here on."""
    encoded = []
    original = index_module.encode_videos

    def recording(paths, *arguments):
        encoded.extend(names(paths))
        return original(paths, *arguments)

    monkeypatch.setattr(index_module, "encode_videos", recording)
    return encoded


def test_every_video_gets_all_its_windows_and_a_row(index, bundle, videos):
    report = index.update([videos], bundle)
    assert names(report.added) == ["a.mp4", "b.mp4", "c.mp4"]
    assert report.failed == ()
    assert stored(index) == {"a.mp4": 4, "b.mp4": 3, "c.mp4": 3}
    row = index.videos()[0]
    assert (row.status, row.num_windows, row.width, row.height) == ("done", 4, 32, 24)
    assert index.durations()[row.path] == pytest.approx(4.0, abs=0.13)


def test_a_second_update_finds_nothing_to_do_and_writes_nothing(index, bundle, videos, monkeypatch):
    index.update([videos], bundle)
    version, encoded = index._store.version, count_encoded(monkeypatch)
    report = VideoIndex.open(index.path, bundle).update([videos], bundle)
    assert names(report.unchanged) == ["a.mp4", "b.mp4", "c.mp4"]
    assert (encoded, index._store.version) == ([], version)


def test_adding_one_video_touches_only_that_video(index, bundle, videos, make_video, monkeypatch):
    index.update([videos], bundle)
    encoded = count_encoded(monkeypatch)
    make_video(videos / "new.mp4", [("red", 1)])
    report = index.update([videos], bundle)
    assert (names(report.added), encoded) == (["new.mp4"], ["new.mp4"])


def test_a_moved_video_is_noticed_and_not_encoded_again(index, bundle, videos, monkeypatch):
    index.update([videos], bundle)
    encoded = count_encoded(monkeypatch)
    (videos / "a.mp4").rename(videos / "sub" / "it's moved.mp4")
    report = index.update([videos], bundle)
    assert (names(report.moved), report.deleted, report.added, encoded) == (["it's moved.mp4"], (), (), [])
    assert stored(index) == {"b.mp4": 3, "c.mp4": 3, "it's moved.mp4": 4}


def test_a_changed_video_gives_up_its_old_windows(index, bundle, videos, make_video):
    index.update([videos], bundle)
    make_video(videos / "a.mp4", [("blue", 5)])
    report = index.update([videos], bundle)
    assert names(report.changed) == ["a.mp4"]
    assert stored(index)["a.mp4"] == 5
    assert index._store.count_windows() == 5 + 3 + 3


def test_a_deleted_video_leaves_the_index(index, bundle, videos):
    index.update([videos], bundle)
    (videos / "b.mp4").unlink()
    report = index.update([videos], bundle)
    assert names(report.deleted) == ["b.mp4"]
    assert index._store.count_windows() == 4 + 3


def test_a_copy_shares_windows_and_outlives_the_original(index, bundle, videos, monkeypatch):
    index.update([videos], bundle)
    encoded = count_encoded(monkeypatch)
    shutil.copy(videos / "b.mp4", videos / "copy.mp4")
    assert names(index.update([videos], bundle).added) == ["copy.mp4"]
    assert index._store.count_windows() == 4 + 3 + 3
    (videos / "b.mp4").unlink()
    index.update([videos], bundle)
    assert stored(index) == {"a.mp4": 4, "c.mp4": 3, "copy.mp4": 3}
    assert encoded == []


def test_rows_of_other_roots_stay(index, bundle, videos, tmp_path, make_video):
    index.update([videos], bundle)
    make_video(tmp_path / "other" / "d.mp4", [("red", 1)])
    report = index.update([tmp_path / "other"], bundle)
    assert report.deleted == ()
    assert len(index.videos()) == 4


def test_broken_files_are_listed_with_the_reason_and_stop_nothing(index, bundle, videos, make_cut_video, monkeypatch):
    make_cut_video(videos / "aa_cut.mp4")
    (videos / "empty.mp4").write_bytes(b"")
    (videos / "text.mp4").write_text("not a video")
    report = index.update([videos], bundle)
    assert names(report.added) == ["a.mp4", "b.mp4", "c.mp4"]
    assert names(path for path, _ in report.failed) == ["aa_cut.mp4", "empty.mp4", "text.mp4"]
    assert all(reason for _, reason in report.failed)
    assert index._store.count_windows() == 10

    encoded = count_encoded(monkeypatch)
    again = index.update([videos], bundle)
    assert (again.failed, encoded) == (report.failed, [])
    index.update([videos], bundle, retry_failed=True)
    assert encoded == ["aa_cut.mp4", "empty.mp4", "text.mp4"]

    shutil.copy(videos / "b.mp4", videos / "text.mp4")
    assert names(index.update([videos], bundle).changed) == ["text.mp4"]


def test_another_model_is_refused_when_opening_updating_and_with_what_to_do(
    index, bundle, make_bundle, tmp_path, videos
):
    other = load_bundle(make_bundle(tmp_path / "other", dust=0.01))
    with pytest.raises(SearchError, match="make another index"):
        VideoIndex.open(index.path, other)
    with pytest.raises(SearchError, match=bundle.identity):
        index.update([videos], other)


def test_other_windows_than_the_index_has_are_refused(index, bundle, videos):
    with pytest.raises(SearchError, match="Leave these settings out"):
        index.update([videos], bundle, WindowSettings(stride=1))
    index.update([videos], bundle, WindowSettings(stride=4, fps=4.0, batch_size=3))


def test_an_index_keeps_the_windows_it_was_made_with(tmp_path, bundle, videos):
    index = VideoIndex.create(tmp_path / "dense", bundle, WindowSettings(stride=2))
    index.update([videos / "b.mp4"], bundle)
    assert index.windows().spans[:, 0].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_no_index_an_index_already_there_and_another_format_are_said(tmp_path, bundle, index, monkeypatch):
    with pytest.raises(SearchError, match="no index here"):
        VideoIndex.open(tmp_path / "nowhere")
    with pytest.raises(SearchError, match="already"):
        VideoIndex.create(index.path, bundle)
    monkeypatch.setattr("playhead.apps.store.FORMAT_VERSION", 2)
    with pytest.raises(SearchError, match="format 1, this version reads 2"):
        VideoIndex.open(index.path)


def test_a_creation_cut_short_is_finished_and_the_tables_of_another_program_are_left_alone(tmp_path, bundle):
    index = VideoIndex.create(tmp_path / "half", bundle)
    lancedb.connect(index.path).drop_table("videos")
    assert VideoIndex.create(tmp_path / "half", bundle).videos() == []

    foreign = lancedb.connect(tmp_path / "foreign")
    foreign.create_table("windows", [{"panes": 4}])
    with pytest.raises(SearchError, match="something else"):
        VideoIndex.create(tmp_path / "foreign", bundle)
    assert foreign.open_table("windows").count_rows() == 1


def test_open_or_create_makes_an_index_once(tmp_path, bundle, videos):
    VideoIndex.open_or_create(tmp_path / "new", bundle).update([videos], bundle)
    assert len(VideoIndex.open_or_create(tmp_path / "new", bundle).videos()) == 3


def test_windows_are_in_order_of_path_and_time_whatever_the_order_of_indexing(index, bundle, videos, make_video):
    index.update([videos / "sub"], bundle)
    index.update([videos], bundle)
    matrix = index.windows()
    assert names(matrix.paths) == ["a.mp4", "b.mp4", "c.mp4"]
    assert matrix.offsets.tolist() == [0, 4, 7, 10]
    assert matrix.spans[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(np.linalg.norm(matrix.vectors, axis=1), 1.0, atol=1e-3)


def test_batches_across_videos_and_several_decoders_change_no_row(tmp_path, bundle, videos):
    matrices = []
    for name, settings in {
        "one": WindowSettings(batch_size=1),
        "many": WindowSettings(batch_size=7, decoders=3),
    }.items():
        index = VideoIndex.create(tmp_path / name, bundle)
        index.update([videos], bundle, settings)
        matrices.append(index.windows())
    np.testing.assert_array_equal(matrices[0].spans, matrices[1].spans)
    np.testing.assert_allclose(matrices[0].vectors, matrices[1].vectors, atol=1e-3)  # half precision on disk


def test_an_open_index_sees_what_another_one_adds(index, bundle, videos):
    reader = VideoIndex.open(index.path, bundle)
    assert len(reader.windows().spans) == 0
    index.update([videos], bundle)
    assert len(reader.windows().spans) == 10


def test_progress_reaches_the_number_of_videos(index, bundle, videos):
    seen = []
    index.update([videos], bundle, progress=seen.append)
    assert [p.videos_done for p in seen] == sorted(p.videos_done for p in seen)
    assert (seen[-1].videos_done, seen[-1].num_videos, seen[-1].windows) == (3, 3, 10)


def test_many_commits_are_joined(index, bundle, videos, monkeypatch):
    monkeypatch.setattr("playhead.apps.store._MANY_FRAGMENTS", 1)
    index.update([videos], bundle)
    assert index._store._windows.stats()["fragment_stats"]["num_fragments"] == 1
    assert stored(index) == {"a.mp4": 4, "b.mp4": 3, "c.mp4": 3}


@pytest.mark.parametrize("killed_after", ["add_windows", "put_videos"])
def test_an_update_stopped_between_any_two_commits_resumes_without_duplicates_or_holes(
    index, bundle, videos, monkeypatch, killed_after
):
    class KilledError(Exception):
        pass

    def commit_and_die(store, *arguments, **options):
        original(store, *arguments, **options)
        if killed_after == "add_windows" or arguments[0]:
            raise KilledError

    store_class = type(index._store)
    original = getattr(store_class, killed_after)
    with monkeypatch.context() as patch:
        patch.setattr(store_class, killed_after, commit_and_die)
        with pytest.raises(KilledError):
            index.update([videos], bundle)
    assert index._store.count_windows() == 4
    index.update([videos], bundle)
    assert stored(index) == {"a.mp4": 4, "b.mp4": 3, "c.mp4": 3}
    assert index._store.count_windows() == 10


def test_done_rows_that_lost_windows_are_encoded_again(index, bundle, videos):
    index.update([videos], bundle)
    index._store._windows.delete("start = 1.0")
    index.update([videos], bundle)
    assert stored(index) == {"a.mp4": 4, "b.mp4": 3, "c.mp4": 3}


UPDATE = """
import sys
from playhead.apps.index import VideoIndex
from playhead.weights.bundle import load_bundle
bundle = load_bundle(sys.argv[1])
VideoIndex.open_or_create(sys.argv[2], bundle).update([sys.argv[3]], bundle)
"""


def start_update(bundle_path, where, videos):
    return subprocess.Popen([sys.executable, "-c", UPDATE, str(bundle_path), str(where), str(videos)])


def wait_for(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None, "the update ended before it could be killed"
        time.sleep(0.005)


def done_rows(where):
    try:
        return sum(row.status == "done" for row in VideoIndex.open(where).videos())
    except SearchError:
        return 0


def test_an_update_killed_with_sigkill_resumes_without_duplicates_or_holes(tmp_path, bundle_path, bundle, make_video):
    videos, where = tmp_path / "many", tmp_path / "killed"
    first = make_video(videos / "000.mp4", [("red", 20), ("green", 20)])
    for number in range(1, 50):
        # One more byte at the end makes another content of the same pictures.
        (videos / f"{number:03}.mp4").write_bytes(first.read_bytes() + bytes(number))
    process = start_update(bundle_path, where, videos)
    wait_for(lambda: done_rows(where) >= 5, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    index = VideoIndex.open(where, bundle)
    assert 5 <= done_rows(where) < 50
    index.update([videos], bundle)
    assert stored(index) == {f"{number:03}.mp4": 40 for number in range(50)}
    assert index._store.count_windows() == 50 * 40


def test_two_updates_at_once_are_refused_and_a_killed_one_leaves_no_lock(tmp_path, bundle_path, bundle, make_video):
    videos, where = tmp_path / "one", tmp_path / "locked"
    make_video(videos / "long.mp4", [("red", 600)])
    index = VideoIndex.create(where, bundle)
    process = start_update(bundle_path, where, videos)
    wait_for(lambda: (where / "lock").read_text() == str(process.pid), process)
    with pytest.raises(SearchError, match=f"another process \\(id {process.pid}\\)"):
        index.update([videos], bundle)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert names(index.update([videos], bundle).added) == ["long.mp4"]
