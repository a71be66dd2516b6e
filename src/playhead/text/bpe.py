"""CLIP's byte-pair encoding: what the CLIP text towers of InternVideo, ViCLIP and UniFormerV2's label texts read."""

import gzip
import html
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from playhead.errors import AnnotationError
from playhead.text.padding import pad_right, without_surrogates
from playhead.types import Tokens

PACKAGED = Path(__file__).parent / "vocabularies" / "bpe_simple_vocab_16e6.txt.gz"
CONTEXT = 77  # CLIP's; ViCLIP reads 32
NUM_MERGES = 49_152 - 256 - 2  # of the 262,144 in the file
START, END = "<|startoftext|>", "<|endoftext|>"
WORD = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
STRAIGHT_QUOTES = str.maketrans("\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f", "''''" + '""""')


class ClipBPE:
    """Texts as `start pairs end`, lower-cased, white space joined, right-padded with 0 to `max_length` columns.

    `vocabulary` is a gzipped list of merges, one per row after a heading; without it, the packaged one of CLIP. It is
    read at first use and does not travel by pickle.

    Source: CLIP (Radford et al., 2021), simple_tokenizer.py. Of ftfy, which CLIP runs first, only what matters to
    written captions is done: Unicode composition (NFC) and straight quotes; text in a wrong encoding stays as it is.
    """

    pad_id = 0
    size = 256 * 2 + NUM_MERGES + 2
    start_id, end_id = size - 2, size - 1

    def __init__(self, vocabulary: str | os.PathLike[str] | None = None):
        self.vocabulary = PACKAGED if vocabulary is None else Path(vocabulary)
        self._loaded: Tokenizer | None = None

    def __reduce__(self):
        return ClipBPE, (self.vocabulary,)

    def __call__(self, texts: Sequence[str], max_length: int | None = None) -> Tokens:
        """Return the ids of `texts` in `max_length` columns (77 if not given); a text too long keeps its end token.

        Raises:
            AnnotationError: the vocabulary cannot be read.
            ValueError: `texts` is a single string, or `max_length` leaves no room for the start and end tokens.
        """
        if isinstance(texts, str):
            raise ValueError("a sequence of texts is needed, got one string; wrap it in a list.")
        length = CONTEXT if max_length is None else max_length
        if length < 2:
            raise ValueError(f"max_length {length} leaves no room for the start and end tokens; give 2 or more.")
        tokenizer = self._tokenizer()
        # One by one: encode_batch starts a thread pool, which a later fork of data workers would inherit locked.
        pairs = [tokenizer.encode(clean(text)).ids for text in texts]
        return pad_right([[self.start_id, *ids[: length - 2], self.end_id] for ids in pairs], self.pad_id, length)

    def _tokenizer(self) -> Tokenizer:
        if self._loaded is None:
            merges = read_merges(self.vocabulary)
            tokens = [*_letters(), *(letter + "</w>" for letter in _letters()), *map("".join, merges), START, END]
            ids = {token: index for index, token in enumerate(tokens)}
            tokenizer = Tokenizer(models.BPE(ids, merges, end_of_word_suffix="</w>"))
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )
            tokenizer.add_special_tokens([START, END])
            self._loaded = tokenizer
        return self._loaded


def clean(text: str) -> str:
    """Return `text` as CLIP reads it: HTML entities resolved (twice, as CLIP does), white space joined, lower case."""
    text = html.unescape(html.unescape(without_surrogates(text)))
    text = unicodedata.normalize("NFC", text).translate(STRAIGHT_QUOTES)
    return " ".join(text.split()).lower()


def read_merges(path: Path) -> list[tuple[str, str]]:
    """Return the merges that CLIP uses of a gzipped list, in their order of priority.

    Raises:
        AnnotationError: the file cannot be read, is too short, or a row is not a pair.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = file.read().split("\n")[1 : NUM_MERGES + 1]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise AnnotationError(f"no merges can be read here ({error}); give CLIP's gzipped list.", path=path) from error
    if len(rows) < NUM_MERGES:
        raise AnnotationError(f"{NUM_MERGES} merges are needed, found {len(rows)}; give CLIP's whole list.", path=path)
    merges = []
    for row, text in enumerate(rows, start=2):
        left, _, right = text.partition(" ")
        if not left or not right or " " in right:
            raise AnnotationError(f"a merge is two parts, found {text!r}; give CLIP's list.", path=path, row=row)
        merges.append((left, right))
    return merges


def _letters() -> list[str]:
    """The 256 characters that stand for bytes, in CLIP's order: printable bytes as themselves, then all others."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]
