"""Ego4D's moments as one flat file: what the official code makes of the three files, and its evaluator reads.

Source: EGO4D/episodic-memory, MQ, `Convert_annotation.py`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from playhead.data.border import FilePath, read_json, take, take_time, write_whole
from playhead.data.segments import is_primary, moment_clips
from playhead.errors import AnnotationError


def read_durations(path: FilePath) -> dict[str, float]:
    """Read how long each video is, in seconds, from `ego4d.json`.

    Raises:
        AnnotationError: not this layout.
    """
    durations = {}
    for number, video in enumerate(take(read_json(path), "videos", list, path, "file"), start=1):
        video_id = take(video, "video_uid", str, path, f"video number {number}")
        durations[video_id] = take(video, "duration_sec", float, path, f"video {video_id!r}")
    return durations


def convert_moments(
    paths: Iterable[FilePath], durations: Mapping[str, float], num_rows: Mapping[str, int]
) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """Return the clips of all files by their ids, in file order, and how many were left out, by reason.

    Kept are the `primary` labels of all annotators, as they stand. Left out are clips of the train and val split
    without any ("no_segments"), and all clips of videos without features ("no_features"). `fps` of a clip is feature
    rows per second of its whole video.

    Args:
        paths: `moments_{train,val,test_unannotated}.json`, in the order wanted.
        durations: seconds of each video, as `read_durations` gives them.
        num_rows: feature rows of each whole video; a video that is not named has no features.

    Raises:
        AnnotationError: not the canonical layout, a clip stands twice, or a video has no duration above zero.
    """
    clips: dict[str, dict[str, Any]] = {}
    skipped: Counter[str] = Counter()
    for path in paths:
        for video_id, split, clip, found in moment_clips(read_json(path), path):
            clip_id, where = clip["clip_uid"], f"clip {clip['clip_uid']!r}"
            labels = [label for label in found if is_primary(label, path, where)]
            if video_id not in num_rows:
                skipped["no_features"] += 1
                continue
            if not labels and split in ("train", "val"):
                skipped["no_segments"] += 1
                continue
            if clip_id in clips:
                raise AnnotationError(f"{where} stands in these files twice; keep one.", path=path)
            if durations.get(video_id, 0.0) <= 0:
                raise AnnotationError(f"video {video_id!r} has no duration above zero; complete ego4d.json.", path=path)
            clips[clip_id] = {
                "video_id": video_id,
                "clip_id": clip_id,
                "parent_start_sec": take_time(clip, "video_start_sec", path, where),
                "parent_end_sec": take_time(clip, "video_end_sec", path, where),
                "v_duration": durations[video_id],
                "fps": num_rows[video_id] / durations[video_id],
                "annotations": labels,
                "subset": split,
            }
    return clips, dict(skipped)


def write_converted(path: FilePath, clips: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what `convert_moments` returned, which `read_segments(path, "converted")` reads.

    Raises:
        AnnotationError: the folder does not exist or cannot be written.
    """
    with write_whole(path) as file:
        json.dump(clips, file)
