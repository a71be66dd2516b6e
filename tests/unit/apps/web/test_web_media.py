"""Ranges are exact, and no address leads to a file that is not in the index as it was indexed."""

import io
import os
import shutil

import av
import pytest

import playhead
from playhead.apps.web.media import PictureCache, open_indexed, parts_of, read_range
from playhead.errors import SearchError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("bytes=0-", (0, 100)),
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-500", (90, 100)),
        ("bytes=-7", (93, 100)),
        ("bytes=-500", (0, 100)),
        ("Bytes = 5 - 6", (5, 7)),
        ("lines=1-2", None),
        ("bytes=0-1,5-6", None),
    ],
)
def test_a_range_is_read_as_the_standard_says(text, expected):
    assert read_range(text, 100) == expected


@pytest.mark.parametrize("text", ["bytes=100-", "bytes=7-3", "bytes=-0", "bytes=-", "bytes=a-b", "bytes=", "bytes=1"])
def test_a_range_that_is_none_or_outside_is_refused(text):
    with pytest.raises(ValueError, match=r"is no range|lies outside"):
        read_range(text, 100)


def test_an_empty_file_has_no_range():
    with pytest.raises(ValueError, match="lies outside"):
        read_range("bytes=0-", 0)


def test_a_video_comes_whole_or_in_exactly_the_bytes_asked_for(client, video_id, web_videos):
    whole, address = (web_videos / "a.mp4").read_bytes(), f"/media/{video_id('a.mp4')}/0"
    plain = client.get(address)
    assert (plain.status_code, plain.content) == (200, whole)
    assert plain.headers["accept-ranges"] == "bytes" and plain.headers["content-type"] == "video/mp4"
    for first, stop in ((0, 1), (100, 2000), (len(whole) - 5, len(whole))):
        piece = client.get(address, headers={"Range": f"bytes={first}-{stop - 1}"})
        assert (piece.status_code, piece.content) == (206, whole[first:stop])
        assert piece.headers["content-range"] == f"bytes {first}-{stop - 1}/{len(whole)}"
    suffix = client.get(address, headers={"Range": "bytes=-10"})
    assert (suffix.status_code, suffix.content) == (206, whole[-10:])


def test_a_file_longer_than_a_piece_arrives_in_order(visit, tmp_path, bundle_path, make_video):
    path = make_video(tmp_path / "long.mp4", [("red", 1)])
    with open(path, "ab") as file:  # players skip what follows the last box
        file.write(b"\0\0\0\0free" + os.urandom(700_000))
    collection = playhead.index(tmp_path, playhead.load(bundle_path), at=tmp_path / "index")
    whole = path.read_bytes()
    got = visit(collection).get(f"/media/{collection.by_id(collection.video(path).video_id).video_id}/0")
    assert got.content == whole
    middle = visit(collection).get(got.request.url.path, headers={"Range": "bytes=200000-600000"})
    assert middle.content == whole[200_000:600_001]


def test_an_impossible_range_is_416_and_tells_the_size(client, video_id, web_videos):
    size = (web_videos / "a.mp4").stat().st_size
    answer = client.get(f"/media/{video_id('a.mp4')}/0", headers={"Range": f"bytes={size}-"})
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{size}"


def test_head_tells_the_size_and_sends_nothing(client, video_id, web_videos):
    answer = client.head(f"/media/{video_id('a.mp4')}/0")
    assert answer.content == b"" and int(answer.headers["content-length"]) == (web_videos / "a.mp4").stat().st_size


