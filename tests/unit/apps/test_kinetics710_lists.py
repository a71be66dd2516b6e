import pytest

from playhead.apps.kinetics710 import merge_lists
from playhead.data.kinetics import read_kinetics
from playhead.errors import AnnotationError

HEADER = "label,youtube_id,time_start,time_end,split\n"


def write(folder, **splits):
    folder.mkdir()
    for split, rows in splits.items():
        lines = "".join(f"{label},{name},0,10,{split}\n" for name, label in rows)
        (folder / f"{split}.csv").write_text(HEADER + lines)
    return folder


def test_lists_are_merged_from_folders_and_written_in_the_official_layout(tmp_path):
    k400 = write(tmp_path / "k400", train=[("a", "tying tie"), ("b", "abseiling")], val=[("c", "abseiling")])
    k700 = write(tmp_path / "k700", train=[("c", "abseiling"), ("t", "abseiling")], val=[("d", "abseiling")])
    (k700 / "test.csv").write_text("youtube_id,time_start,time_end,split\nt,0,10,test\n")
    merged = merge_lists([k400, k700], tmp_path / "k710")
    train = read_kinetics(tmp_path / "k710" / "train.csv")
    assert [(row.youtube_id, row.label) for row in train] == [("a", "tying necktie"), ("b", "abseiling")]
    assert [row.youtube_id for row in read_kinetics(tmp_path / "k710" / "val.csv")] == ["c", "d"]
    assert (merged.train, merged.val, sum(merged.left_out.values())) == (2, 2, 2)


def test_nothing_is_written_where_a_list_is_missing_or_would_be_overwritten(tmp_path):
    k400 = write(tmp_path / "k400", train=[("a", "abseiling")])
    with pytest.raises(AnnotationError, match=r"no file like val\.csv"):
        merge_lists([k400], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(AnnotationError, match="write to another folder"):
        merge_lists([k400], k400)
