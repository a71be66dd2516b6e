"""What a user sees of a run that is stopped, or meets a file that is broken."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from command_line import playhead, world_options

pytestmark = pytest.mark.xdist_group("world")  # the world is made once, so one worker runs all of these


def test_sigterm_ends_in_one_line_and_exit_code_143_and_the_run_goes_on(world, tmp_path):
    run = tmp_path / "run"
    arguments = ["train", "world_ego_nce", "--toy", "--run-dir", str(run), "--train.steps=40", *world_options(world)]
    process = subprocess.Popen(
        [sys.executable, "-m", "playhead.cli", *arguments, "--train.log-every=1"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    log = run / "log.jsonl"
    while not (log.exists() and log.read_text()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == 143
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    done = f"{steps[-1]} steps are done and saved"
    assert said[-1] == f"playhead: {run}: stopped by SIGTERM; {done}. Start the same command again to go on."
    assert (run / "checkpoints" / f"step_{steps[-1]:08d}").is_dir()
    assert steps[-1] < 40


def test_a_video_cut_off_is_named_in_the_quarantine_and_the_run_goes_on(world, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(world / "full_scale", videos)
    rows = (world / "egoclip.csv").read_text().splitlines()[1:]
    broken = videos / f"{rows[0].split(chr(9))[1]}.mp4"
    broken.write_bytes(broken.read_bytes()[:200])
    options = [*world_options(world), "--task.videos", videos, "--run-dir", tmp_path / "run", "--train.steps=4"]
    playhead("train", "world_ego_nce", "--toy", *options, "--train.max-broken=0.9")
    lines = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert lines
    assert {line["path"] for line in lines} == {str(broken)}
    assert (tmp_path / "run" / "bundle").is_dir()
