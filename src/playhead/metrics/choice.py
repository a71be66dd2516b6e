"""How often the right one of a few choices is found: EgoMCQ's accuracy."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int


def multiple_choice_accuracy(
    similarities: Float[np.ndarray, "Q K"], answers: Int[np.ndarray, " Q"], kinds: Sequence[str]
) -> dict[str, float]:
    """Return for each kind of question the percentage answered rightly, and under "questions_<kind>" their number.

    Row q holds the similarities of query q to its choices; the highest is the answer, the first one on ties. A kind
    without questions is not in the result.

    Raises:
        ValueError: lengths differ, an answer is no choice, or a similarity is NaN.

    Source: EgoVLP's `egomcq_accuracy_metrics`; there type 1 (inter-video) is logged as "Intra-video" and type 2 as
    "Inter-video". Here "inter" is inter.
    """
    num_questions, num_choices = similarities.shape
    if not len(answers) == len(kinds) == num_questions:
        raise ValueError(f"{num_questions} rows, {len(answers)} answers and {len(kinds)} kinds do not go together.")
    if num_questions and not 0 <= answers.min() <= answers.max() < num_choices:
        raise ValueError(f"answers must lie within 0..{num_choices - 1}, got {answers.min()}..{answers.max()}.")
    if np.isnan(similarities).any():
        row = int(np.isnan(similarities).any(axis=1).argmax())
        raise ValueError(f"a similarity of question {row} is NaN; the model gave no finite rows.")
    right = similarities.argmax(axis=1) == answers if num_questions else np.zeros(0, dtype=bool)
    scores: dict[str, float] = {}
    for kind in dict.fromkeys(kinds):
        chosen = np.array([other == kind for other in kinds])
        scores[kind] = 100.0 * float(right[chosen].mean())
        scores[f"questions_{kind}"] = int(chosen.sum())
    return scores
