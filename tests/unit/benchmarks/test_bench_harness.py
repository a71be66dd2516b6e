import json
import sys
from xml.etree import ElementTree

import pytest
from benchmarks import __main__ as bench
from benchmarks.history import BEGIN, END, draw, margin, table, with_table
from benchmarks.measure import MEASURE_FILE, Ratio, report


@pytest.fixture
def as_script(monkeypatch, tmp_path):
    """Be the benchmark `speedy`, run with two words, that hands its ratios on."""
    monkeypatch.setattr(sys, "argv", ["/benchmarks/speedy.py", "--rows", "8"])
    path = tmp_path / "ratios.jsonl"
    monkeypatch.setenv(MEASURE_FILE, str(path))
    return path


def test_a_ratio_is_the_median_of_its_repeats(as_script, capsys):
    found = report("a step", [3.0, 1.0, 2.0], goal=1.5)
    assert (found.ratio, found.spread, found.met) == (2.0, (1.0, 3.0), True)
    assert "2.00 x [1.00 .. 3.00]   goal >= 1.5: met" in capsys.readouterr().out


def test_what_is_handed_on_has_the_fields_that_are_asked_of_it(as_script):
    report("memory", [0.8], goal=0.75, at_most=True)
    entry = json.loads(as_script.read_text())
    assert entry["command"] == "python -m benchmarks.speedy --rows 8"
    assert (entry["name"], entry["ratio"], entry["goal"], entry["met"]) == ("speedy/memory", 0.8, 0.75, False)
    assert entry["spread"] == [0.8, 0.8]


def test_without_a_goal_nothing_is_met_or_missed(as_script):
    assert report("just so", [1.0]).met is None
    assert json.loads(as_script.read_text())["met"] is None


def test_run_by_itself_a_script_only_prints(as_script, monkeypatch):
    monkeypatch.delenv(MEASURE_FILE)
    report("a step", [1.0])
    assert not as_script.exists()


def entry(name: str, ratio: float = 2.0, goal: float | None = 1.0, at_most: bool = False) -> dict:
    found = Ratio(name, ratio, goal, (ratio, ratio), "python -m benchmarks.x", at_most).to_plain()
    return found | {"date": "2026-01-01", "machine": "a machine"}


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "speed.md"
    path.write_text(f"above\n{BEGIN}old\n{END}below\n")
    return path


def test_one_benchmark_replaces_its_own_entries_only():
    old = [entry("a/one"), entry("a/two"), entry("ab/one")]
    found = bench.merged(old, "a", [entry("a/three", 5.0)])
    assert [one["name"] for one in found] == ["a/three", "ab/one"]


def test_results_are_kept_with_a_dated_copy_a_picture_and_a_table(tmp_path, page):
    bench.keep(tmp_path, page, "a", [entry("a/one")], "2026-01-01T0000")
    bench.keep(tmp_path, page, "b", [entry("b/one", 0.5)], "2026-01-02T0000")
    latest = json.loads((tmp_path / "latest.json").read_text())
    assert [one["name"] for one in latest] == ["a/one", "b/one"]
    assert json.loads((tmp_path / "history" / "2026-01-02T0000.json").read_text()) == latest
    assert len(json.loads((tmp_path / "history" / "2026-01-01T0000.json").read_text())) == 1
    picture = ElementTree.fromstring((tmp_path / "history.svg").read_text())
    texts = [one.text for one in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "a/one" in texts and "b/one" in texts
    told = page.read_text()
    assert told.startswith(f"above\n{BEGIN}") and told.endswith(f"{END}below\n") and "old" not in told
    assert "| one | 2 x | 2 to 2 | at least 1 | met |" in told
    assert "| one | 0.5 x | 0.5 to 0.5 | at least 1 | **not met** |" in told


def test_a_page_without_marks_is_left_alone():
    assert with_table("nothing here\n", [entry("a/one")]) == "nothing here\n"


def test_a_table_names_command_machine_and_limits():
    told = table([entry("a/one", goal=3.0, at_most=True), entry("a/two", goal=None)])
    assert "`python -m benchmarks.x`, 2026-01-01" in told and "Measured on a machine." in told
    assert "| one | 2 x | 2 to 2 | at most 3 | met |" in told and "| two | 2 x | 2 to 2 |  |  |" in told


def test_the_page_of_the_docs_tells_the_latest_results():
    page, latest = bench.PAGE.read_text(), json.loads((bench.RESULTS / "latest.json").read_text())
    assert BEGIN in page and END in page
    assert with_table(page, latest) == page


def test_better_than_the_goal_is_above_one_for_limits_too():
    assert margin(entry("a", 3.0, 1.5)) == 2.0
    assert margin(entry("a", 0.5, 1.0, at_most=True)) == 2.0
    assert margin(entry("a", 1e-9, 1.0)) == 0.125  # the edge of the plot


def test_an_empty_history_is_a_picture_too(tmp_path):
    ElementTree.fromstring(draw(tmp_path))


def test_scripts_without_ratios_run_only_by_name():
    known, with_ratios = bench.scripts(with_ratios=False), bench.scripts(with_ratios=True)
    assert set(with_ratios) < set(known)
    assert {"egoclip", "model_step"} <= set(with_ratios)
    assert {"real_exercises", "epic_egoclip"} <= set(known) - set(with_ratios)
    assert not {"measure", "history"} & set(known)


def test_an_unknown_name_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "no_such"])
    assert bench.main() == 2
    assert capsys.readouterr().err.startswith("no benchmark 'no_such'; there are ")


def test_a_failed_benchmark_leaves_its_entries_as_they_were(monkeypatch, tmp_path, page, capsys):
    bench.keep(tmp_path, page, "egoclip", [entry("egoclip/one")], "2026-01-01T0000")
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    monkeypatch.setattr(bench, "PAGE", page)
    monkeypatch.setattr(bench, "run", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "egoclip"])
    assert bench.main() == 1
    assert [one["name"] for one in json.loads((tmp_path / "latest.json").read_text())] == ["egoclip/one"]
    assert "failed: egoclip" in capsys.readouterr().err
