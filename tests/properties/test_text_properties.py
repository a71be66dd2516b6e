from hypothesis import example, given
from hypothesis import strategies as st

from playhead.text.bpe import ClipBPE
from playhead.text.tagging import Tagger, count_words, is_unsure, normalize
from playhead.text.taxonomy import Taxonomy
from playhead.text.wordpiece import WordPiece

TAGGER = Tagger(
    Taxonomy(
        nouns=("cup", "tap", "board"),
        verbs=("take", "turn on", "turn", "cut", "open"),
        noun_phrases=(("cup", "cup of tea"), ("tap", "water tap", "water"), ("board", "chopping board", "cut")),
        verb_phrases=(("take", "pick up", "take out of"), ("turn on",), ("turn",), ("cut", "chop"), ("open",)),
    )
)
WORDPIECE, CLIP = WordPiece(), ClipBPE()

WORD_LIST = """
    #C C #O A #unsure take takes taking picks up pick turn turned on off the a cup cups of tea water tap chopping board
    boards cut cuts and , then to is open opens out in . man - ' ; start continues
"""
WORDS = st.sampled_from(WORD_LIST.split())
NARRATIONS = st.lists(WORDS, max_size=12).map(" ".join)
ANY_TEXT = st.one_of(NARRATIONS, st.text(), st.text(st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF)))


@given(ANY_TEXT)
@example("#")
@example("turn on")
@example("take out of")
@example("\ud800#C C \u0000cuts İ")
def test_any_text_has_sorted_ids_of_the_taxonomy(text):
    tags = TAGGER.tag(text)
    assert list(tags.nouns) == sorted(set(tags.nouns)) and set(tags.nouns) <= set(range(3))
    assert list(tags.verbs) == sorted(set(tags.verbs)) and set(tags.verbs) <= set(range(5))
    assert "#" not in normalize(text)
    assert normalize(text) == " ".join(normalize(text).split())
    assert (count_words(text) == 0) == (not any(letter.isalnum() for letter in normalize(text)))
    assert is_unsure(text + " #unsure")


@given(st.one_of(NARRATIONS, st.text(st.characters(max_codepoint=127))))
def test_tags_do_not_depend_on_case(text):
    assert TAGGER.tag(text.upper()) == TAGGER.tag(text.lower()) == TAGGER.tag(text)
    assert count_words(text.upper()) == count_words(text.lower())


@given(NARRATIONS)
def test_blanks_and_a_final_stop_change_no_tag(text):
    assert TAGGER.tag(f"  {text.replace(' ', '  ')} . ") == TAGGER.tag(text)


@given(st.lists(ANY_TEXT, max_size=5), st.integers(2, 40))
def test_word_pieces_pad_on_the_right_and_do_not_depend_on_the_batch(texts, max_length):
    tokens = WORDPIECE(texts, max_length)
    lengths = tokens.mask.sum(dim=1)
    assert tokens.ids.shape == tokens.mask.shape == (len(texts), max(lengths.tolist(), default=0))
    for text, ids, mask, length in zip(texts, tokens.ids, tokens.mask, lengths.tolist(), strict=True):
        assert 2 <= length <= max_length
        assert mask.tolist() == [True] * length + [False] * (len(mask) - length)
        assert (ids[length:] == 0).all()
        assert ids[0] == 101 and ids[length - 1] == 102
        assert WORDPIECE([text], max_length).ids[0].tolist() == ids[:length].tolist()


@given(st.lists(ANY_TEXT, max_size=5), st.integers(2, 40))
def test_byte_pairs_fill_their_context_and_end_with_the_end_token(texts, max_length):
    tokens = CLIP(texts, max_length)
    assert tokens.ids.shape == tokens.mask.shape == (len(texts), max_length)
    for ids, mask in zip(tokens.ids, tokens.mask, strict=True):
        length = int(mask.sum())
        assert mask.tolist() == [True] * length + [False] * (max_length - length)
        assert ids[0] == 49406 and ids[length - 1] == 49407
        assert (ids[length:] == 0).all() and ids.max() < CLIP.size


@given(ANY_TEXT, st.integers(2, 30))
def test_a_shorter_context_keeps_the_first_tokens(text, max_length):
    for tokenizer in (WORDPIECE, CLIP):
        long, short = tokenizer([text], 60), tokenizer([text], max_length)
        kept = min(int(long.mask.sum()), max_length) - 1
        assert short.ids[0, :kept].tolist() == long.ids[0, :kept].tolist()
