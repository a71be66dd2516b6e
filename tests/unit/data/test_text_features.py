import json
import pickle

import numpy as np
import pytest

from playhead.data.text_features import TextFeatures, write_text_features
from playhead.errors import AnnotationError


def rows(num_tokens: int, first: float, width: int = 4) -> np.ndarray:
    return np.full((num_tokens, width), first, dtype=np.float32) + np.arange(num_tokens, dtype=np.float32)[:, None]


@pytest.fixture
def written(tmp_path):
    texts = [("Where did I put the cup?", rows(8, 0)), ("Did I close the door", rows(6, 100))]
    write_text_features(tmp_path / "text", texts, {"model": "abc"})
    return tmp_path / "text"


def test_a_text_gives_the_rows_that_were_written(written):
    features = TextFeatures.open(written)
    np.testing.assert_array_equal(features.of("Where did I put the cup?"), rows(8, 0))
    np.testing.assert_array_equal(features.of("Did I close the door"), rows(6, 100))
    assert (features.width, len(features), features.longest, features.settings) == (4, 2, 8, {"model": "abc"})


@pytest.mark.parametrize("spelling", ["did I close the door?", " Did I close the door ", "DID I CLOSE THE DOOR??"])
def test_case_blanks_and_question_marks_do_not_matter(written, spelling):
    features = TextFeatures.open(written)
    assert spelling in features
    np.testing.assert_array_equal(features.of(spelling), rows(6, 100))


def test_an_unknown_text_is_an_error_that_names_it(written):
    with pytest.raises(AnnotationError, match="has no features of 'where is the cat"):
        TextFeatures.open(written).of("where is the cat?")


def test_rows_are_views_of_the_mapped_file(written):
    features = TextFeatures.open(written)
    assert np.shares_memory(features.of("did i close the door?"), features.of("did i close the door?"))
    with open("/proc/self/maps") as maps:
        assert any(str(written) in line for line in maps)


def test_it_is_sent_to_a_worker_as_its_path(written):
    features = TextFeatures.open(written)
    assert len(pickle.dumps(features)) < 500
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(features)).of("did i close the door?"), rows(6, 100))


def test_two_spellings_of_one_text_are_kept_once(tmp_path):
    features = write_text_features(tmp_path, [("A cup?", rows(3, 0)), ("a cup", rows(3, 9))], {})
    assert len(features) == 1
    np.testing.assert_array_equal(features.of("a cup"), rows(3, 0))


def test_writing_anew_replaces_everything(written):
    features = write_text_features(written, [("another", rows(2, 5, width=3))], {})
    assert (len(features), features.width) == (1, 3)
    assert "Where did I put the cup?" not in features


@pytest.mark.parametrize("texts", [[], [("a", rows(2, 0)), ("b", rows(0, 0))]])
def test_texts_that_do_not_fit_together_are_refused(tmp_path, texts):
    with pytest.raises(AnnotationError, match="texts of one width with at least one token"):
        write_text_features(tmp_path, texts, {})


def test_the_released_file_of_sentences_is_not_run_but_explained(tmp_path):
    np.save(tmp_path / "sentence.npy", np.array({"a": 1}, dtype=object), allow_pickle=True)
    with pytest.raises(AnnotationError, match=r"would run what it says\..*allow_pickle=True.*write_text_features"):
        TextFeatures.open(tmp_path / "sentence.npy")


@pytest.mark.parametrize("place", [[0], [3, 3], [-1, 2], [0, 99], ["0", "2"], [0.0, 2.0], None])
def test_an_index_that_points_outside_the_rows_is_refused(written, place):
    index = json.loads((written / "index.json").read_text())
    index["texts"]["broken"] = place
    (written / "index.json").write_text(json.dumps(index))
    with pytest.raises(AnnotationError, match="rows of 'broken' must lie in"):
        TextFeatures.open(written)


def test_what_is_no_folder_of_text_features_is_said(tmp_path, written):
    with pytest.raises(AnnotationError, match="cannot be read"):
        TextFeatures.open(tmp_path / "nowhere")
    index = json.loads((written / "index.json").read_text())
    (written / "index.json").write_text(json.dumps(index | {"format_version": 9}))
    with pytest.raises(AnnotationError, match="has format 9"):
        TextFeatures.open(written)
    (written / "index.json").write_text(json.dumps(index | {"width": 7}))
    with pytest.raises(AnnotationError, match="width 7 asked for"):
        TextFeatures.open(written)
