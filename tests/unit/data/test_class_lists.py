"""Readers of action recognition's official and own lists; the values asked for are written out in each test."""

import json

import pytest

from playhead.data.action_lists import read_list
from playhead.data.action_videos import Place
from playhead.data.activitynet import read_activitynet, read_moments_in_time
from playhead.data.hmdb_ucf import read_hmdb51, read_ucf101
from playhead.data.kinetics import as_listed, read_kinetics, write_kinetics
from playhead.data.something import read_something, read_something_labels
from playhead.errors import AnnotationError
from playhead.types import Span


def write(path, text):
    path.write_text(text)
    return path


def rows(listed):
    return [(video.places[0].name, video.label, video.num_frames) for video in listed]


@pytest.mark.parametrize("separator", [" ", ",", "\t", ", "])
def test_a_list_is_read_with_blanks_commas_or_tabs(tmp_path, separator):
    path = write(tmp_path / "train.csv", f"a/b.mp4{separator}3\n\nc.mp4{separator}0\n")
    assert rows(read_list(path)) == [("a/b.mp4", 3, None), ("c.mp4", 0, None)]


def test_a_path_may_hold_blanks_and_end_in_a_number(tmp_path):
    path = write(tmp_path / "l.txt", "open door/take 2.mp4 1\nclose door/x  3 4.mp4 2\n")
    assert rows(read_list(path)) == [("open door/take 2.mp4", 1, None), ("close door/x  3 4.mp4", 2, None)]


def test_folders_of_frames_have_their_counts(tmp_path):
    path = write(tmp_path / "l.txt", "f/0001 37 5\nf/0002 12 0\n")
    assert rows(read_list(path)) == [("f/0001", 5, 37), ("f/0002", 0, 12)]
    assert rows(read_list(write(path, "f/0001 0 37 5\n"))) == [("f/0001", 5, 37)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.mp4 1\nb.mp4,2\n", "mixes separators: blanks in row 1 and commas in row 2"),
        ("a 5,1\n", "row 1: mixes blanks and commas"),
        ("a 12 1\nb 1\n", r"different numbers of numbers \(2 in row 1 and 1 in row 2\)"),
        ("a.mp4 walk\n", "row 1: 'a.mp4 walk' does not end in a class number"),
        ("a.mp4 1 4\n", "'a.mp4' is a file with 2 numbers; a list of several classes"),
        ("f/1 8 30 2\n", "starts at frame 8"),
        ("f/1 0 2\n", "is said to have 0 frames"),
        ("a.mp4 1\na.mp4 2\n", "row 2: 'a.mp4' stands in row 1 already, as 1 and not 2"),
        ("a.mp4 1\na.mp4 1\n", "stands in row 1 already; keep one"),
        ("\n", "holds no videos"),
    ],
)
def test_a_list_that_could_be_misread_is_refused_and_says_where(tmp_path, text, said):
    with pytest.raises(AnnotationError, match=said):
        read_list(write(tmp_path / "l.txt", text))


def test_a_csv_file_with_a_header_has_class_names_and_stretches(tmp_path):
    path = write(tmp_path / "l.csv", 'path,start,end,label\n"a, b.mp4",1.5,4,open door\nc.mp4,0,2,7\n')
    found = read_list(path)
    assert found[0].places == (Place("a, b.mp4", Span(1.5, 4.0)),) and found[0].label == "open door"
    assert found[1].label == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\na, b.mp4,x\n", "3 values for 2 columns; a path with a comma needs quotes"),
        ("path,label\na.mp4,\n", "row 2: lacks its label"),
        ("path,label,start,end\na.mp4,x,5,2\n", "must be seconds"),
        ("path,video,label\na,b,c\n", "needs one column of path"),
    ],
)
def test_a_csv_file_that_does_not_fit_its_header_is_refused(tmp_path, text, said):
    with pytest.raises(AnnotationError, match=said):
        read_list(write(tmp_path / "l.csv", text))


KINETICS = "label,youtube_id,time_start,time_end,split,is_cc\nopen door,0wR5jVB-WPk,417,427,val,0\n"


