"""Ego4D's manifest, narrations and taxonomies; the lists of Kinetics and of captions; and the truth.

Field names follow the files themselves (Ego4D v2: `ego4d.json`, `narration.json`, `narration_*_taxonomy.csv`; Kinetics:
`label,youtube_id,time_start,time_end,split,is_cc`).
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from playhead.world.config import SPLITS, WorldConfig, make_uid
from playhead.world.layouts import VERSION, frame_of, head, rounded, write_csv, write_json, write_text
from playhead.world.narrator import ANNOTATORS, Habits, narrate, plain_caption, summarize_scene
from playhead.world.script import HeldOut, Script
from playhead.world.vocabulary import NOUNS, OTHER_NOUNS, OTHER_VERBS, VERBS


def write_manifest(path: Path, scripts: list[Script], config: WorldConfig) -> None:
    """Write `ego4d.json`, the list of all videos."""
    content = head("Generated first-person videos in the layout of the Ego4D manifest.")
    del content["manifest"]
    content["videos"] = [_manifest_entry(script, config) for script in scripts]
    content["concurrent_video_sets"] = []
    content["physical_settings"] = []
    write_json(path, content)


def _manifest_entry(script: Script, config: WorldConfig) -> dict[str, Any]:
    metadata = _video_metadata(script, config)
    return {
        "video_uid": script.uid,
        "duration_sec": metadata["mp4_duration_sec"],
        "scenarios": [scene.room.capitalize() for scene in script.scenes],
        "video_metadata": metadata,
        "split_em": script.split,
        "split_av": None,
        "split_fho": script.split,
        "s3_path": f"full_scale/{script.uid}.mp4",
        "origin_video_id": f"world_{config.seed}_{script.split}_{script.index:04d}",
        "video_source": "playhead_world",
        "device": None,
        "physical_setting_name": None,
        "fb_participant_id": None,
        "is_stereo": False,
        "has_imu": False,
        "has_gaze": False,
        "video_components": [],
        "concurrent_sets": None,
        "has_redacted_regions": False,
        "redacted_intervals": [],
        "gaps": None,
    }


def _video_metadata(script: Script, config: WorldConfig) -> dict[str, Any]:
    height, width = config.size
    num_frames = round(script.seconds * config.fps)
    duration = num_frames / config.fps
    no_audio = ("audio_start_sec", "audio_duration_sec", "audio_start_pts", "audio_duration_pts")
    return {
        "fps": float(config.fps),
        "num_frames": num_frames,
        "video_codec": "h264",
        "display_resolution_width": width,
        "display_resolution_height": height,
        "sample_resolution_width": width,
        "sample_resolution_height": height,
        "mp4_duration_sec": duration,
        "video_start_sec": 0.0,
        "video_duration_sec": duration,
        "video_start_pts": 0,
        "video_duration_pts": num_frames,
        "video_base_numerator": 1,
        "video_base_denominator": config.fps,
        **dict.fromkeys((*no_audio, "audio_base_numerator", "audio_base_denominator")),
    }


def write_narrations(path: Path, scripts: list[Script], config: WorldConfig) -> None:
    """Write `narration.json`: both annotators of every video."""
    content = {}
    for script in scripts:
        passes = {habits.name: _narration_pass(script, config, habits) for habits in ANNOTATORS}
        content[script.uid] = {"status": "complete", **passes}
    write_json(path, content)


def _narration_pass(script: Script, config: WorldConfig, habits: Habits) -> dict[str, Any]:
    uid = make_uid(script.uid, habits.name)
    narrations = [
        {
            "timestamp_sec": rounded(told.time),
            "timestamp_frame": frame_of(told.time, config.fps),
            "_unmapped_timestamp_sec": rounded(told.time),
            "narration_text": told.text,
            "annotation_uid": uid,
        }
        for told in narrate(script, config, habits)
    ]
    summaries = [
        {
            "start_sec": rounded(scene.start),
            "end_sec": rounded(scene.end),
            "summary_text": summarize_scene(scene),
            "annotation_uid": uid,
            "_unmapped_start_sec": rounded(scene.start),
            "_unmapped_end_sec": rounded(scene.end),
        }
        for scene in script.scenes
    ]
    return {"narrations": narrations, "summaries": summaries}


def write_taxonomies(folder: Path) -> None:
    """Write `narration_noun_taxonomy.csv` and `narration_verb_taxonomy.csv`: label, and its words as a Python list."""
    nouns = [(noun.label, sorted({noun.name, *noun.synonyms})) for noun in NOUNS]
    nouns += [(label, list(words)) for label, words in OTHER_NOUNS]
    verbs = [(verb.label, sorted(verb.group)) for verb in VERBS]
    verbs += [(label, list(words)) for label, words in OTHER_VERBS]
    for name, classes in (("noun", nouns), ("verb", verbs)):
        write_csv(folder / f"narration_{name}_taxonomy.csv", ("label", "group"), sorted(classes))


def write_kinetics(folder: Path, scripts: list[Script]) -> None:
    """Write Kinetics-like lists: `{split}.csv` of whole seconds around every action, and `label_map.txt`."""
    labels = sorted(f"{verb.name} object" for verb in VERBS)
    write_text(folder / "label_map.txt", "".join(f"{label}\n" for label in labels))
    for split in SPLITS:
        rows = [
            (f"{event.verb} object", script.uid, math.floor(event.start), math.ceil(event.end), split, 0)
            for script in scripts
            if script.split == split
            for _, event in script.events
        ]
        write_csv(folder / f"{split}.csv", ("label", "youtube_id", "time_start", "time_end", "split", "is_cc"), rows)


def write_captions(folder: Path, scripts: list[Script]) -> None:
    """Write pairs of a clip and a caption, one JSON object per line: `video`, `start`, `end` (seconds), `caption`."""
    for split in SPLITS:
        lines = [
            {
                "video": f"full_scale/{script.uid}.mp4",
                "start": rounded(event.start),
                "end": rounded(event.end),
                "caption": plain_caption(scene, event),
            }
            for script in scripts
            if script.split == split
            for scene, event in script.events
        ]
        write_text(folder / f"{split}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def write_truth(path: Path, scripts: list[Script], config: WorldConfig, held_out: HeldOut, fingerprint: str) -> None:
    """Write `world.json`: what really happens, whatever the annotators wrote, and which combinations `train` lacks."""
    content = {
        "version": VERSION,
        "fingerprint": fingerprint,
        "config": asdict(config),
        "held_out": {
            "noun_verbs": sorted(held_out.noun_verbs),
            "noun_colours": sorted(held_out.noun_colours),
        },
        "videos": [_truth_of(script) for script in scripts],
    }
    write_json(path, content)


def _truth_of(script: Script) -> dict[str, Any]:
    scenes = [
        {
            "room": scene.room,
            "start": rounded(scene.start),
            "end": rounded(scene.end),
            "events": [
                {
                    "verb": event.verb,
                    "noun": scene.items[event.item].noun,
                    "colour": scene.items[event.item].colour,
                    "item": event.item,
                    "start": rounded(event.start),
                    "end": rounded(event.end),
                    "pnr": None if event.pnr is None else rounded(event.pnr),
                    "hand": event.hand,
                    "holder": None if event.holder is None else scene.items[event.holder].words,
                    "is_new": event.is_new,
                }
                for event in scene.events
            ],
        }
        for scene in script.scenes
    ]
    return {"video_uid": script.uid, "split": script.split, "scenes": scenes}
