"""What a narration can be about: the noun and verb groups of Ego4D, or the classes of EPIC-KITCHENS-100."""

import ast
import csv
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from playhead.errors import AnnotationError

WORD = re.compile(r"[^\W_]+")
UNSURE = "unsure"  # the annotators' tag for what they could not see; some published groups list it as a synonym


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Names by id, and for every id the phrases that tell it: lower-case words with single blanks between.

    No phrase belongs to two groups. Where a file lists one twice, it goes to the group whose name it is, then to a
    group whose name mentions it, then to the first that lists it; so the outcome depends on the file alone. The words
    of a name count as synonyms where no group lists them ("tool_box" tells "tool box").
    """

    nouns: tuple[str, ...]
    verbs: tuple[str, ...]
    noun_phrases: tuple[tuple[str, ...], ...]
    verb_phrases: tuple[tuple[str, ...], ...]

    @classmethod
    def read(cls, noun_csv: str | os.PathLike[str], verb_csv: str | os.PathLike[str]) -> "Taxonomy":
        """Read two files in Ego4D's layout: columns `label` and `group`, the group a list of synonyms; id = order.

        Raises:
            AnnotationError: a file cannot be read, lacks a column or repeats a label, or a group is no list of strings.
        """
        nouns, verbs = _read_groups(noun_csv, "label", "group"), _read_groups(verb_csv, "label", "group")
        return cls(
            nouns=tuple(label for label, _ in nouns),
            verbs=tuple(label for label, _ in verbs),
            noun_phrases=_settle([(_label_phrases(label), _all_phrases(group)) for label, group in nouns]),
            verb_phrases=_settle([(_label_phrases(label), _all_phrases(group)) for label, group in verbs]),
        )

    @classmethod
    def from_epic(
        cls, verb_classes_csv: str | os.PathLike[str], noun_classes_csv: str | os.PathLike[str]
    ) -> "Taxonomy":
        """Read the classes of EPIC-KITCHENS-100: columns `id`, `key`, `instances`; names are the keys.

        A verb reads as written ("pick-up" is "pick up"); a noun has its head first ("spoon:wooden" is "wooden spoon",
        "slice:bread" also "slice of bread").

        Raises:
            AnnotationError: as `read`, and if ids are not 0, 1, 2, ... in the order of the rows.
        """
        verbs = _read_groups(verb_classes_csv, "key", "instances", numbered=True)
        nouns = _read_groups(noun_classes_csv, "key", "instances", numbered=True)
        return cls(
            nouns=tuple(key for key, _ in nouns),
            verbs=tuple(key for key, _ in verbs),
            noun_phrases=_settle([(_head_first(key), _each(_head_first, group)) for key, group in nouns]),
            verb_phrases=_settle([(_all_phrases([key]), _all_phrases(group)) for key, group in verbs]),
        )


def words_of(text: str) -> list[str]:
    """Return the words of `text` in lower case; hyphens, slashes, apostrophes and underscores part words."""
    return WORD.findall(text.lower())


def _read_groups(
    path: str | os.PathLike[str], name_column: str, group_column: str, *, numbered: bool = False
) -> list[tuple[str, list[str]]]:
    """Every row's name and synonyms, in file order."""
    groups: dict[str, list[str]] = {}
    for row, record in _records(path, [name_column, group_column, *(["id"] if numbered else [])]):
        name = record[name_column].strip()
        if not name or name in groups:
            problem = f"{name!r} stands in an earlier row too" if name else f"the {name_column} is empty"
            raise AnnotationError(f"{problem}; every row needs its own {name_column}.", path=path, row=row)
        if numbered and record["id"].strip() != str(len(groups)):
            problem = f"id {len(groups)} expected, found {record['id']!r}; rows must stand in the order of their ids."
            raise AnnotationError(problem, path=path, row=row)
        groups[name] = _parse_group(record[group_column], path, row)
    if not groups:
        raise AnnotationError("no row below the heading; give the whole taxonomy.", path=path)
    return list(groups.items())


def _records(path: str | os.PathLike[str], columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                found = ", ".join(reader.fieldnames or ()) or "nothing"
                problem = f"columns {', '.join(columns)} needed, {', '.join(missing)} missing; found {found}."
                raise AnnotationError(problem, path=path, row=1)
            for record in reader:
                if None in record or None in record.values():
                    problem = f"{len(reader.fieldnames or ())} fields expected, as in the heading; quote the commas."
                    raise AnnotationError(problem, path=path, row=reader.line_num)
                yield reader.line_num, record
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"no taxonomy can be read here ({error}); give a csv file.", path=path) from error


def _parse_group(text: str, path: str | os.PathLike[str], row: int) -> list[str]:
    try:
        group = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise AnnotationError(f"a list like ['cup', 'mug'] needed, found {text!r}.", path=path, row=row) from error
    if not isinstance(group, list) or not all(isinstance(word, str) for word in group):
        raise AnnotationError(f"a list of strings needed, found {text!r}.", path=path, row=row)
    return group


def _settle(groups: Sequence[tuple[list[str], list[str]]]) -> tuple[tuple[str, ...], ...]:
    """Give every phrase to one group, from (phrases of the name, best first, and phrases listed) of each.

    A claim is weaker the further from the name: listed and first in the name, listed and in the name, only listed, only
    in the name. Among equal claims the first group has it.
    """
    claims: dict[str, tuple[int, int]] = {}
    for group, (name, listed) in enumerate(groups):
        for phrase in {*listed, *name}:
            in_name = min(name.index(phrase), 1) if phrase in name else 2
            strength = in_name if phrase in listed else 3
            claims[phrase] = min(claims.get(phrase, (strength, group)), (strength, group))
    own = [dict.fromkeys([*listed, *name]) for name, listed in groups]
    return tuple(
        tuple(phrase for phrase in phrases if phrase not in ("", UNSURE) and claims[phrase][1] == group)
        for group, phrases in enumerate(own)
    )


def _each(reading: Callable[[str], list[str]], group: Iterable[str]) -> list[str]:
    return [phrase for written in group for phrase in reading(written)]


def _all_phrases(group: Iterable[str]) -> list[str]:
    """The phrases of written synonyms: "increase/reduce" is two, "plug-in" is "plug in"."""
    return [" ".join(words_of(part)) for written in group for part in written.split("/")]


def _label_phrases(label: str) -> list[str]:
    """A label's words, the head first: "take_(pick,_grab)" -> take, pick, grab; "file_(with_tool)" -> file."""
    head, _, inside = label.partition("(")
    aliases = [alias for alias in _all_phrases(inside.rstrip(")").split(",")) if not alias.startswith("with ")]
    return [*_all_phrases([head]), *aliases]


def _head_first(noun: str) -> list[str]:
    """The readings of an EPIC noun: "board:wooden:chopping" -> "wooden chopping board", "board of wooden chopping"."""
    parts = [[" ".join(words_of(option)) for option in part.split("/")] for part in noun.split(":")]
    readings = []
    for head, *rest in itertools.product(*parts):
        modifiers = " ".join(filter(None, rest))
        readings += [f"{modifiers} {head}", f"{head} of {modifiers}"] if modifiers and head else [modifiers or head]
    return readings
