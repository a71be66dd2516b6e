"""The code of the pages runs, and the commands of the README exist."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from playhead.cli import COMMANDS

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


@pytest.mark.parametrize("page", ["README.md", "docs/own_data.md", "docs/index.md", "docs/challenges.md"])
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