def test_an_official_row_of_kinetics_says_where_downloaders_put_it(tmp_path):
    found = as_listed(read_kinetics(write(tmp_path / "val.csv", KINETICS)), tmp_path)[0]
    names = [place.name for place in found.places if place.span is None]
    assert names == [
        "0wR5jVB-WPk_000417_000427",
        "val/0wR5jVB-WPk_000417_000427",
        "open door/0wR5jVB-WPk_000417_000427",
        "val/open door/0wR5jVB-WPk_000417_000427",
        "open_door/0wR5jVB-WPk_000417_000427",
        "val/open_door/0wR5jVB-WPk_000417_000427",
    ]
    assert Place("0wR5jVB-WPk", Span(417.0, 427.0)) in found.places and found.label == "open door"


def test_what_is_written_in_kinetics_layout_is_read_again(tmp_path):
    read = read_kinetics(write(tmp_path / "val.csv", KINETICS))
    write_kinetics(tmp_path / "again.csv", read)
    assert read_kinetics(tmp_path / "again.csv") == read


def test_secret_classes_of_kinetics_test_files_are_none(tmp_path):
    path = write(tmp_path / "test.csv", "youtube_id,time_start,time_end,split\nabc,0,10,test\n")
    assert read_kinetics(path)[0].label is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path label\n", "lacks the column 'youtube_id'"),
        (KINETICS + "x,y,1,2\n", "row 3: 4 values for 6 columns"),
        (KINETICS + "x,y,a,2,val,0\n", "must be whole seconds"),
        (KINETICS + "x,y,5,5,val,0\n", "lasts from 5 to 5 s"),
        (KINETICS.replace("open door", "run").partition("\n")[0], "holds no videos"),
    ],
)
def test_a_file_that_is_not_of_kinetics_is_refused(tmp_path, text, said):
    with pytest.raises(AnnotationError, match=said):
        read_kinetics(write(tmp_path / "k.csv", text))


def test_a_clip_of_kinetics_with_two_classes_is_refused_and_a_repeated_row_is_not(tmp_path):
    row = KINETICS.splitlines()[1] + "\n"
    path = write(tmp_path / "val.csv", KINETICS + row)
    assert len(as_listed(read_kinetics(path), path)) == 2
    write(path, KINETICS + row.replace("open", "close"))
    with pytest.raises(AnnotationError, match="as 'open door' and not 'close door'"):
        as_listed(read_kinetics(path), path)


def test_something_v2_takes_the_class_from_the_template_without_brackets(tmp_path):
    entries = [
        {"id": "12", "label": "pushing a cup left", "template": "Pushing [something] from left to right"},
        {"id": "7", "template": "Opening [something]", "placeholders": ["door"]},
    ]
    path = write(tmp_path / "train.json", json.dumps(entries))
    labels = {"Opening something": "0", "Pushing something from left to right": "1"}
    names = read_something_labels(write(tmp_path / "labels.json", json.dumps(labels)))
    assert names == ["Opening something", "Pushing something from left to right"]
    assert rows(read_something(path)) == [("12", names[1], None), ("7", names[0], None)]
    assert read_something(write(tmp_path / "test.json", '[{"id": "9"}]'))[0].label is None


def test_something_v1_is_read_from_its_csv_files(tmp_path):
    path = write(
        tmp_path / "v1-train.csv", "100218;Something falling like a feather or paper\n24413;Holding something\n"
    )
    assert rows(read_something(path))[0] == ("100218", "Something falling like a feather or paper", None)
    labels = write(tmp_path / "labels.csv", "Holding something\nSomething falling like a feather or paper\n")
    assert read_something_labels(labels)[0] == "Holding something"


def test_labels_of_something_must_be_numbered_from_0_without_gaps(tmp_path):
    with pytest.raises(AnnotationError, match=r"not 0\.\.1"):
        read_something_labels(write(tmp_path / "labels.json", '{"a": "0", "b": "2"}'))
    with pytest.raises(AnnotationError, match="'id;label'"):
        read_something(write(tmp_path / "train.csv", "a.mp4 3\n"))


def test_hmdb51_splits_by_its_tags(tmp_path):
    write(tmp_path / "wave_test_split1.txt", "w a.avi 1\nb.avi 2 \nc.avi 0\n")
    write(tmp_path / "brush_hair_test_split1.txt", "d.avi 1\n")
    write(tmp_path / "wave_test_split2.txt", "b.avi 1\n")
    train, names = read_hmdb51(tmp_path, "train", 1)
    assert names == ["brush_hair", "wave"]
    assert rows(train) == [("brush_hair/d.avi", "brush_hair", None), ("wave/w a.avi", "wave", None)]
    assert rows(read_hmdb51(tmp_path, "val", 1)[0]) == [("wave/b.avi", "wave", None)]
    write(tmp_path / "wave_test_split1.txt", "a.avi 3\n")
    with pytest.raises(AnnotationError, match=r"a line is 'file 0\|1\|2'"):
        read_hmdb51(tmp_path, "train", 1)
    with pytest.raises(AnnotationError, match="test_split3"):
        read_hmdb51(tmp_path, "train", 3)


