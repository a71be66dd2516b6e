"""Every written form of a taxonomy's words in one dictionary, so that a narration is tagged by looking its words up."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from playhead.text.inflection import GUESSED, noun_forms, third_person, verb_forms
from playhead.text.taxonomy import Taxonomy

OPEN, DETERMINER, PREPOSITION, TO, CONJUNCTION, CLAUSE = range(6)  # what a word does; OPEN: a noun, a verb or unknown

PREPOSITION_LIST = """
    about above across against along among around aside at away apart back behind below beneath beside between by down
    for forward from in inside into near of off on onto out outside over past through together toward towards under
    underneath up upon using via with within without
"""  # and the particles of phrasal verbs: most words are both
DETERMINER_LIST = """
    a an the this that these those it him them my your his her its their our some any another other each every both all
    no one two three four five six several many more few
"""
PREPOSITIONS = frozenset(PREPOSITION_LIST.split())
AUXILIARIES = ("is", "are", "was", "were")  # "the tap is turned on": the verb comes after
FUNCTION_WORDS = {
    **dict.fromkeys(PREPOSITIONS, PREPOSITION),
    **dict.fromkeys(DETERMINER_LIST.split(), DETERMINER),
    "to": TO,
    **dict.fromkeys(("and", "or", "&", "+", ","), CONJUNCTION),
    **dict.fromkeys(("then", "while", "when", "before", "after", "until", "as", "so", "because"), CLAUSE),
    **dict.fromkeys((";", ".", ":", *AUXILIARIES), CLAUSE),
}
ASPECT = ("begin", "continue", "finish", "keep", "resume", "start", "stop")  # "keeps stirring" tells of stirring

# With an object before and one after, their "on" tells a place: "put the lid on the pot", "turn the fish on the grill".
SWITCHES = ("put", "switch", "turn")

# To open a tap is to turn it on: with these objects, open and close mean the flow, and not a lid or a door.
FLOWS = ("faucet", "faucets", "gas", "hydrant", "hydrants", "spigot", "tap", "taps", "water")
FLOW_VERBS = {"open": "turn on", "close": "turn off", "shut": "turn off"}


@dataclass(slots=True)
class Verb:
    """A verb's word with all that can complete it: `id` alone is -1 where the taxonomy has it only with a tail.

    `tails` follow at once ("pick up", "make a hole"); those of one word that is a preposition may also stand later
    ("pick the cup up") and are `particles` too; `objects` change the meaning ("open the tap").
    """

    id: int = -1
    tails: dict[str, int] = field(default_factory=dict)
    longest_tail: int = 0
    particles: dict[str, int] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    is_aspect: bool = False
    is_switch: bool = False


class Word(NamedTuple):
    """What a written form can be: its function, a noun (-1: none alone), the longest compound it begins, and a verb."""

    kind: int
    noun: int
    longest_noun: int
    verb: Verb | None
    is_finite: bool = False
    is_participle: bool = False
    is_gerund: bool = False


@dataclass(frozen=True, slots=True)
class Lexicon:
    """`words` by written form; `compounds`: nouns of several words, joined by blanks."""

    words: dict[str, Word]
    compounds: dict[str, int]


def build_lexicon(taxonomy: Taxonomy) -> Lexicon:
    """Return the lexicon of a taxonomy; where two words share a form, it is the better-ranked, then the first one's."""
    nouns = _noun_ids(taxonomy.noun_phrases)
    verbs = _verb_forms(_verbs(taxonomy.verb_phrases))
    longest: dict[str, int] = {}
    for phrase in nouns:
        parts = phrase.split(" ")
        longest[parts[0]] = max(longest.get(parts[0], 0), len(parts))
    words = {}
    for form in {*longest, *verbs, *FUNCTION_WORDS}:
        head, verb = verbs.get(form, ("", None))
        words[form] = Word(
            kind=FUNCTION_WORDS.get(form, OPEN),
            noun=nouns.get(form, -1),
            longest_noun=longest.get(form, 0),
            verb=verb,
            is_finite=form in AUXILIARIES or (verb is not None and form != head and form == third_person(head)),
            is_participle=form != head and form.endswith(("ed", "en")),
            is_gerund=form != head and form.endswith("ing"),
        )
    return Lexicon(words, {phrase: noun for phrase, noun in nouns.items() if " " in phrase})


def _noun_ids(groups: Iterable[Iterable[str]]) -> dict[str, int]:
    claims: dict[str, tuple[int, int]] = {}
    for noun, phrases in enumerate(groups):
        for phrase in phrases:
            for form, rank in _phrase_forms(phrase).items():
                claims[form] = min(claims.get(form, (rank, noun)), (rank, noun))
    return {form: noun for form, (_, noun) in claims.items()}


def _phrase_forms(phrase: str) -> dict[str, int]:
    """A noun phrase in singular and plural: its last word changes, or the last before "of" ("slices of bread")."""
    head, of, rest = phrase.partition(" of ")
    forms = _last_word_forms(head)
    if of:  # "piece of onions" as well as "pieces of onion"
        return {
            f"{one} of {other}": max(forms[one], rank)
            for one in forms
            for other, rank in _last_word_forms(rest).items()
        }
    before, _, last = phrase.rpartition(" ")
    if before and " " not in before:  # "chopping board" also as one word
        forms |= {before + form: GUESSED for form in noun_forms(last)}
    return forms


def _last_word_forms(phrase: str) -> dict[str, int]:
    before, blank, last = phrase.rpartition(" ")
    return {before + blank + form: rank for form, rank in noun_forms(last).items()}


def _verbs(groups: Iterable[Iterable[str]]) -> dict[str, Verb]:
    """Verbs by head word, with their tails."""
    verbs: dict[str, Verb] = {}
    for verb_id, phrases in enumerate(groups):
        for phrase in phrases:
            head, _, tail = phrase.partition(" ")
            verb = verbs.setdefault(head, Verb(is_aspect=head in ASPECT, is_switch=head in SWITCHES))
            if not tail:
                verb.id = verb_id
                continue
            verb.tails[tail] = verb_id
            verb.longest_tail = max(verb.longest_tail, tail.count(" ") + 1)
            if tail in PREPOSITIONS or tail == "to":
                verb.particles[tail] = verb_id
    for head, meaning in FLOW_VERBS.items():
        other_head, _, particle = meaning.partition(" ")
        if head in verbs and other_head in verbs and particle in verbs[other_head].particles:
            verbs[head].objects = dict.fromkeys(FLOWS, verbs[other_head].particles[particle])
    return verbs


def _verb_forms(verbs: dict[str, Verb]) -> dict[str, tuple[str, Verb]]:
    claims: dict[str, tuple[int, str]] = {}
    for head in verbs:
        for form, rank in verb_forms(head).items():
            if form not in claims or rank < claims[form][0]:
                claims[form] = rank, head
    return {form: (head, verbs[head]) for form, (rank, head) in claims.items()}
