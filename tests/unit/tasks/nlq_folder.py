"""A tiny NLQ data set: clips of random features, queries of random words, in the official file layout."""

import json
from pathlib import Path

import numpy as np

from playhead.data.feature_files import FeatureSet, TimeBase
from playhead.data.text_features import write_text_features

VIDEO_WIDTH, TEXT_WIDTH = 12, 10
OFFICIAL = TimeBase(fps=30, frames=16, stride=16)


def answer(text, start, end, clip_start=0.0):
    times = {"video_start_sec": clip_start + start, "video_end_sec": clip_start + end}
    return {"query": text, "clip_start_sec": start, "clip_end_sec": end, **times}


def make_clip(uid, queries, seconds=64.0, start=0.0, annotation="u"):
    return {
        "clip_uid": uid,
        "video_start_sec": start,
        "video_end_sec": start + seconds,
        "clip_start_sec": 0.0,
        "clip_end_sec": seconds,
        "annotations": [{"annotation_uid": annotation, "language_queries": queries}],
    }


def write_folder(folder: Path, clips, name="nlq_train.json", version="1") -> Path:
    """Write the annotation file, and features of all its clips and texts; return the file."""
    draws = np.random.default_rng(0)
    (folder / "features").mkdir(exist_ok=True)
    for clip in clips:
        rows = int(clip["clip_end_sec"] * 1.875)
        np.save(folder / "features" / f"{clip['clip_uid']}.npy", draws.standard_normal((rows, VIDEO_WIDTH), np.float32))
    queries = [q for clip in clips for a in clip["annotations"] for q in a["language_queries"]]
    texts = dict.fromkeys(query["query"] for query in queries if query.get("query"))
    words = ((text, draws.standard_normal((3 + n % 3, TEXT_WIDTH), np.float32)) for n, text in enumerate(texts))
    write_text_features(folder / "text", words, {})
    content = {"version": version, "date": "d", "videos": [{"video_uid": "v", "split": "train", "clips": clips}]}
    (folder / name).write_text(json.dumps(content))
    return folder / name


def eight_queries(folder: Path) -> Path:
    """Two queries to each of four clips; every answer lies somewhere else."""
    clips = [
        make_clip(f"clip{number}", [answer(f"{number} {part}?", *span) for part, span in zip("ab", spans, strict=True)])
        for number, spans in enumerate(
            [((4, 14), (40, 52)), ((20, 30), (1, 9)), ((50, 62), (30, 38)), ((12, 20), (35, 47))]
        )
    ]
    return write_folder(folder, clips)


def feature_set(folder: Path, **settings) -> FeatureSet:
    return FeatureSet(folders=(folder / "features",), time=OFFICIAL, **settings)
