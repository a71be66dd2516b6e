import json

import numpy as np
import pytest

from playhead.data.class_scores import read_class_scores
from playhead.errors import AnnotationError


def write(tmp_path, content):
    (tmp_path / "scores.json").write_text(json.dumps(content))
    return tmp_path / "scores.json"


def test_probabilities_are_taken_as_they_are_nested_or_not(tmp_path):
    scores = read_class_scores(write(tmp_path, {"results": {"a": [0.25, 0.75], "b": [[1, 0]]}}), 2)
    assert {video: row.tolist() for video, row in scores.items()} == {"a": [0.25, 0.75], "b": [1.0, 0.0]}
    assert list(read_class_scores(write(tmp_path, {"a": [0.25, 0.75]}), 2)) == ["a"]


def test_logits_go_through_a_softmax_also_where_they_look_like_probabilities(tmp_path):
    path = write(tmp_path, {"results": {"a": [0.0, np.log(3)], "b": [0.0, 0.0]}})
    scores = read_class_scores(path, 2, "logits")
    np.testing.assert_allclose(scores["a"], [0.25, 0.75])
    np.testing.assert_allclose(scores["b"], [0.5, 0.5])
    released = read_class_scores(path, 2, "released")
    np.testing.assert_allclose(released["a"], [0.25, 0.75])
    np.testing.assert_allclose(released["b"], [0.0, 0.0])


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ({"results": {"a": [0.5, 1.5]}}, "probabilities", r"'a': probabilities lie in \[0, 1\], found 0.5 .. 1.5"),
        ({"results": {"a": [0.5]}}, "logits", "'a': 2 finite numbers needed, found 1"),
        ({"results": {"a": [0.5, float("nan")]}}, "logits", "'a': 2 finite numbers needed"),
        ({"results": {"a": "x"}}, "logits", "'a': numbers needed"),
        ({"results": {}}, "logits", "scores by video needed"),
        ([], "logits", "scores by video needed"),
    ],
)
def test_what_is_wrong_is_told_with_its_video(tmp_path, content, kind, message):
    with pytest.raises(AnnotationError, match=message):
        read_class_scores(write(tmp_path, content), 2, kind)
