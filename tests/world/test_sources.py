"""The pretraining rows of the ablation tables, two steps each on the world's own files, and on the command line."""

import json
import shutil

import pytest
from command_line import playhead

from playhead.apps.sources import prepare_sources
from playhead.errors import RecipeError
from playhead.recipes.base import run
from playhead.recipes.catalog import find_recipe
from playhead.recipes.small import toy
from playhead.train.log import read_log

pytestmark = pytest.mark.xdist_group("world")


def mixture_options(world):
    return [
        f"--task.sources.0.videos={world / 'cc3m' / 'training'}",
        f"--task.sources.0.pairs={world / 'cc3m' / 'Train_GCC-training.tsv'}",
        f"--task.sources.1.videos={world / 'webvid' / 'videos'}",
        f"--task.sources.1.pairs={world / 'webvid' / 'results_2M_train.csv'}",
        f"--watch.videos={world / 'full_scale'}",
        f"--watch.questions={world / 'egomcq.json'}",
    ]


@pytest.mark.parametrize(
    ("recipe", "learnt", "style"),
    [
        ("webvid_cc3m", {"cc3m/info_nce", "webvid/info_nce"}, "caption"),
        ("howto100m", {"info_nce"}, "caption"),
        ("egoclip_info_nce", {"info_nce"}, "narration"),
        ("egoclip", {"ego_nce"}, "narration"),
    ],
)
def test_every_row_of_the_tables_trains_two_steps_and_is_scored(world, tmp_path, recipe, learnt, style):
    run(toy(find_recipe(recipe), world), tmp_path)
    *_, step, metrics = read_log(tmp_path)
    assert learnt <= set(step["parts"]) and "egomcq/intra" in metrics["metrics"]
    assert json.loads((tmp_path / "bundle" / "config.json").read_text())["provenance"]["text_style"] == style


def test_a_mixture_tells_missing_media_in_one_line_and_trains_on_the_others_if_asked(world, tmp_path):
    training = tmp_path / "training"
    shutil.copytree(world / "cc3m" / "training", training)
    for path in sorted(training.iterdir())[:5]:
        path.unlink()
    arguments = ["train", "webvid_cc3m", "--toy", "--run-dir", tmp_path / "run", *mixture_options(world)]
    arguments += [f"--task.sources.0.videos={training}", f"--task.sources.0.files.tables={tmp_path / 'tables'}"]
    done = playhead(*arguments, check=False)
    told = done.stderr.splitlines()[-1]  # after what was logged on the way
    assert done.returncode == 2 and told.startswith("playhead: ") and "5 of 48 media files are missing" in told
    done = playhead(*arguments, "--task.sources.0.files.only-present")
    assert "43 of 48 captions are present" in " ".join(done.stderr.split())


def test_sources_are_converted_and_counted_before_any_training(world, tmp_path):
    tables = [f"--task.sources.{number}.files.tables={tmp_path / 'tables'}" for number in (0, 1)]
    done = playhead("sources", "webvid_cc3m", "--toy", *mixture_options(world), *tables)
    assert "cc3m" in done.stdout and "48" in done.stdout and len(list((tmp_path / "tables").iterdir())) == 2


def test_what_was_left_out_of_a_source_is_told_with_its_reasons(world, tmp_path):
    egoclip, howto100m = (prepare_sources(toy(find_recipe(name), world)) for name in ("egoclip", "howto100m"))
    assert [report.name for report in egoclip + howto100m] == ["egoclip", "howto100m"]
    assert howto100m[0].num_samples > 30 and howto100m[0].reasons == "nothing"
    with pytest.raises(RecipeError, match="learns from no pairs"):
        prepare_sources(toy(find_recipe("world_nlq"), world))
