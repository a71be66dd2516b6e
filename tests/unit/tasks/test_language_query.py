import json
import logging
import pickle

import numpy as np
import pytest
import torch
from nlq_folder import (
    TEXT_WIDTH,
    VIDEO_WIDTH,
    answer,
    eight_queries,
    feature_set,
    make_clip,
    write_folder,
)

from playhead.data.query_answers import QueryAnswer
from playhead.data.query_rules import SpanRules
from playhead.decoding.nms import Detections, Suppression
from playhead.errors import AnnotationError, RecipeError
from playhead.models.point_pyramid import PointPyramid, PointPyramidConfig
from playhead.models.tan2d import Tan2d, Tan2dConfig
from playhead.models.vslnet import VSLNet, VSLNetConfig
from playhead.recipes.serialize import from_plain, to_plain
from playhead.tasks.language_query import LanguageQuery, score_queries
from playhead.tasks.query_heads import PointPyramidHead, Tan2dHead, VSLNetHead
from playhead.tasks.query_samples import WindowCache
from playhead.train.config import Optim, Train
from playhead.train.evaluate import evaluate
from playhead.train.loop import train
from playhead.types import EvalTask, TrainTask

NAN = float("nan")
GREEDY = Suppression(method="greedy", iou_threshold=0.5, per_class=False)
GAUSSIAN = Suppression(method="gaussian", per_class=False)


def make_task(folder, queries=None, **settings):
    queries = queries or folder / "nlq_train.json"
    given = {"train_queries": queries, "val_queries": queries, "features": feature_set(folder), "text": folder / "text"}
    return LanguageQuery(**{**given, "head": VSLNetHead(max_rows=32), **settings})


def vslnet(**settings):
    sizes = {"width": 32, "heads": 4, "max_positions": 32, "kernel": 3, "dropout": 0.0}
    return VSLNet(VSLNetConfig(video_dim=VIDEO_WIDTH, text_dim=TEXT_WIDTH, **{**sizes, **settings}))


def tan2d():
    sizes = {"width": 32, "num_rows": 16, "scales": (8, 4), "kernels": (3, 3), "paddings": (2, 0)}
    return Tan2d(Tan2dConfig(video_dim=VIDEO_WIDTH, text_dim=TEXT_WIDTH, **sizes))


def pyramid(max_steps=120):
    sizes = {
        "width": 32,
        "heads": 4,
        "neck_width": 32,
        "head_width": 32,
        "levels": 3,
        "windows": (9,),
        "stem_blocks": 1,
    }
    sizes |= {"text_blocks": 1, "embedding_layers": 1, "head_layers": 2, "drop_path": 0.0, "max_steps": max_steps}
    return PointPyramid(PointPyramidConfig(input_widths=(VIDEO_WIDTH,), text_width=TEXT_WIDTH, num_classes=1, **sizes))


def learn(model, task, steps, lr=5e-3):
    """Train on all queries at once; return the first and the last loss."""
    samples, losses = task.samples("train"), []
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for step in range(steps):
        batch = task.collate([samples.read(index, seed=1000 * step + index) for index in range(len(samples))])
        loss = task.loss(task.encode(model, batch)).total
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


