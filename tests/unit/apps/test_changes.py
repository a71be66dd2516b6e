from playhead.apps.changes import find_changes
from playhead.apps.library import Scan, VideoFile
from playhead.apps.store import VideoRow


def file(path, size=1, mtime=1):
    return VideoFile(path, "/v", size, mtime)


def row(path, video_id, status="done", size=1, mtime=1):
    return VideoRow(path, video_id, "/v", size, mtime, status, error="" if status == "done" else "broken")


def changes_of(files, rows, ids, unreadable=(), **options):
    scan = Scan(roots=("/v",), files=files, unreadable=list(unreadable))
    return find_changes(scan, rows, ids.__getitem__, **options)


def test_a_file_of_known_size_and_time_is_not_even_read():
    changes = changes_of([file("/v/a")], [row("/v/a", "A")], ids={})
    assert changes.unchanged == ["/v/a"]
    assert (changes.put, changes.remove, changes.encode) == ([], [], {})


def test_a_touched_file_of_the_same_content_is_not_encoded_again():
    changes = changes_of([file("/v/a", mtime=2)], [row("/v/a", "A")], ids={"/v/a": "A"})
    assert changes.put == [row("/v/a", "A", mtime=2)]
    assert changes.unchanged == ["/v/a"]
    assert changes.encode == {}


def test_a_moved_file_keeps_its_windows():
    changes = changes_of([file("/v/b")], [row("/v/a", "A")], ids={"/v/b": "A"})
    assert (changes.moved, changes.deleted, changes.added) == (["/v/b"], [], [])
    assert changes.put == [row("/v/b", "A")]
    assert changes.remove == ["/v/a"]
    assert changes.encode == {}


def test_a_copy_shares_the_windows_of_its_twin():
    changes = changes_of([file("/v/a"), file("/v/b")], [row("/v/a", "A")], ids={"/v/b": "A"})
    assert changes.added == ["/v/b"]
    assert (changes.remove, changes.encode) == ([], {})


def test_equal_new_files_are_encoded_once():
    changes = changes_of([file("/v/a"), file("/v/b")], [], ids={"/v/a": "A", "/v/b": "A"})
    assert changes.encode == {"A": [file("/v/a"), file("/v/b")]}


def test_two_files_that_swapped_their_names_are_not_encoded():
    files = [file("/v/a", mtime=2), file("/v/b", mtime=1)]
    rows = [row("/v/a", "A", mtime=1), row("/v/b", "B", mtime=2)]
    changes = changes_of(files, rows, ids={"/v/a": "B", "/v/b": "A"})
    assert changes.encode == {}
    assert [(put.path, put.video_id) for put in changes.put] == [("/v/a", "B"), ("/v/b", "A")]


def test_rows_of_files_that_are_gone_are_removed_but_only_under_the_roots_that_were_read():
    rows = [row("/v/a", "A"), row("/other/b", "B"), row("/v/locked/c", "C")]
    changes = changes_of([], rows, ids={}, unreadable=[("/v/locked", "Permission denied")])
    assert changes.remove == ["/v/a"]
    assert changes.deleted == ["/v/a"]
    assert changes.failed == [("/v/locked", "Permission denied")]


def test_a_broken_file_is_not_tried_again_until_it_changes_or_retry_is_asked():
    broken = row("/v/a", "A", status="failed")
    assert changes_of([file("/v/a")], [broken], ids={}).failed == [("/v/a", "broken")]
    assert changes_of([file("/v/a")], [broken], ids={"/v/a": "A"}, retry_failed=True).encode == {"A": [file("/v/a")]}
    changed = file("/v/a", mtime=2)
    assert changes_of([changed], [broken], ids={"/v/a": "B"}).encode == {"B": [changed]}


def test_a_file_that_cannot_be_read_is_named_and_keeps_its_row():
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    scan = Scan(roots=("/v",), files=[file("/v/a", mtime=2)])
    changes = find_changes(scan, [row("/v/a", "A")], refuse)
    assert changes.failed == [("/v/a", "Permission denied")]
    assert (changes.put, changes.remove) == ([], [])
