"""Features for localisation: of every clip that a challenge asks about, and of the words of every question.

    features/                           text/
        manifest.json                       tokens.safetensors
        <clip_uid>.safetensors              index.json

What is written is read by `data.feature_files.made_features` and `data.text_features.TextFeatures`.

Source: EgoVLP (Lin et al., 2022), test_nlq.py and test_mq.py. Differs: no row at the end is left zero; a video is read
once for all its clips, frame by frame; words are those the released NLQ system reads, tokens [CLS] and [SEP] included.
"""

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from numpy import ndarray

from playhead.apps.clip_windows import PAPER_RATE, Grid, cut_clips
from playhead.apps.encoding import (
    Cut,
    EncodedPiece,
    Reading,
    Report,
    device_of,
    encode_pieces,
    encoder_of,
)
from playhead.apps.encoding_jobs import Elsewhere, encode_elsewhere
from playhead.apps.features import describe_features
from playhead.apps.library import VideoFile, scan_videos
from playhead.apps.lock import only_writer
from playhead.apps.shelf import ClipEntry, Shelf, require_same_make
from playhead.apps.windows import WindowSettings
from playhead.data.challenge_clips import ChallengeClip, read_challenge_clips, read_query_texts
from playhead.data.feature_files import OFFICIAL_RATE, ClipFeatures
from playhead.data.queries import released_sentence
from playhead.data.text_features import INDEX, TextFeatures, write_text_features
from playhead.errors import AnnotationError, DecodeError
from playhead.text.questions import as_narration
from playhead.video.source import VideoSource
from playhead.video.transforms import Preprocess
from playhead.weights.bundle import Bundle

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One path, or several."""

_TEXTS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipFeatureSettings:
    """Which windows of which videos are encoded, and how."""

    grid: Grid = "paper"
    """Which frames make a row: 1.87 rows a second as in EgoVLP ("released": by its frame numbers too), 1.875 as in
    Ego4D's own features, or as `windows` says."""
    per: Literal["clip", "video"] = "clip"
    """One file per clip, its rows from the clip's start; or one per video, of all of it."""
    windows: WindowSettings = field(default_factory=WindowSettings)
    """How windows are encoded; `fps` and `stride` are for grid "own"."""

    def __post_init__(self):
        if self.grid != "own" and (self.windows.fps is not None or self.windows.stride is not None):
            raise ValueError(f"grid {self.grid!r} fixes fps and stride; leave them out, or choose grid 'own'.")


@dataclass(frozen=True, slots=True)
class ClipFeatureReport:
    """What a run did, by clip (or by video, with `per="video"`); `failed` gives the reason too."""

    written: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    num_rows: int


@dataclass(frozen=True, slots=True)
class TextFeatureReport:
    """Distinct texts and their tokens; `num_full` fill all that the model can read, so that their end may be cut.

    `num_encoded` texts were not there before.
    """

    num_texts: int
    num_tokens: int
    num_full: int
    num_encoded: int


_DEFAULT = ClipFeatureSettings()


def extract_clip_features(
    bundle: Bundle,
    annotation_path: Paths,
    videos: Paths,
    out: str | os.PathLike[str],
    settings: ClipFeatureSettings = _DEFAULT,
    progress: Report | None = None,
    elsewhere: Elsewhere | None = None,
) -> ClipFeatureReport:
    """Write the features of the clips of annotation files (NLQ, MQ; one or several) below `out`, one file per clip.

    `videos` are files, or folders of them, named by the video's id. Where there is none, a file named by the clip's id
    is taken to hold the clip alone. Projected rows are not of unit length, as the released ones. A clip whose file is
    there is skipped, unless its video or its place in it changed. A clip that cannot be encoded is listed and stops
    nothing. With `elsewhere` every video is encoded by itself, in another process; files and manifest are written here.

    Raises:
        AnnotationError: an annotation file is of no known layout.
        RecipeError: `out` holds features of another model or other settings.
        SearchError: a path does not exist, or another process writes to `out`.
    """
    clips = read_challenge_clips(_listed(annotation_path))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    described = describe_clip_features(bundle, settings)
    with only_writer(folder / ".lock"):
        earlier = {failure["clip_id"]: failure["reason"] for failure in require_same_make(folder, described)}
        shelf = Shelf(folder, described, ClipEntry, "clips")
        shelf.write_manifest(earlier, "clip_id")  # from the first file on, it is known of what make the folder is
        jobs, failed, kept = _find_jobs(clips, videos, settings, shelf)
        todo = [job for job in jobs if not _is_done(shelf, job)]
        try:
            _encode(bundle, todo, settings, shelf, failed, progress, elsewhere)
        finally:  # also when interrupted: what is finished counts
            done = {job.clip.clip_id for job in jobs} | set(kept)
            shelf.write_manifest({clip: why for clip, why in earlier.items() if clip not in done} | failed, "clip_id")
    written = tuple(job.clip.clip_id for job in todo if job.clip.clip_id not in failed)
    tried = {job.clip.clip_id for job in todo}
    skipped = (*kept, *(job.clip.clip_id for job in jobs if job.clip.clip_id not in tried))
    num_rows = sum(shelf.entries[name].num_features for name in (*written, *skipped))
    return ClipFeatureReport(written, skipped, tuple(failed.items()), num_rows)


