from dataclasses import replace

import pytest

from playhead.apps.plan import PlanSettings, plan, project, video_bytes
from playhead.apps.plan_decoding import measure_decoding, write_made_up_video
from playhead.apps.plan_sizes import published_size
from playhead.cli import main
from playhead.errors import RecipeError
from playhead.recipes.catalog import RECIPES, find_recipe
from playhead.recipes.small import toy
from playhead.train.config import Train
from playhead.video.decode import probe


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no recipe finds its files


def known(**more) -> PlanSettings:
    """Everything said, so that nothing is measured."""
    return PlanSettings(**{"clips_per_second": 560.0, "decode_ms": 7.2, "hours": 2927.0, "mbit": 0.8, **more})


def test_a_plan_is_what_one_would_count_by_hand():
    """10 epochs of 3,847,723 // 512 = 7,515 steps of 512 pairs of 2 clips, 560 clips/s on each of 4 GPUs."""
    found = plan(find_recipe("egoclip"), "egoclip", known(gpus=4))
    cost = found.projection
    assert found.steps == 75_150 and cost.clips == 75_150 * 1024 == 76_953_600
    assert cost.gpu_hours == pytest.approx(76_953_600 / 560 / 3600) == pytest.approx(38.17, abs=0.01)
    assert cost.hours == pytest.approx(38.17 / 4, abs=0.01)
    # 4 * 560 clips are 1,120 samples a second, of 7.2 ms each
    assert cost.decoder_cores == pytest.approx(8.064)
    assert cost.video_gigabytes == pytest.approx(2927 * 360 / 1000)  # 0.8 Mbit/s are 360 MB an hour
    assert 180e6 < found.parameters < 182e6
    assert cost.state_gibibytes == pytest.approx(found.parameters * 16 / 2**30)


def test_checkpoints_hold_the_weights_three_or_four_times_and_two_more_than_are_kept_lie_there():
    def gigabytes(**train) -> float:
        settings = Train(global_batch=2, steps=1, **train)
        sizes = {"clips_per_sample": 1, "clips_per_second": 1.0, "gpus": 1, "decode_ms": None, "video_bytes": None}
        return project(steps=1, train=settings, parameters=250_000_000, **sizes).checkpoint_gigabytes

    assert gigabytes() == pytest.approx(12.0)  # 1 GB of weights, three times, four checkpoints
    assert gigabytes(ema_decay=0.9, keep_last=1) == pytest.approx(12.0)


def test_bytes_of_video_need_hours_and_a_rate():
    assert video_bytes(1.0, 8.0) == 3.6e9
    assert video_bytes(None, 8.0) is None and video_bytes(1.0, None) is None


def test_the_number_of_samples_that_is_given_counts_most():
    found = plan(find_recipe("egoclip"), "egoclip", known(samples=1024))
    assert (found.samples, found.steps) == (1024, 20)


def test_published_numbers_name_their_source():
    (told,) = [text for what, text in plan(find_recipe("egoclip"), "egoclip", known()).lines() if what == "samples"]
    assert "3,847,723 published" in told and "egoclip.csv" in told


def test_samples_that_nobody_knows_are_asked_for():
    recipe = find_recipe("recognition")
    with pytest.raises(RecipeError, match=r"the number of samples is not known.*give --samples"):
        plan(recipe, "recognition", known())


def test_a_file_that_is_there_and_broken_is_an_error_and_not_replaced_by_a_published_number(tmp_path, capsys):
    path = tmp_path / "egoclip.csv"
    path.write_text("clip_idx\n0\n")
    words = ["plan", "egoclip", "--clips-per-second", "1", "--decode-ms", "1", "--task.pairs", str(path)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "egoclip.csv" in said


def test_a_few_steps_of_the_model_are_measured(capsys):
    assert main(["plan", "egoclip", "--toy", "--steps", "1", "--samples", "80", "--gpus", "2", "--decode-ms", "1"]) == 0
    said = capsys.readouterr().out
    assert "measured: 1 steps of 4 clips of noise in bf16" in said
    assert "2 steps of 8 samples, 32 clips" in said
    assert "1 ms of a core per sample as asked" in said


def test_every_recipe_of_the_catalog_can_be_planned():
    for name, recipe in RECIPES.items():
        found = plan(toy(recipe()), name, known(samples=64))
        assert found.projection.clips >= 16, name
        assert all(told for _, told in found.lines()), name


def test_a_mixture_is_measured_source_by_source():
    recipe = toy(find_recipe("webvid_cc3m"))
    found = plan(recipe, "webvid_cc3m", PlanSettings(samples=64, decode_ms=1.0, steps=1))
    assert "2 steps of 2 clips" in found.speed.told  # at least one of each


def test_features_need_no_decoder():
    found = plan(toy(find_recipe("nlq_vslnet_egoclip")), "nlq_vslnet_egoclip", known(samples=64))
    assert found.decoding is None and found.projection.decoder_cores is None
    assert ("decoding", "none: the recipe reads features") in found.lines()


def test_neighbours_are_decoded_too(tmp_path):
    path = write_made_up_video(tmp_path / "v.mp4", 64, seconds=3)
    recipe = toy(find_recipe("egoclip"))
    found = measure_decoding(recipe, [path], None)
    info = probe(path)
    assert (info.height, info.width, info.num_frames) == (64, 84, 90)
    assert found is not None and found.milliseconds > 0
    assert found.mbit == pytest.approx(path.stat().st_size * 8 / 1e6 / 3, rel=0.01)


def test_videos_that_lie_there_are_counted_as_they_are(tmp_path):
    folder = tmp_path / "videos"
    (folder / "a").mkdir(parents=True)
    (folder / "b.mp4").write_bytes(bytes(1000))
    (folder / "a" / "0.mp4").write_bytes(bytes(500))
    recipe = find_recipe("egoclip")
    recipe = replace(recipe, task=replace(recipe.task, videos=folder))
    settings = PlanSettings(clips_per_second=1.0, decode_ms=1.0)
    assert plan(recipe, "egoclip", settings).projection.video_gigabytes == pytest.approx(1.5e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["egoclip", "--gpus", "0"], "--gpus must be above 0, got 0."),
        (["egoclip", "--clips-per-second", "-1"], "--clips-per-second must be above 0, got -1.0."),
        (["egoclip", "--gpus", "3"], "train.global_batch 512 does not divide by 3 ranks"),
        (["egoclip", "--samples", "100"], "100 samples do not fill one batch of train.global_batch 512."),
        (["no_such"], "no recipe 'no_such'"),
        (["egoclip", "--videos", "absent.mp4"], "absent.mp4"),
    ],
)
def test_wrong_settings_are_one_line(words, said, capsys):
    assert main(["plan", *words]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def test_help_says_what_can_be_given(capsys):
    with pytest.raises(SystemExit):
        main(["plan", "--help"])
    told = capsys.readouterr().out
    assert "[any field of the recipe" in told and "--clips-per-second" in told


def test_published_sizes_are_of_recipes_that_exist():
    assert published_size("egoclip_fast") == published_size("egoclip")
    assert published_size("nlq_vslnet_slowfast").samples == 11_300
    assert published_size("world_ego_nce") is None
