"""The best answers of a search, looked at again by a network that was trained to ground language in video.

Search compares windows one by one; the network sees a stretch of video at once and says where in it the answer begins
and ends. So it reads a stretch around each good moment, gives the moment new ends, and has a say in the order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from playhead.apps.clip_features import encode_words
from playhead.apps.clip_windows import cut_clips
from playhead.apps.encoding import Cut, EncodedPiece, Reading, device_of, encode_pieces
from playhead.apps.ground import Grounder, feature_settings
from playhead.apps.search import FoundMoment
from playhead.apps.windows import WindowSettings
from playhead.data.challenge_clips import ChallengeClip
from playhead.data.feature_files import ClipFeatures
from playhead.data.queries import released_sentence
from playhead.errors import RecipeError
from playhead.recipes.base import open_task
from playhead.tasks.language_query import LanguageQuery
from playhead.text.questions import as_narration
from playhead.types import Span
from playhead.video.source import VideoSource
from playhead.video.transforms import Preprocess
from playhead.weights.bundle import Bundle, load_task_bundle

CONTEXT = 30.0
"""Seconds on both sides of a moment that the network sees with it."""

ALIKE = 0.25
"""An answer of the network that overlaps a moment by less (IoU) is another moment, or as good as none."""

_RANK = 10.0  # the larger, the less the first places of either order count


def sharpen(head: Path, tower: Bundle, question: str, moments: Sequence[FoundMoment]) -> list[FoundMoment]:
    """Return the moments with new ends and in a new order; `by` says which have them.

    Of the network's answers in the stretch around a moment, the best that is `ALIKE` to it is taken; without one, or
    where the video cannot be read any more, the moment stays as it is. The new order joins both: places in the old
    order and in that of the network's scores count alike. Standing and confidence stay those of the search.

    Raises:
        RecipeError: the head is of another task, or reads features that this tower does not make.
    """
    grounder = Grounder(head, tower)
    model, task = open_task(head)
    if not isinstance(task, LanguageQuery):
        raise RecipeError(f"a bundle of LanguageQuery is needed, this is of {type(task).__name__}.", path=head)
    wording = load_task_bundle(head).provenance.get("wording", "question")
    text = as_narration(question) if wording == "narration" else released_sentence(question)
    (words,) = encode_words(tower, [text])
    windows = feature_settings(task, grounder).windows
    sharpened: dict[int, FoundMoment] = {}
    scores: dict[int, float] = {}
    for place, (begin, found, seconds) in _read_around(tower, moments, windows).items():
        for span, score in task.ground(model, found, words, seconds):
            moved = Span(begin + span.start, begin + span.end)
            if moved.iou(moments[place].span) >= ALIKE:
                sharpened[place] = replace(moments[place], span=moved, by="grounding")
                scores[place] = score
                break
    order = _joined_order(len(moments), scores)
    return _apart([sharpened.get(place, moments[place]) for place in order])


def _read_around(
    tower: Bundle, moments: Sequence[FoundMoment], windows: WindowSettings
) -> dict[int, tuple[float, ClipFeatures, float]]:
    """Return by place of the moment: where its stretch begins, the stretch's features, and its length in seconds."""
    clips: dict[str, list[ChallengeClip]] = {}
    for place, moment in enumerate(moments):
        start = max(0.0, moment.span.start - CONTEXT)
        clip = ChallengeClip(moment.file, str(place), start, moment.span.end + CONTEXT)
        clips.setdefault(moment.file, []).append(clip)
    readings = [
        Reading(path, tuple(clip.clip_id for clip in of_file), partial(_cut, of_file, tower.preprocess, windows))
        for path, of_file in clips.items()
    ]
    begins = {clip.clip_id: clip.start for of_file in clips.values() for clip in of_file}
    encode = tower.model.project_video
    read = {}
    for result in encode_pieces(readings, encode, tower.preprocess, windows, device_of(tower.model)):
        if isinstance(result, EncodedPiece):
            place, begin = int(result.piece), begins[result.piece]
            end = min(moments[place].span.end + CONTEXT, result.info.duration)
            read[place] = (begin, ClipFeatures(result.rows, result.time), max(end - begin, 1e-3))
    return read


def _cut(
    clips: Sequence[ChallengeClip], preprocess: Preprocess, windows: WindowSettings, source: VideoSource
) -> Iterator[Cut]:
    inside = [replace(clip, end=min(clip.end, source.info.duration)) for clip in clips]
    return cut_clips(source, inside, "own", preprocess, windows)


def _joined_order(number: int, scores: dict[int, float]) -> list[int]:
    """Return the places in order of the sum of 1 / (rank + constant) in both orders.

    Those without a score come last in the second.
    """
    second = sorted(range(number), key=lambda place: (-scores.get(place, float("-inf")), place))
    gains = {place: 1 / (_RANK + place) + 1 / (_RANK + second.index(place)) for place in range(number)}
    return sorted(range(number), key=lambda place: (-gains[place], place))


def _apart(moments: Sequence[FoundMoment]) -> list[FoundMoment]:
    """Return the moments without those that now tell of a better one's stretch; at half of either they do."""
    kept: list[FoundMoment] = []
    for moment in moments:
        shared = [
            moment.span.overlap(other.span) / min(moment.span.duration, other.span.duration)
            for other in kept
            if other.file == moment.file
        ]
        if max(shared, default=0.0) < 0.5:
            kept.append(moment)
    return kept
