"""A whole small world on disk: fields as in Ego4D v2, true answers, resumable, the same for any number of workers."""

import ast
import csv
import json
from pathlib import Path

import av
import numpy as np
import pytest

from playhead.world.world import WorldConfig, make_world

CONFIG = WorldConfig(
    train_videos=2,
    val_videos=1,
    test_videos=1,
    seconds=30.0,
    scene_seconds=15.0,
    clip_seconds=15.0,
    size=(48, 64),
    fps=10,
)
# Field names copied from the published files of Ego4D v2 (2023).
CLIP_FIELDS = {
    "clip_uid", "video_start_sec", "video_end_sec", "video_start_frame", "video_end_frame", "clip_start_sec",
    "clip_end_sec", "clip_start_frame", "clip_end_frame", "source_clip_uid",
}  # fmt: skip
QUERY_FIELDS = {
    "clip_start_sec", "clip_end_sec", "video_start_sec", "video_end_sec", "video_start_frame", "video_end_frame",
    "template", "query", "slot_x", "verb_x", "raw_tags",
}  # fmt: skip
LABEL_FIELDS = {
    "start_time", "end_time", "label", "video_start_time", "video_end_time", "video_start_frame", "video_end_frame",
    "primary",
}  # fmt: skip
CHANGE_FIELDS = {
    "clip_uid", "clip_id", "unique_id", "video_uid", "clip_start_sec", "clip_end_sec", "clip_start_frame",
    "clip_end_frame", "clip_pnr_frame", "parent_start_sec", "parent_end_sec", "parent_start_frame", "parent_end_frame",
    "state_change", "parent_pnr_frame",
}  # fmt: skip
TEST_CHANGE_FIELDS = {
    "clip_id", "unique_id", "video_uid", "parent_start_sec", "parent_end_sec", "parent_start_frame", "parent_end_frame",
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), CONFIG, workers=1)


def read(world, name):
    return json.loads((world.root / name).read_text())


def decode(path: Path):
    with av.open(path) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def true_events(world):
    videos = read(world, "world.json")["videos"]
    return {video["video_uid"]: [event for scene in video["scenes"] for event in scene["events"]] for video in videos}


def test_the_videos_are_what_the_manifest_says(world):
    manifest = read(world, "ego4d.json")
    assert len(manifest["videos"]) == 4
    for video in manifest["videos"]:
        frames = decode(world.video_path(video["video_uid"]))
        metadata = video["video_metadata"]
        assert frames.shape == (metadata["num_frames"], 48, 64, 3) and metadata["num_frames"] == 300
        assert video["duration_sec"] == metadata["mp4_duration_sec"] == 30.0
        assert video["video_uid"] in world.videos[video["split_em"]]
        with av.open(world.video_path(video["video_uid"])) as film:
            assert film.streams.video[0].average_rate == 10 and film.streams.video[0].codec_context.name == "h264"


def test_narrations_have_the_official_fields_in_both_passes(world):
    narrations = read(world, "annotations/narration.json")
    assert set(narrations) == {uid for uids in world.videos.values() for uid in uids}
    for entry in narrations.values():
        assert set(entry) == {"status", "narration_pass_1", "narration_pass_2"}
        for number in (1, 2):
            written = entry[f"narration_pass_{number}"]
            assert set(written) == {"narrations", "summaries"} and written["narrations"] and written["summaries"]
            for one in written["narrations"]:
                assert set(one) == {
                    "timestamp_sec", "timestamp_frame", "_unmapped_timestamp_sec", "narration_text", "annotation_uid",
                }  # fmt: skip
                assert one["timestamp_frame"] == int(one["timestamp_sec"] * 10 + 1e-6)


