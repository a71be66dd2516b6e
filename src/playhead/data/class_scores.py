"""What another model says that whole videos show: for detectors that only tell segments from background.

    {"results": {video: [score of class 0, ...] or [[...]], ...}}

Source: the classifier results that ActionFormer and InternVideo take for ActivityNet.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from playhead.data.border import FilePath, brief, read_json, take
from playhead.errors import AnnotationError

Kind = Literal["probabilities", "logits", "released"]


def read_class_scores(
    path: FilePath, num_classes: int, kind: Kind = "probabilities"
) -> dict[str, Float64[ndarray, " K"]]:
    """Return the probabilities of the classes by video, in the file's order of classes.

    `kind` says what the file holds; logits become probabilities by a softmax. "released" guesses it for each video, as
    the released code does: numbers within [0, 1] are taken for probabilities, whatever they are.

    Raises:
        AnnotationError: not this layout, another number of classes, a number that is not finite, or "probabilities"
            outside of [0, 1]; names the video.
    """
    content = read_json(path)
    results = take(content, "results", dict, path, "file") if "results" in content else content
    if not isinstance(results, dict) or not results:
        raise AnnotationError(f"scores by video needed, found {brief(results)}.", path=path)
    return {video: _probabilities(video, scores, num_classes, kind, path) for video, scores in results.items()}


def _probabilities(video: str, scores: object, num_classes: int, kind: Kind, path: FilePath) -> ndarray:
    try:
        numbers = np.asarray(scores, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise AnnotationError(f"video {video!r}: numbers needed, found {brief(scores)}.", path=path) from error
    if len(numbers) != num_classes or not np.isfinite(numbers).all():
        told = f"video {video!r}: {num_classes} finite numbers needed, found {len(numbers)}"
        raise AnnotationError(f"{told}; is the order of classes that of this file?", path=path)
    outside = bool(((numbers < 0) | (numbers > 1)).any())
    if kind == "probabilities" and outside:
        problem = (
            f"video {video!r}: probabilities lie in [0, 1], found {numbers.min():g} .. {numbers.max():g}; are they"
        )
        raise AnnotationError(f"{problem} logits?", path=path)
    if kind == "logits" or (kind == "released" and outside):
        numbers = np.exp(numbers - numbers.max())
        numbers = numbers / numbers.sum()
    return numbers
