"""The whole road through the command line: make a world, train, kill, resume, evaluate, features, index, search."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import playhead, world_options

pytestmark = pytest.mark.xdist_group("world")  # the world is made once, so one worker runs all of these


def last_line(run: Path) -> dict:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line][-1]


def test_the_world_gives_pairs_only_of_videos_that_no_challenge_tests_on(world):
    manifest = {video["video_uid"] for video in json.loads((world / "ego4d.json").read_text())["videos"]}
    held_out = set()
    for name in ("nlq_val.json", "nlq_test_unannotated.json"):
        queries = json.loads((world / "annotations" / name).read_text())
        held_out |= {video["video_uid"] for video in queries["videos"]}
    rows = (world / "egoclip.csv").read_text().splitlines()[1:]
    pretraining = {row.split("\t")[1] for row in rows}
    assert len(manifest) == 9 and len(held_out) == 5
    assert pretraining == manifest - held_out


def test_training_leaves_a_bundle_a_recipe_and_a_log(trained):
    assert {"config.json", "model.safetensors"} <= {path.name for path in (trained / "bundle").iterdir()}
    assert json.loads((trained / "recipe.json").read_text())["train"]["steps"] == 4
    assert last_line(trained)["step"] == 4


def test_a_killed_run_goes_on_to_the_same_weights(world, trained, tmp_path):
    run = tmp_path / "killed"
    arguments = ["train", "world_ego_nce", "--toy", "--run-dir", str(run), "--train.steps=4", *world_options(world)]
    process = subprocess.Popen(
        [sys.executable, "-m", "playhead.cli", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while not list(run.glob("checkpoints/step_*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(run.glob("checkpoints/step_*")), "the run was killed before its first checkpoint"

    playhead(*arguments)
    whole, resumed = (folder / "bundle" / "model.safetensors" for folder in (trained, run))
    assert whole.read_bytes() == resumed.read_bytes()


def test_another_recipe_in_the_same_folder_is_refused(world, trained):
    done = playhead(
        "train", "world_ego_nce", "--toy", "--run-dir", trained, "--train.steps=5", *world_options(world), check=False
    )
    assert done.returncode == 2
    assert "recipe.train.steps was 4, now 5" in done.stderr


def test_evaluate_scores_every_question(world, trained):
    done = playhead(
        "evaluate", trained / "bundle", "--videos", world / "full_scale", "--questions", world / "egomcq.json"
    )
    scores = json.loads(done.stdout)
    kinds = [question["types"] for question in json.loads((world / "egomcq.json").read_text()).values()]
    assert scores["egomcq/questions_inter"] == kinds.count(1) == 20
    assert scores["egomcq/questions_intra"] == kinds.count(2) == 20
    assert 0 <= scores["egomcq/inter"] <= 100


def test_features_are_written_once_per_video(world, trained, tmp_path):
    videos = sorted((world / "full_scale").glob("*.mp4"))[:2]
    first = playhead("features", trained / "bundle", *videos, "--out", tmp_path / "features")
    again = playhead("features", trained / "bundle", *videos, "--out", tmp_path / "features")
    assert "2 written, 0 there already, 0 failed" in first.stdout
    assert "0 written, 2 there already, 0 failed" in again.stdout


def test_a_broken_file_is_named_and_the_others_are_searched(world, trained, tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    good = min((world / "full_scale").glob("*.mp4"))
    (library / "good.mp4").write_bytes(good.read_bytes())
    (library / "broken.mp4").write_bytes(good.read_bytes()[:200])
    index = playhead("index", trained / "bundle", library, "--out", tmp_path / "index")
    assert "1 added" in index.stdout and "1 failed" in index.stdout and "broken.mp4" in index.stdout

    words = ["where did I put the cup?", "--bundle", trained / "bundle", "--json", "--top", "3"]
    found = playhead("search", tmp_path / "index", *words)
    moments = [json.loads(line) for line in found.stdout.splitlines()]
    assert 1 <= len(moments) <= 3
    assert all(moment["file"] == str(library / "good.mp4") for moment in moments)
    assert all(0 <= moment["start"] < moment["end"] <= 60.5 for moment in moments)
    assert [m["score"] for m in moments] == sorted((m["score"] for m in moments), reverse=True)


def test_an_index_of_another_model_is_refused_in_one_line(world, trained, tmp_path):
    other = tmp_path / "other"
    playhead(
        *["train", "world_ego_nce", "--toy", "--run-dir", other, "--train.steps=1", "--train.seed=1"],
        *world_options(world),
    )
    video = min((world / "full_scale").glob("*.mp4"))
    playhead("index", trained / "bundle", video, "--out", tmp_path / "index")
    done = playhead("search", tmp_path / "index", "a cup", "--bundle", other / "bundle", check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "Use the bundle it was made with" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "no_such_recipe"], "no recipe 'no_such_recipe'"),
        (["train", "no.such.module:recipe"], "cannot be imported"),
        (["evaluate", "nowhere", "--videos", ".", "--questions", "q.json"], "is no bundle"),
        (["search", "nowhere", "a cup", "--bundle", "nowhere"], "there is no index here"),
        (["egoclip", "nowhere"], "no validation or test file"),
        (["convert", "nowhere.pth", "out"], "nowhere.pth"),
    ],
)
def test_a_mistake_ends_in_one_line_and_exit_code_two(arguments, said, tmp_path):
    done = playhead(*arguments, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
    assert not any(tmp_path.iterdir())
