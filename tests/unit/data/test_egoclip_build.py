import numpy as np
import pytest
from egoclip_rows import OneTag, build, entries, random_egoclip

from playhead.data.egoclip import EgoClip, EgoClipSettings, build_egoclip
from playhead.types import Narration


def told(video: str, *times: float, source: str = "narration_pass_1") -> list[Narration]:
    return [Narration(video, float(time), f"#C C does thing {time}", source=source) for time in times]


def test_windows_are_beta_over_alpha_wide_about_the_narration():
    # a: gaps 4, 6 -> beta 5; b: gap 9 -> beta 9; alpha 7
    table = build(told("a", 10, 14, 20) + told("b", 50, 59), a=100.0, b=100.0)
    assert table.alpha == pytest.approx(7.0)
    widths = {row.time: row.end - row.start for row in table}
    assert widths == pytest.approx({10.0: 5 / 7, 14.0: 5 / 7, 20.0: 5 / 7, 50.0: 9 / 7, 59.0: 9 / 7})
    assert all((row.start + row.end) / 2 == pytest.approx(row.time) for row in table)


def test_the_published_example_has_the_width_of_its_pace():
    # Published: time 3.3445 (rounded), window 2.967651..3.721266, alpha 4.9; so beta is 0.753615 * 4.9.
    beta = (3.721266 - 2.967651) * 4.9
    table = build(told("a", 3.3445, 3.3445 + beta), EgoClipSettings(alpha=4.9), a=100.0)
    assert table[0].start == pytest.approx(2.967651, abs=1e-4)
    assert table[0].end == pytest.approx(3.721266, abs=1e-4)


def test_two_annotators_have_their_own_pace_unless_merged():
    narrations = told("a", 10, 20, 30) + told("a", 15, 25, source="narration_pass_2")
    by_pass = build(narrations, EgoClipSettings(alpha=10.0), a=100.0)
    merged = build(narrations, EgoClipSettings(alpha=10.0, beta_per="video"), a=100.0)
    assert {round(row.end - row.start, 9) for row in by_pass} == {1.0}
    assert {round(row.end - row.start, 9) for row in merged} == {0.5}  # 20 s over 4 gaps: beta 5
    assert [row.source[-1] for row in by_pass] == ["1", "2", "1", "2", "1"]
    assert [row.narration_index for row in by_pass] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("times", [(10.0,), (10.0, 10.0)])
def test_without_a_pace_the_window_is_one_second(times):
    narrations = [Narration("a", time, f"#C C does {place} thing") for place, time in enumerate(times)]
    table = build(narrations, a=100.0)
    assert [(row.start, row.end) for row in table] == [(9.5, 10.5)] * len(times)


def test_windows_may_start_before_zero_only_when_asked():
    narrations = told("a", 0.1, 4.1)
    assert build(narrations, EgoClipSettings(alpha=4.0), a=9.0)[0].start == 0.0
    free = build(narrations, EgoClipSettings(alpha=4.0, clamp_start=False), a=9.0)[0]
    assert free.start == pytest.approx(-0.4)
    assert free.ref.span.start == 0.0


def test_what_is_dropped_is_counted_by_reason():
    narrations = [
        *told("a", 5.0, 6.0),
        *told("a", 5.0),
        *told("a", 5.0, source="narration_pass_2"),
        *told("a", 100.5),
        *told("held_out", 1.0),
        *told("unknown", 1.0),
        Narration("a", 7.0, "#C C cuts #Unsure"),
        Narration("a", 8.0, "#C C looks"),
        Narration("a", 9.0, ""),
        Narration("a", 9.5, "#O man X walks"),
    ]
    table = build_egoclip(narrations, entries(a=100.0, held_out=9.0), OneTag(), {"held_out"}, EgoClipSettings())
    assert [(row.time, row.source[-1]) for row in table] == [(5.0, "1"), (5.0, "2"), (6.0, "1"), (9.5, "1")]
    assert table.dropped == {
        "duplicate": 1,
        "after_video_end": 1,
        "excluded_video": 1,
        "not_in_manifest": 1,
        "unsure": 1,
        "too_short": 2,
    }
    everything = EgoClipSettings(min_words=0, drop_unsure=False)
    assert len(build_egoclip(narrations, entries(a=100.0), OneTag(), frozenset(), everything)) == 7


def test_tags_come_from_the_tagger_or_from_the_narrations():
    narrations = [Narration("a", 5.0, "take the red plate", nouns=(4, 7), verbs=(3,))]
    own = build(narrations, a=9.0)
    assert (own[0].nouns, own[0].verbs, own.num_nouns, own.num_verbs) == ((4, 7), (3,), 8, 4)
    tagged = build_egoclip(narrations, entries(a=9.0), OneTag(), (), EgoClipSettings(), num_nouns=582, num_verbs=118)
    assert (tagged[0].nouns, tagged[0].verbs, tagged.num_nouns, tagged.num_verbs) == ((1,), (2,), 582, 118)
    with pytest.raises(ValueError, match="same taxonomy"):
        build_egoclip(narrations, entries(a=9.0), None, (), EgoClipSettings(), num_nouns=7)


def test_rows_are_sorted_and_numbered():
    table = random_egoclip(4, 50, seed=0)
    keys = [(row.video_id, row.time) for row in table]
    assert keys == sorted(keys)
    assert [row.clip_index for row in table] == list(range(len(table)))
    assert all(table[place].video_id == video for video in table.video_ids for place in table.rows_of(video))
    assert sum(len(table.rows_of(video)) for video in table.video_ids) == len(table)
    assert list(table.rows_of("nowhere")) == []


def test_the_order_of_the_narrations_does_not_matter():
    narrations = told("b", 3, 9, 30) + told("a", 8, 2)
    windows = [(row.video_id, row.time, row.start, row.end) for row in build(narrations, a=50.0, b=50.0)]
    shuffled = [narrations[k] for k in np.random.default_rng(1).permutation(len(narrations))]
    assert [(row.video_id, row.time, row.start, row.end) for row in build(shuffled, a=50.0, b=50.0)] == windows


def test_nothing_told_is_an_empty_table(tmp_path):
    table = build([], a=1.0)
    assert (len(table), table.num_nouns, table.num_verbs, table.dropped) == (0, 0, 0, {})
    table.write_arrow(tmp_path / "empty.arrow")
    table.write_csv(tmp_path / "empty.csv")
    assert len(EgoClip.open(tmp_path / "empty.arrow")) == len(EgoClip.open(tmp_path / "empty.csv")) == 0


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_an_alpha_that_is_no_divisor_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha"):
        EgoClipSettings(alpha=alpha)
