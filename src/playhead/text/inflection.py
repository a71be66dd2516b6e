"""The written forms of English verbs and nouns, generated from the words a taxonomy knows.

Going from the word to its forms needs no dictionary and cannot invent a word: "leaves" is a form of "leaf" only where a
taxonomy has "leaf". Forms come with a rank, so that where two words share a form, the likelier one takes it.
"""

EXACT, REGULAR, GUESSED = 0, 1, 2  # as listed | by rule or table | misspelt doubling, or a listed plural taken back

VOWELS = frozenset("aeiou")

# Past tense and participle of the irregular verbs that tell what hands, bodies and things do.
IRREGULAR_PAST = {
    "arise": "arose arisen", "beat": "beat beaten", "become": "became become", "begin": "began begun",
    "bend": "bent", "bind": "bound", "bite": "bit bitten", "blow": "blew blown", "break": "broke broken",
    "bring": "brought", "build": "built", "burn": "burnt", "buy": "bought", "catch": "caught", "choose": "chose chosen",
    "cling": "clung", "come": "came come", "creep": "crept", "cut": "cut", "dig": "dug", "do": "did done",
    "draw": "drew drawn", "drink": "drank drunk", "drive": "drove driven", "eat": "ate eaten", "fall": "fell fallen",
    "feed": "fed", "feel": "felt", "find": "found", "fling": "flung", "fly": "flew flown", "freeze": "froze frozen",
    "get": "got gotten", "give": "gave given", "go": "went gone", "grind": "ground", "grow": "grew grown",
    "hang": "hung", "have": "had", "hear": "heard", "hide": "hid hidden", "hit": "hit", "hold": "held", "keep": "kept",
    "kneel": "knelt", "knit": "knit", "lay": "laid", "lead": "led", "lean": "leant", "leave": "left", "lend": "lent",
    "let": "let", "lie": "lay lain", "light": "lit", "lose": "lost", "make": "made", "meet": "met", "pay": "paid",
    "put": "put", "read": "read", "ride": "rode ridden", "ring": "rang rung", "rise": "rose risen", "run": "ran run",
    "say": "said", "see": "saw seen", "send": "sent", "set": "set", "sew": "sewed sewn", "shake": "shook shaken",
    "shear": "sheared shorn", "shine": "shone", "shoot": "shot", "show": "showed shown", "shrink": "shrank shrunk",
    "shut": "shut", "sing": "sang sung", "sink": "sank sunk", "sit": "sat", "sleep": "slept", "slide": "slid",
    "slit": "slit", "smell": "smelt", "sow": "sowed sown", "speak": "spoke spoken", "spill": "spilt", "spin": "spun",
    "spit": "spat", "split": "split", "spread": "spread", "stand": "stood", "steal": "stole stolen", "stick": "stuck",
    "strike": "struck", "string": "strung", "sweep": "swept", "swim": "swam swum", "swing": "swung",
    "take": "took taken", "teach": "taught", "tear": "tore torn", "tell": "told", "think": "thought",
    "throw": "threw thrown", "tie": "tied", "wake": "woke woken", "wear": "wore worn", "weave": "wove woven",
    "wet": "wet", "wind": "wound", "wring": "wrung", "write": "wrote written",
}  # fmt: skip
PREFIXES = ("re", "un", "over", "with")  # "rewrap", "unwind", "overturn", "withdraw" inflect as what follows

IRREGULAR_PLURAL = {
    "calf": "calves", "child": "children", "foot": "feet", "goose": "geese", "half": "halves", "hoof": "hooves",
    "knife": "knives", "leaf": "leaves", "life": "lives", "loaf": "loaves", "louse": "lice", "mouse": "mice",
    "ox": "oxen", "person": "people", "scarf": "scarves", "self": "selves", "sheaf": "sheaves", "shelf": "shelves",
    "thief": "thieves", "tooth": "teeth", "wife": "wives", "wolf": "wolves",
}  # fmt: skip


