"""The published files of WebVid and CC3M: what is a row, what is left out and counted, and what is an error."""

import zlib

import pytest

from playhead.data.caption_layouts import ConceptualCaptions, WebVid, read_image_map
from playhead.data.caption_table import CaptionTable
from playhead.errors import AnnotationError

HEADING = "videoid,contentUrl,duration,page_dir,name\n"


def webvid(tmp_path, rows: str | bytes, **settings) -> CaptionTable:
    path = tmp_path / "results_2M_train.csv"
    path.write_bytes(HEADING.encode() + (rows if isinstance(rows, bytes) else rows.encode()))
    return CaptionTable.convert(WebVid(path, **settings), tmp_path / "table")


def cc3m(tmp_path, lines: str, **settings) -> CaptionTable:
    path = tmp_path / "Train_GCC-training.tsv"
    path.write_text(lines)
    return CaptionTable.convert(ConceptualCaptions(path, **settings), tmp_path / "table")


def rows_of(table: CaptionTable) -> list[tuple[str, str]]:
    assert all(table[row].span is None for row in range(len(table)))
    return [(table[row].file, table[row].text) for row in range(len(table))]


def test_a_video_of_webvid_lies_in_its_page_dir(tmp_path):
    table = webvid(
        tmp_path,
        '21,http://a/21.mp4,PT00H00M10S,006001_006050,"A cat, asleep"\n'
        '7,http://a/7.mp4,PT00H00M20S,000001_000050,"Rain\nfalls &amp; stops "\n\n',
    )
    assert rows_of(table) == [
        ("006001_006050/21.mp4", "A cat, asleep"),
        ("000001_000050/7.mp4", "Rain\nfalls &amp; stops"),
    ]
    assert table.dropped == {} and table.noted == {"text_with_html_entity": 1}


def test_columns_may_stand_in_any_order_and_others_beside_them(tmp_path):
    path = tmp_path / "results_2M_val.csv"
    path.write_text("﻿name,rating,page_dir,videoid\nA dog,5,000001_000050,3\n")
    assert rows_of(CaptionTable.convert(WebVid(path), tmp_path / "t")) == [("000001_000050/3.mp4", "A dog")]


def test_what_the_published_file_is_known_to_lack_is_counted_and_left_out(tmp_path):
    table = webvid(tmp_path, "1,u,d,,no folder\n2,u,d,p, \n3,u,d,p,kept\n3,u,d,p,again\n4,u,d,p,kept too\n5,u,d,p,\n")
    assert rows_of(table) == [("p/3.mp4", "kept"), ("p/4.mp4", "kept too")]
    assert table.dropped == {"no_page_dir": 1, "empty_caption": 2, "file_named_twice": 1}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (b"2,u,d,p\n", "row 3: 5 fields needed as in the heading, found 4"),
        (b"2,u,d,p,A man, running\n", "row 3: 5 fields needed as in the heading, found 6"),
        (b"2,u,d,p,caf\xe9\n", r"row 3: the caption 'caf\\udce9' is no UTF-8"),
        (b"2,u,d,../up,A man\n", "row 3: page_dir and videoid must be plain names"),
        (b"2,u,d,/etc,A man\n", "row 3: page_dir and videoid must be plain names"),
        (b"a/b,u,d,p,A man\n", "row 3: page_dir and videoid must be plain names"),
        (b'2,u,d,p,"' + b"x" * 140_000 + b"\n", "row 3: no csv"),
    ],
)
def test_a_malformed_row_of_webvid_is_named_or_counted(tmp_path, row, said):
    rows = b"1,u,d,p,A cat\n" + row
    with pytest.raises(AnnotationError, match=said) as caught:
        webvid(tmp_path, rows)
    assert caught.value.path == str(tmp_path / "results_2M_train.csv")
    table = webvid(tmp_path, rows, skip_malformed=True)
    assert rows_of(table) == [("p/1.mp4", "A cat")] and table.dropped == {"malformed_row": 1}


