import os

import pytest

from playhead.apps.library import content_id, scan_videos
from playhead.errors import SearchError


def touch(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def test_videos_are_found_in_all_folders_in_order_of_path_by_their_extension(tmp_path):
    wanted = [touch(tmp_path / name) for name in ("a.MP4", "b/c.webm", "b/d.3gp", "z.gif")]
    touch(tmp_path / "notes.txt")
    touch(tmp_path / "._a.MP4")
    assert [file.path for file in scan_videos([tmp_path]).files] == sorted(wanted)


def test_a_folder_of_chunks_is_one_video_named_by_the_folder(tmp_path):
    sizes = {"0.mp4": b"12", "1.mp4": b"345", "chunks.json": b"{}"}
    for name, content in sizes.items():
        touch(tmp_path / "film" / name, content)
    scan = scan_videos([tmp_path])
    assert [(file.path, file.size) for file in scan.files] == [(str(tmp_path / "film"), 7)]
    assert [file.path for file in scan_videos([tmp_path / "film"]).files] == [str(tmp_path / "film")]
    apart = scan_videos([tmp_path], join_chunks=False)
    assert [os.path.basename(file.path) for file in apart.files] == ["0.mp4", "1.mp4"]


def test_numbered_files_among_other_videos_are_videos_of_their_own(tmp_path):
    for name in ("0.mp4", "1.mp4", "holiday.mp4"):
        touch(tmp_path / name)
    assert [os.path.basename(file.path) for file in scan_videos([tmp_path]).files] == ["0.mp4", "1.mp4", "holiday.mp4"]


def test_the_id_of_chunks_follows_their_content_and_order_and_not_the_folder(tmp_path):
    for folder, contents in {"a": "xy", "b": "xy", "c": "yx"}.items():
        for number, content in enumerate(contents):
            touch(tmp_path / folder / f"{number}.mp4", content.encode())
    first, same, swapped = (content_id(str(tmp_path / name)) for name in "abc")
    assert first == same != swapped


def test_all_files_and_files_named_as_roots_need_no_extension(tmp_path):
    odd = touch(tmp_path / "odd.bin", b"12345")
    assert [file.path for file in scan_videos([tmp_path], all_files=True).files] == [odd]
    assert [(file.path, file.size) for file in scan_videos([odd]).files] == [(odd, 5)]


def test_a_file_under_two_roots_is_found_once(tmp_path):
    video = touch(tmp_path / "a" / "v.mp4")
    assert [file.path for file in scan_videos([tmp_path, tmp_path / "a"]).files] == [video]


def test_links_do_not_lead_out_of_the_root_nor_in_circles(tmp_path):
    touch(tmp_path / "elsewhere" / "secret.mp4")
    inside = touch(tmp_path / "root" / "in.mp4")
    (tmp_path / "root" / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "out.mp4").symlink_to(tmp_path / "elsewhere" / "secret.mp4")
    (tmp_path / "root" / "circle").symlink_to(tmp_path / "root")
    assert [file.path for file in scan_videos([tmp_path / "root"]).files] == [inside]


def test_a_root_that_is_not_there_is_an_error_and_not_an_empty_folder(tmp_path):
    with pytest.raises(SearchError, match="no such file or folder"):
        scan_videos([tmp_path / "unplugged"])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_reported_and_not_taken_for_empty(tmp_path):
    hidden = tmp_path / "hidden"
    video = touch(hidden / "v.mp4")
    hidden.chmod(0)
    try:
        scan = scan_videos([tmp_path])
    finally:
        hidden.chmod(0o700)
    assert [path for path, _ in scan.unreadable] == [str(hidden)]
    assert not scan.covers(video)


def test_a_scan_covers_what_lies_under_its_roots_only(tmp_path):
    (tmp_path / "a").mkdir()
    scan = scan_videos([tmp_path / "a"])
    assert scan.covers(str(tmp_path / "a" / "gone.mp4"))
    assert not scan.covers(str(tmp_path / "ab" / "other.mp4"))


def test_the_content_id_follows_the_content_and_not_the_name(tmp_path):
    big = os.urandom(3 << 20)
    first, moved = touch(tmp_path / "a.mp4", big), touch(tmp_path / "b" / "c.mp4", big)
    changed_end = touch(tmp_path / "d.mp4", big[:-1] + b"!")
    longer = touch(tmp_path / "e.mp4", big + b"!")
    ids = [content_id(path) for path in (first, moved, changed_end, longer)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert content_id(touch(tmp_path / "empty", b"")) != ids[0]
