"""Natural language queries of Ego4D (NLQ): a question in words, and the span of the video that answers it.

`read_queries` gives them one by one in seconds of the whole video, for search. `read_query_clips` gives them clip by
clip in seconds of the clip, as the challenge is learnt and scored.

Source: Ego4D (Grauman et al., 2022), episodic memory; `nlq_{train,val,test_unannotated}.json` of releases 1 and 2.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from playhead.data.border import FilePath, brief, read_json, take
from playhead.data.feature_files import official_rows
from playhead.data.query_rules import FAULTS, ONE_FRAME, SpanRules, settle
from playhead.errors import AnnotationError
from playhead.types import Query, Span


@dataclass(frozen=True, slots=True)
class Queries(Sequence[Query]):
    """Queries in file order; `skipped` counts by reason those that were left out: no_text, ends_before_start."""

    items: tuple[Query, ...]
    skipped: Mapping[str, int]

    @overload
    def __getitem__(self, index: int) -> Query: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Query, ...]: ...
    def __getitem__(self, index):
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class ClipQuery:
    """A question about a clip; `span` is its answer in seconds of the clip, None where unknown or no sound span.

    `query_id` is "<clip_id>/<annotation_id>/<index>", the three things that a submission names; `index` counts all
    queries of the annotation, those left out too. `raw_start` and `raw_end` are the file's own times in seconds of
    the clip, both None in files without answers.
    """

    query_id: str
    annotation_id: str
    index: int
    text: str
    span: Span | None
    raw_start: float | None
    raw_end: float | None


@dataclass(frozen=True, slots=True)
class QueryClip:
    """A clip with its queries in file order; `start` and `end` in seconds of its video.

    `duration` is the clip's length on its own time line, which can differ from `end - start` in the last digits.
    """

    video_id: str
    clip_id: str
    start: float
    end: float
    duration: float
    queries: tuple[ClipQuery, ...]


@dataclass(frozen=True, slots=True)
class QueryClips(Sequence[QueryClip]):
    """Clips in file order, with the `version` and `date` that the file gives ("" without).

    `skipped` counts by fault the queries left out, `changed` those whose span is not the file's; the faults are those
    of `SpanRules`.
    """

    items: tuple[QueryClip, ...]
    version: str
    date: str
    skipped: Mapping[str, int]
    changed: Mapping[str, int]

    @overload
    def __getitem__(self, index: int) -> QueryClip: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[QueryClip, ...]: ...
    def __getitem__(self, index):
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def num_queries(self) -> int:
        """How many queries the clips have together."""
        return sum(len(clip.queries) for clip in self.items)


def read_query_clips(path: FilePath, rules: SpanRules | None = None) -> QueryClips:
    """Read an NLQ file of release 1 or 2 clip by clip; times are seconds of the clip.

    A query that has only times of the video is moved to its clip. Clips without queries stay in the list.

    Raises:
        AnnotationError: not this layout; a clip, or an annotation of a clip, is there twice; or a query has a fault
            that `rules` call an error. Names video, clip and query.
    """
    rules = rules or SpanRules()
    content = read_json(path)
    skipped: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    clips: dict[str, QueryClip] = {}
    for video_id, clip_id, record in _clips(content, path):
        if clip_id in clips:
            raise AnnotationError(f"video {video_id!r}: clip {clip_id!r} stands here twice; keep one.", path=path)
        start, end, duration = _times_of_clip(record, path, f"video {video_id!r}, clip {clip_id!r}")
        kept: dict[str, ClipQuery] = {}
        for query, fault, rule in _judged_queries(record, clip_id, start, duration, rules, path):
            if query.query_id in kept:
                annotation = f"annotation {query.annotation_id!r} of clip {clip_id!r}"
                raise AnnotationError(f"{annotation} stands here twice; keep one.", path=path)
            if rule == "drop":
                skipped[fault] += 1
                continue
            changed.update([fault] if rule in ("widen", "cut") else [])
            kept[query.query_id] = query
        clips[clip_id] = QueryClip(video_id, clip_id, start, end, duration, tuple(kept.values()))
    version, date = (str(content.get(key, "")) for key in ("version", "date"))
    return QueryClips(tuple(clips.values()), version, date, dict(skipped), dict(changed))


def read_queries(path: FilePath) -> Queries:
    """Read an NLQ file; spans are in seconds of the whole video, None in files without answers.

    A query's id is that of `ClipQuery`. Queries whose text is missing or empty are skipped, as in the official reader.
    Some answers end where they start; they become one frame (1/30 s) long.

    Raises:
        AnnotationError: not this layout; names video, clip and query.
    """
    skipped: Counter[str] = Counter()
    found: list[Query] = []
    for video_id, clip_id, clip in _clips(read_json(path), path):
        for annotation_id, index, query in _clip_queries(clip, f"video {video_id!r}, clip {clip_id!r}", path):
            query_id = f"{clip_id}/{annotation_id}/{index}"
            text = _text(query, query_id, path).strip()
            if not text:
                skipped["no_text"] += 1
                continue
            span, sound = _video_span(query, path, query_id)
            if sound:
                found.append(Query(query_id, video_id, text, span))
            else:
                skipped["ends_before_start"] += 1
    return Queries(tuple(found), dict(skipped))


def released_record(clip: QueryClip, features_per_second: float = 1.875) -> dict[str, Any]:
    """Return what the reference's preparation writes about a clip read by the rules `RELEASED`.

    Its `timestamps` are whole features: both ends of an answer are rounded down, so that an answer within one feature
    has no length. Its durations are whole features as well. Without an answer all times are 0.

    Source: `prepare_ego4d_dataset.py` of the NLQ baseline.
    """
    times = [[query.raw_start or 0.0, query.raw_end or 0.0] for query in clip.queries]
    return {
        "fps": features_per_second,
        "num_frames": int(clip.duration * features_per_second),
        "timestamps": [[int(time * features_per_second) for time in ends] for ends in times],
        "exact_times": times,
        "sentences": [released_sentence(query.text) for query in clip.queries],
        "annotation_uids": [query.annotation_id for query in clip.queries],
        "query_idx": [query.index for query in clip.queries],
    }


def released_sentence(text: str) -> str:
    """Return a question as the reference reads it: in small letters, with one question mark."""
    return text.strip(" ").strip("?").lower() + "?"


def released_rows(clip: QueryClip, features_per_second: float = 1.875) -> tuple[int, int]:
    """Return the first and the last row, inclusive, that the reference cuts for a clip from its video's features."""
    rows = official_rows(clip.start, clip.end, features_per_second)
    return rows.start, rows.stop - 1


