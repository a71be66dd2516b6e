"""A sweep through the command line: every combination once, and nothing twice."""

import json

import pytest
from command_line import playhead, world_options

pytestmark = pytest.mark.xdist_group("world")


def test_a_sweep_runs_the_default_and_the_grid_and_goes_on_where_it_stopped(world, tmp_path):
    out = tmp_path / "sweep"
    arguments = ["sweep", "world_ego_nce", "--toy", "--run-dir", out, *world_options(world)]
    first = playhead(*arguments, "--grid", "optim.lr=1e-3,1e300", "--metric", "egomcq/inter")
    report = json.loads((out / "sweep.json").read_text())
    assert [run["name"] for run in report["runs"]] == ["default", "optim.lr=0.001", "optim.lr=1e+300"]
    # The default's rate is 1e-3 too, so that run is the same one; the other breaks off, is named, and stops nothing.
    assert report["runs"][0]["scores"] == report["runs"][1]["scores"]
    assert "optim.lr" in report["runs"][2]["failure"] and not report["runs"][2]["scores"]
    assert "Default" in first.stdout

    logs = {path: path.read_text() for path in out.glob("*/log.jsonl")}
    playhead(*arguments, "--grid", "optim.lr=1e-3,2e-3", "--metric", "egomcq/inter")
    assert all(path.read_text() == text for path, text in logs.items() if "e+300" not in str(path))
    assert (out / "optim.lr=0.002" / "bundle").is_dir()


def test_a_grid_over_no_field_is_refused_before_anything_runs(world, tmp_path):
    arguments = ["sweep", "world_ego_nce", "--toy", "--run-dir", tmp_path / "sweep", *world_options(world)]
    done = playhead(*arguments, "--grid", "optim.rate=1", check=False)
    assert done.returncode == 2 and "no field 'optim.rate'" in done.stderr
    assert not (tmp_path / "sweep").exists()
