import pytest

from playhead.data.video_lists import find_videos
from playhead.errors import AnnotationError
from playhead.types import Span


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "videos"
    for name in ("b.mp4", "a b.mp4", "deep/c.webm", ".hidden.mp4", "notes.txt", "frames/img_00001.jpg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def write(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text)
    return path


def names(videos):
    return [video.name for video in videos]


def test_a_folder_gives_all_its_videos_by_name(root):
    videos = find_videos(root, None)
    assert names(videos) == ["a b.mp4", "b.mp4", "deep/c.webm"]
    assert all(video.path == root / video.name and video.span is None for video in videos)


@pytest.mark.parametrize(
    "text",
    ["a b.mp4\nb.mp4\nframes\n", "a b.mp4 3\nb.mp4 0\nframes 2\n", "a b.mp4 0 -1 3\nb.mp4 0 -1 0\nframes 0 1 2\n"],
    ids=["paths", "paths_and_classes", "videomae"],
)
def test_a_list_gives_its_videos_in_its_order_whatever_numbers_follow(root, tmp_path, text):
    videos = find_videos(root, write(tmp_path, text))
    assert names(videos) == ["a b.mp4", "b.mp4", "frames"]
    assert [video.path for video in videos] == [root / "a b.mp4", root / "b.mp4", root / "frames"]


def test_a_csv_file_may_have_spans_and_other_columns(root, tmp_path):
    text = 'Label,Path,start,end\nx,b.mp4,1.5,3\ny,"a b.mp4",,\n'
    assert [(video.name, video.span) for video in find_videos(root, write(tmp_path, text))] == [
        ("b.mp4", Span(1.5, 3.0)),
        ("a b.mp4", None),
    ]


def test_an_official_file_of_kinetics_finds_cut_and_whole_videos(root, tmp_path):
    (root / "abcdefghijk_000012_000022.mp4").touch()
    rows = "x,abcdefghijk,12,22,train\ny,b,3,13,train\n"
    videos = find_videos(root, write(tmp_path, f"label,youtube_id,time_start,time_end,split\n{rows}"))
    assert [(video.path.name, video.span) for video in videos] == [
        ("abcdefghijk_000012_000022.mp4", None),
        ("b.mp4", Span(3.0, 13.0)),
    ]


def test_missing_videos_are_counted_or_left_out(root, tmp_path, caplog):
    listing = write(tmp_path, "b.mp4\nlost.mp4\n")
    with pytest.raises(AnnotationError, match=r"1 of 2 videos are not in .*'lost.mp4' \(row 2\)"):
        find_videos(root, listing)
    with caplog.at_level("INFO"):
        assert names(find_videos(root, listing, missing="leave_out")) == ["b.mp4"]
    assert "1 of 2 videos are missing" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no videos"),
        ("path\n", "holds no videos"),
        ("b.mp4 1\na b.mp4\n", "different numbers of numbers"),
        ("frames 5 10 1\n", "starts at frame 5"),
        ("path,start,end\nb.mp4,3,1\n", "must be seconds"),
        ("path,label\nb.mp4\n", "1 values for 2 columns"),
        ("path,label\n,x\n", "lacks its path"),
    ],
)
def test_lists_that_cannot_be_read_are_refused_with_their_row(root, tmp_path, text, said):
    with pytest.raises(AnnotationError, match=said):
        find_videos(root, write(tmp_path, text))


def test_a_folder_without_videos_is_named(tmp_path):
    with pytest.raises(AnnotationError, match="no file below this folder ends in"):
        find_videos(tmp_path, None)
    with pytest.raises(AnnotationError, match="no such folder"):
        find_videos(tmp_path / "lost", None)
