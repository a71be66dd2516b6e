import re
import uuid

import pytest

from playhead.world.config import WorldConfig, make_uid, random_stream


@pytest.mark.parametrize(
    "wrong",
    [
        {"train_videos": -1},
        {"train_videos": 0, "val_videos": 0, "test_videos": 0},
        {"size": (95, 128)},
        {"size": (32, 128)},
        {"gap_seconds": (0.5, 1.0)},
        {"action_seconds": (2.0, 1.0)},
        {"seconds": 3.0},
        {"fps": 0},
        {"crf": 60},
        {"objects_per_scene": 2},
        {"held_out": 1.0},
        {"occlusion": -0.1},
        {"time_jitter": 5.0},
        {"clip_seconds": 1.0},
    ],
)
def test_settings_that_make_no_world_are_refused(wrong):
    with pytest.raises(ValueError, match=r".+"):
        WorldConfig(**wrong)


def test_a_stream_depends_on_its_key_alone():
    first = random_stream(3, "train", 7).random(4)
    random_stream(9).random(100)
    assert (random_stream(3, "train", 7).random(4) == first).all()
    assert (random_stream(3, "train", 8).random(4) != first).any()


def test_uids_are_version_4_uuids_and_differ():
    uids = [make_uid(0, "train", k) for k in range(200)]
    assert len(set(uids)) == 200
    assert all(uuid.UUID(uid).version == 4 and re.fullmatch(r"[0-9a-f-]{36}", uid) for uid in uids)