def extract_text_features(
    bundle: Bundle,
    annotation_path: Paths,
    out: str | os.PathLike[str],
    *,
    wording: Literal["question", "narration"] = "question",
) -> TextFeatureReport:
    """Write one row per token of every query of NLQ files (one or several) into folder `out`.

    Rows are those of `project_words`: the text tower's last layer, ReLU, projection, of all tokens with [CLS] and
    [SEP]. "question" reads a query as the official baseline does, lower-cased with one question mark; "narration" turns
    it into the narration that would answer it. Texts that are there already, of the same model, are kept.

    Raises:
        AnnotationError: an annotation file is of another layout or has no query.
        SearchError: another process writes to `out`.
    """
    texts = read_query_texts(_listed(annotation_path))
    if not texts:
        raise AnnotationError("no query has a text; give a file of language queries.", path=_listed(annotation_path)[0])
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    longest = bundle.model.config.text.max_positions
    settings = {"model": bundle.identity, "tokenizer": bundle.tokenizer_name, "wording": wording}
    with only_writer(folder / ".lock"):
        there = TextFeatures.open(folder) if (folder / INDEX).exists() else None
        kept = there if there is not None and there.settings == settings else None
        missing = [text for text in texts if kept is None or text not in kept]
        if kept is None or missing:
            wordings = [released_sentence(text) if wording == "question" else as_narration(text) for text in missing]
            rows = [(text, kept.of(text)) for text in kept.texts] if kept is not None else []
            rows += zip(missing, encode_words(bundle, wordings), strict=True)
            kept = write_text_features(folder, rows, settings)
    lengths = [len(kept.of(text)) for text in texts]
    num_full = sum(length >= longest for length in lengths)
    return TextFeatureReport(len(texts), sum(lengths), num_full, len(missing))


def encode_whole_video(
    bundle: Bundle,
    video: str | os.PathLike[str],
    settings: ClipFeatureSettings = _DEFAULT,
    progress: Report | None = None,
) -> ClipFeatures:
    """Return the features of one video file, all of it one clip, without writing anything.

    Raises:
        DecodeError: the video cannot be decoded.
    """
    path = os.fspath(video)
    whole = ChallengeClip(path, path, 0.0, math.inf)
    reading = Reading(path, (path,), partial(_cut, [whole], bundle.preprocess, replace(settings, per="video")))
    encode, device = encoder_of(bundle.model, settings.windows), device_of(bundle.model)
    for result in encode_pieces([reading], encode, bundle.preprocess, settings.windows, device, progress):
        if isinstance(result, EncodedPiece):
            return ClipFeatures(result.rows, result.time)
        raise DecodeError(result.reason, path=path)
    raise AssertionError("every piece ends or fails")


@torch.inference_mode()
def encode_words(bundle: Bundle, texts: Sequence[str]) -> list[Float[ndarray, "_L E"]]:
    """Return one row per token of each text; a text longer than the model can read is cut at its end."""
    device, longest = device_of(bundle.model), bundle.model.config.text.max_positions
    rows: list[ndarray] = []
    for first in range(0, len(texts), _TEXTS_AT_ONCE):
        tokens = bundle.tokenizer(texts[first : first + _TEXTS_AT_ONCE], max_length=longest)
        words = bundle.model.project_words(tokens.to(device)).float().cpu()
        rows += [row[mask].numpy() for row, mask in zip(words, tokens.mask, strict=True)]
    return rows


def describe_clip_features(bundle: Bundle, settings: ClipFeatureSettings) -> dict[str, Any]:
    """Return all that decides what a feature is, as it stands in the manifest."""
    num_frames = bundle.preprocess.num_frames
    described = describe_features(bundle, settings.windows)
    if settings.grid != "own":
        rate = OFFICIAL_RATE if settings.grid == "official" else PAPER_RATE
        described |= {"fps": rate * num_frames, "stride": num_frames, "window_seconds": 1 / rate}
    return described | {"grid": settings.grid, "per": settings.per}


