"""EgoMCQ: questions of one narration and five clips, one of which it tells.

Inter-video questions take the wrong clips from other videos, intra-video ones from the same video close by, which is
much harder: there the scene is the same. Published: 24 K inter, 15 K intra. In the file type 1 is inter and 2 is intra;
the released code's logs, and Table 3 of the paper, call them the other way round.

Source: EgoVLP (Lin et al., 2022), section 2.2. Its way of building is told in words only; ours is `build_egomcq`.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from playhead.data.border import FilePath, brief, read_json, take, take_time, write_whole
from playhead.data.egoclip_csv import TAG_CELL
from playhead.data.egoclip_table import EgoClip, EgoClipRow
from playhead.errors import AnnotationError
from playhead.text.tagging import normalize

Kind = Literal["inter", "intra"]
Choose = Callable[[int, int], list[EgoClipRow] | None]  # (row of the query, number of choices) -> query and wrong ones
KIND_OF_TYPE: dict[int, Kind] = {1: "inter", 2: "intra"}
TYPE_OF_KIND = {kind: number for number, kind in KIND_OF_TYPE.items()}
INTER_TRIES = 200  # draws per question; where most videos are alike, a question may not come together


@dataclass(frozen=True, slots=True)
class Question:
    """Which of `choices` does the text of `query` tell? `answer` is its place, from 0."""

    question_id: str
    query: EgoClipRow
    choices: tuple[EgoClipRow, ...]
    answer: int
    kind: Kind


def read_egomcq(path: FilePath) -> list[Question]:
    """Read a file in the published layout, in file order.

    Raises:
        AnnotationError: not this layout: an unknown type, an answer that is no choice, a row without its clip.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise AnnotationError(f"an object of questions needed, found {brief(content)}; is it egomcq.json?", path=path)
    return [_read_question(question_id, record, path) for question_id, record in content.items()]


def _read_question(question_id: str, record: Any, path: FilePath) -> Question:
    where = f"question {question_id!r}"
    choices, number = take(record, "choices", dict, path, where), take(record, "types", int, path, where)
    if len(choices) < 2 or set(choices) != {str(place) for place in range(len(choices))}:
        raise AnnotationError(f"{where}: choices '0', '1', ... needed, found {brief(list(choices))}.", path=path)
    if number not in KIND_OF_TYPE:
        raise AnnotationError(f"{where}: 'types' must be 1 (inter) or 2 (intra), found {number}.", path=path)
    answer = take(record, "answer", int, path, where)
    if not 0 <= answer < len(choices):
        raise AnnotationError(f"{where}: the answer is {answer}, but there are {len(choices)} choices.", path=path)
    rows = [_read_row(choices[str(place)], path, f"{where}, choice {place}") for place in range(len(choices))]
    query = _read_row(take(record, "query", dict, path, where), path, f"{where}, query")
    return Question(question_id, query, tuple(rows), answer, KIND_OF_TYPE[number])


def _read_row(record: Any, path: FilePath, where: str) -> EgoClipRow:
    """Read a row of EgoClip; what a question can be asked without may be missing."""
    start, end = take(record, "clip_start", float, path, where), take(record, "clip_end", float, path, where)
    if end < start:
        raise AnnotationError(f"{where}: the clip ends at {end} s, before it starts at {start} s.", path=path)
    has = record.keys()
    return EgoClipRow(
        clip_index=take(record, "clip_idx", int, path, where) if "clip_idx" in has else -1,
        video_id=take(record, "video_uid", str, path, where),
        video_duration=take_time(record, "video_dur", path, where) if "video_dur" in has else math.inf,
        source=take(record, "narration_source", str, path, where) if "narration_source" in has else "",
        narration_index=take(record, "narration_ind", int, path, where) if "narration_ind" in has else -1,
        time=take_time(record, "narration_time", path, where) if "narration_time" in has else (start + end) / 2,
        start=start,
        end=end,
        text=take(record, "clip_text", str, path, where),
        verbs=_read_tags(record.get("tag_verb", []), path, where),
        nouns=_read_tags(record.get("tag_noun", []), path, where),
    )


def _read_tags(cell: Any, path: FilePath, where: str) -> tuple[int, ...]:
    """Tags as a list, or as text as in egoclip.csv."""
    if isinstance(cell, str) and TAG_CELL.fullmatch(cell):
        cell = json.loads(cell)
    if not isinstance(cell, list) or not all(type(number) is int and number >= 0 for number in cell):
        raise AnnotationError(f"{where}: tags must be a list like [192, 115], found {brief(cell)}.", path=path)
    return tuple(cell)


def write_egomcq(questions: Sequence[Question], path: FilePath) -> None:
    """Write the published layout; the file is complete or absent.

    Raises:
        AnnotationError: the folder does not exist or cannot be written.
    """
    content = {
        question.question_id: {
            "answer": question.answer,
            "query": _row_record(question.query),
            "choices": {str(place): _row_record(row) for place, row in enumerate(question.choices)},
            "types": TYPE_OF_KIND[question.kind],
        }
        for question in questions
    }
    with write_whole(path) as file:
        json.dump(content, file, ensure_ascii=False, indent=1)


def _row_record(row: EgoClipRow) -> dict[str, Any]:
    record = {
        "clip_idx": row.clip_index,
        "video_uid": row.video_id,
        "video_dur": row.video_duration,
        "narration_source": row.source,
        "narration_ind": row.narration_index,
        "narration_time": row.time,
        "clip_start": row.start,
        "clip_end": row.end,
        "clip_text": row.text,
        "tag_verb": str(list(row.verbs)),
        "tag_noun": str(list(row.nouns)),
    }
    if math.isinf(row.video_duration):  # unknown; JSON has no infinity
        del record["video_dur"]
    return record


