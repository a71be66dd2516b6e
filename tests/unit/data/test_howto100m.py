"""HowTo100M's captions from one JSON file and from a folder of csv files, whole and from any place on."""

import json

import pytest

from playhead.data import json_stream
from playhead.data.caption_table import CaptionTable
from playhead.data.howto100m import HowTo100M, read_video_list
from playhead.errors import AnnotationError
from playhead.types import Span

VIDEOS = {
    "-aB_3": {"start": [0.0, 2.5], "end": [2.49, 7], "text": ["cut the ônion", " stir "]},
    "empty": {"start": [], "end": [], "text": []},
    "x": {"text": ["pour", "", "wait\u2028"], "start": [1, 2.0, 3.0], "end": [1.5, 3.0, 4.0]},
}
ROWS = [
    ("-aB_3", "cut the ônion", Span(0.0, 2.49)),
    ("-aB_3", "stir", Span(2.5, 7.0)),
    ("x", "pour", Span(1.0, 1.5)),
    ("x", "wait", Span(3.0, 4.0)),
]


def write_csvs(folder):
    folder.mkdir()
    (folder / "readme.txt").write_text("no captions")
    for video_id, captions in VIDEOS.items():
        columns = zip(captions["start"], captions["end"], captions["text"], strict=True)
        lines = [f'{start},{end},"{text}"\n' for start, end, text in columns]
        (folder / f"{video_id}.csv").write_text("start,end,text\n" + "".join(lines))
    return folder


def write_json(path, **options):
    path.write_text(json.dumps(VIDEOS, **options))
    return path


def convert(path, tmp_path, **settings) -> CaptionTable:
    return CaptionTable.convert(HowTo100M(path, **settings), tmp_path / "table")


def rows_of(table):
    return [(pair.file, pair.text, pair.span) for pair in map(table.__getitem__, range(len(table)))]


@pytest.mark.parametrize("layout", ["json", "ascii_json", "pretty_json", "csv"])
def test_both_layouts_give_the_same_captions(tmp_path, layout):
    if layout == "csv":
        source = write_csvs(tmp_path / "captions")
    else:
        options = {"indent": 1} if layout == "pretty_json" else {"ensure_ascii": layout == "ascii_json"}
        source = write_json(tmp_path / "caption.json", **options)
    table = convert(source, tmp_path)
    assert rows_of(table) == ROWS
    assert table.dropped == {"empty_caption": 1, "video_without_captions": 1}
    assert table.num_files == 2 and [table.rows_of(number) for number in (0, 1)] == [range(0, 2), range(2, 4)]
    assert list(table.files()) == ["-aB_3", "x"]


def test_the_json_is_read_through_a_window_of_any_size(tmp_path, monkeypatch):
    for size in (1, 2, 3, 7, 64):
        monkeypatch.setattr(json_stream, "BLOCK_BYTES", size)
        for options in ({"ensure_ascii": False}, {"indent": 2}):
            reader = HowTo100M(write_json(tmp_path / f"{size}.json", **options))
            assert rows_of(CaptionTable.convert(reader, tmp_path / f"{size}{len(options)}{options}")) == ROWS


@pytest.mark.parametrize("layout", ["json", "csv"])
def test_reading_goes_on_from_the_place_behind_any_video(tmp_path, layout):
    source = write_csvs(tmp_path / "c") if layout == "csv" else write_json(tmp_path / "c.json", indent=1)
    reader = HowTo100M(source)
    whole = list(reader.read(0, 0))
    assert whole[-1].offset == (3 if layout == "csv" else reader.total() - len("\n}"))
    for number, read in enumerate(whole):
        rest = list(reader.read(read.offset, read.row))
        assert [one[:4] for one in rest[: len(whole) - number - 1]] == [one[:4] for one in whole[number + 1 :]]


def test_only_listed_videos_are_taken(tmp_path):
    listed = tmp_path / "HowTo100M_v1.csv"
    listed.write_text("video_id,category_1,category_2,rank,task_id\nx,Food,Soup,1,7\nnone,Food,Soup,2,7\n")
    table = convert(write_json(tmp_path / "caption.json"), tmp_path, video_list=listed)
    assert [row[0] for row in rows_of(table)] == ["x", "x"]
    assert table.dropped == {"video_not_in_video_list": 2, "empty_caption": 1}
    listed.write_text("id\nx\n")
    with pytest.raises(AnnotationError, match="row 1: a column 'video_id' is needed"):
        read_video_list(listed)


