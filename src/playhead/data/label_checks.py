"""What looks wrong about the labels of a data set before anything is learnt from it."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from playhead.data.action_videos import ActionVideo, some
from playhead.data.classes import ActionSplit

SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)
FEW = 0.05
"""A class with less than this share of the mean number of videos is rare."""


def mirrored_classes(names: Sequence[str]) -> tuple[str, str] | None:
    """Return two classes that become each other when left and right are swapped; None if there are none."""
    known = set(names)
    for name in names:
        mirrored = SIDES.sub(lambda found: "right" if found[0].lower() == "left" else "left", name)
        if mirrored != name and mirrored in known:
            return name, mirrored
    return None


def label_findings(train: ActionSplit, val: ActionSplit) -> list[str]:
    """Return what is odd about the labels, one sentence each; none of it need be wrong."""
    findings, counts = [], train.counts()
    if empty := [name for name, count in zip(train.classes, counts, strict=True) if not count]:
        findings.append(f"{len(empty)} of {len(counts)} classes have no training video: {some(map(repr, empty))}.")
    mean = sum(counts) / len(counts)
    if rare := [name for name, count in zip(train.classes, counts, strict=True) if 0 < count < FEW * mean]:
        findings.append(f"{len(rare)} classes are rare (the mean is {mean:.0f} videos): {some(map(repr, rare))}.")
    shared = {(video.path, video.span) for video in train.videos} & {(video.path, video.span) for video in val.videos}
    if shared:
        findings.append(f"{len(shared)} videos are trained and measured on: {some(sorted(str(p) for p, _ in shared))}.")
    for split in (train, val):
        if split.missing:
            findings.append(f"{split.source}: {split.missing:,} videos are missing and left out.")
    for first, second in same_content(train.videos):
        names = f"{train.classes[first.label]!r} and {train.classes[second.label]!r}"
        findings.append(f"{first.path} and {second.path} are the same file, but of the classes {names}.")
    return findings


def same_content(videos: Sequence[ActionVideo]) -> list[tuple[ActionVideo, ActionVideo]]:
    """Return pairs of files with the same bytes and different labels; only files of one size are read."""
    by_size: dict[int, list[ActionVideo]] = {}
    for video in videos:
        if video.span is None and video.path.is_file():
            by_size.setdefault(video.path.stat().st_size, []).append(video)
    pairs = []
    for group in by_size.values():
        if len({video.label for video in group}) < 2:
            continue
        first: dict[str, ActionVideo] = {}
        for video in group:
            other = first.setdefault(_digest(video.path), video)
            if other.label != video.label:
                pairs.append((other, video))
    return pairs


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