def build_egomcq(
    egoclip: EgoClip, *, num_inter: int, num_intra: int, seed: int = 0, num_choices: int = 5, within: float = 60.0
) -> list[Question]:
    """Build questions from any EgoClip, inter-video ones first; the same seed gives the same questions.

    Only rows with a noun and a verb take part: of others it is unknown what they tell. No two choices of a question may
    share both a noun and a verb, or have the same text: one would be a paraphrase of the other, and the answer not
    unique. Inter: every choice is of another video. Intra: all choices are of one video and one annotator (whose
    narrations are of different moments, while the two annotators tell the same ones), no two overlap in time, and they
    are the nearest such, some before the query and some after, less than `within` seconds from it. A row is the query
    of at most one question of each kind.

    Raises:
        AnnotationError: there are too few clips; says how many questions can be built of them.
        ValueError: a number is negative, `num_choices` below 2, or `within` not above zero.
    """
    if min(num_inter, num_intra) < 0 or num_choices < 2 or not within > 0:
        raise ValueError(f"cannot ask {num_inter} + {num_intra} questions of {num_choices} choices within {within} s.")
    generator = np.random.default_rng(seed)
    rows = [row for row in egoclip if row.nouns and row.verbs]
    questions: list[Question] = []
    wanted: tuple[tuple[Kind, int, Choose], ...] = (
        ("inter", num_inter, _InterChoices(rows, generator).choose),
        ("intra", num_intra, _IntraChoices(rows, generator, within).choose),
    )
    for kind, number, choose in wanted:
        found = 0
        for choices in _draw(rows, choose, num_choices, generator) if number else ():
            answer = int(generator.integers(num_choices))
            query, others = choices[0], [choices[1 + k] for k in generator.permutation(num_choices - 1)]
            ordered = (*others[:answer], query, *others[answer:])
            questions.append(Question(str(len(questions)), query, ordered, answer, kind))
            found += 1
            if found == number:
                break
        if found < number:
            problem = f"{number} {kind}-video questions asked for, but these {len(egoclip)} clips give {found}"
            raise AnnotationError(f"{problem}; ask for fewer, or give more video.", path=egoclip.path)
    return questions


def _draw(
    rows: list[EgoClipRow],
    choose: Choose,
    num_choices: int,
    generator: np.random.Generator,
) -> Iterator[list[EgoClipRow]]:
    """Yield query and wrong choices for each row that they can be found for, in random order."""
    for place in generator.permutation(len(rows)):
        if (choices := choose(int(place), num_choices)) is not None:
            yield choices


class _InterChoices:
    """Draws wrong choices from other videos, every row of which is as likely."""

    def __init__(self, rows: list[EgoClipRow], generator: np.random.Generator):
        self.rows, self.generator = rows, generator

    def choose(self, query: int, num_choices: int) -> list[EgoClipRow] | None:
        """Return the query and `num_choices - 1` rows of as many other videos, or None."""
        choices = [self.rows[query]]
        for place in self.generator.integers(len(self.rows), size=INTER_TRIES):
            row = self.rows[place]
            if all(row.video_id != other.video_id and _differ(row, other) for other in choices):
                choices.append(row)
                if len(choices) == num_choices:
                    return choices
        return None


class _IntraChoices:
    """Finds the nearest choices before and after a query among the narrations of its annotator."""

    def __init__(self, rows: list[EgoClipRow], generator: np.random.Generator, within: float):
        self.rows, self.generator, self.within = rows, generator, within
        self.passes: dict[
            tuple[str, str], list[int]
        ] = {}  # row numbers in time order: rows are sorted by video and time
        self.places: list[int] = []  # of each row in its pass
        for number, row in enumerate(rows):
            members = self.passes.setdefault((row.video_id, row.source), [])
            self.places.append(len(members))
            members.append(number)

    def choose(self, query: int, num_choices: int) -> list[EgoClipRow] | None:
        """Return the query and the `num_choices - 1` rows around it, or None."""
        row = self.rows[query]
        members, place = self.passes[row.video_id, row.source], self.places[query]
        choices, wanted = [row], int(self.generator.integers(num_choices))  # before the query
        earlier, later = members[:place][::-1], members[place + 1 :]
        # A side that runs short is made up for by the other.
        for side, size in ((earlier, 1 + wanted), (later, num_choices), (earlier, num_choices)):
            self._fill(choices, side, size)
        return choices if len(choices) == num_choices else None

    def _fill(self, choices: list[EgoClipRow], side: list[int], size: int) -> None:
        for number in side:
            row = self.rows[number]
            if len(choices) == size or abs(row.time - choices[0].time) >= self.within:
                return
            if all(_apart(row, other) and _differ(row, other) for other in choices):
                choices.append(row)


def _differ(one: EgoClipRow, other: EgoClipRow) -> bool:
    """Whether two rows tell different actions in different words."""
    if not (set(one.nouns).isdisjoint(other.nouns) or set(one.verbs).isdisjoint(other.verbs)):
        return False
    return normalize(one.text).lower() != normalize(other.text).lower()


def _apart(one: EgoClipRow, other: EgoClipRow) -> bool:
    return one.end <= other.start or other.end <= one.start