@pytest.mark.parametrize(
    ("captions", "said"),
    [
        ('{"start": [1], "end": [1], "text": ["a"]}', "video 'v', caption 0: 0 <= start < end needed, found 1 and 1"),
        ('{"start": [-1], "end": [1], "text": ["a"]}', "0 <= start < end needed"),
        ('{"start": [NaN], "end": [1], "text": ["a"]}', "0 <= start < end needed, found nan and 1"),
        ('{"start": ["1"], "end": [2], "text": ["a"]}', "0 <= start < end needed"),
        ('{"start": [1], "end": [2], "text": [3]}', "video 'v', caption 0: a text in UTF-8 needed, found 3"),
        ('{"start": [1], "end": [2], "text": ["\\ud800"]}', "a text in UTF-8 needed"),
        ('{"start": [1], "end": [2, 3], "text": ["a"]}', "video 'v': lists start, end and text of one length needed"),
        ('{"start": [1], "end": [2]}', "lists start, end and text of one length needed"),
        ("[1]", "lists start, end and text of one length needed"),
    ],
)
def test_a_malformed_caption_is_named_by_its_video_or_counted(tmp_path, captions, said):
    path = tmp_path / "caption.json"
    path.write_text('{"a": {"start": [0], "end": [1], "text": ["kept"]}, "v": ' + captions + "}")
    with pytest.raises(AnnotationError, match=said):
        convert(path, tmp_path)
    table = convert(path, tmp_path, skip_malformed=True)
    assert len(table) == 1 and table.dropped == {"malformed_row": 1, "video_without_captions": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "row 1: the JSON ends too early"),
        ('{"a": {"start": [0], "end"', "row 1: the JSON ends too early"),
        ('{"a": {"start": [0],\n "end": [1], "text": ["x"]}', "row 2: the JSON ends too early"),
        ('{"a": {"start": [0], "end": [1], "text": ["x"]}\n\n"b": {}}', "row 3: ',' expected"),
        ('{"a": {"start": [0],\n "end": [1,,2], "text": ["x"]}' + " " * 40 + "}", "row 2: no JSON"),
        ('{"a": {"start": [0], "end": [1], "text": ["x"]}} {}', "nothing may follow"),
        ("[1]", "row 1: '{' expected"),
        ('{1: {"start": [0], "end": [1], "text": ["x"]}}', "a video id in double quotes needed"),
        ('{"../up": {"start": [0], "end": [1], "text": ["x"]}}', "'../up' is no video id"),
        ('{"a": ' + "[" * 100_000, "nested too deep"),
    ],
)
def test_a_json_file_that_is_none_is_told_with_its_row(tmp_path, content, said):
    (tmp_path / "caption.json").write_text(content)
    with pytest.raises(AnnotationError, match=said):
        convert(tmp_path / "caption.json", tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("start,end,text\n0,1,a\n3,2,b\n", "v.csv, row 3: video 'v', caption 1: 0 <= start < end needed"),
        ("start,end,text\n0,x,a\n", "v.csv, row 2: video 'v', caption 0: 0 <= start < end needed, found 0.0 and 'x'"),
        ("start,end,text\n0,1\n", "v.csv, row 2: 3 fields needed, found 2"),
        ("begin,end,text\n0,1,a\n", "v.csv, row 1: columns start are missing"),
        ("start,end,text\n0,1,caf\udce9\n", r"v.csv, row 2: video 'v', caption 0: a text in UTF-8 needed"),
    ],
)
def test_a_malformed_row_of_a_csv_file_is_named(tmp_path, content, said):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "v.csv").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(AnnotationError, match=said):
        convert(tmp_path / "c", tmp_path)


def test_a_video_that_stands_in_the_json_twice_counts_once(tmp_path):
    one = '{"start": [0], "end": [1], "text": ["x"]}'
    (tmp_path / "caption.json").write_text(f'{{"a": {one}, "b": {one}, "a": {one}}}')
    table = convert(tmp_path / "caption.json", tmp_path)
    assert list(table.files()) == ["a", "b"] and table.dropped == {"file_named_twice": 1}
