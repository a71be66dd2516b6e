import multiprocessing
import os
import pickle
from collections import Counter

import numpy as np
import pytest
from egoclip_rows import HEADING, ROWS, build, random_egoclip, write_rows

from playhead.data.egoclip import EgoClip, EgoClipRow, multi_hot
from playhead.errors import AnnotationError
from playhead.types import ClipRef, Narration, Span


def test_the_published_layout_is_read_and_sorted(tmp_path):
    table = EgoClip.open(write_rows(tmp_path / "egoclip.csv"))
    assert list(table) == [
        EgoClipRow(2, "a", 500.5, "narration_pass_2", 0, 1.0, -0.25, 2.25, "#C C looks around", (21,), ()),
        EgoClipRow(
            7, "a", 500.5, "narration_pass_1", 0, 3.3445, 2.967651, 3.721266, "#C C picks a bag", (93,), (192, 115, 12)
        ),
        EgoClipRow(0, "b", 100.0, "narration_pass_1", 0, 9.5, 9.0, 10.0, "#C C cuts bread", (3,), (1, 0)),
    ]
    assert (table.num_verbs, table.num_nouns, table.video_ids) == (94, 193, ("a", "b"))
    assert table[-1] == table[2]
    for index in (3, -4):
        with pytest.raises(IndexError):
            table[index]


def test_the_decodable_part_of_a_window_is_never_empty(tmp_path):
    rows = [
        "0\ta\t10.0\tnarration_pass_1\t0\t1.0\t-1.0\t3.0\tx\t[]\t[]",
        "1\ta\t10.0\tnarration_pass_1\t1\t2.0\t2.0\t2.0\tx\t[]\t[]",
        "2\ta\t10.0\tnarration_pass_1\t2\t9.9\t9.5\t10.5\tx\t[]\t[]",
        "3\ta\t10.0\tnarration_pass_1\t3\t12.0\t11.0\t13.0\tx\t[]\t[]",
    ]
    spans = [row.ref.span for row in EgoClip.open(write_rows(tmp_path / "egoclip.csv", rows))]
    assert [(round(span.start, 9), round(span.end, 9)) for span in spans] == [(0, 3), (2, 2.01), (9.5, 10), (9.99, 10)]


def test_csv_round_trip_is_exact_whatever_the_texts_hold(tmp_path):
    texts = ['says "hi"', "tab\there", "two\nlines", "é 汉字 🙂", "NA", "", " blanks ", '"quoted"', "a,b", "nan", "'"]
    narrations = [Narration("a", 1 / 3 + k, f"#C C {text} now", nouns=(k,), verbs=()) for k, text in enumerate(texts)]
    table = build(narrations, a=100.0)
    table.write_csv(tmp_path / "one.csv")
    again = EgoClip.open(tmp_path / "one.csv")
    assert list(again) == list(table)
    again.write_csv(tmp_path / "two.csv")
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


def test_texts_that_look_like_nothing_stay_texts(tmp_path):
    rows = [
        f"{k}\ta\t10.0\tnarration_pass_1\t{k}\t{k}.0\t0\t9\t{text}\t[]\t[]" for k, text in enumerate(["", "NA", "nan"])
    ]
    assert [row.text for row in EgoClip.open(write_rows(tmp_path / "e.csv", rows))] == ["", "NA", "nan"]


def test_columns_may_stand_in_any_order_and_with_others(tmp_path):
    expected = list(EgoClip.open(write_rows(tmp_path / "a.csv")))
    cells = [line.split("\t") for line in (HEADING, *ROWS)]
    extra = ["\t".join(["new" if line is cells[0] else "é", *reversed(line)]) for line in cells]
    (tmp_path / "b.csv").write_text("\r\n".join(extra) + "\r\n")
    assert list(EgoClip.open(tmp_path / "b.csv")) == expected


