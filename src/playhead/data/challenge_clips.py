"""The clips that Ego4D's challenges ask about, whatever they ask: which piece of which video, and which words.

The files of language queries (NLQ) and of moments (MQ) name their clips alike, and so does the official conversion of
the latter.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from playhead.data.border import FilePath, brief, read_json, take, take_time
from playhead.data.queries import read_query_clips, released_sentence
from playhead.data.query_rules import RELEASED
from playhead.errors import AnnotationError


@dataclass(frozen=True, slots=True)
class ChallengeClip:
    """A piece [start, end) of a video, in seconds of the video."""

    video_id: str
    clip_id: str
    start: float
    end: float


def read_challenge_clips(paths: Iterable[FilePath]) -> list[ChallengeClip]:
    """Read the clips of annotation files in file order, each once: NLQ, MQ, or MQ as the official code converts it.

    Raises:
        AnnotationError: neither layout, a clip that ends before it starts, an id that is no file name, or a clip that
            two places put at different times.
    """
    clips: dict[str, ChallengeClip] = {}
    for path in paths:
        for clip in _read_clips(path):
            if not clip.clip_id or "/" in clip.clip_id or "\\" in clip.clip_id:
                raise AnnotationError(f"clip {clip.clip_id!r}: its id cannot be a file's name; correct it.", path=path)
            if not clip.end > clip.start:
                problem = f"clip {clip.clip_id!r} goes from {clip.start} to {clip.end} s; correct the file."
                raise AnnotationError(problem, path=path)
            if clips.setdefault(clip.clip_id, clip) != clip:
                raise AnnotationError(f"clip {clip.clip_id!r} has two places in time; keep one.", path=path)
    return list(clips.values())


def read_query_texts(paths: Iterable[FilePath]) -> list[str]:
    """Return the distinct query texts of NLQ files as first written; spellings of one text (see `TextFeatures`) once.

    Raises:
        AnnotationError: not this layout.
    """
    texts: dict[str, str] = {}
    for path in paths:
        for clip in read_query_clips(path, RELEASED):
            for query in clip.queries:
                texts.setdefault(released_sentence(query.text), query.text)
    return list(texts.values())


def _read_clips(path: FilePath) -> Iterator[ChallengeClip]:
    content = read_json(path)
    if isinstance(content, dict) and "videos" in content:
        for number, video in enumerate(take(content, "videos", list, path, "file"), start=1):
            video_id = take(video, "video_uid", str, path, f"video number {number}")
            for clip in take(video, "clips", list, path, f"video {video_id!r}"):
                clip_id = take(clip, "clip_uid", str, path, f"a clip of video {video_id!r}")
                start = take_time(clip, "video_start_sec", path, f"clip {clip_id!r}")
                yield ChallengeClip(video_id, clip_id, start, take(clip, "video_end_sec", float, path, clip_id))
    elif isinstance(content, dict) and content:
        for clip_id, clip in content.items():
            where = f"clip {clip_id!r}"
            start = take_time(clip, "parent_start_sec", path, where)
            end = take(clip, "parent_end_sec", float, path, where)
            yield ChallengeClip(take(clip, "video_id", str, path, where), clip_id, start, end)
    else:
        raise AnnotationError(f"videos with their clips needed, found {brief(content)}.", path=path)
