"""The command line, called as a user calls it."""

import os
import subprocess
import sys
from pathlib import Path


def playhead(*arguments: object, check: bool = True, **options) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, in a process of its own."""
    command = [sys.executable, "-m", "playhead.cli", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, **options)
    if check:
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def world_options(world: Path) -> list[str]:
    """Return the options that point a recipe at the world."""
    videos = world / "full_scale"
    return [
        f"--task.videos={videos}",
        f"--task.pairs={world / 'egoclip.csv'}",
        f"--watch.videos={videos}",
        f"--watch.questions={world / 'egomcq.json'}",
    ]
