"""From a layout's files to located, numbered videos; empty files stand for videos, which nothing here decodes."""

import json

import pytest

from playhead.data.action_videos import UNKNOWN
from playhead.data.class_folders import HoldOut
from playhead.data.classes import ActionFiles, read_class_names
from playhead.errors import AnnotationError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def labels(split):
    return {video.name: split.classes[video.label] for video in split.videos}


@pytest.fixture
def clips(tmp_path):
    touch(tmp_path, *(f"run/r{number}.mp4" for number in range(1, 13)))
    touch(tmp_path, *(f"walk/far/w{number}.MOV" for number in range(1, 6)), "walk/take/01.jpg", "walk/.hidden.mp4")
    return tmp_path


def test_class_folders_are_split_in_blocks_of_neighbours(clips):
    files = ActionFiles(root=clips, hold_out=HoldOut(share=0.25))
    train, val = files.read("train"), files.read("val")
    assert train.classes == ("run", "walk")
    assert [video.name for video in val.videos] == [
        "run/r10.mp4",
        "run/r11.mp4",
        "run/r12.mp4",
        "walk/far/w5.MOV",
        "walk/take",
    ]
    assert train.counts() == [9, 4] and not {video.path for video in train.videos} & {
        video.path for video in val.videos
    }
    assert labels(files.read("test")) == labels(val)


def test_every_block_can_be_held_out_and_together_they_are_all(clips):
    found = [ActionFiles(root=clips, hold_out=HoldOut(share=0.25, block=block)).read("val") for block in range(4)]
    names = [video.name for split in found for video in split.videos if split.classes[video.label] == "run"]
    assert sorted(names) == sorted(f"run/r{number}.mp4" for number in range(1, 13))


def test_folders_train_and_val_are_the_splits_where_they_are(tmp_path):
    touch(tmp_path, "train/a/1.mp4", "train/b/2.mp4", "val/a/3.mp4", "val/b/4.mp4")
    files = ActionFiles(root=tmp_path)
    assert labels(files.read("train")) == {"train/a/1.mp4": "a", "train/b/2.mp4": "b"}
    assert labels(files.read("val")) == labels(files.read("test")) == {"val/a/3.mp4": "a", "val/b/4.mp4": "b"}
    touch(tmp_path, "val/c/5.mp4")
    with pytest.raises(AnnotationError, match=r"class 'c' of 'val/c/5.mp4' is none of the 2 classes"):
        files.read("val")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a/1.mp4", "b/2.mp4", "loose.mp4"], "1 videos lie beside the class folders"),
        (["a/1.mp4", "a/2.mp4"], "one folder per class is needed, found 1"),
        (["a/1.mp4", "a/2.mp4", "b/notes.txt"], "no videos .* lie in 'b'"),
        (["a/1.mp4", "a/2.mp4", "b/1.mp4"], "class 'b' has 1 video"),
        (["a/1.mp4", "a/2.mp4", "b/1.jpg"], "need a folder of their own"),
        (["val/a/1.mp4"], "none called 'train'"),
    ],
)
def test_folders_that_make_no_data_set_are_refused(tmp_path, names, said):
    touch(tmp_path, *names)
    with pytest.raises(AnnotationError, match=said):
        ActionFiles(root=tmp_path).read("train")


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(AnnotationError, match="no such folder"):
        ActionFiles(root=tmp_path / "nowhere").read("train")


@pytest.fixture
def listed(tmp_path):
    touch(tmp_path, "v/a.mp4", "v/b b.webm", "more/c.mp4")
    (tmp_path / "my_train.csv").write_text("a 0\nb b.webm 1\nc 2\n")
    (tmp_path / "my_val.csv").write_text("a.mp4 0\n")
    return ActionFiles(root=tmp_path / "v", annotations=tmp_path, layout="list", more_roots=(tmp_path / "more",))


def test_videos_of_a_list_are_found_with_or_without_suffix_in_any_root(listed):
    train = listed.read("train")
    assert [video.path.name for video in train.videos] == ["a.mp4", "b b.webm", "c.mp4"]
    assert train.classes == ("0", "1", "2") and listed.class_names() == train.classes


