"""From a question to the narration that would answer it, because egocentric models were trained on narrations.

"Where did I put the keys?" asks for the moment that an annotator of Ego4D would tell as "#C C puts the keys". The rules
are few and plain; a text that is no question only gets the subject tag that every narration begins with.
"""

import re

SUBJECT = "#C C"  # Ego4D's tag for the wearer of the camera

_DID = re.compile(
    r"^(?P<preposition>(?:in|on|to|from|with|at|into) )?"
    r"(?:where|when|what|which|who|whom|how|how many times|how often|why)?\b(?P<thing>.*?)\s*"
    r"\b(?:did|do|does|have|had)\s+(?:i|we|you|c)\s+(?:last |first |just |ever )?(?P<verb>[a-z]+)\b\s*(?P<rest>.*)$"
)
_IS = re.compile(r"^(?:where|when|what|which)\s*(?P<kind>.*?)\s*\b(?:is|are|was|were)\s+(?P<rest>.+)$")
_FIRST_PERSON = re.compile(r"^(?:i|we)\s+(?P<verb>[a-z]+)\b\s*(?P<rest>.*)$")
_TIME_CLAUSE = re.compile(r"\s+(?:before|after|while|when)\s+(?:i|we)\b.*$")
_EMPTY = re.compile(r"^\s*(?:many|much)\b|\b(?:time|times|location|place|order|way)\b")  # asked for, not seen
_IRREGULAR = {"have": "has", "do": "does", "go": "goes", "be": "is"}


def as_narration(text: str) -> str:
    """Return the narration that a text asks for: "#C C puts the keys" for "Where did I put the keys?".

    A text that already begins with a tag ("#C", "#O") comes back as it is, and so does an empty one.
    """
    stripped = " ".join(text.split())
    if not stripped or stripped.startswith("#"):
        return stripped
    question = stripped.lower().rstrip("?.! ")
    question = _TIME_CLAUSE.sub("", question)
    if found := _DID.match(question):
        thing = _EMPTY.sub("", found["thing"]).strip()
        place = f"{found['preposition'] or ''}the {thing}" if thing else ""
        words = [third_person(found["verb"]), found["rest"], place]
    elif found := _IS.match(question):
        words = [found["rest"], found["kind"]]
    elif found := _FIRST_PERSON.match(question):
        words = [third_person(found["verb"]), found["rest"]]
    else:
        words = [question]
    return " ".join([SUBJECT, *(word for word in words if word)])


def third_person(verb: str) -> str:
    """Return the third person singular of a base form: "put" -> "puts", "wash" -> "washes", "carry" -> "carries"."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if re.search(r"(?:s|x|z|ch|sh|o)$", verb):
        return verb + "es"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ies"
    return verb + "s"
