import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = [
    *("--train-videos=4", "--val-videos=3", "--test-videos=2", "--inter=20", "--intra=20"),
    *("--seconds=60", "--scene-seconds=20", "--fps=10", "--size", "64", "80", "--preset=ultrafast"),
]


def playhead(*arguments: object, check: bool = True, **options) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, in a process of its own."""
    command = [sys.executable, "-m", "playhead.cli", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, **options)
    if check:
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A small generated world with EgoClip and EgoMCQ."""
    root = tmp_path_factory.mktemp("world")
    playhead("world", root, *SMALL)
    return root


def world_options(world: Path) -> list[str]:
    """Return the options that point a recipe at the world."""
    videos = world / "full_scale"
    return [
        f"--task.videos={videos}",
        f"--task.pairs={world / 'egoclip.csv'}",
        f"--watch.videos={videos}",
        f"--watch.questions={world / 'egomcq.json'}",
    ]


@pytest.fixture(scope="session")
def trained(world, tmp_path_factory) -> Path:
    """A run of a few steps on the world; its bundle is at `trained / "bundle"`."""
    run = tmp_path_factory.mktemp("runs") / "toy"
    playhead("train", "world_ego_nce", "--toy", "--run-dir", run, "--train.steps=4", *world_options(world))
    return run
