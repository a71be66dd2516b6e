import pytest

from playhead.data.captions import CaptionPair, read_captions
from playhead.errors import AnnotationError
from playhead.types import Span


def test_both_layouts_give_the_same_pairs(tmp_path):
    expected = [CaptionPair("a.mp4", 'cuts, "fast"', Span(1.0, 2.5)), CaptionPair("b.jpg", "é", None)]
    (tmp_path / "p.csv").write_text('file,text,start,end\na.mp4,"cuts, ""fast""",1,2.5\nb.jpg,é,,\n')
    (tmp_path / "p.jsonl").write_text(
        '{"file": "a.mp4", "text": "cuts, \\"fast\\"", "start": 1, "end": 2.5}\n\n'
        '{"text": "é", "file": "b.jpg", "start": null}\n'
    )
    assert read_captions(tmp_path / "p.csv") == expected
    assert read_captions(tmp_path / "p.jsonl") == expected


def test_other_names_of_the_columns_are_known(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"video": "a.mp4", "start": 1.0, "end": 2.0, "caption": "cuts"}\n')
    (tmp_path / "p.csv").write_text("caption,image\ncuts,a.jpg\n")
    assert read_captions(tmp_path / "p.jsonl") == [CaptionPair("a.mp4", "cuts", Span(1.0, 2.0))]
    assert read_captions(tmp_path / "p.csv") == [CaptionPair("a.jpg", "cuts")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", "file,title\na,b\n", "row 1: 'file', 'text'"),
        ("p.csv", "file,text,begin\na,b,1\n", "row 1: 'file', 'text'"),
        ("p.csv", "file,text,text\na,b,c\n", "row 1: 'file', 'text'"),
        ("p.csv", "file,text,caption\na,b,c\n", "row 1: 'file', 'text'"),
        ("p.csv", "file,text\na,b,c\n", "row 2: 2 fields needed"),
        ("p.csv", "file,text\na\n", "row 2: 2 fields needed"),
        ("p.csv", "file,text\na, \n", "row 2: 'text' needs a text"),
        ("p.csv", "file,text,start,end\na,b,1,\n", "row 2: 'start' and 'end' belong together"),
        ("p.csv", "file,text,start,end\na,b,2,2\n", "row 2: 0 <= start < end"),
        ("p.csv", "file,text,start,end\na,b,x,2\n", "row 2: a time must be a number"),
        ("p.csv", "file,text,start,end\na,b,1,nan\n", "row 2: a time must be a number"),
        ("p.csv", "file,text\n", "no pairs"),
        ("p.csv", "", "row 1"),
        ("p.jsonl", '{"file": "a", "text": "b"}\n{"file": "a"}\n', "row 2: 'file', 'text'"),
        ("p.jsonl", '{"file": "a", "text": "b"', "row 1: no JSON object"),
        ("p.jsonl", "[1]", "row 1: an object needed"),
        ("p.jsonl", '{"file": "a", "text": 3}', "row 1: 'text' needs a text"),
        ("p.txt", "", "end in .csv or .jsonl"),
    ],
)
def test_a_broken_file_is_told(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(AnnotationError, match=message):
        read_captions(tmp_path / name)