def _clips(content: Any, path: FilePath) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (video, clip, the clip's record)."""
    for number, video in enumerate(take(content, "videos", list, path, "file")):
        video_id = take(video, "video_uid", str, path, f"video number {number}")
        for clip in take(video, "clips", list, path, f"video {video_id!r}"):
            yield video_id, take(clip, "clip_uid", str, path, f"a clip of video {video_id!r}"), clip


def _clip_queries(clip: dict[str, Any], where: str, path: FilePath) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield (annotation, place, query) of a clip."""
    for annotation in take(clip, "annotations", list, path, where):
        uid = take(annotation, "annotation_uid", str, path, where)
        for place, query in enumerate(take(annotation, "language_queries", list, path, f"{where}, {uid!r}")):
            if not isinstance(query, dict):
                raise AnnotationError(f"{where}, {uid!r}: an object needed, found {brief(query)}.", path=path)
            yield uid, place, query


def _times_of_clip(record: dict[str, Any], path: FilePath, where: str) -> tuple[float, float, float]:
    """Return start and end in the video, and the length of the clip."""
    start, end = (take(record, key, float, path, where) for key in ("video_start_sec", "video_end_sec"))
    duration = end - start
    if "clip_start_sec" in record or "clip_end_sec" in record:
        first, last = (take(record, key, float, path, where) for key in ("clip_start_sec", "clip_end_sec"))
        duration = last - first
    if start < 0 or end <= start or duration <= 0:
        problem = f"{where}: {start} to {end} s of the video, {duration} s long, is no clip; correct the file."
        raise AnnotationError(problem, path=path)
    return start, end, duration


def _judged_queries(
    record: dict[str, Any], clip_id: str, start: float, duration: float, rules: SpanRules, path: FilePath
) -> Iterator[tuple[ClipQuery, str, str]]:
    """Yield (query, its fault, the rule applied to it); a fault that is an error stops."""
    for annotation_id, index, fields in _clip_queries(record, f"clip {clip_id!r}", path):
        query_id = f"{clip_id}/{annotation_id}/{index}"
        text = _text(fields, query_id, path)
        raw = _raw_times(fields, start, path, f"query {query_id!r}")
        span, fault, rule = settle(*raw, duration, rules) if raw else (None, "", "keep")
        if not text and rules.no_text != "keep":
            fault, rule = "no_text", rules.no_text
        if rule == "error":
            times = f" [{raw[0]}, {raw[1]}] s in a clip of {duration} s" if raw else ""
            raise AnnotationError(f"query {query_id!r}{times}: {FAULTS[fault]}; correct it or drop it.", path=path)
        yield ClipQuery(query_id, annotation_id, index, text, span, *(raw or (None, None))), fault, rule


def _text(query: dict[str, Any], query_id: str, path: FilePath) -> str:
    """Return the text of a query, "" where it has none."""
    text = query.get("query")
    if text is not None and not isinstance(text, str):
        raise AnnotationError(f"query {query_id!r}: a text needed, found {brief(text)}.", path=path)
    return text.strip(" ") if text and text.strip() else ""


def _raw_times(query: dict[str, Any], clip_start: float, path: FilePath, where: str) -> tuple[float, float] | None:
    """Return the ends of an answer in seconds of the clip as they are, NaN too; None without an answer."""
    for prefix, origin in (("clip", 0.0), ("video", clip_start)):
        ends = [query.get(f"{prefix}_{end}_sec") for end in ("start", "end")]
        if ends != [None, None]:
            for end, value in zip(("start", "end"), ends, strict=True):
                if not isinstance(value, float):  # NaN is for the rules, all else must be a number
                    take(query, f"{prefix}_{end}_sec", float, path, where)
            return float(ends[0]) - origin, float(ends[1]) - origin  # pyright: ignore[reportArgumentType]
    return None


def _video_span(query: dict[str, Any], path: FilePath, query_id: str) -> tuple[Span | None, bool]:
    """Return the answer's span in the video (None where the file has none), and whether it is sound."""
    if query.get("video_start_sec") is None and query.get("video_end_sec") is None:
        return None, True
    where = f"query {query_id!r}"
    start, end = (take(query, key, float, path, where) for key in ("video_start_sec", "video_end_sec"))
    if end < start:
        return None, False
    return Span(start, end if end > start else start + ONE_FRAME), True
