"""The files that the servers of OSCC and PNR take: written, read back, and checked against the annotation.

    OSCC   [{"unique_id": "...", "state_change": true}, ...]
    PNR    [{"unique_id": "...", "pnr_frame": 112.0}, ...]      frames from the start of the clip, whole or not

Source: hands-and-objects, cnn-lstm.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from playhead.data.border import FilePath, brief, read_json, take, write_whole
from playhead.data.state_change import StateChangeClip
from playhead.errors import AnnotationError

Challenge = Literal["oscc", "pnr"]
ANSWER_KEYS: Mapping[Challenge, str] = {"oscc": "state_change", "pnr": "pnr_frame"}
MOST_NAMES = 5  # ids that a message names


def write_oscc(path: FilePath, answers: Mapping[str, bool]) -> None:
    """Write whether something changes in each clip, by `unique_id`.

    Raises:
        AnnotationError: an answer is not true or false, or the folder cannot be written.
    """
    _write(path, "oscc", answers)


def write_pnr(path: FilePath, answers: Mapping[str, float]) -> None:
    """Write the moment of the change in each clip, by `unique_id`, in frames from the clip's start.

    Raises:
        AnnotationError: an answer is no finite number, or the folder cannot be written.
    """
    _write(path, "pnr", answers)


def read_oscc(path: FilePath) -> dict[str, bool]:
    """Read a file that `write_oscc` or anyone else wrote.

    Raises:
        AnnotationError: not this layout, or a clip is answered twice.
    """
    return {unique_id: bool(answer) for unique_id, answer in _read_once(path, "oscc")}


def read_pnr(path: FilePath) -> dict[str, float]:
    """Read a file that `write_pnr` or anyone else wrote.

    Raises:
        AnnotationError: not this layout, or a clip is answered twice.
    """
    return {unique_id: float(answer) for unique_id, answer in _read_once(path, "pnr")}


def problems_of(path: FilePath, clips: Sequence[StateChangeClip], challenge: Challenge) -> tuple[str, ...]:
    """Return what is wrong with a submission to the clips of one annotation file, a line each; nothing if it is sound.

    Every clip needs one answer; of PNR, every clip but those that are known to be without a change, which may have one.
    Named are missing and doubled answers, those to unknown clips, and moments outside of their clip.

    Raises:
        AnnotationError: the file is not of this layout.
    """
    answers = _read(path, challenge)
    known = {clip.unique_id: clip for clip in clips}
    asked = [clip.unique_id for clip in clips if challenge == "oscc" or clip.state_change is not False]
    counts = Counter(unique_id for unique_id, _ in answers)
    problems = [
        _about(len(asked), "clips have no answer", [unique_id for unique_id in asked if unique_id not in counts]),
        _about(len(counts), "clips have more than one answer", [name for name, count in counts.items() if count > 1]),
        _about(len(counts), "answers are to clips that are not asked about", [n for n in counts if n not in known]),
    ]
    if challenge == "pnr":
        outside = [
            f"{unique_id} ({frame:g} of {known[unique_id].num_frames} frames)"
            for unique_id, frame in answers
            if unique_id in known and not 0 <= frame <= known[unique_id].num_frames
        ]
        problems.append(_about(len(answers), "moments lie outside of their clip", outside))
    return tuple(problem for problem in problems if problem)


def check_answers(path: FilePath, clips: Sequence[StateChangeClip], challenge: Challenge) -> None:
    """Refuse a submission with problems.

    Raises:
        AnnotationError: `problems_of` found some; the message names all of them.
    """
    if problems := problems_of(path, clips, challenge):
        raise AnnotationError(f"not fit to be submitted: {'; '.join(problems)}.", path=path)


def _about(total: int, what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{len(names)} of {total} {what}: {', '.join(names[:MOST_NAMES])}{more}"


def _write(path: FilePath, challenge: Challenge, answers: Mapping[str, bool | float]) -> None:
    key = ANSWER_KEYS[challenge]
    entries = [{"unique_id": unique_id, key: answer} for unique_id, answer in answers.items()]
    for entry in entries:
        _answer(entry, challenge, path, f"clip {entry['unique_id']!r}")
    with write_whole(path) as file:
        json.dump(entries, file, indent=1)
        file.write("\n")


def _read_once(path: FilePath, challenge: Challenge) -> Iterable[tuple[str, bool | float]]:
    answers = _read(path, challenge)
    counts = Counter(unique_id for unique_id, _ in answers)
    if twice := [unique_id for unique_id, count in counts.items() if count > 1]:
        raise AnnotationError(f"{_about(len(counts), 'clips have more than one answer', twice)}.", path=path)
    return answers


def _read(path: FilePath, challenge: Challenge) -> list[tuple[str, bool | float]]:
    content = read_json(path)
    if not isinstance(content, list):
        raise AnnotationError(f"a list of answers needed, found {brief(content)}.", path=path)
    answers = []
    for number, entry in enumerate(content):
        unique_id = take(entry, "unique_id", str, path, f"answer number {number}")
        answers.append((unique_id, _answer(entry, challenge, path, f"clip {unique_id!r}")))
    return answers


def _answer(entry: dict, challenge: Challenge, path: FilePath, where: str) -> bool | float:
    if challenge == "pnr":
        return take(entry, ANSWER_KEYS[challenge], float, path, where)
    answer = entry.get(ANSWER_KEYS[challenge])
    if not isinstance(answer, bool):
        raise AnnotationError(f"{where}: 'state_change' must be true or false, found {brief(answer)}.", path=path)
    return answer
