"""Words in: texts to tokens (WordPiece, CLIP's byte pairs), and narrations to the nouns and verbs of a taxonomy."""

import functools

from playhead.text.bpe import ClipBPE
from playhead.text.wordpiece import WordPiece


@functools.cache
def load_tokenizer(name: str) -> WordPiece | ClipBPE:
    """Return the tokenizer of this name, with its packaged vocabulary; the same one each time.

    Raises:
        ValueError: the name is neither "bert-base-uncased" nor "clip-bpe".
    """
    match name:
        case "bert-base-uncased":
            return WordPiece()
        case "clip-bpe":
            return ClipBPE()
    raise ValueError(f"tokenizer {name!r} asked for; choose 'bert-base-uncased' or 'clip-bpe'.")
