"""Which videos the questions of EgoMCQ are about, on a world of a few short videos."""

import json

import pytest

from playhead.apps.prepare import Ego4DFolder, build_pairs
from playhead.world.config import WorldConfig
from playhead.world.world import make_world


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    config = WorldConfig(
        train_videos=1, val_videos=5, test_videos=5, seconds=40.0, fps=5, size=(48, 48), preset="ultrafast"
    )
    make_world(root, config, workers=1)
    return Ego4DFolder(root=root)


def videos_of(path):
    return {clip["video_uid"] for item in json.loads(path.read_text()).values() for clip in item["choices"].values()}


def split(folder, name):
    content = json.loads((folder.root / "annotations" / f"nlq_{name}.json").read_text())
    return {video["video_uid"] for video in content["videos"]}


def test_test_questions_are_about_test_videos_and_the_others_are_not(folder):
    pairs = build_pairs(folder, num_inter=8, num_intra=8, num_test=6)
    assert (pairs.egomcq_questions, pairs.test_questions) == (16, 12)
    assert videos_of(folder.egomcq) <= split(folder, "val")
    assert videos_of(folder.egomcq_test) <= split(folder, "test_unannotated")


def test_without_test_questions_all_held_out_videos_are_asked_about(folder):
    pairs = build_pairs(folder, num_inter=40, num_intra=40)
    assert pairs.test_questions == 0
    assert videos_of(folder.egomcq) == split(folder, "val") | split(folder, "test_unannotated")