VSLNET = {"head": VSLNetHead(max_rows=32, highlight_in_score=True), "suppression": GREEDY}
TAN2D = {"head": Tan2dHead(num_rows=16), "suppression": GREEDY}
PYRAMID = {"head": PointPyramidHead(), "suppression": GAUSSIAN}
LEARNERS = {
    "vslnet": (vslnet, 30, {}),
    "vslnet_lstm": (lambda: vslnet(predictor="lstm"), 40, {}),
    "tan2d": (tan2d, 100, TAN2D),
    "pyramid": (pyramid, 40, PYRAMID),
}
WINDOWED = {"window": 24.0, "window_stride": 12.0, "negatives": 0.4}
WINDOW_LEARNERS = {
    "vslnet": (vslnet, 60, VSLNET),
    "tan2d": (tan2d, 120, TAN2D),
    "pyramid": (lambda: pyramid(max_steps=48), 60, PYRAMID),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_each_network_learns_eight_queries_by_heart(tmp_path, name):
    eight_queries(tmp_path)
    make, steps, settings = LEARNERS[name]
    task = make_task(tmp_path, **settings)
    torch.manual_seed(0)
    model = make()
    before = evaluate(model, task, "val", batch_size=3)
    first, last = learn(model, task, steps)
    after = evaluate(model, task, "val", batch_size=3)
    assert last < 0.3 * first
    assert before["nlq/R1@0.3"] < 50
    assert after["nlq/R1@0.3"] == after["nlq/R5@0.5"] == 100
    assert {key: after[key] for key in ("nlq/queries", "nlq/coverage", "nlq/version")} == {
        "nlq/queries": 8,
        "nlq/coverage": 1,
        "nlq/version": 1,
    }


@pytest.mark.parametrize("name", WINDOW_LEARNERS)
def test_each_network_finds_the_answer_in_one_of_several_windows(tmp_path, name):
    eight_queries(tmp_path)
    make, steps, settings = WINDOW_LEARNERS[name]
    torch.manual_seed(0)
    model, task = make(), make_task(tmp_path, **settings, **WINDOWED)
    learn(model, task, steps)
    found = evaluate(model, task, "val", batch_size=3)
    assert found["nlq/R1@0.3"] >= 75
    assert found["nlq/R5@0.3"] == 100


def test_the_loop_trains_it_and_keeps_the_best_by_its_recall(tmp_path):
    eight_queries(tmp_path)
    task, kept = make_task(tmp_path), []
    assert isinstance(task, TrainTask)
    assert isinstance(task, EvalTask)
    settings = Train(global_batch=4, steps=4, evaluate_every=2, keep_best="nlq/R1@0.3", workers=0)
    on_best = lambda _, metrics: kept.append(metrics["nlq/R1@0.3"])  # noqa: E731
    done = train(vslnet(), task, Optim(lr=1e-3), settings, tmp_path / "run", watch=task, on_best=on_best)
    assert done.best == kept[-1] == max(kept)


@pytest.mark.parametrize("head", [VSLNetHead(), Tan2dHead(bias=0.1), PointPyramidHead(center_radius=None)])
def test_its_settings_are_json_and_back(tmp_path, head):
    task = make_task(tmp_path, head=head, suppression=GREEDY, **WINDOWED)
    assert from_plain(LanguageQuery, json.loads(json.dumps(to_plain(task)))) == task


def test_a_training_sample_is_the_same_for_the_same_seed_and_travels_to_workers(tmp_path):
    eight_queries(tmp_path)
    samples = make_task(tmp_path, **WINDOWED).samples("train")
    again = pickle.loads(pickle.dumps(samples))
    for seed in range(5):
        one, other = samples.read(3, seed), again.read(3, seed)
        assert one.truths == other.truths
        np.testing.assert_array_equal(one.windows[0].rows, other.windows[0].rows)
    assert len({samples.read(3, seed).windows[0].origin for seed in range(20)}) > 1


def test_evaluation_reads_all_windows_and_training_one(tmp_path):
    eight_queries(tmp_path)
    task = make_task(tmp_path, **WINDOWED)
    val, train = (task.samples(split).read(0, 0) for split in ("val", "train"))
    assert (len(val.windows), val.truths, len(train.windows)) == (5, (None,) * 5, 1)
    batch = task.collate([val, task.samples("val").read(1, 0)])
    assert batch.sample_of.tolist() == [0] * 5 + [1] * 5
    assert batch.names == ("clip0/u/0", "clip0/u/1")
    assert batch.words_of_windows[0].shape[0] == 10
    assert batch.labels == {}


def test_training_samples_cannot_be_answered_through_windows(tmp_path):
    eight_queries(tmp_path)
    with pytest.raises(RecipeError, match="give their answers away"):
        evaluate(vslnet(), make_task(tmp_path, **WINDOWED), "train")


class Says:
    """A head whose windows all propose the same spans."""

    def __init__(self, spans, scores):
        self.found = Detections(np.array(spans), np.array(scores), np.zeros(len(scores), dtype=np.int64))

    def propose(self, model, batch):
        return [self.found] * len(batch.sample_of)


def answers_of(tmp_path, spans, scores, **settings):
    task = make_task(tmp_path, **settings)
    batch = task.collate([task.samples("val").read(0, 0)])
    object.__setattr__(task, "head", Says(spans, scores))
    (found,) = task.answer(None, batch)
    return found.windows.tolist(), found.scores.tolist()


def test_answers_are_sorted_cut_to_the_clip_and_limited(tmp_path):
    eight_queries(tmp_path)
    spans = [[-3.0, 5.0], [60.0, 70.0], [66.0, 70.0], [1.0, 2.0], [8.0, 8.0]]
    found = answers_of(tmp_path, spans, [0.1, 0.9, 0.95, 0.5, 0.8], top=2)
    assert found == ([[60.0, 64.0], [1.0, 2.0]], [0.9, 0.5])


def test_answers_of_all_windows_are_suppressed_together(tmp_path):
    eight_queries(tmp_path)
    spans, scores = [[10.0, 20.0], [11.0, 21.0], [40.0, 50.0]], [0.9, 0.8, 0.7]
    once = answers_of(tmp_path, spans, scores, suppression=GREEDY)
    assert once == ([[10.0, 20.0], [40.0, 50.0]], [0.9, 0.7])
    assert answers_of(tmp_path, spans, scores, suppression=GREEDY, window=24.0) == once
    assert len(answers_of(tmp_path, spans, scores, window=24.0)[0]) == 5


def test_grounding_a_clip_by_hand_gives_what_evaluation_answers(tmp_path):
    eight_queries(tmp_path)
    torch.manual_seed(0)
    task, model = make_task(tmp_path, window=24.0), vslnet().eval()
    samples = task.samples("val")
    (expected,) = task.answer(model, task.collate([samples.read(5, 0)]))
    clip, words = samples.asked[5].clip, samples.text.of(samples.asked[5].query.text)
    found = task.ground(model, task.features.rows_of("v", clip.clip_id, 0.0, 64.0), words, 64.0)
    np.testing.assert_allclose([[span.start, span.end] for span, _ in found], expected.windows)
    np.testing.assert_allclose([score for _, score in found], expected.scores)


def faulty(folder, **more):
    queries = [
        answer("short?", 10.2, 10.4),
        answer("none?", 20.0, 20.0),
        answer("swapped?", 9.0, 8.0),
        answer("late?", 60.0, 65.0),
        answer("sound?", 30.0, 40.0),
    ]
    return write_folder(folder, [make_clip("c", queries)], **more)


@pytest.mark.parametrize(
    ("rule", "learnt"),
    [
        ("widen", ["short?", "none?", "late?", "sound?"]),
        ("drop", ["late?", "sound?"]),
        ("released", ["short?", "none?", "late?", "sound?"]),
    ],
)
def test_short_and_faulty_answers_are_learnt_by_rule_but_all_are_scored(tmp_path, rule, learnt):
    faulty(tmp_path)
    task = make_task(tmp_path, short_spans=rule)
    assert [asked.query.text for asked in task.samples("train").asked] == learnt
    assert len(task.samples("val")) == 5
    assert task.score([], "val")["nlq/queries"] == 5


def test_released_short_answers_are_learnt_as_the_first_row(tmp_path):
    faulty(tmp_path)
    firsts = {}
    for rule in ("widen", "released"):
        task = make_task(tmp_path, short_spans=rule)
        samples = task.samples("train")
        batch = task.collate([samples.read(index, 0) for index in range(len(samples))])
        names = [asked.query.text for asked in batch.asked]
        firsts[rule] = dict(zip(names, batch.labels["first"].tolist(), strict=True))
    assert firsts["released"]["short?"] == firsts["released"]["none?"] == 0
    assert firsts["widen"]["short?"] == 5  # rows of 2 s
    assert firsts["widen"]["none?"] in (9, 10)


def test_what_is_left_out_or_changed_is_counted_in_the_log(tmp_path, caplog):
    faulty(tmp_path)
    with caplog.at_level(logging.INFO):
        make_task(tmp_path, short_spans="drop").samples("train")
    told = caplog.text
    assert "left out: 1 ends_before_start" in told
    assert "another span: " in told
    assert "1 zero_length" in told
    assert "1 outside_clip" in told
    assert "2 queries left out, short_spans='drop'" in told


def test_rules_for_faulty_answers_can_be_errors(tmp_path):
    faulty(tmp_path)
    with pytest.raises(AnnotationError, match=r"'c/u/2'.*ends before it starts"):
        make_task(tmp_path, rules=SpanRules(ends_before_start="error")).samples("train")


def test_times_that_are_not_finite_stop_evaluation_before_it_begins(tmp_path):
    write_folder(tmp_path, [make_clip("c", [answer("a?", NAN, 3.0)])])
    with pytest.raises(AnnotationError, match="not finite"):
        make_task(tmp_path).samples("val")


def test_clips_without_features_are_an_error_or_missed_queries(tmp_path, caplog):
    eight_queries(tmp_path)
    (tmp_path / "features" / "clip2.npy").unlink()
    with pytest.raises(
        AnnotationError, match="1 of 4 clips, with 2 queries, have no features; the first is clip 'clip2'"
    ):
        make_task(tmp_path).samples("val")
    task = make_task(tmp_path, without_features="leave_out")
    found = evaluate(vslnet(), task, "val")
    assert (found["nlq/queries"], found["nlq/coverage"]) == (8, 0.75)
    assert "have no features" in caplog.text


def test_a_query_without_text_features_stops_before_training(tmp_path):
    eight_queries(tmp_path)
    more = tmp_path / "more.json"
    content = json.loads((tmp_path / "nlq_train.json").read_text())
    content["videos"][0]["clips"][0]["annotations"][0]["language_queries"][0]["query"] = "unheard of?"
    more.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match="unheard of"):
        make_task(tmp_path, val_queries=more).samples("val")


