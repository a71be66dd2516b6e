"""What all official files share: their heads, the clips that challenges ask about, and how they are put on disk."""

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playhead.world.config import WorldConfig, make_uid
from playhead.world.script import Script

VERSION = "1.0"
DATE = "2024-01-01"  # fixed, so that the same settings give the same bytes


@dataclass(frozen=True, kw_only=True)
class ClipWindow:
    """A clip that queries and moments are asked about: [start, end) of its video, in seconds."""

    uid: str
    source_uid: str
    number: int
    start: float
    end: float

    def fields(self, fps: int) -> dict[str, Any]:
        """Return the clip's fields as every Episodic Memory file has them."""
        length = self.end - self.start
        return {
            "clip_uid": self.uid,
            "video_start_sec": self.start,
            "video_end_sec": self.end,
            "video_start_frame": frame_of(self.start, fps),
            "video_end_frame": frame_of(self.end, fps),
            "clip_start_sec": 0,
            "clip_end_sec": length,
            "clip_start_frame": 0,
            "clip_end_frame": frame_of(length, fps),
            "source_clip_uid": self.source_uid,
        }


def clips_of(script: Script, config: WorldConfig) -> tuple[ClipWindow, ...]:
    """Cut a video into the clips of the challenges; a rest shorter than half a clip joins the clip before it."""
    number = max(1, int(script.seconds / config.clip_seconds + 0.5))
    starts = [k * config.clip_seconds for k in range(number)]
    return tuple(
        ClipWindow(
            uid=make_uid(script.uid, "clip", k),
            source_uid=make_uid(script.uid, "source clip", k),
            number=script.index * 10 + k + 1,
            start=start,
            end=script.seconds if k == number - 1 else starts[k + 1],
        )
        for k, start in enumerate(starts)
    )


def head(description: str) -> dict[str, Any]:
    """Return the fields that every annotation file begins with."""
    return {"version": VERSION, "date": DATE, "description": description, "manifest": "ego4d.json"}


def frame_of(time: float, fps: int) -> int:
    """Return the number of the frame on screen at a time."""
    return int(time * fps + 1e-6)


def rounded(time: float) -> float:
    """Return a time as annotation tools write it, to 1/100 of a millisecond."""
    return round(time, 5)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a comma-separated file, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write a text file under another name first, so that a reader never finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half_done = path.with_name(f".{path.name}.part")
    half_done.write_text(text, encoding="utf-8")
    os.replace(half_done, path)