def test_a_known_version_is_not_sent_again_and_a_range_of_another_is_the_whole(client, video_id, web_videos):
    address = f"/media/{video_id('a.mp4')}/0"
    tag = client.head(address).headers["etag"]
    assert client.get(address, headers={"If-None-Match": tag}).status_code == 304
    part = {"Range": "bytes=0-9"}
    assert len(client.get(address, headers=part | {"If-Range": tag}).content) == 10
    other = client.get(address, headers=part | {"If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, (web_videos / "a.mp4").read_bytes())


@pytest.mark.parametrize(
    "path",
    [
        "/media/../secret.txt/0",
        "/media/..%2f..%2fsecret.txt/0",
        "/media/%2e%2e/%2e%2e/etc/passwd",
        "/media//etc/passwd",
        "/media/{id}/../../secret.txt",
        "/media/{id}/..%2f..%2fsecret.txt",
        "/media/{id}/1",
        "/media/{id}/-1",
        "/media/{upper}/0",
        "/media/{none}/0",
        "/media/{none}/thumbnail.jpg",
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/server.py",
        "/static//etc/passwd",
    ],
)
def test_no_address_leads_to_another_file(client, video_id, path):
    known = video_id("a.mp4")
    answer = client.get(path.format(id=known, upper=known.upper(), none="0" * 32))
    assert answer.status_code in (404, 422)
    assert b"secret" not in answer.content.replace(b"secret.txt", b"") and b"import" not in answer.content


@pytest.fixture
def own(tmp_path, web_videos, bundle_path):
    """A copy of a video, indexed, to be tampered with."""
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy2(web_videos / "a.mp4", folder / "a.mp4")
    return playhead.index(folder, playhead.load(bundle_path), at=tmp_path / "index"), folder / "a.mp4"


def replace_by_link(path, tmp_path):
    moved = path.rename(tmp_path / "elsewhere.mp4")
    path.symlink_to(moved)


def replace_folder_by_link(path, tmp_path):
    moved = path.parent.rename(tmp_path / "elsewhere")
    path.parent.symlink_to(moved)


def replace_by_pipe(path, tmp_path):
    path.unlink()
    os.mkfifo(path)


def replace_by_other_content(path, tmp_path):
    path.write_bytes(b"secret" * 10)


def remove(path, tmp_path):
    path.unlink()


@pytest.mark.parametrize(
    "tamper", [replace_by_link, replace_folder_by_link, replace_by_pipe, replace_by_other_content, remove]
)
def test_what_was_put_in_a_files_place_is_not_served(visit, own, tmp_path, tamper):
    collection, path = own
    client, video = visit(collection), collection.video(path).video_id
    assert client.get(f"/media/{video}/0").status_code == 200
    tamper(path, tmp_path)
    answer = client.get(f"/media/{video}/0")
    assert answer.status_code == 404 and b"secret" not in answer.content
    assert "detail" in answer.json()


def test_a_row_whose_path_left_its_root_is_refused(own, tmp_path):
    collection, path = own
    row = collection.video(path)
    outside = shutil.copy2(path, tmp_path / "outside.mp4")
    with pytest.raises(SearchError, match="no longer what was indexed"):
        open_indexed(row, str(outside))


def test_another_copy_is_served_where_the_first_is_gone(visit, tmp_path, web_videos, bundle_path):
    for name in ("a.mp4", "b.mp4"):
        shutil.copy2(web_videos / "a.mp4", tmp_path / name)
    collection = playhead.index(tmp_path, playhead.load(bundle_path), at=tmp_path / "index")
    video = collection.video(tmp_path / "a.mp4").video_id
    (tmp_path / "a.mp4").unlink()
    assert visit(collection).get(f"/media/{video}/0").content == (tmp_path / "b.mp4").read_bytes()


def test_files_are_closed_after_whole_partial_and_refused_answers(client, video_id):
    address = f"/media/{video_id('a.mp4')}/0"
    client.get(address)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else pytest.skip("no /proc")
    for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=9999999-"}, {"If-None-Match": "*"}):
        client.get(address, headers=headers)
        client.head(address, headers=headers)
    assert len(os.listdir("/proc/self/fd")) <= before


def picture(answer):
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    with av.open(io.BytesIO(answer.content)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def test_a_thumbnail_shows_the_frame_at_its_time(client, video_id):
    red = picture(client.get(f"/media/{video_id('a.mp4')}/thumbnail.jpg?t=7&height=48"))
    green = picture(client.get(f"/media/{video_id('a.mp4')}/thumbnail.jpg?t=2&height=48"))
    assert red.shape[0] == 48
    assert red.mean((0, 1)).argmax() == 0 and green.mean((0, 1)).argmax() == 1


def test_a_strip_runs_through_the_moment(client, video_id):
    strip = picture(client.get(f"/media/{video_id('a.mp4')}/strip.jpg?start=3&end=9"))
    width = strip.shape[1] // 5
    assert [strip[:, k * width + 4 : (k + 1) * width - 4].mean((0, 1)).argmax() for k in (0, 4)] == [1, 0]


@pytest.mark.parametrize("query", ["t=nan", "t=-1", "t=inf", "height=100000", "height=1", "t=x"])
def test_pictures_of_no_time_or_size_are_refused(client, video_id, query):
    assert client.get(f"/media/{video_id('a.mp4')}/thumbnail.jpg?{query}").status_code == 422


def test_the_picture_cache_keeps_the_last_used_within_its_bytes():
    cache, made = PictureCache(10), []

    def make(name):
        def picture():
            made.append(name)
            return b"x" * 4

        return picture

    for name in ("a", "b", "a", "c", "a", "b"):
        cache.get((name,), make(name))
    assert made == ["a", "b", "c", "b"]


def test_chunks_are_parts_at_the_seconds_where_they_begin(visit, tmp_path, bundle_path, make_video):
    for number, colour in enumerate(("red", "green", "blue")):
        make_video(tmp_path / "long" / f"{number}.mp4", [(colour, 4)])
    collection = playhead.index(tmp_path, playhead.load(bundle_path), at=tmp_path / "index")
    row = collection.video(tmp_path / "long")
    assert [part.start for part in parts_of(row)] == [0.0, 4.0, 8.0]
    client = visit(collection)
    second = client.get(f"/media/{row.video_id}/1")
    assert second.content == (tmp_path / "long" / "1.mp4").read_bytes()
    assert client.get(f"/media/{row.video_id}/3").status_code == 404
    told = client.get(f"/api/v1/videos/{row.video_id}").json()
    assert told["parts"] == [[f"/media/{row.video_id}/{k}", 4.0 * k] for k in range(3)]
