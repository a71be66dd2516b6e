"""One video, one question, spans of time: a trained NLQ bundle on top of the dual encoder that made its features."""

import os
from dataclasses import dataclass
from pathlib import Path

from playhead.apps.clip_features import ClipFeatureSettings, encode_whole_video, encode_words
from playhead.apps.encoding import Report
from playhead.apps.windows import WindowSettings
from playhead.data.queries import released_sentence
from playhead.errors import RecipeError, SearchError
from playhead.recipes.base import open_task
from playhead.tasks.language_query import LanguageQuery
from playhead.text.questions import as_narration
from playhead.types import Moment
from playhead.video.decode import probe
from playhead.weights.bundle import Bundle, load_task_bundle


@dataclass(frozen=True, slots=True)
class Grounder:
    """What answers questions about single videos: a head and the tower under it."""

    head: Path
    """Bundle of an NLQ network."""
    tower: Bundle
    """The dual encoder of whose features the head was made."""

    def __post_init__(self):
        made_of = load_task_bundle(self.head).provenance.get("features_of")
        if made_of is not None and made_of != self.tower.identity:
            raise RecipeError(
                f"the head was trained on features of model {made_of}, the tower given is {self.tower.identity}. Give "
                "the bundle its features were made with.",
                path=self.head,
            )


def ground(
    grounder: Grounder,
    video: str | os.PathLike[str],
    question: str,
    top: int = 5,
    progress: Report | None = None,
) -> list[Moment]:
    """Return up to `top` spans of the video that answer the question, best first, in seconds.

    Raises:
        SearchError: the question is empty.
        RecipeError: the head is of another task, or reads features that this tower does not make.
        DecodeError: the video cannot be decoded.
    """
    if not question.strip():
        raise SearchError("the question is empty; ask in words.")
    model, task = open_task(grounder.head)
    if not isinstance(task, LanguageQuery):
        raise RecipeError(f"a bundle of LanguageQuery is needed, this is of {type(task).__name__}.", path=grounder.head)
    found = encode_whole_video(grounder.tower, video, feature_settings(task, grounder), progress)
    wording = load_task_bundle(grounder.head).provenance.get("wording", "question")
    text = as_narration(question) if wording == "narration" else released_sentence(question)
    (words,) = encode_words(grounder.tower, [text])
    spans = task.ground(model, found, words, probe(video).duration)
    return [Moment(os.fspath(video), span, score) for span, score in spans[:top]]


def feature_settings(task: LanguageQuery, grounder: Grounder) -> ClipFeatureSettings:
    """Return the grid on which the head learnt.

    Raises:
        RecipeError: it reads features that this tower does not make.
    """
    time, num_frames = task.features.time, grounder.tower.preprocess.num_frames
    if len(task.features.folders) > 1 or time.frames != num_frames or time.stride != int(time.stride):
        raise RecipeError(
            f"the head reads {len(task.features.folders)} sets of features of {time.frames:g} frames every "
            f"{time.stride:g}; this tower makes one, of {num_frames}.",
            path=grounder.head,
        )
    windows = WindowSettings(fps=float(time.fps), stride=int(time.stride), batch_size=32)
    return ClipFeatureSettings(grid="own", per="video", windows=windows)