def perfect(clip, index, *spans):
    return QueryAnswer(clip, "u", index, np.array(spans, dtype=np.float64).reshape(-1, 2))


def test_scores_are_of_all_queries_unless_the_official_convention_is_asked_for(tmp_path):
    eight_queries(tmp_path)
    answers = [perfect("clip0", 0, (4.0, 14.0)), perfect("clip1", 1, (30.0, 40.0), (1.0, 9.0))]
    sound = make_task(tmp_path).score(answers, "val")
    official = make_task(tmp_path, convention="official").score(answers, "val")
    assert (sound["nlq/R1@0.3"], sound["nlq/R5@0.5"], sound["nlq/mIoU"]) == (12.5, 25.0, 12.5)
    assert (official["nlq/R1@0.3"], official["nlq/R5@0.5"], official["nlq/mIoU"]) == (50.0, 100.0, 50.0)
    assert sound["nlq/queries"] == official["nlq/queries"] == 8
    assert sound["nlq/coverage"] == official["nlq/coverage"] == 0.25


def test_answers_to_unknown_queries_or_none_at_all_are_never_scored_in_silence(tmp_path):
    queries = eight_queries(tmp_path)
    with pytest.raises(AnnotationError, match="'clip9/u/0', but no such query"):
        score_queries([perfect("clip9", 0, (0.0, 1.0))], queries)
    with pytest.raises(AnnotationError, match="0 answers to 8 queries leave no mean"):
        score_queries([], queries, convention="official")
    assert score_queries([], queries).recall.max() == 0


