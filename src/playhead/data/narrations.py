"""Narrations and the videos they tell: the raw material of EgoClip, from the official files of Ego4D.

Source: Ego4D (Grauman et al., 2022), the annotation files of releases 1 and 2. Those of EPIC-KITCHENS-100 are read by
`playhead.data.epic`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from playhead.data.border import FilePath, brief, read_json, stream_members, take, take_time
from playhead.errors import AnnotationError
from playhead.types import Narration

PASSES = ("narration_pass_1", "narration_pass_2")
SPLITS = ("split_em", "split_av", "split_fho")
HELD_OUT = ("val", "test", "multi")  # "multi": in several splits, so in one of the two others for sure


@dataclass(frozen=True, slots=True)
class VideoEntry:
    """One video of a manifest: `duration` in seconds, sizes in pixels as displayed; None is unknown."""

    video_id: str
    duration: float
    fps: float | None
    width: int | None
    height: int | None
    scenarios: tuple[str, ...]


def read_manifest(path: FilePath) -> dict[str, VideoEntry]:
    """Read the videos of `ego4d.json` by their ids.

    Raises:
        AnnotationError: the file is no such manifest, names a video twice, or a duration is not above zero.
    """
    entries: dict[str, VideoEntry] = {}
    for index, record in enumerate(take(read_json(path), "videos", list, path, "manifest")):
        video_id = take(record, "video_uid", str, path, f"video number {index}")
        if video_id in entries:
            raise AnnotationError(f"video {video_id!r} stands here twice; keep one.", path=path)
        entries[video_id] = _read_entry(record, video_id, path)
    return entries


def _read_entry(record: dict[str, Any], video_id: str, path: FilePath) -> VideoEntry:
    where = f"video {video_id!r}"
    duration = take_time(record, "duration_sec", path, where)
    if duration == 0:
        raise AnnotationError(f"{where} lasts 0 s; correct its 'duration_sec' or leave it out.", path=path)
    media = record.get("video_metadata") or {}
    scenarios = record.get("scenarios") or []
    if not isinstance(scenarios, list) or not all(isinstance(name, str) for name in scenarios):
        raise AnnotationError(f"{where}: 'scenarios' must be a list of texts, found {brief(scenarios)}.", path=path)

    def optional(key: str, kind: type[int] | type[float]) -> Any:
        if not isinstance(media, dict) or media.get(key) is None:
            return None
        return take(media, key, kind, path, where)

    return VideoEntry(
        video_id=video_id,
        duration=duration,
        fps=optional("fps", float),
        width=optional("display_resolution_width", int),
        height=optional("display_resolution_height", int),
        scenarios=tuple(scenarios),
    )


def read_narrations(path: FilePath) -> Iterator[Narration]:
    """Yield all narrations of a file, video by video, in file order; memory stays near the size of the file.

    Two layouts are known by their keys: `narration.json`, `{video: {"narration_pass_1": {"narrations": [...]}, ...}}`,
    and `all_narrations_redacted.json` (release 2), `{"videos": {video: {"narrations": [...]}}}`, where
    `_annotation_uid` tells the annotators apart; they become narration_pass_1, narration_pass_2, ... in order of
    appearance. Videos without narrations yield nothing.

    Raises:
        AnnotationError: no such layout, cut off, not UTF-8, a video that stands twice, or a time that is negative or
            not finite; names video and narration.
    """
    for video_id, record in stream_members(path, wrapper="videos"):
        where = f"video {video_id!r}"
        if not isinstance(record, dict):
            raise AnnotationError(f"{where}: an object needed, found {brief(record)}; is it narration.json?", path=path)
        if isinstance(record.get("narrations"), list):
            yield from _read_flat(record, video_id, path)
            continue
        if not (record.keys() & {*PASSES, "status"}):
            raise AnnotationError(
                f"{where} has neither {PASSES[0]!r} nor 'narrations'; is it narration.json?", path=path
            )
        for source in PASSES:
            if record.get(source) is not None:
                found = record[source]
                items = take(found, "narrations", list, path, f"{where}, {source}") if found else []
                for index, item in enumerate(items):
                    place = f"{where}, {source}, narration {index}"
                    time = take_time(item, "timestamp_sec", path, place)
                    text = take(item, "narration_text", str, path, place)
                    yield Narration(video_id, time, text, source=source)


def _read_flat(record: dict[str, Any], video_id: str, path: FilePath) -> Iterator[Narration]:
    sources: dict[Any, str] = {}
    for index, item in enumerate(record["narrations"]):
        place = f"video {video_id!r}, narration {index}"
        time, text = take_time(item, "time", path, place), take(item, "text", str, path, place)
        source = sources.setdefault(str(item.get("_annotation_uid")), f"narration_pass_{len(sources) + 1}")
        yield Narration(video_id, time, text, source=source)


def read_challenge_videos(paths: Iterable[FilePath]) -> frozenset[str]:
    """Return the ids of all videos that a challenge validates or tests on; EgoClip must leave them out.

    `paths` are validation and test files of any Ego4D challenge (NLQ, MQ, VQ, AV: `videos`; FHO: `clips` or
    `annotations`) and manifests, where a video counts whose `split_em`, `split_av` or `split_fho` is "val", "test" or
    "multi" (in several splits).

    Raises:
        AnnotationError: a file has none of these lists, an entry no `video_uid`, or it is a training file.

    Source: EgoVLP, section 2.1: videos of the validation and test sets are excluded.
    """
    return frozenset().union(*map(_challenge_videos, paths))


def _challenge_videos(path: FilePath) -> frozenset[str]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise AnnotationError(f"a challenge file or manifest needed, found {brief(content)}.", path=path)
    key = next((key for key in ("videos", "clips", "annotations") if isinstance(content.get(key), list)), None)
    if key is None:
        problem = "neither 'videos' nor 'clips' nor 'annotations' is a list here; give a challenge file or a manifest."
        raise AnnotationError(problem, path=path)
    found = set()
    for index, record in enumerate(content[key]):
        video_id = take(record, "video_uid", str, path, f"{key} entry {index}")
        if "train" in (record.get("split"), content.get("split")):
            raise AnnotationError(f"video {video_id!r} is of the training split; give val and test files.", path=path)
        is_manifest = not record.keys().isdisjoint(SPLITS)
        if not is_manifest or any(record.get(split) in HELD_OUT for split in SPLITS):
            found.add(video_id)
    return frozenset(found)
