"""The code of the pages runs, and the commands of the README exist."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
import torch

from playhead.cli import COMMANDS
from playhead.models.frozen import Frozen, frozen_tiny
from playhead.video.transforms import Preprocess
from playhead.weights.bundle import save_bundle
from playhead.world.config import WorldConfig
from playhead.world.world import make_world

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_road_runs_from_top_to_bottom(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "road.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 6
    monkeypatch.chdir(tmp_path)
    said, names = io.StringIO(), {}
    with contextlib.redirect_stdout(said):
        for block in blocks:
            exec(compile(block, "docs/road.md", "exec"), names)
    assert len(said.getvalue().splitlines()) == 3


@pytest.mark.slow
def test_asking_your_own_video_runs_from_top_to_bottom(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "your_own_video.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 5
    torch.manual_seed(0)
    preprocess = Preprocess(num_frames=4, image_size=64, resize=64)
    save_bundle(tmp_path / "bundle", Frozen(frozen_tiny()), preprocess, "bert-base-uncased", {})
    small = WorldConfig(
        train_videos=1, val_videos=3, test_videos=2, seconds=15.0, scene_seconds=15.0, fps=10, size=(64, 80)
    )
    make_world(tmp_path / "world", small, workers=0)
    (tmp_path / "world" / "full_scale").rename(tmp_path / "Videos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLAYHEAD_HOME", str(tmp_path / "home"))
    said, names = io.StringIO(), {}
    with contextlib.redirect_stdout(said):
        for block in blocks:
            exec(compile(block, "docs/your_own_video.md", "exec"), names)
    lines = said.getvalue().splitlines()
    assert len([line for line in lines if ".mp4 Span(" in line]) == 5
    assert lines[-1].startswith("6 videos")


NAMES = (
    "own_data",
    "index",
    "challenges",
    "checkpoints",
    "long_runs",
    "scale_out",
    "serve",
    "sources",
    "speed",
    "your_own_video",
)
PAGES = ["README.md", *(f"docs/{name}.md" for name in NAMES)]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_shows_exists(page):
    text = (ROOT / page).read_text()
    lines = [
        line for block in re.findall(r"```(?:bash|sh)\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()
    ]
    commands = [shlex.split(line, comments=True) for line in lines]
    used = [words[words.index("playhead") + 1] for words in commands if "playhead" in words]
    assert used, f"{page} shows no command"
    assert set(used) <= {"train", *COMMANDS}


def test_make_targets_that_the_readme_names_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= named <= targets