def test_a_file_of_another_layout_is_told_by_its_columns(tmp_path):
    path = tmp_path / "some.csv"
    path.write_text("file,text\na.mp4,A cat\n")
    with pytest.raises(AnnotationError, match="row 1: columns videoid, name, page_dir are missing"):
        CaptionTable.convert(WebVid(path), tmp_path / "t")
    with pytest.raises(AnnotationError, match="cannot be read"):
        CaptionTable.convert(WebVid(tmp_path / "none.csv"), tmp_path / "t")


def test_a_picture_of_cc3m_is_named_by_the_crc32_of_its_url(tmp_path):
    table = cc3m(tmp_path, 'a "cat" on a mat\thttp://a/1.jpg\nthe sea\thttp://a/2.jpg\n')
    assert zlib.crc32(b"http://a/1.jpg") == 1911374777
    assert rows_of(table) == [("1911374777", 'a "cat" on a mat'), (str(zlib.crc32(b"http://a/2.jpg")), "the sea")]


def test_two_urls_of_one_crc32_are_left_out_and_the_same_url_comes_once(tmp_path):
    # Found by trying numbers: crc32 does not tell these two apart.
    one, other = "http://a/plumless", "http://a/buckeroo"
    assert zlib.crc32(b"plumless") == zlib.crc32(b"buckeroo") and zlib.crc32(one.encode()) == zlib.crc32(other.encode())
    table = cc3m(tmp_path, f"a\thttp://a/1\nb\t{one}\nc\t{other}\nd\thttp://a/1\ne\thttp://a/2\n")
    assert [text for _, text in rows_of(table)] == ["a", "e"]
    assert table.dropped == {"name_shared_by_two_urls": 2, "file_named_twice": 1}


@pytest.mark.parametrize("heading", ["", "caption\turl\n"])
def test_img2dataset_numbers_pictures_by_their_rows(tmp_path, heading):
    lines = [f"text {number}\thttp://a/{number}\n" for number in range(10_002)]
    lines[1] = " \thttp://a/1\n"
    table = cc3m(tmp_path, heading + "".join(lines), image_names="img2dataset")
    assert len(table) == 10_001 and table.dropped == {"empty_caption": 1}
    assert [table[row].file for row in (0, 1, 9_998, 10_000)] == [
        "00000/000000000.jpg",
        "00000/000000002.jpg",
        "00000/000009999.jpg",
        "00001/000010001.jpg",
    ]


def test_a_map_names_pictures_and_what_it_lacks_is_counted(tmp_path):
    (tmp_path / "map.tsv").write_text("file\tstatus\turl\nx/1.png\t200\thttp://a/1\nx/2.png\t200\thttp://a/2\n")
    lines = "a\thttp://a/1\nb\thttp://a/3\nc\thttp://a/2\n"
    table = cc3m(tmp_path, lines, image_names="mapping", image_map=tmp_path / "map.tsv")
    assert rows_of(table) == [("x/1.png", "a"), ("x/2.png", "c")]
    assert table.dropped == {"url_not_in_image_map": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("url,file\n", "row 1: tab-separated columns 'url' and 'file' needed"),
        ("url\tfile\na\n", "row 2: 2 tab-separated fields"),
        ("url\tfile\na\t../b\n", "row 2: 'file' must be a name within the folder"),
        ("url\tfile\na\tb\nc\t\n", "row 3: 'file' must be a name within the folder"),
    ],
)
def test_a_map_that_is_none_is_told(tmp_path, content, said):
    (tmp_path / "map.tsv").write_text(content)
    with pytest.raises(AnnotationError, match=said):
        read_image_map(tmp_path / "map.tsv")


@pytest.mark.parametrize("line", ["only a caption\n", "a\tb\tc\n", "a caption\t \n"])
def test_a_malformed_row_of_cc3m_is_named_or_counted(tmp_path, line):
    with pytest.raises(AnnotationError, match=r"row 2: a caption, a tab and a URL needed"):
        cc3m(tmp_path, "a\thttp://a/1\n" + line)
    assert cc3m(tmp_path, "a\thttp://a/1\n" + line, skip_malformed=True).dropped == {"malformed_row": 1}


def test_a_source_without_any_caption_is_told(tmp_path):
    with pytest.raises(AnnotationError, match="no usable caption"):
        webvid(tmp_path, "1,u,d,p,\n")
