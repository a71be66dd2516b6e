"""Ask an index in words: ranked moments over all videos, or the relevance of one video along its time line."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from playhead.apps.index import VideoIndex, WindowMatrix, encode_texts
from playhead.decoding.spans import merge_windows, shrunk_background
from playhead.errors import SearchError
from playhead.types import Moment
from playhead.weights.bundle import Bundle


def search(index: VideoIndex, bundle: Bundle, text: str, top: int = 5, *, fraction: float = 0.5) -> list[Moment]:
    """Return up to `top` distinct moments that fit `text`, best first; `video_id` is the path of the file.

    Every window is scored by the cosine of its vector and the text's: exact, no approximate neighbours. Windows of a
    video are merged into moments by `decoding.spans.merge_windows`, above a background that is the video's median
    score drawn towards the index's; a moment's score is that of its best window. Equal scores come in order of path,
    then of time.

    Raises:
        SearchError: the text is empty, or the index is of another model.
    """
    if top < 1:
        raise ValueError(f"`top` must be at least 1, got {top}.")
    matrix, scores = _score(index, bundle, text)
    if len(scores) == 0:
        return []
    prior = float(np.median(scores))
    moments: list[Moment] = []
    for video, best in _videos_best_first(matrix, scores):
        if len(moments) >= top and best < moments[top - 1].score:
            break  # no window of this video or of those after it can still get in
        rows = slice(matrix.offsets[video], matrix.offsets[video + 1])
        background = shrunk_background(scores[rows], prior)
        merged = merge_windows(matrix.spans[rows], scores[rows], background=background, fraction=fraction, top=top)
        moments += [Moment(matrix.paths[video], span, score, label=text) for span, score in merged]
        moments.sort(key=lambda moment: (-moment.score, moment.video_id, moment.span.start))
    return moments[:top]


def relevance(
    index: VideoIndex, bundle: Bundle, text: str, video: str | os.PathLike[str]
) -> tuple[Float[ndarray, " S"], Float[ndarray, " S"]]:
    """Return the middle of each window of `video` (seconds) and its score: the curve along the time line.

    Raises:
        SearchError: the text is empty, the index is of another model, or it does not hold `video`.
    """
    path = str(Path(video).expanduser().resolve())
    matrix, scores = _score(index, bundle, text)
    if path not in matrix.paths:
        # Of files with equal content the matrix names only the first.
        ids = {row.path: row.video_id for row in index.videos() if row.status == "done"}
        path = next((twin for twin in matrix.paths if ids.get(twin) == ids.get(path)), path)
    if path not in matrix.paths:
        raise SearchError("the index does not hold this video. Add its folder: playhead index <folder>.", path=path)
    place = matrix.paths.index(path)
    rows = slice(matrix.offsets[place], matrix.offsets[place + 1])
    return matrix.spans[rows].mean(axis=1), scores[rows]


def _score(index: VideoIndex, bundle: Bundle, text: str) -> tuple[WindowMatrix, Float[ndarray, " S"]]:
    if not text.strip():
        raise SearchError("the query is empty. Say in a few words what to look for.")
    index.require(bundle)
    matrix = index.windows()
    return matrix, matrix.vectors @ encode_texts(bundle, [text])[0]


def _videos_best_first(matrix: WindowMatrix, scores: ndarray) -> list[tuple[int, float]]:
    """Return every video with its best score, in order of that score; of equals, in order of path."""
    best = np.maximum.reduceat(scores, matrix.offsets[:-1])
    order = np.argsort(-best, kind="stable")
    return [(int(video), float(best[video])) for video in order]
