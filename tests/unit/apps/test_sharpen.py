"""The network is a stand-in that answers from a list; what is tested is what becomes of its answers."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from playhead.apps import sharpen as module
from playhead.apps.search import FoundMoment
from playhead.apps.sharpen import CONTEXT, sharpen
from playhead.apps.windows import WindowSettings
from playhead.errors import RecipeError
from playhead.tasks.language_query import LanguageQuery
from playhead.types import Span


def moment(file, start, end, standing):
    return FoundMoment(str(file), Span(start, end), 0.5, standing, 0.99, "id")


@pytest.fixture
def head(monkeypatch, bundle):
    """Return a function that sets what the network answers to each stretch, by its length in seconds."""
    answers, seen = {}, []

    def ground(self, model, found, words, duration):
        seen.append((round(duration, 3), len(found.features)))
        return answers.get(round(duration), [])

    monkeypatch.setattr(LanguageQuery, "ground", ground)
    monkeypatch.setattr(module, "Grounder", lambda head, tower: None)
    monkeypatch.setattr(module, "open_task", lambda head: (None, object.__new__(LanguageQuery)))
    monkeypatch.setattr(module, "load_task_bundle", lambda head: SimpleNamespace(provenance={}))
    windows = WindowSettings(fps=4.0, stride=4)
    monkeypatch.setattr(module, "feature_settings", lambda task, grounder: SimpleNamespace(windows=windows))
    monkeypatch.setattr(module, "encode_words", lambda tower, texts: [np.zeros((1, 3), np.float32)])

    def run(moments, by_length):
        answers.update(by_length)
        return sharpen(Path("head"), bundle, "where?", moments)

    run.seen = seen
    return run


@pytest.fixture
def film(tmp_path, make_video):
    return make_video(tmp_path / "film.mp4", [("red", 60), ("green", 60)])


def test_an_answer_near_the_moment_gives_it_its_ends_counted_from_the_start_of_the_stretch(head, film):
    (found,) = head([moment(film, 50.0, 54.0, 3.0)], {64: [(Span(0.0, 5.0), 0.9), (Span(31.0, 34.5), 0.5)]})
    assert head.seen == [(64.0, 64)]
    assert found.span == Span(20.0 + 31.0, 20.0 + 34.5)  # the stretch begins at 50 - CONTEXT
    assert (found.by, found.standing, CONTEXT) == ("grounding", 3.0, 30.0)


def test_a_moment_without_an_answer_near_it_or_whose_file_is_broken_stays(head, film, tmp_path):
    (tmp_path / "broken.mp4").write_text("no video")
    before = [moment(film, 50.0, 54.0, 3.0), moment(tmp_path / "broken.mp4", 1.0, 2.0, 2.0)]
    assert head(before, {64: [(Span(0.0, 64.0), 0.9)]}) == before


def test_the_network_has_a_say_in_the_order(head, film):
    first, second = moment(film, 40.0, 44.0, 3.0), moment(film, 80.0, 86.0, 2.9)
    answers = {64: [(Span(30.0, 34.0), 0.1)], 66: [(Span(30.0, 36.0), 0.8)]}
    assert [found.span.start for found in head([first, second], answers)] == [40.0, 80.0]  # equal sums: as before
    third = moment(film, 4.0, 7.0, 2.8)
    answers[37] = [(Span(4.0, 7.0), 0.9)]
    # 1/10 + 1/12, 1/11 + 1/11 and 1/12 + 1/10 for the first, second and third: the third passes the second.
    assert [found.span.start for found in head([first, second, third], answers)] == [40.0, 4.0, 80.0]


def test_two_moments_that_become_one_are_told_once(head, film):
    moments = [moment(film, 50.0, 54.0, 3.0), moment(film, 55.0, 60.0, 2.5)]
    answers = {64: [(Span(30.0, 40.0), 0.9)], 65: [(Span(25.0, 35.0), 0.8)]}
    assert [found.span for found in head(moments, answers)] == [Span(50.0, 60.0)]


def test_a_head_of_another_task_is_refused(head, film, monkeypatch):
    monkeypatch.setattr(module, "open_task", lambda head: (None, object()))
    with pytest.raises(RecipeError, match="LanguageQuery is needed"):
        head([moment(film, 1.0, 2.0, 1.0)], {})