@dataclass(frozen=True, slots=True)
class _Job:
    """A clip, the file that shows it, and the clip's place in that file."""

    clip: ChallengeClip
    file: VideoFile
    inside: ChallengeClip


def _find_jobs(
    clips: Sequence[ChallengeClip], videos: Paths, settings: ClipFeatureSettings, shelf: Shelf[ClipEntry]
) -> tuple[list[_Job], dict[str, str], list[str]]:
    """Return what has a video, what has none with the reason, and of the latter what was encoded before."""
    scan = scan_videos(_listed(videos))
    names = Counter(Path(file.path).stem for file in scan.files)
    files = {Path(file.path).stem: file for file in scan.files}
    if settings.per == "video":
        # How long a video is shows when it is opened; until then its end is not known.
        clips = [ChallengeClip(video, video, 0.0, math.inf) for video in dict.fromkeys(c.video_id for c in clips)]
    jobs, failed, kept = [], {}, []
    for clip in clips:
        name = clip.video_id if clip.video_id in names else clip.clip_id
        if names[name] == 1:
            inside = clip if name == clip.video_id else replace(clip, start=0.0, end=clip.end - clip.start)
            jobs.append(_Job(clip, files[name], inside))
        elif not names[name] and _is_same_place(shelf.entries.get(clip.clip_id), clip):
            kept.append(clip.clip_id)  # videos may be put away once their features are there
        else:
            found = f"{names[name]} files are named so" if names[name] else f"none of {len(scan.files)} is named so"
            failed[clip.clip_id] = f"video {clip.video_id!r} needed, {found}."
    return jobs, failed, kept


def _is_done(shelf: Shelf[ClipEntry], job: _Job) -> bool:
    entry = shelf.entries.get(job.clip.clip_id)
    return shelf.holds(job.clip.clip_id, job.file) and _is_same_place(entry, job.clip)


def _is_same_place(entry: ClipEntry | None, clip: ChallengeClip) -> bool:
    """Say whether an entry is of this piece of this video; a clip that ends at infinity is all of its video."""
    if entry is None or (entry.video_id, entry.start) != (clip.video_id, clip.start):
        return False
    return clip.end in (entry.end, math.inf)


def _encode(
    bundle: Bundle,
    jobs: Sequence[_Job],
    settings: ClipFeatureSettings,
    shelf: Shelf[ClipEntry],
    failed: dict[str, str],
    progress: Report | None,
    elsewhere: Elsewhere | None,
):
    """Encode and put away clip by clip; those that fail are added to `failed`."""
    by_id = {job.clip.clip_id: job for job in jobs}
    for stale in by_id:
        shelf.discard(stale)
    readings, model, preprocess = _readings(bundle.preprocess, jobs, settings), bundle.model, bundle.preprocess
    if elsewhere is None:
        encode, device = encoder_of(model, settings.windows), device_of(model)
        results = encode_pieces(readings, encode, preprocess, settings.windows, device, progress)
    else:
        sizes = {job.file.path: job.file.size for job in jobs}
        results = encode_elsewhere(readings, sizes, model, preprocess, settings.windows, elsewhere)
    for result in results:
        if not isinstance(result, EncodedPiece):
            failed[result.piece] = result.reason
            continue
        job = by_id[result.piece]
        entry = ClipEntry(
            clip_id=job.clip.clip_id,
            video_id=job.clip.video_id,
            file=f"{job.clip.clip_id}.safetensors",
            start=job.clip.start,
            end=result.info.duration if settings.per == "video" else job.clip.end,
            num_features=len(result.rows),
        )
        shelf.put(entry, job.file, {"features": result.rows}, result.time, len(result.rows))


def _readings(preprocess: Preprocess, jobs: Sequence[_Job], settings: ClipFeatureSettings) -> list[Reading]:
    """Return one reading per video file."""
    by_file: dict[str, list[ChallengeClip]] = {}
    for job in jobs:
        by_file.setdefault(job.file.path, []).append(job.inside)
    return [
        Reading(path, tuple(clip.clip_id for clip in clips), partial(_cut, clips, preprocess, settings))
        for path, clips in by_file.items()
    ]


def _cut(
    clips: Sequence[ChallengeClip], preprocess: Preprocess, settings: ClipFeatureSettings, source: VideoSource
) -> Iterator[Cut]:
    if settings.per == "video":
        clips = [replace(clip, end=source.info.duration) for clip in clips]
    return cut_clips(source, clips, settings.grid, preprocess, settings.windows)


def _listed(paths: Paths) -> list[str | os.PathLike[str]]:
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)