GOOD = ROWS[1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (GOOD.replace("3.3445", "x"), "narration_time must be a number of seconds, found 'x'"),
        (GOOD.replace("3.3445", ""), "narration_time must be a number"),
        (GOOD.replace("3.3445", "nan"), "narration_time must be a number"),
        (GOOD.replace("3.3445", "-1"), "narration_time must be 0 s or more"),
        (GOOD.replace("3.721266", "inf"), "clip_end must be a number"),
        (GOOD.replace("3.721266", "1.0"), "clip_end must be at or after clip_start"),
        (GOOD.replace("500.5", "0"), "video_dur must be above 0"),
        (GOOD.replace("7\t", "7.5\t"), "clip_idx must be a whole number"),
        (GOOD.replace("7\t", "5\t"), "clip_idx must be in one row only"),
        (GOOD.replace("[93]", "__import__('os')"), "tag_verb must be a list"),
        (GOOD.replace("[93]", "[93"), "tag_verb must be a list"),
        (GOOD.replace("115, 12", "115 12"), "tag_noun must be a list"),
        (GOOD.replace("bag", "b\udce9g"), "clip_text must be UTF-8"),
        (GOOD + "\t1", "11 tab-separated fields needed, found 12"),
        (GOOD.rsplit("\t", 1)[0], "11 tab-separated fields needed, found 10"),
    ],
)
def test_a_bad_row_is_told_by_its_line(tmp_path, row, message):
    first = ROWS[0].replace("0\t", "5\t", 1).replace("cuts bread", '"cuts\nbread"').replace("#C C ", "")
    with pytest.raises(AnnotationError, match=message) as caught:
        EgoClip.open(write_rows(tmp_path / "e.csv", [first, row, ROWS[2]]))
    assert caught.value.row == 4  # a heading, and a row of two lines before it
    assert not (tmp_path / "e.csv.arrow").exists()


def test_malformed_rows_are_skipped_and_counted_only_when_asked(tmp_path):
    path = write_rows(tmp_path / "e.csv", [ROWS[0], GOOD + "\t1", "x", ROWS[1]])
    with pytest.raises(AnnotationError, match="row 3"):
        EgoClip.open(path)
    table = EgoClip.open(path, skip_malformed=True)
    assert len(table) == 2
    assert table.dropped == {"malformed_row": 2}


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", HEADING.replace("\t", ",")])
def test_another_file_is_told_by_its_heading(tmp_path, content):
    (tmp_path / "e.csv").write_text(content)
    with pytest.raises(AnnotationError, match=r"row 1: tab-separated columns .* are missing"):
        EgoClip.open(tmp_path / "e.csv")


def test_files_that_are_not_there_or_no_tables_are_annotation_errors(tmp_path):
    (tmp_path / "e.arrow").write_bytes(b"nothing of the kind")
    for name in ("none.csv", "none.arrow", "e.arrow"):
        with pytest.raises(AnnotationError, match=name):
            EgoClip.open(tmp_path / name)
    with pytest.raises(AnnotationError, match=r"must end in \.arrow"):
        build([], a=1.0).write_arrow(tmp_path / "e.csv")


def test_conversion_is_done_once_and_again_when_the_csv_changes(tmp_path):
    path = write_rows(tmp_path / "e.csv")
    sidecar = tmp_path / "e.csv.arrow"
    EgoClip.open(path)
    made = sidecar.stat()
    assert len(EgoClip.open(path)) == 3
    assert (sidecar.stat().st_ino, sidecar.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)

    write_rows(path, ROWS[:2])
    assert len(EgoClip.open(path)) == 2

    changed = path.read_text().replace("cuts bread", "eats bread")  # the same size, another date
    path.write_text(changed)
    os.utime(path, ns=(0, made.st_mtime_ns + 10**9))
    assert EgoClip.open(path)[1].text == "#C C eats bread"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["e.csv", "e.csv.arrow"]


def test_a_damaged_sidecar_is_made_anew(tmp_path):
    path = write_rows(tmp_path / "e.csv")
    expected = list(EgoClip.open(path))
    sidecar = tmp_path / "e.csv.arrow"
    sidecar.write_bytes(sidecar.read_bytes()[:-100])
    assert list(EgoClip.open(path)) == expected


def test_the_sidecar_may_lie_elsewhere(tmp_path):
    path = write_rows(tmp_path / "e.csv")
    (tmp_path / "cache").mkdir()
    table = EgoClip.open(path, arrow_path=tmp_path / "cache" / "e.arrow")
    assert len(table) == 3
    assert not (tmp_path / "e.csv.arrow").exists()