def test_a_test_split_is_answered_but_not_scored(tmp_path):
    eight_queries(tmp_path)
    content = json.loads((tmp_path / "nlq_train.json").read_text())
    for clip in content["videos"][0]["clips"]:
        for annotation in clip["annotations"]:
            annotation["language_queries"] = [{"query": q["query"]} for q in annotation["language_queries"]]
    (tmp_path / "nlq_test_unannotated.json").write_text(json.dumps(content))
    task = make_task(tmp_path, test_queries=tmp_path / "nlq_test_unannotated.json")
    samples = task.samples("test")
    answers = task.answer(vslnet().eval(), task.collate([samples.read(index, 0) for index in range(8)]))
    assert [len(found.windows) for found in answers] == [5] * 8
    with pytest.raises(AnnotationError, match="has no answer in the file"):
        task.score(answers, "test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_stride": 5.0}, "need windows"),
        ({"negatives": 0.5}, "need windows"),
        ({"window": 10.0, "window_stride": 11.0}, "0 < window_stride <= window"),
        ({"window": -1.0}, "0 < window_stride <= window"),
        ({"window": 10.0, "negatives": 1.0}, r"negatives must lie in \[0, 1\)"),
        ({"top": 0}, "at least 1"),
        ({"ks": ()}, "at least 1"),
    ],
)
def test_settings_that_contradict_each_other_are_errors(tmp_path, settings, message):
    with pytest.raises(RecipeError, match=message):
        make_task(tmp_path, **settings)


def test_a_split_without_file_is_an_error(tmp_path):
    with pytest.raises(RecipeError, match=r"set task\.test_queries"):
        make_task(tmp_path).samples("test")


def test_features_of_other_widths_in_one_batch_name_the_clips(tmp_path):
    eight_queries(tmp_path)
    np.save(tmp_path / "features" / "clip1.npy", np.ones((120, VIDEO_WIDTH + 1), dtype=np.float32))
    task = make_task(tmp_path)
    samples = task.samples("val")
    with pytest.raises(AnnotationError, match="clip 'clip0' have 12 columns, those of clip 'clip1' have 13"):
        task.collate([samples.read(0, 0), samples.read(2, 0)])


def test_windows_are_held_up_to_the_memory_given_and_not_sent_along(tmp_path):
    eight_queries(tmp_path)
    samples = make_task(tmp_path).samples("val")
    first = samples.read(0, 0).windows
    assert samples.read(1, 0).windows is first
    cache = WindowCache(first[0].rows.nbytes * 2.5 / 1e6)
    for clip in ("a", "b", "c"):
        cache.get("a")
        cache.keep(clip, first)
    assert [cache.get(clip) is first for clip in ("a", "b", "c")] == [True, False, True]
    assert pickle.loads(pickle.dumps(cache)).get("a") is None
    small = WindowCache(0.0)
    small.keep("a", first)
    assert small.get("a") is None