def test_ucf101_numbers_count_from_1_and_must_be_those_of_the_folders(tmp_path):
    write(tmp_path / "classInd.txt", "1 ApplyEyeMakeup\n2 Archery\n")
    write(tmp_path / "trainlist01.txt", "Archery/v_1.avi 2\nApplyEyeMakeup/v_2.avi 1\n")
    write(tmp_path / "testlist01.txt", "Archery/v_3.avi\n")
    train, names = read_ucf101(tmp_path, "train", 1)
    assert names == ["ApplyEyeMakeup", "Archery"] and rows(train)[0] == ("Archery/v_1.avi", "Archery", None)
    assert rows(read_ucf101(tmp_path, "test", 1)[0]) == [("Archery/v_3.avi", "Archery", None)]
    write(tmp_path / "trainlist01.txt", "Archery/v_1.avi 1\n")
    with pytest.raises(AnnotationError, match="of class 1, but its folder is number 2"):
        read_ucf101(tmp_path, "train", 1)
    write(tmp_path / "classInd.txt", "0 ApplyEyeMakeup\n1 Archery\n")
    with pytest.raises(AnnotationError, match="'1 ClassName' needed"):
        read_ucf101(tmp_path, "train", 1)


def activitynet(tmp_path, database):
    return write(tmp_path / "a.json", json.dumps({"version": "1.3", "database": database}))


def test_activitynet_trains_on_segments_and_measures_on_whole_videos(tmp_path):
    def video(subset, *segments):
        notes = [{"segment": list(ends), "label": label} for *ends, label in segments]
        return {"subset": subset, "duration": 30.0, "annotations": notes}

    database = {"a": video("training", (1, 4, "run"), (6, 9, "jump")), "v_b": video("validation", (0, 5, "run"))}
    path = activitynet(tmp_path, database | {"c": {"subset": "testing", "annotations": []}})
    train, names = read_activitynet(path, "train")
    assert names == ["jump", "run"]
    assert [(video.places, video.label) for video in train] == [
        ((Place("v_a", Span(1.0, 4.0)), Place("a", Span(1.0, 4.0))), "run"),
        ((Place("v_a", Span(6.0, 9.0)), Place("a", Span(6.0, 9.0))), "jump"),
    ]
    val = read_activitynet(path, "val")[0]
    assert val[0].places == (Place("v_b"), Place("b")) and val[0].label == "run"
    assert read_activitynet(path, "test")[0][0].label is None
    both = activitynet(tmp_path, {"b": video("validation", (0, 5, "run"), (5, 6, "jump"))})
    with pytest.raises(AnnotationError, match="shows 'jump' and 'run'; one class per video"):
        read_activitynet(both, "val")
    with pytest.raises(AnnotationError, match=r"segment \[5, 5\]"):
        read_activitynet(activitynet(tmp_path, {"b": video("training", (5, 5, "run"))}), "train")
    with pytest.raises(AnnotationError, match="no video of the subset 'validation'"):
        read_activitynet(activitynet(tmp_path, {"a": video("training", (1, 4, "run"))}), "val")


def test_moments_in_time_takes_the_class_from_the_folder(tmp_path):
    categories = write(tmp_path / "moments_categories.txt", "waving,1\nadult+female+singing,0\n")
    path = write(tmp_path / "trainingSet.csv", "waving/a.mp4,waving,3,0\n")
    listed, names = read_moments_in_time(path, categories)
    assert names == ["adult+female+singing", "waving"] and rows(listed) == [("waving/a.mp4", "waving", None)]
    with pytest.raises(AnnotationError, match=r"'class/file.mp4' needed"):
        read_moments_in_time(write(path, "a.mp4,waving\n"), categories)
    with pytest.raises(AnnotationError, match="numbers are not"):
        read_moments_in_time(path, write(categories, "waving,3\n"))
