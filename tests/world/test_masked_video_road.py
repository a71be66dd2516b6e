"""Masked pretraining on the generated world: every recipe takes two steps, and its bundle draws pictures."""

import json

import pytest
from command_line import playhead

from playhead.recipes.base import open_task, run
from playhead.recipes.catalog import find_recipe
from playhead.recipes.small import toy


@pytest.mark.parametrize("name", ["videomae_base", "videomae_large", "world_videomae"])
def test_a_recipe_takes_two_steps_on_the_world(world, tmp_path, name):
    recipe = toy(find_recipe(name), world)
    assert run(recipe, tmp_path).step == 2
    model, task = open_task(tmp_path / "bundle")
    assert model.config == recipe.model and task == recipe.task


def test_from_the_command_line_to_a_picture(world, tmp_path):
    videos, run_dir, pictures = world / "full_scale", tmp_path / "run", tmp_path / "pictures"
    playhead("train", "videomae_huge", "--toy", "--run-dir", run_dir, f"--task.videos={videos}")
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2

    video = sorted(videos.glob("*.mp4"))[0]
    done = playhead("reconstruct", run_dir / "bundle", video, "--out", pictures, "--columns=2")
    assert "mean squared error" in done.stdout
    assert [path.name for path in pictures.iterdir()] == [f"{video.stem}.png"]

    failed = playhead("reconstruct", videos, video, "--out", tmp_path / "none", check=False)
    assert failed.returncode == 2 and "is no bundle" in failed.stderr and "Traceback" not in failed.stderr
    assert not (tmp_path / "none").exists()
