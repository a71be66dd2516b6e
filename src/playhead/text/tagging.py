"""The nouns and verbs of a narration, as taxonomy ids: "#C C picks up the knife" -> what is done, and with what.

A narration is short and says things in one order: who, what is done, with what. So a word's place tells whether it is
verb or noun ("#C C peels the peel"), and a lexicon of all written forms of the taxonomy's words does the rest. There is
no statistical tagger to install, to wait for, or to disagree with itself in its next version.

Source: EgoVLP, section 2.1 (EgoClip's tags over Ego4D's 118 verbs and 582 nouns); the rules are ours.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from playhead.text.lexicon import CLAUSE, CONJUNCTION, DETERMINER, OPEN, PREPOSITION, TO, Verb, Word, build_lexicon
from playhead.text.taxonomy import Taxonomy

# "#C C", "# c c", "#O", "#O X" (not the article of "#O A man"), "#unsure", "#Summary"; a leading "C" is a subject too
SUBJECT_TAG = re.compile(r"#\s*(?:c\b(?:\s*c\b)?|o\b(?:\s+[b-z]\b)?|\w+)?|^\s*c\s+(?=\w)", re.IGNORECASE)
UNSURE_TAG = re.compile(r"#\s*unsure\b", re.IGNORECASE)
TOKEN = re.compile(r"[^\W_]+|[,;.:&+]")
COUNTED_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
NOTHING = Word(kind=OPEN, noun=-1, longest_noun=0, verb=None)


@dataclass(frozen=True, slots=True)
class Tags:
    """Taxonomy ids, sorted, each once."""

    nouns: tuple[int, ...]
    verbs: tuple[int, ...]


class Tagger:
    """Tags narrations with the ids of one taxonomy; nothing changes after it is built.

    To another process only the taxonomy travels; the lexicon is built there anew.
    """

    def __init__(self, taxonomy: Taxonomy):
        self.taxonomy = taxonomy
        lexicon = build_lexicon(taxonomy)
        self._words, self._compounds = lexicon.words, lexicon.compounds

    def __reduce__(self):
        return Tagger, (self.taxonomy,)

    def tag_all(self, texts: Iterable[str]) -> Iterator[Tags]:
        """Return the tags of each text, in order, one at a time."""
        return map(self.tag, texts)

    def tag(self, text: str) -> Tags:
        """Return the nouns and verbs that `text` tells; empty for what the taxonomy does not know. Never raises."""
        if "#" in text:
            text = SUBJECT_TAG.sub(" ", text)
        reading = _Reading(self._words, self._compounds, TOKEN.findall(text.lower()))
        reading.read()
        return Tags(tuple(sorted(reading.nouns)), tuple(sorted(reading.verbs)))


def normalize(text: str) -> str:
    """Return `text` without its tags ("#C C", "#O", "#unsure" and the like) and with single blanks; case is kept."""
    return " ".join(SUBJECT_TAG.sub(" ", text).split())


def is_unsure(text: str) -> bool:
    """Whether the annotator marked the narration as unsure, in whatever case."""
    return UNSURE_TAG.search(text) is not None


def count_words(text: str) -> int:
    """Return how many words `text` has, tags not counted; a hyphened word is one."""
    return len(COUNTED_WORD.findall(normalize(text)))


class _Reading:
    """One narration, read once from left to right; `at` is the place of a token, and readers return the next place."""

    __slots__ = (
        "awaits_gerund",
        "compounds",
        "link",
        "needs_noun",
        "needs_verb",
        "nouns",
        "seen_noun",
        "tokens",
        "verb",
        "verb_id",
        "verb_word",
        "verbs",
        "words",
    )

    def __init__(self, words: dict[str, Word], compounds: dict[str, int], tokens: list[str]):
        self.words, self.compounds, self.tokens = words, compounds, tokens
        self.nouns: set[int] = set()
        self.verbs: set[int] = set()
        self.verb: Verb | None = None  # the verb whose particle or object may still come
        self.verb_word = NOTHING
        self.verb_id = -1
        self.needs_verb = True  # the clause has none yet
        self.needs_noun = False  # an article or preposition stands before
        self.link = OPEN  # the conjunction or "to" that stands before, if one does
        self.seen_noun = False  # since the last verb
        self.awaits_gerund = False  # the verb read last only tells that another goes on

    def read(self) -> None:
        """Fill `nouns` and `verbs`."""
        tokens, words, end, at = self.tokens, self.words, len(self.tokens), 0
        while at < end:
            word = words.get(tokens[at], NOTHING)
            if word.kind:
                self.read_function(word.kind, at)
                at += 1
            elif word.verb is not None and self.is_verb(word, at):
                at = self.read_verb(word, at)
            elif word.longest_noun:
                at = self.read_noun(word, at)
            else:
                at += 1
        self.close_verb()

    def read_function(self, kind: int, at: int) -> None:
        """Take note of what may follow, and complete the verb where the word is the particle it waits for."""
        self.link = OPEN
        if kind == DETERMINER:
            self.needs_noun = True
        elif kind in (PREPOSITION, TO):
            self.needs_noun = kind == PREPOSITION
            self.link = TO if kind == TO else OPEN
            if self.verb is not None and self.tokens[at] in self.verb.particles:
                if not (self.verb.is_switch and self.tokens[at] in ("on", "off") and self.tells_place(at)):
                    self.verb_id = self.verb.particles[self.tokens[at]]
                self.verb = None
        else:
            self.needs_noun = False
            self.link = CONJUNCTION
            self.needs_verb = self.needs_verb or kind == CLAUSE

    def tells_place(self, at: int) -> bool:
        """Whether the particle at this place stands between two nouns, and so tells where and not what is done."""
        return self.seen_noun and at + 1 < len(self.tokens) and self.word_at(at + 1).kind in (OPEN, DETERMINER)

    def word_at(self, at: int) -> Word:
        """What the word at this place can be; nothing past the end."""
        return self.words.get(self.tokens[at], NOTHING) if at < len(self.tokens) else NOTHING

    def is_verb(self, word: Word, at: int) -> bool:
        """Whether the word at this place is a verb: `word` can be one, and maybe a noun."""
        if self.needs_noun:
            return False
        if self.needs_verb:
            if word.noun < 0:
                return True
            follows = self.word_at(at + 1)
            return not (follows.is_finite and follows.noun < 0)  # "water boils"
        if self.awaits_gerund:
            return word.is_gerund
        if self.link:
            # Verbs that are joined share their form: "cuts and peels", but "tomatoes and peeled carrots".
            if (word.is_participle and not self.verb_word.is_participle) or self.compound_at(word, at):
                return False
            if word.noun < 0 or (self.link == CONJUNCTION and not self.seen_noun):
                return True
            return self.word_at(at + 1).kind == DETERMINER
        return word.is_finite and self.verb_word.is_finite and word.noun < 0

    def read_verb(self, word: Word, at: int) -> int:
        """Open a verb, with the longest tail that follows at once."""
        assert word.verb is not None
        if not self.awaits_gerund:
            self.close_verb()
        self.awaits_gerund = word.verb.is_aspect
        self.verb, self.verb_word, self.verb_id = word.verb, word, word.verb.id
        self.needs_verb = self.needs_noun = self.seen_noun = False
        self.link = OPEN
        for length in range(min(word.verb.longest_tail, len(self.tokens) - at - 1), 0, -1):
            tail = " ".join(self.tokens[at + 1 : at + 1 + length])
            if tail in word.verb.tails:
                self.verb_id, self.verb = word.verb.tails[tail], None
                return at + 1 + length
        return at + 1

    def close_verb(self) -> None:
        """Keep the verb read last."""
        if self.verb_id >= 0:
            self.verbs.add(self.verb_id)
        self.verb_id, self.verb = -1, None

    def read_noun(self, word: Word, at: int) -> int:
        """Take the longest noun that begins here."""
        length = self.compound_at(word, at)
        if length:
            noun = self.compounds[" ".join(self.tokens[at : at + length])]
        elif word.noun >= 0:
            noun, length = word.noun, 1
        else:
            return at + 1  # the first word of a longer noun, as "paint" of "paint brush", but not that noun
        self.nouns.add(noun)
        if self.verb is not None and self.verb.objects and not self.seen_noun:
            self.read_object(at, length)
        self.seen_noun, self.needs_noun, self.awaits_gerund, self.link = True, False, False, OPEN
        return at + length

    def read_object(self, at: int, length: int) -> None:
        """Change what the verb means where its object does; in "close the bottle of water" that is the bottle."""
        *modifiers, head = self.tokens[at : at + length]
        if self.verb is not None and "of" not in modifiers:
            self.verb_id = self.verb.objects.get(head, self.verb_id)

    def compound_at(self, word: Word, at: int) -> int:
        """How many tokens the longest noun of several words has that begins here; 0 if there is none."""
        for length in range(min(word.longest_noun, len(self.tokens) - at), 1, -1):
            if " ".join(self.tokens[at : at + length]) in self.compounds:
                return length
        return 0