def test_missing_videos_are_counted_and_named_or_left_out_when_asked(listed):
    (listed.lists / "my_train.csv").write_text("a 0\nx 1\ny 1\nb b 2\n")
    with pytest.raises(AnnotationError, match=r"2 of 4 videos are not in .*: 'x' \(row 2\), 'y' \(row 3\); fetch them"):
        listed.read("train")
    left = ActionFiles(root=listed.root, annotations=listed.lists, layout="list", missing="leave_out").read("train")
    assert [video.name for video in left.videos] == ["a", "b b"] and left.missing == 2
    (listed.lists / "my_train.csv").write_text("x 0\ny 1\n")
    with pytest.raises(
        AnnotationError, match="is this the folder of the videos\\? Of the first row, 'x' was looked for"
    ):
        ActionFiles(root=listed.root, annotations=listed.lists, layout="list", missing="leave_out").read("train")


def test_labels_out_of_range_name_row_and_range(listed, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("run\nwalk\n")
    files = ActionFiles(
        root=listed.root, annotations=listed.lists, layout="list", classes=str(names), more_roots=listed.more_roots
    )
    with pytest.raises(AnnotationError, match=r"row 3: label 2 of 'c' is not in 0\.\.1"):
        files.read("train")


def test_numbers_from_1_without_a_file_of_names_are_refused(listed):
    (listed.lists / "my_train.csv").write_text("a 1\nc 2\n")
    with pytest.raises(AnnotationError, match="count from 1"):
        listed.read("train")


def test_a_list_is_needed_once(listed):
    (listed.lists / "train.txt").write_text("a 0\n")
    with pytest.raises(AnnotationError, match=r"2 files are like train.csv"):
        listed.read("train")
    for path in listed.lists.glob("*train*"):
        path.unlink()
    with pytest.raises(AnnotationError, match=r"no file like train.csv"):
        listed.read("train")


def test_kinetics_finds_cut_files_or_stretches_of_whole_videos_and_knows_renamed_classes(tmp_path):
    touch(tmp_path, "train/tying_tie/aaa_000003_000013.mp4", "bbb.mp4")
    header = "label,youtube_id,time_start,time_end,split\n"
    (tmp_path / "train.csv").write_text(header + "tying tie,aaa,3,13,train\nabseiling,bbb,5,15,train\n")
    (tmp_path / "validate.csv").write_text(header + "abseiling,bbb,5,15,val\n")
    plain = ActionFiles(root=tmp_path, layout="kinetics").read("train")
    assert plain.classes == ("abseiling", "tying tie") and plain.videos[0].span is None
    assert (plain.videos[1].path.name, plain.videos[1].span.start) == ("bbb.mp4", 5.0)
    assert plain.videos[1].key == "bbb 5-15 s"
    merged = ActionFiles(root=tmp_path, layout="kinetics", classes="k710").read("train")
    assert len(merged.classes) == 710 and merged.classes[merged.videos[0].label] == "tying necktie"
    assert len(ActionFiles(root=tmp_path, layout="kinetics").read("val").videos) == 1


def test_something_is_read_from_its_folder_of_labels(tmp_path):
    touch(tmp_path, "v/1.webm", "v/2.webm")
    (tmp_path / "train.json").write_text(json.dumps([{"id": "1", "template": "Opening [something]"}]))
    (tmp_path / "test.json").write_text(json.dumps([{"id": "2"}]))
    (tmp_path / "labels.json").write_text(json.dumps({"Closing something": "0", "Opening something": "1"}))
    files = ActionFiles(root=tmp_path / "v", annotations=tmp_path, layout="something")
    assert labels(files.read("train")) == {"1": "Opening something"}
    assert files.read("test").videos[0].label == UNKNOWN
    (tmp_path / "val.json").write_text(json.dumps([{"id": "2"}]))
    with pytest.raises(AnnotationError, match="tells no class of 1 videos"):
        files.read("val")


def test_files_of_class_names_are_read_in_three_layouts(tmp_path):
    for text, suffix in (("run\nwalk\n", ".txt"), ("1 run\n2 walk\n", ".txt"), ('{"walk": "1", "run": "0"}', ".json")):
        path = tmp_path / f"names{suffix}"
        path.write_text(text)
        assert read_class_names(path) == ["run", "walk"]
    path = tmp_path / "names.txt"
    path.write_text("run\nrun\n")
    with pytest.raises(AnnotationError, match="class 'run' stands here twice"):
        read_class_names(path)
