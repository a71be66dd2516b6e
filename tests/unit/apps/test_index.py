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
    monkeypatch.setattr("playhead.apps.store.FORMAT_VERSION", 3)
    with pytest.raises(SearchError, match=r"format 2, this version reads 3.*index again"):
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


DYING = """
import os, signal, sys
from playhead.apps.index import VideoIndex
from playhead.apps.store import IndexStore
from playhead.apps.neighbours import Table
from playhead.weights.bundle import load_bundle
where, method, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
owner = IndexStore if hasattr(IndexStore, method) else Table
original = getattr(owner, method)
calls = 0
def dying(*arguments, **options):
    global calls
    calls += 1
    if calls == times:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)
setattr(owner, method, dying)
import playhead.apps.store
playhead.apps.store._MANY_FRAGMENTS = 1
bundle = load_bundle(sys.argv[4])
VideoIndex.open_or_create(where, bundle).update([sys.argv[5]], bundle)
"""


@pytest.mark.parametrize(("method", "call"), [("add_windows", 2), ("put_videos", 3), ("compact", 1)])
def test_an_update_killed_before_any_write_leaves_what_the_next_one_completes(
    tmp_path, bundle_path, bundle, videos, method, call
):
    where = tmp_path / "killed"
    arguments = [str(where), method, str(call), str(bundle_path), str(videos)]
    done = subprocess.run([sys.executable, "-c", DYING, *arguments], check=False)
    assert done.returncode == -signal.SIGKILL
    index = VideoIndex.open(where, bundle)
    index.update([videos], bundle)
    assert stored(index) == {"a.mp4": 4, "b.mp4": 3, "c.mp4": 3}
    assert index._store.count_windows() == 10


def test_a_disk_that_takes_no_more_is_said_in_one_line_and_what_is_finished_stays(
    tmp_path, bundle_path, bundle, videos
):
    where = tmp_path / "full"
    VideoIndex.create(where, bundle).update([videos / "sub"], bundle)
    # No file may grow beyond some bytes from here on: what a full disk does to every write.
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))"
    program = UPDATE.replace("VideoIndex.open_or_create", f"{limit}; VideoIndex.open_or_create")
    arguments = [str(bundle_path), str(where), str(videos)]
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    told = done.stderr.strip().splitlines()[-1]
    assert "cannot be written" in told and "what is finished is kept" in told
    index = VideoIndex.open(where, bundle)
    assert stored(index) == {"c.mp4": 3}
    index.update([videos], bundle)
    assert stored(index) == {"a.mp4": 4, "b.mp4": 3, "c.mp4": 3}


def test_a_full_disk_is_called_so(index, bundle, videos, monkeypatch):
    def refuse(*arguments, **options):
        raise RuntimeError("lance error: IO: No space left on device (os error 28), /home/build/x.rs:1\nbacktrace")

    monkeypatch.setattr(type(index._store._windows), "add", refuse)
    with pytest.raises(SearchError, match="The disk is full: make room, then run this again") as caught:
        index.update([videos], bundle)
    assert "\n" not in str(caught.value)


def test_a_file_that_grows_while_it_is_read_waits_for_the_next_update(index, bundle, videos, monkeypatch):
    original = index_module.encode_videos

    def growing(paths, *arguments):
        for result in original(paths, *arguments):
            if result.path.endswith("b.mp4"):
                with open(result.path, "ab") as file:
                    file.write(b"more")
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(index_module, "encode_videos", growing)
        report = index.update([videos], bundle)
    assert [(os.path.basename(path), "still being written" in reason) for path, reason in report.failed] == [
        ("b.mp4", True)
    ]
    assert stored(index) == {"a.mp4": 4, "c.mp4": 3}
    assert names(index.update([videos], bundle).added) == ["b.mp4"]


def test_a_file_written_a_moment_ago_is_left_alone_if_asked_and_keeps_its_row(index, bundle, videos, make_video):
    index.update([videos], bundle)
    make_video(videos / "b.mp4", [("red", 1)])
    for name in ("a.mp4", "sub/c.mp4"):
        os.utime(videos / name, (1, 1))
    report = index.update([videos], bundle, settle=60.0)
    assert names(path for path, _ in report.failed) == ["b.mp4"]
    assert (report.deleted, stored(index)) == ((), {"a.mp4": 4, "b.mp4": 3, "c.mp4": 3})


def test_progress_goes_by_bytes_and_tells_what_is_left(index, bundle, videos):
    seen = []
    index.update([videos], bundle, WindowSettings(batch_size=1), progress=seen.append)
    shares = [now.share for now in seen]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert any(0 < share < 1 for share in shares)
    assert seen[-1].eta_seconds == 0
    assert any(now.current.endswith("a.mp4") for now in seen)


def test_a_folder_of_chunks_is_one_video_that_is_known_again_when_moved(index, bundle, videos, make_video, monkeypatch):
    for number, colour in enumerate(["red", "green"]):
        make_video(videos / "film" / f"{number}.mp4", [(colour, 2)])
    report = index.update([videos], bundle)
    assert names(report.added) == ["a.mp4", "b.mp4", "film", "c.mp4"]
    assert stored(index)["film"] == 4
    encoded = count_encoded(monkeypatch)
    (videos / "film").rename(videos / "movie")
    assert names(index.update([videos], bundle).moved) == ["movie"]
    assert encoded == []


def test_a_file_address_is_passed_to_the_database(tmp_path, bundle, videos):
    where = (tmp_path / "by address").as_uri()
    index = VideoIndex.create(where, bundle)
    index.update([videos], bundle)
    assert len(VideoIndex.open(where, bundle).windows().spans) == 10
    assert len(VideoIndex.open(tmp_path / "by address").windows().spans) == 10


def test_an_address_without_a_folder_locks_in_the_own_folder(tmp_path, monkeypatch, bundle):
    monkeypatch.setenv("PLAYHEAD_HOME", str(tmp_path / "home"))
    index = VideoIndex.create("memory://videos", bundle)
    assert (index.path, index.place.folder) == ("memory://videos", None)
    assert [path.parent.name for path in (tmp_path / "home").rglob("*") if path.is_file()] == ["locks"]


def test_a_folder_is_forgotten_with_its_videos_and_the_files_stay(index, bundle, videos):
    index.update([videos / "sub"], bundle)
    index.update([videos], bundle)
    assert index.folders() == (str(videos), str(videos / "sub"))
    index.forget(videos)
    assert stored(index) == {"c.mp4": 3}
    assert (videos / "a.mp4").exists()
    with pytest.raises(SearchError, match="does not follow"):
        index.forget(videos)


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