def test_an_open_table_survives_the_making_of_a_new_one(tmp_path):
    path = write_rows(tmp_path / "e.csv")
    old = EgoClip.open(path)
    expected = list(old)
    write_rows(path, ROWS[:1])
    EgoClip.open(path)
    assert list(old) == expected


def test_a_table_is_sent_as_its_path(tmp_path):
    table = random_egoclip(20, 200, seed=3)
    table.write_arrow(tmp_path / "e.arrow")
    opened = EgoClip.open(tmp_path / "e.arrow")
    assert len(pickle.dumps(opened)) < 500
    assert list(pickle.loads(pickle.dumps(opened))) == list(table)
    assert list(pickle.loads(pickle.dumps(table))) == list(table)  # not yet written, so by value
    assert (opened.alpha, opened.dropped, opened.num_nouns) == (table.alpha, table.dropped, table.num_nouns)


def first_text(table: EgoClip) -> str:
    return table[0].text


def test_a_spawned_worker_reads_the_same_rows(tmp_path):
    table = EgoClip.open(write_rows(tmp_path / "e.csv"))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(first_text, (table,)) == table[0].text


@pytest.mark.parametrize("within", [60.0, 7.3])
@pytest.mark.parametrize("rule", ["within", "released_bins"])
def test_neighbours_are_those_of_a_full_scan(rule, within):
    table = random_egoclip(3, 120, seed=1)
    rows = list(table)
    for index, row in enumerate(rows):
        same_video = [(place, other) for place, other in enumerate(rows) if other.video_id == row.video_id]
        if rule == "within":
            expected = [
                place
                for place, other in same_video
                if abs(other.time - row.time) < within and (other.start, other.end) != (row.start, row.end)
            ]
        else:
            expected = [place for place, other in same_video if other.time // within == row.time // within]
        assert table.neighbours(index, within, rule).tolist() == expected


def test_the_same_window_of_the_other_annotator_is_no_neighbour():
    times = {"narration_pass_1": (10.0, 20.0), "narration_pass_2": (10.0, 20.0)}
    narrations = [
        Narration("a", time, f"#C C does {source} thing", source=source) for source in times for time in times[source]
    ]
    table = build(narrations, a=100.0)
    assert [table[int(place)].time for place in table.neighbours(0)] == [20.0, 20.0]


def test_exactly_a_minute_is_not_within_a_minute():
    narrations = [Narration("a", time, "#C C does a thing") for time in (0.0, 60.0, 119.9)]
    table = build(narrations, a=200.0)
    assert [table.neighbours(index).tolist() for index in range(3)] == [[], [2], [1]]
    assert table.draw_neighbour(0, np.random.default_rng(0)) == 0  # nobody near: itself


def test_neighbours_are_drawn_uniformly_and_by_seed():
    table = random_egoclip(1, 12, seed=2, seconds=50.0)
    generator = np.random.default_rng(0)
    counts = Counter(table.draw_neighbour(5, generator) for _ in range(11_000))
    assert counts.keys() == set(range(12)) - {5}
    assert max(abs(count - 1000) for count in counts.values()) < 5 * np.sqrt(1000)
    draws = [[table.draw_neighbour(5, generator) for _ in range(9)] for generator in map(np.random.default_rng, (7, 7))]
    assert draws[0] == draws[1]


def test_a_rule_or_distance_that_makes_no_sense_is_refused():
    table = random_egoclip(1, 3, seed=0)
    with pytest.raises(ValueError, match="within"):
        table.neighbours(0, 0.0)
    with pytest.raises(IndexError):
        table.neighbours(3)


def test_multi_hot_is_true_at_the_ids_only():
    row = multi_hot((4, 0), 6)
    assert row.dtype == bool
    assert np.flatnonzero(row).tolist() == [0, 4]
    assert not multi_hot((), 3).any()
    for wrong in ((6,), (-1,)):
        with pytest.raises(ValueError, match="taxonomy of 6"):
            multi_hot(wrong, 6)


def test_ref_names_video_and_span():
    row = random_egoclip(1, 2, seed=0)[0]
    assert row.ref == ClipRef("v0", Span(row.start, row.end))
