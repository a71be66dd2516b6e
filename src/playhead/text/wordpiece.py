"""BERT's uncased WordPiece: what DistilBERT, and so EgoVLP's text tower, reads."""

import os
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from playhead.errors import AnnotationError
from playhead.text.padding import pad_right, without_surrogates
from playhead.types import Tokens

PACKAGED = Path(__file__).parent / "vocabularies" / "bert-base-uncased.txt"
LONGEST = 512  # rows of BERT's and DistilBERT's position table
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class WordPiece:
    """Texts as `[CLS] pieces [SEP]`, lower-cased, accents stripped, right-padded to the longest text of the batch.

    `vocabulary` is a file with one piece per row, the row being its id; without it, the packaged bert-base-uncased.
    The file is read at first use and does not travel by pickle, so that a worker process gets the path alone.

    Source: BERT (Devlin et al., 2019); EgoVLP tokenizes with padding and truncation at 512 and no other change.
    """

    def __init__(self, vocabulary: str | os.PathLike[str] | None = None):
        self.vocabulary = PACKAGED if vocabulary is None else Path(vocabulary)
        self._loaded: Tokenizer | None = None

    def __reduce__(self):
        return WordPiece, (self.vocabulary,)

    def __call__(self, texts: Sequence[str], max_length: int | None = None) -> Tokens:
        """Return the ids of `texts`, each cut to `max_length` tokens (512 if not given) with `[SEP]` kept last.

        Raises:
            AnnotationError: the vocabulary cannot be read, repeats a piece or lacks a special one.
            ValueError: `texts` is a single string, or `max_length` leaves no room for `[CLS]` and `[SEP]`.
        """
        if isinstance(texts, str):
            raise ValueError("a sequence of texts is needed, got one string; wrap it in a list.")
        longest = LONGEST if max_length is None else max_length
        if longest < 2:
            raise ValueError(f"max_length {longest} leaves no room for [CLS] and [SEP]; give 2 or more.")
        tokenizer = self._tokenizer()
        first, last = _id(tokenizer, "[CLS]"), _id(tokenizer, "[SEP]")
        # One by one: encode_batch starts a thread pool, which a later fork of data workers would inherit locked.
        pieces = [tokenizer.encode(without_surrogates(text)).ids for text in texts]
        return pad_right([[first, *ids[: longest - 2], last] for ids in pieces], self.pad_id)

    @property
    def size(self) -> int:
        """How many pieces the vocabulary has."""
        return self._tokenizer().get_vocab_size()

    @property
    def pad_id(self) -> int:
        """The id that fills rows up: that of `[PAD]`, 0 in bert-base-uncased."""
        return _id(self._tokenizer(), "[PAD]")

    def _tokenizer(self) -> Tokenizer:
        if self._loaded is None:
            pieces = read_vocabulary(self.vocabulary)
            tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]", max_input_chars_per_word=100))
            tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
            tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            tokenizer.add_special_tokens(list(SPECIAL))
            self._loaded = tokenizer
        return self._loaded


def _id(tokenizer: Tokenizer, piece: str) -> int:
    found = tokenizer.token_to_id(piece)
    assert found is not None  # read_vocabulary made sure of it
    return found


def read_vocabulary(path: Path) -> dict[str, int]:
    """Return the id of every piece of a vocabulary file: its row, from 0.

    Raises:
        AnnotationError: the file cannot be read, repeats a piece, or lacks one of BERT's special pieces.
    """
    try:
        rows = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"no vocabulary can be read here ({error}); give a text file.", path=path) from error
    ids: dict[str, int] = {}
    for row, piece in enumerate(rows):
        if piece in ids:
            raise AnnotationError(
                f"{piece!r} stands here and in row {ids[piece] + 1}; drop one.", path=path, row=row + 1
            )
        ids[piece] = row
    missing = [piece for piece in SPECIAL if piece not in ids]
    if missing:
        raise AnnotationError(f"{', '.join(missing)} not among {len(ids)} pieces; give BERT's vocab.txt.", path=path)
    return ids
