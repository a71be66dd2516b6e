"""The challenges through the command line: features, heads, grounding, submissions, on a small world and toy models."""

import json

import pytest
from command_line import playhead, world_options

pytestmark = pytest.mark.xdist_group("world")


@pytest.fixture(scope="module")
def featured(world, trained):
    """The world with the toy's features of all clips and queries, where toy recipes look for them."""
    annotations = world / "annotations"
    files = [*sorted(annotations.glob("nlq_*.json")), *sorted(annotations.glob("moments_*.json"))]
    grid = ["--grid", "own", "--fps", "4", "--stride", "4"]
    videos, bundle = world / "full_scale", trained / "bundle"
    done = playhead("clip-features", bundle, *files, "--videos", videos, "--out", world / "features" / "toy", *grid)
    assert "9 written, 0 there already, 0 failed" in done.stdout
    playhead("text-features", bundle, *sorted(annotations.glob("nlq_*.json")), "--out", world / "text" / "toy")
    return world


def query_options(world):
    annotations = world / "annotations"
    return [
        f"--task.train-queries={annotations / 'nlq_train.json'}",
        f"--task.val-queries={annotations / 'nlq_val.json'}",
        f"--task.test-queries={annotations / 'nlq_test_unannotated.json'}",
        "--task.features.folders",
        str(world / "features" / "toy"),
        f"--task.text={world / 'text' / 'toy'}",
    ]


def moment_options(world):
    annotations = world / "annotations"
    return [
        f"--task.train-segments={annotations / 'moments_train.json'}",
        f"--task.val-segments={annotations / 'moments_val.json'}",
        f"--task.test-segments={annotations / 'moments_test_unannotated.json'}",
        "--task.features.folders",
        str(world / "features" / "toy"),
    ]


def state_options(world):
    return [f"--task.videos={world / 'full_scale'}", f"--task.annotations={world / 'annotations'}"]


@pytest.mark.parametrize(
    ("recipe", "options", "metric"),
    [
        ("nlq_vslnet_egoclip_egonce", query_options, "nlq/R1@0.3"),
        ("nlq_tan2d_slowfast", query_options, "nlq/R1@0.3"),
        ("nlq_point_pyramid_egoclip_egonce", query_options, "nlq/R1@0.3"),
        ("mq_vsgn_egoclip_egonce", moment_options, "mq/mAP"),
        ("mq_actionformer_egoclip_egonce", moment_options, "mq/mAP"),
        ("oscc_egoclip_egonce", state_options, "oscc/accuracy"),
        ("pnr_egoclip_egonce", state_options, "pnr/error"),
        ("state_change_lstm", state_options, "oscc/accuracy"),
        ("state_change_i3d", state_options, "oscc/accuracy"),
    ],
)
def test_every_kind_of_head_trains_two_steps_and_is_scored(featured, tmp_path, recipe, options, metric):
    batch = "--train.global-batch=2"  # the smallest world has few clips
    playhead("train", recipe, "--toy", "--run-dir", tmp_path, *options(featured), batch)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    (measured,) = [line["metrics"] for line in lines if "metrics" in line]
    assert metric in measured
    assert json.loads(playhead("evaluate", tmp_path / "bundle").stdout) == pytest.approx(measured, abs=1e-4)


@pytest.fixture(scope="module")
def query_head(featured, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "nlq"
    playhead("train", "world_nlq", "--toy", "--run-dir", run, *query_options(featured))
    return run / "bundle"


def test_a_question_about_a_video_is_answered_with_spans_inside_it(featured, trained, query_head):
    video = min((featured / "full_scale").glob("*.mp4"))
    asked = ["where did I put the cup?", "--bundle", query_head, "--tower", trained / "bundle", "--json", "--top", "3"]
    done = playhead("ground", video, *asked)
    spans = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(spans) == 3
    assert all(0 <= span["start"] < span["end"] <= 60.2 for span in spans)
    assert [span["score"] for span in spans] == sorted((span["score"] for span in spans), reverse=True)


def test_grounding_with_another_tower_is_refused(featured, query_head, tmp_path):
    other = ["--run-dir", tmp_path / "run", "--train.steps=1", "--train.seed=9", *world_options(featured)]
    playhead("train", "world_ego_nce", "--toy", *other)
    video = min((featured / "full_scale").glob("*.mp4"))
    asked = ["where is it?", "--bundle", query_head, "--tower", tmp_path / "run" / "bundle"]
    done = playhead("ground", video, *asked, check=False)
    assert done.returncode == 2 and "was trained on features of model" in done.stderr


def test_a_submission_is_written_whole_and_checked(featured, query_head, tmp_path):
    out, annotations = tmp_path / "nlq.json", featured / "annotations" / "nlq_test_unannotated.json"
    playhead("submit", "nlq", "--bundle", query_head, "--out", out)
    content = json.loads(out.read_text())
    asked = sum(
        len(annotation["language_queries"])
        for video in json.loads(annotations.read_text())["videos"]
        for clip in video["clips"]
        for annotation in clip["annotations"]
    )
    assert len(content["results"]) == asked
    assert "nothing is wrong" in playhead("submit", "nlq", "--check", out, "--annotations", annotations).stdout

    broken = tmp_path / "broken.json"
    first, *others = content["results"]
    first["predicted_times"][0] = [5.0, 1.0]
    broken.write_text(json.dumps(content | {"results": [first, first, *others[1:]]}))
    done = playhead("submit", "nlq", "--check", broken, "--annotations", annotations, check=False)
    assert done.returncode == 2
    assert all(problem in done.stderr for problem in ("missing: 1", "duplicate: 1", "out of range"))


def test_a_bundle_of_another_challenge_writes_nothing(featured, query_head, tmp_path):
    done = playhead("submit", "mq", "--bundle", query_head, "--out", tmp_path / "mq.json", check=False)
    assert done.returncode == 2 and "mq asked for, but this bundle answers LanguageQuery" in done.stderr
    assert not list(tmp_path.iterdir())