def test_taxonomies_are_lists_of_words_by_label(world):
    for name in ("noun", "verb"):
        with (world.root / "annotations" / f"narration_{name}_taxonomy.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == ["label", "group"]
        assert all(ast.literal_eval(row["group"]) for row in rows)
        assert [row["label"] for row in rows] == sorted(row["label"] for row in rows)


def test_every_query_has_exactly_one_true_answer(world):
    truth = true_events(world)
    asked = 0
    for split in ("train", "val"):
        for video in read(world, f"annotations/nlq_{split}.json")["videos"]:
            assert video["split"] == split and len(video["clips"]) == 2
            for clip in video["clips"]:
                assert set(clip) == CLIP_FIELDS | {"annotations"}
                for query in (q for one in clip["annotations"] for q in one["language_queries"]):
                    assert set(query) == QUERY_FIELDS
                    assert query["video_start_sec"] - query["clip_start_sec"] == pytest.approx(clip["video_start_sec"])
                    answers = [e for e in truth[video["video_uid"]] if e["start"] == query["video_start_sec"]]
                    assert len(answers) == 1 and answers[0]["end"] == query["video_end_sec"]
                    words = f"{answers[0]['colour']} {answers[0]['noun']}"
                    assert query["slot_x"] in (words, answers[0]["holder"], answers[0]["colour"])
                    asked += 1
    assert asked > 20


def test_queries_of_a_clip_are_unique(world):
    for split in ("train", "val"):
        for video in read(world, f"annotations/nlq_{split}.json")["videos"]:
            for clip in video["clips"]:
                texts = [q["query"] for one in clip["annotations"] for q in one["language_queries"]]
                assert len(texts) == len(set(texts))


def test_moments_are_told_by_two_annotators_near_the_truth(world):
    truth = true_events(world)
    for split in ("train", "val"):
        for video in read(world, f"annotations/moments_{split}.json")["videos"]:
            for clip in video["clips"]:
                assert set(clip) == CLIP_FIELDS | {"annotations"} and len(clip["annotations"]) == 2
                for label in (found for one in clip["annotations"] for found in one["labels"]):
                    assert set(label) == LABEL_FIELDS
                    near = [
                        event
                        for event in truth[video["video_uid"]]
                        if abs(event["start"] - label["video_start_time"]) < 1.2
                        and abs(event["end"] - label["video_end_time"]) < 1.2
                    ]
                    assert near and label["video_start_time"] < label["video_end_time"]


def test_a_state_change_sample_holds_exactly_its_change_or_none(world):
    truth = true_events(world)
    states = []
    for split in ("train", "val"):
        for sample in read(world, f"annotations/fho_oscc-pnr_{split}.json")["clips"]:
            assert set(sample) == CHANGE_FIELDS
            assert sample["parent_end_sec"] - sample["parent_start_sec"] == pytest.approx(6.0)
            start, end = sample["parent_start_sec"], sample["parent_end_sec"]
            changes = [
                event["pnr"]
                for event in truth[sample["video_uid"]]
                if event["pnr"] is not None and start <= event["pnr"] < end
            ]
            assert len(changes) == int(sample["state_change"])
            acting = [
                (event["start"], event["end"])
                for event in truth[sample["video_uid"]]
                if event["pnr"] is not None and event["start"] < end and start < event["end"]
            ]
            if sample["state_change"]:
                assert any(start - 0.3 <= one[0] and one[1] <= end + 0.3 for one in acting)
            else:
                assert acting == []
            if changes:
                assert sample["parent_pnr_frame"] == int(changes[0] * 10 + 1e-6)
                shift = sample["parent_start_frame"] - sample["clip_start_frame"]
                assert sample["parent_pnr_frame"] - sample["clip_pnr_frame"] == pytest.approx(shift, abs=1)
            states.append(sample["state_change"])
    assert True in states


def test_the_test_split_keeps_its_answers_to_itself(world):
    for video in read(world, "annotations/nlq_test_unannotated.json")["videos"]:
        for clip in video["clips"]:
            assert all(set(q) == {"query"} for one in clip["annotations"] for q in one["language_queries"])
    for video in read(world, "annotations/moments_test_unannotated.json")["videos"]:
        assert all(set(clip) == CLIP_FIELDS for clip in video["clips"])
    for sample in read(world, "annotations/fho_oscc-pnr_test_unannotated.json")["clips"]:
        assert set(sample) == TEST_CHANGE_FIELDS


def test_lists_and_captions_tell_every_action(world):
    truth = true_events(world)
    labels = (world.root / "kinetics" / "label_map.txt").read_text().splitlines()
    for split in ("train", "val", "test"):
        number = sum(len(truth[uid]) for uid in world.videos[split])
        with (world.root / "kinetics" / f"{split}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == ["label", "youtube_id", "time_start", "time_end", "split", "is_cc"]
        assert len(rows) == number and all(row["label"] in labels and row["split"] == split for row in rows)
        captions = [json.loads(line) for line in (world.root / "captions" / f"{split}.jsonl").read_text().splitlines()]
        assert len(captions) == number and all((world.root / row["video"]).exists() for row in captions)


def test_a_second_run_keeps_finished_videos_and_makes_broken_ones_again(world):
    paths = [world.video_path(uid) for uids in world.videos.values() for uid in uids]
    before = {path: path.read_bytes() for path in paths}
    paths[0].write_bytes(before[paths[0]][: len(before[paths[0]]) // 2])
    paths[1].unlink()
    times = {path: path.stat().st_mtime_ns for path in paths[2:]}
    seen = []
    make_world(world.root, CONFIG, lambda done, total: seen.append((done, total)), workers=1)
    assert seen == [(2, 4), (3, 4), (4, 4)]
    assert {path: path.read_bytes() for path in paths} == before
    assert {path: path.stat().st_mtime_ns for path in paths[2:]} == times
    assert not list((world.root / "full_scale").glob(".*"))


def test_two_processes_make_the_same_world_as_one(world, tmp_path):
    other = make_world(tmp_path, CONFIG, workers=2)
    assert other.videos == world.videos
    files = sorted(path.relative_to(world.root) for path in world.root.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for file in files:
        assert (tmp_path / file).read_bytes() == (world.root / file).read_bytes(), file


def test_another_seed_makes_another_world(world, tmp_path):
    config = WorldConfig(
        seed=1, train_videos=1, val_videos=0, test_videos=0, seconds=12.0, scene_seconds=12.0, size=(48, 64), fps=10
    )
    other = make_world(tmp_path, config, workers=0)
    assert not {uid for uids in other.videos.values() for uid in uids} & set(read(world, "annotations/narration.json"))
    assert decode(other.video_path(other.videos["train"][0])).shape[0] == 120


def test_b_frames_can_be_asked_for_and_equal_settings_still_give_equal_files(tmp_path):
    config = WorldConfig(
        train_videos=1, val_videos=0, test_videos=0, seconds=12.0, scene_seconds=12.0, size=(48, 64), fps=10, b_frames=2
    )
    worlds = [make_world(tmp_path / str(k), config, workers=1) for k in range(3)]
    paths = [made.video_path(made.videos["train"][0]) for made in worlds]
    assert len({path.read_bytes() for path in paths}) == 1
    with av.open(paths[0]) as film:
        shown = [packet.pts for packet in film.demux(video=0) if packet.pts is not None]
    assert len(shown) == 120 and shown != sorted(shown)
