"""Natural language queries of Ego4D (NLQ): a question in words, and the span of the video that answers it.

Source: Ego4D (Grauman et al., 2022), episodic memory; `nlq_{train,val,test_unannotated}.json` of releases 1 and 2.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from playhead.data.border import FilePath, brief, read_json, take
from playhead.errors import AnnotationError
from playhead.types import Query, Span

ONE_FRAME = 1 / 30  # seconds; Ego4D's videos have 30 frames per second


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


def read_queries(path: FilePath) -> Queries:
    """Read an NLQ file; spans are in seconds of the whole video, None in files without answers.

    A query's id is "<clip_uid>/<annotation_uid>/<its place>": the three things that a submission names. Queries whose
    text is missing or empty are skipped, as in the official reader. Some answers end where they start; they become one
    frame (1/30 s) long.

    Raises:
        AnnotationError: not this layout; names video, clip and query.
    """
    skipped: Counter[str] = Counter()
    found: list[Query] = []
    for number, video in enumerate(take(read_json(path), "videos", list, path, "file")):
        video_id = take(video, "video_uid", str, path, f"video number {number}")
        for clip in take(video, "clips", list, path, f"video {video_id!r}"):
            clip_id = take(clip, "clip_uid", str, path, f"a clip of video {video_id!r}")
            for prefix, query in _clip_queries(clip, f"video {video_id!r}, clip {clip_id!r}", path):
                query_id = f"{clip_id}/{prefix}"
                text = query.get("query")
                if text is not None and not isinstance(text, str):
                    raise AnnotationError(f"query {query_id!r}: a text needed, found {brief(text)}.", path=path)
                if text is None or not text.strip():
                    skipped["no_text"] += 1
                    continue
                span, sound = _span(query, path, query_id)
                if sound:
                    found.append(Query(query_id, video_id, text.strip(), span))
                else:
                    skipped["ends_before_start"] += 1
    return Queries(tuple(found), dict(skipped))


def _clip_queries(clip: dict[str, Any], where: str, path: FilePath) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("<annotation_uid>/<place>", query) of a clip."""
    for annotation in take(clip, "annotations", list, path, where):
        uid = take(annotation, "annotation_uid", str, path, where)
        for place, query in enumerate(take(annotation, "language_queries", list, path, f"{where}, {uid!r}")):
            if not isinstance(query, dict):
                raise AnnotationError(f"{where}, {uid!r}: an object needed, found {brief(query)}.", path=path)
            yield f"{uid}/{place}", query


def _span(query: dict[str, Any], path: FilePath, query_id: str) -> tuple[Span | None, bool]:
    """Return the answer's span (None where the file has none), and whether it is sound."""
    if query.get("video_start_sec") is None and query.get("video_end_sec") is None:
        return None, True
    where = f"query {query_id!r}"
    start, end = (take(query, key, float, path, where) for key in ("video_start_sec", "video_end_sec"))
    if end < start:
        return None, False
    return Span(start, end if end > start else start + ONE_FRAME), True
