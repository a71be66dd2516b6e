import pickle

import pytest
from transformers import BertTokenizer

from playhead.errors import AnnotationError
from playhead.text import load_tokenizer
from playhead.text.wordpiece import PACKAGED, WordPiece

TEXTS = [
    "#C C picks up the knife",
    "#O A man X, in a red shirt, talks to C.",
    "#unsure",
    "",
    "   blanks \t and \n lines  ",
    "UPPER Case, crème brûlée, naïve Ångström İstanbul straße",
    "日本語 mixed with 漢字 and 한국어",
    "emoji 🙂 and \u200b zero width, \x00 nul, \ufffd",
    "adjust_(regulate,_increase/reduce)!? isn't [MASK] or [SEP] 3.14159",
    "antidisestablishmentarianism " + "x" * 150,
    "knife " * 700,
]


def test_ids_are_those_of_transformers_for_the_same_vocabulary_file():
    twin = BertTokenizer(vocab=str(PACKAGED))(TEXTS, padding=True, truncation=True, max_length=512)
    tokens = WordPiece()(TEXTS)
    assert tokens.ids.tolist() == twin["input_ids"]
    assert tokens.mask.long().tolist() == twin["attention_mask"]


@pytest.mark.parametrize("max_length", [2, 3, 8, 77])
def test_truncation_is_that_of_transformers(max_length):
    twin = BertTokenizer(vocab=str(PACKAGED))(TEXTS, padding=True, truncation=True, max_length=max_length)
    assert WordPiece()(TEXTS, max_length).ids.tolist() == twin["input_ids"]


def test_known_ids_of_bert_base_uncased():
    # [CLS] 101, [SEP] 102, "hello" 7592, "world" 2088: as printed in BERT's and transformers' documentation
    assert WordPiece()(["Hello, world"]).ids.tolist() == [[101, 7592, 1010, 2088, 102]]
    assert WordPiece().size == 30_522
    assert WordPiece().pad_id == 0


def test_a_tokenizer_travels_without_its_vocabulary():
    tokenizer = WordPiece()
    expected = tokenizer(TEXTS).ids.tolist()
    sent = pickle.dumps(tokenizer)
    assert len(sent) < 500
    assert pickle.loads(sent)(TEXTS).ids.tolist() == expected


def test_the_vocabulary_is_read_at_first_use_only(tmp_path):
    tokenizer = WordPiece(tmp_path / "not_there.txt")
    with pytest.raises(AnnotationError, match=r"not_there\.txt: no vocabulary"):
        tokenizer(["a"])


def test_an_own_vocabulary_numbers_its_rows(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[UNK]\n[CLS]\n[SEP]\n[MASK]\n[PAD]\ncut\n##s\n")
    tokens = WordPiece(path)(["cuts", "cut", "slice cut"])
    assert tokens.ids.tolist() == [[1, 5, 6, 2], [1, 5, 2, 4], [1, 0, 5, 2]]
    assert tokens.mask.tolist() == [[True] * 4, [True, True, True, False], [True] * 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[PAD]\n[UNK]\n[CLS]\n[SEP]\ncut\n", r"\[MASK\] not among 5 pieces"),
        ("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ncut\ncut\n", r"row 7: 'cut' stands here and in row 6"),
    ],
)
def test_a_broken_vocabulary_is_named(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    path.write_text(content)
    with pytest.raises(AnnotationError, match=message):
        WordPiece(path)(["cut"])


def test_no_texts_give_no_rows():
    assert WordPiece()([]).ids.shape == (0, 0)


def test_a_lone_string_and_an_impossible_length_are_refused():
    with pytest.raises(ValueError, match="wrap it in a list"):
        WordPiece()("cut")
    with pytest.raises(ValueError, match="no room"):
        WordPiece()(["cut"], max_length=1)


def test_load_tokenizer_knows_two_names():
    assert load_tokenizer("bert-base-uncased").size == 30_522
    assert load_tokenizer("clip-bpe").size == 49_408
    with pytest.raises(ValueError, match=r"'t5' asked for; choose 'bert-base-uncased' or 'clip-bpe'"):
        load_tokenizer("t5")