def verb_forms(verb: str) -> dict[str, int]:
    """Return the forms of a verb with their ranks: "cut" -> cut, cuts, cutting, and, as a guess, cutted and cuting."""
    forms = {verb: EXACT}
    forms |= dict.fromkeys([third_person(verb), *_past(verb), *_joined(verb, "ing")], REGULAR)
    misspelt = [verb + "ed", verb + "ing", verb + verb[-1] + "ed", verb + verb[-1] + "ing"]
    if len(verb) > 3 and verb.endswith("s") and not verb.endswith(("ss", "us", "is")):
        # Some taxonomies list "carries" or "makes a hole": their other forms are those of the verb without its -s.
        misspelt += [form for stem in _singulars(verb) for form in (stem, *_past(stem), *_joined(stem, "ing"))]
    return dict.fromkeys(misspelt, GUESSED) | forms | {verb: EXACT}


def noun_forms(noun: str) -> dict[str, int]:
    """Return a noun and its plurals with their ranks; a listed plural ("crumbs") gives its singular too, as a guess."""
    forms = {noun: EXACT, plural(noun): REGULAR}
    guessed = [noun + "s"]
    if noun.endswith("o"):
        guessed.append(noun + "es")
    if len(noun) > 3 and noun.endswith("s") and not noun.endswith(("ss", "us", "is")):
        guessed += _singulars(noun)
    return dict.fromkeys(guessed, GUESSED) | forms


def third_person(verb: str) -> str:
    """Return the form after "C": "wash" -> washes, "carry" -> carries, "pick" -> picks."""
    return _with_s(verb) if verb != "have" else "has"


def plural(noun: str) -> str:
    """Return the plural: "knife" -> knives, "chopping knife" is the caller's to split, "policeman" -> policemen."""
    if noun in IRREGULAR_PLURAL:
        return IRREGULAR_PLURAL[noun]
    if noun.endswith("man"):
        return noun[:-2] + "en"
    return _with_s(noun) if not noun.endswith("o") or noun.endswith(("potato", "tomato", "mango")) else noun + "s"


def _with_s(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def _singulars(word: str) -> list[str]:
    stems = [word[:-1]]
    if word.endswith("ies"):
        stems.append(word[:-3] + "y")
    elif word.endswith("es"):
        stems.append(word[:-2])
    return stems


def _past(verb: str) -> list[str]:
    for prefix in ("", *PREFIXES):
        stem = verb.removeprefix(prefix)
        if verb.startswith(prefix) and stem in IRREGULAR_PAST:
            return [prefix + form for form in IRREGULAR_PAST[stem].split()] + _joined(verb, "ed")
    return _joined(verb, "ed")


def _joined(verb: str, ending: str) -> list[str]:
    """The verb with -ed or -ing: a silent e falls, y turns to i before -ed, the last letter doubles after one vowel."""
    if verb.endswith("ie") and ending == "ing":
        return [verb[:-2] + "ying"]
    if verb.endswith("e") and (ending == "ed" or not verb.endswith(("ee", "oe", "ye"))):
        return [verb[:-1] + ending]
    if verb.endswith("y") and verb[-2:-1] not in VOWELS and ending == "ed":
        return [verb[:-1] + "ied"]
    return [verb + verb[-1] + ending] if _doubles(verb) else [verb + ending]


def _doubles(verb: str) -> bool:
    """Whether the last consonant doubles: after one vowel, in one syllable ("chop") or a stressed last ("unzip")."""
    stem = next((verb.removeprefix(prefix) for prefix in ("re", "un") if verb.startswith(prefix)), verb)
    if len(stem) < 3 or stem[-1] in VOWELS or stem[-1] in "wxy" or stem[-2] not in VOWELS or stem[-3] in VOWELS:
        return verb.endswith(("quip", "quit", "quiz"))
    return sum(letter in VOWELS for letter in stem) == 1 or verb in {"begin", "dispel", "forget", "submit", "transfer"}
