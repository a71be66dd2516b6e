from playhead.data.classes import ActionFiles
from playhead.data.label_checks import label_findings, mirrored_classes


def test_classes_that_swap_left_and_right_are_found():
    assert mirrored_classes(["Pull from left to right", "open", "Pull from right to left"]) == (
        "Pull from left to right",
        "Pull from right to left",
    )
    assert mirrored_classes(["Turn left", "turn right", "right away", "leftover"]) is None


def findings(root):
    files = ActionFiles(root=root, layout="list")
    return label_findings(files.read("train"), files.read("val"))


def test_what_is_odd_about_labels_is_said_with_names(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"one")
    (tmp_path / "b.mp4").write_bytes(b"one")
    (tmp_path / "c.mp4").write_bytes(b"two")
    (tmp_path / "train.csv").write_text("a.mp4 0\nb.mp4 1\nc.mp4 3\n")
    (tmp_path / "val.csv").write_text("c.mp4 3\n")
    found = findings(tmp_path)
    assert any("1 of 4 classes have no training video: '2'" in one for one in found)
    assert any("1 videos are trained and measured on" in one and "c.mp4" in one for one in found)
    assert any("are the same file, but of the classes '0' and '1'" in one for one in found)
    assert len(found) == 3


def test_sound_labels_give_no_findings(tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    (tmp_path / "train.csv").write_text("a.mp4 0\nb.mp4 1\n")
    (tmp_path / "val.csv").write_text("c.mp4 0\nd.mp4 1\n")
    assert findings(tmp_path) == []
