import gzip
import json
import pickle
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from playhead.errors import AnnotationError
from playhead.text.bpe import NUM_MERGES, PACKAGED, ClipBPE

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/text/clip_tokenizer.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("length", [int(length) for length in GOLDEN["ids"]])
def test_ids_are_those_of_clip(length):
    tokens = ClipBPE()(GOLDEN["texts"], length)
    assert tokens.ids.shape == (len(GOLDEN["texts"]), length)
    for ids, mask, expected in zip(tokens.ids.tolist(), tokens.mask.tolist(), GOLDEN["ids"][str(length)], strict=True):
        assert ids == expected + [0] * (length - len(expected))
        assert mask == [True] * len(expected) + [False] * (length - len(expected))


def byte_letters():
    """CLIP's stand-ins for the 256 bytes, by what each byte is: itself if it prints in Latin-1, else 256, 257, ..."""
    prints = [33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174 for byte in range(256)]
    hidden = [byte for byte in range(256) if not prints[byte]]
    return [chr(byte) for byte in range(256) if prints[byte]] + [chr(256 + index) for index in range(len(hidden))]


@pytest.fixture(scope="module")
def twin():
    with gzip.open(PACKAGED, "rt", encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file.read().split("\n")[1 : NUM_MERGES + 1]]
    pieces = byte_letters() + [letter + "</w>" for letter in byte_letters()] + ["".join(pair) for pair in merges]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges)


def test_ids_are_those_of_transformers_where_nothing_needs_cleaning(twin):
    texts = [
        "a photo of a person practicing tai chi",
        "it's they're I've we'll he'd can't",
        "A Person,   slicing   tomatoes!!  12345 ...",
        "crème brûlée, naïve, Ångström, Ελληνικά, русский, 日本語, 한국어",
        "🙂🙃 c++ #C C picks_up (the) knife @ 50%",
        "word " * 200,
    ]
    expected = twin(texts, truncation=True, max_length=77)["input_ids"]
    tokens = ClipBPE()(texts)
    assert [ids[mask].tolist() for ids, mask in zip(tokens.ids, tokens.mask, strict=True)] == expected


def test_clean_text_is_read_alike_however_it_is_written():
    tokenizer = ClipBPE()
    expected = tokenizer(["rock 'n' roll & café"]).ids.tolist()
    for written in ("Rock \u2018n\u2019 Roll &amp; CAFÉ", "  rock\t'n'\nroll &amp;amp; cafe\u0301 "):
        assert tokenizer([written]).ids.tolist() == expected


def test_the_mask_keeps_an_exclamation_mark_though_its_id_pads():
    tokens = ClipBPE()(["!"], 5)
    assert tokens.ids.tolist() == [[49406, 256, 49407, 0, 0]]
    assert tokens.mask.tolist() == [[True, True, True, False, False]]
    assert ClipBPE()(["!a"], 5).mask.sum() == 4


def test_a_tokenizer_travels_without_its_vocabulary():
    tokenizer = ClipBPE()
    expected = tokenizer(["cut"]).ids.tolist()
    sent = pickle.dumps(tokenizer)
    assert len(sent) < 500
    assert pickle.loads(sent)(["cut"]).ids.tolist() == expected


def test_the_end_token_has_the_largest_id():
    # CLIP's text towers find the end of a text with argmax.
    tokens = ClipBPE()(["word " * 100, "cut", ""], 16)
    assert tokens.ids.argmax(dim=1).tolist() == [15, 2, 1]
    assert tokens.ids.max() == ClipBPE.end_id == ClipBPE.size - 1


def test_a_short_or_broken_list_of_merges_is_named(tmp_path):
    short, broken, plain = tmp_path / "short.gz", tmp_path / "broken.gz", tmp_path / "plain.txt"
    with gzip.open(short, "wt") as file:
        file.write("heading\na b\n")
    with gzip.open(broken, "wt") as file:
        file.write("heading\n" + "a b\n" * 10 + "abc\n" + "a b\n" * NUM_MERGES)
    plain.write_text("a b\n")
    for path, message in ((short, "48894 merges are needed"), (broken, "row 12: .*'abc'"), (plain, "no merges")):
        with pytest.raises(AnnotationError, match=message):
            ClipBPE(path)(["cut"])


def test_a_lone_string_and_an_impossible_length_are_refused():
    with pytest.raises(ValueError, match="wrap it in a list"):
        ClipBPE()("cut")
    with pytest.raises(ValueError, match="no room"):
        ClipBPE()(["cut"], max_length=1)
