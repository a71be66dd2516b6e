from pathlib import Path

import pytest
from command_line import playhead, world_options

SMALL = [
    *("--train-videos=4", "--val-videos=3", "--test-videos=2", "--inter=20", "--intra=20"),
    *("--seconds=60", "--scene-seconds=20", "--fps=10", "--size", "64", "80", "--preset=ultrafast"),
]


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A small generated world with EgoClip and EgoMCQ."""
    root = tmp_path_factory.mktemp("world")
    playhead("world", root, *SMALL)
    return root


@pytest.fixture(scope="session")
def trained(world, tmp_path_factory) -> Path:
    """A run of a few steps on the world; its bundle is at `trained / "bundle"`."""
    run = tmp_path_factory.mktemp("runs") / "toy"
    playhead("train", "world_ego_nce", "--toy", "--run-dir", run, "--train.steps=4", *world_options(world))
    return run
