import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from playhead.data.feature_files import FeatureSet, TimeBase
from playhead.data.moment_answers import check_moments, read_moment_answers, write_moment_submission
from playhead.data.segment_crops import Crop
from playhead.data.segments import Segment, SegmentClip
from playhead.data.stitching import Stitching
from playhead.decoding.nms import Suppression
from playhead.errors import AnnotationError, RecipeError
from playhead.models.point_pyramid import PointPyramid, PointPyramidConfig
from playhead.models.vsgn import VSGN, VSGNConfig
from playhead.objectives.detection import next_normalizer, place_points, regression_ranges
from playhead.recipes.serialize import from_plain, to_plain
from playhead.tasks.actionformer_head import RUNNING_COUNT, ActionFormerHead
from playhead.tasks.localization_samples import learnable_segments
from playhead.tasks.temporal_localization import TemporalLocalization
from playhead.tasks.vsgn_head import VSGNHead
from playhead.train.config import Optim, Train
from playhead.train.loop import train
from playhead.types import EvalTask, TrainTask

WIDTH, ROWS, STEPS = 16, (24, 18, 30), 32
TIME = TimeBase(fps=30, frames=4, stride=16)  # rows see 0.13 s each, 0.53 s apart
SECONDS = [rows * TIME.step for rows in ROWS]
SEGMENTS = [
    [("wash", 1.0, 4.0), ("dry", 6.0, 11.0)],
    [("dry", 2.0, 6.5)],
    [("wash", 9.0, 12.0), ("dry", 0.5, 3.0), ("fold", 5.0, 8.0)],
]


def write_split(folder, name, segments):
    clips = [
        {
            "clip_uid": f"clip{number}",
            "video_start_sec": 100.0,
            "video_end_sec": 100.0 + seconds,
            "annotations": [
                {
                    "labels": [
                        {"label": label, "start_time": start, "end_time": end, "primary": True}
                        for label, start, end in own
                    ]
                }
            ],
        }
        for number, (seconds, own) in enumerate(zip(SECONDS, segments, strict=True))
    ]
    split = "test" if name == "test" else "val"
    content = {"videos": [{"video_uid": "v", "split": split, "clips": clips}]}
    (folder / f"{name}.json").write_text(json.dumps(content))
    return folder / f"{name}.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("moments")
    draws = np.random.default_rng(0)
    for number, rows in enumerate(ROWS):
        np.save(root / f"clip{number}.npy", draws.normal(size=(rows, WIDTH)).astype(np.float32))
    for name in ("train", "val"):
        write_split(root, name, SEGMENTS)
    write_split(root, "test", [[], [], []])
    return root


def make_task(folder, head, **settings):
    files = {f"{split}_segments": folder / f"{split}.json" for split in ("train", "val", "test")}
    features = FeatureSet(folders=(folder,), time=TIME, widths=(WIDTH,))
    return TemporalLocalization(**{"features": features, "head": head, **files, **settings})


VSGN_HEAD = VSGNHead(num_steps=STEPS)
STITCHED_HEAD = VSGNHead(num_steps=64, stitching=Stitching(num_steps=64, short_ratio=0.4, gap=4))
ACTIONFORMER_HEAD = ActionFormerHead(
    crop=Crop(max_rows=STEPS), ranges_overlap=True, suppression=Suppression(min_score=0.01, top=100)
)


def make_model(head, num_classes=3, **settings):
    torch.manual_seed(0)
    if isinstance(head, VSGNHead):
        stitching = head.stitching
        if stitching is not None:
            settings = {"stitched": True, "short_ratio": stitching.short_ratio, "stitch_gap": stitching.gap, **settings}
        sizes = {"feature_dim": WIDTH, "num_classes": num_classes, "num_steps": head.num_steps, "width": 32}
        return VSGN(VSGNConfig(**{**sizes, "num_levels": 4, "tower_layers": 1, "num_neighbours": 4, **settings}))
    sizes = {"input_widths": (WIDTH,), "num_classes": num_classes, "max_steps": STEPS, "width": 32, "levels": 4}
    more = {"heads": 2, "windows": (5,), "neck_width": 32, "head_width": 32, "head_layers": 2, "drop_path": 0.0}
    return PointPyramid(PointPyramidConfig(**{**sizes, **more, "layer_scale": None, **settings}))


def read_batch(task, split, seed=0):
    samples = task.samples(split)
    return task.collate([samples.read(index, seed + index) for index in range(len(samples))])


def learn(task, model, steps, rate):
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    for step in range(steps):
        loss = task.loss(task.encode(model, read_batch(task, "train", seed=10 * step)))
        optimizer.zero_grad()
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()


HEADS = [
    pytest.param(VSGN_HEAD, id="vsgn"),
    pytest.param(STITCHED_HEAD, id="vsgn-stitched"),
    pytest.param(ACTIONFORMER_HEAD, id="actionformer"),
]


@pytest.mark.parametrize("head", HEADS)
def test_a_network_learns_a_few_clips_by_heart(folder, head):
    task, model = make_task(folder, head), make_model(head)
    assert isinstance(task, TrainTask)
    assert isinstance(task, EvalTask)
    before = task.score(task.answer(model.eval(), read_batch(task, "val")), "val")
    learn(task, model, steps=70, rate=5e-3)
    after = task.score(task.answer(model, read_batch(task, "val")), "val")
    assert before["mq/mAP@0.5"] < 50 < 90 < after["mq/mAP@0.5"], (before, after)
    assert after["mq/R1x@0.5"] > 90, after
    counts = {"mq/clips": 3, "mq/segments": 6, "mq/coverage": 1, "mq/unknown_clips": 0}
    assert counts.items() <= after.items()


@pytest.mark.parametrize("head", HEADS)
def test_the_loss_is_of_the_global_batch_however_it_is_dealt_out(folder, head):
    task, model = make_task(folder, head), make_model(head)
    samples = [task.samples("train").read(index, index) for index in range(3)]
    together = task.loss(task.encode(model, task.collate(samples)))
    parts = [task.encode(model, task.collate(part)) for part in (samples[:1], samples[1:])]
    gathered = task.loss({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    torch.testing.assert_close(gathered.total, together.total)
    assert gathered.parts == pytest.approx(together.parts, rel=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_an_answer_does_not_depend_on_the_clips_beside_it(folder, head):
    task, model = make_task(folder, head), make_model(head).eval()
    samples = task.samples("val")
    together = task.answer(model, read_batch(task, "val"))
    for index, expected in enumerate(together):
        (alone,) = task.answer(model, task.collate([samples.read(index, 0)]))
        assert (alone.clip_id, alone.detected.labels) == (expected.clip_id, expected.detected.labels)
        np.testing.assert_allclose(alone.detected.spans, expected.detected.spans, atol=1e-4)
        np.testing.assert_allclose(alone.detected.scores, expected.detected.scores, atol=1e-5)


POINTS = replace(ACTIONFORMER_HEAD, crop=Crop(max_rows=STEPS, shares=None), suppression=Suppression(method="greedy"))
ROUND_TRIPS = [
    pytest.param(VSGN_HEAD, "clip", id="vsgn"),
    pytest.param(VSGN_HEAD, "video", id="vsgn-of-a-video"),
    pytest.param(replace(VSGN_HEAD, first_row="released"), "clip", id="vsgn-released"),
    pytest.param(replace(VSGN_HEAD, num_steps=16), "clip", id="vsgn-shrunk"),
    pytest.param(STITCHED_HEAD, "clip", id="vsgn-stitched"),
    pytest.param(POINTS, "clip", id="actionformer"),
    pytest.param(POINTS, "video", id="actionformer-of-a-video"),
    pytest.param(replace(POINTS, resize=16), "clip", id="actionformer-shrunk"),
    pytest.param(replace(POINTS, resize=31), "clip", id="actionformer-stretched"),
]


@pytest.mark.parametrize(("head", "per"), ROUND_TRIPS)
def test_what_is_learnt_of_a_clip_is_found_in_it_at_the_same_seconds(folder, tmp_path, monkeypatch, head, per):
    np.save(tmp_path / "v.npy", np.ones((400, WIDTH), dtype=np.float32))  # clips begin at 100 s
    features = FeatureSet(folders=(tmp_path if per == "video" else folder,), time=TIME, per=per, widths=(WIDTH,))
    task, model = make_task(folder, head, features=features), make_model(head)
    (sample,) = [task.samples("train").read(0, 0)]
    batch = task.collate([sample])
    say = say_targets_of_anchors if isinstance(model, VSGN) else say_targets_of_points
    monkeypatch.setattr(model, "forward", say(model, head, batch))

    (answer,) = task.answer(model, batch)
    rows = sorted(zip(answer.detected.labels, answer.detected.spans.tolist(), strict=True))
    assert [(label, pytest.approx(span, abs=1e-3)) for label, span in rows] == [
        ("dry", [6.0, 11.0]),
        ("wash", [1.0, 4.0]),
    ]


def say_targets_of_anchors(model, head, batch):
    """Return a forward that puts one anchor on each box to learn and leaves the others to the background."""

    def forward(features, mask):
        said = VSGN.forward(model, features, mask)
        number = batch.targets["labels"].shape[1]
        logits = torch.full_like(said.logits, -50.0)
        logits[:, :, 0] = 0.0
        boxes = said.adjusted.clone()
        boxes[:, :number] = batch.targets["boxes"]
        logits[:, torch.arange(number), 0] = -50.0
        logits.scatter_(2, batch.targets["labels"][..., None], 0.0)
        ones = torch.ones_like(said.start)
        return replace(said, logits=logits, adjusted=boxes, start=ones, end=ones)

    return forward


def say_targets_of_points(model, head, batch):
    """Return a forward whose points say what they should learn."""

    def forward(features, mask):
        said = PointPyramid.forward(model, features, mask)
        steps = [level.shape[1] for level in said.logits]
        points = place_points(steps, model.config.strides, regression_ranges(len(steps), overlap=True))
        classes, ends = head._targets(points, batch, model.config.num_classes)
        logits = (100 * classes - 50).split(steps, dim=1)
        return replace(said, logits=tuple(logits), offsets=tuple(ends.split(steps, dim=1)))

    return forward


def test_a_training_piece_is_a_part_of_the_clip_with_its_own_time(folder):
    head = replace(ACTIONFORMER_HEAD, crop=Crop(max_rows=12, keep=0.3))
    samples = make_task(folder, head).samples("train")
    clip = samples.clips[0]
    spans, _ = learnable_segments(clip, samples.classes)
    begins = set()
    for seed in range(20):
        (piece,) = samples.read(0, seed).pieces
        assert piece.rows.shape == (12, WIDTH)
        begins.add(piece.place.time.offset)
        seconds = piece.place.time.center_of(piece.targets["spans"].astype(np.float64))
        low, high = piece.place.time.center_of(np.array([0.0, 12.0]))
        for found in seconds:
            nearest = min((np.clip(span, low, high) for span in spans), key=lambda span: abs(span - found).max())
            np.testing.assert_allclose(found, nearest, atol=1e-5)
    assert len(begins) > 3
    np.testing.assert_array_equal(samples.read(0, 7).pieces[0].rows, samples.read(0, 7).pieces[0].rows)


def test_long_clips_are_shrunk_or_cut(folder):
    for how, rows in (("shrink", 16), ("cut", 16)):
        task = make_task(folder, replace(VSGN_HEAD, num_steps=16, long_clips=how))
        sample = task.samples("train").read(0, 0)
        assert (sample.pieces[0].place.num_rows, sample.pieces[0].mask.sum()) == (rows, rows)
        covered = rows * sample.pieces[0].place.time.step
        assert covered == pytest.approx(SECONDS[0] if how == "shrink" else 16 * TIME.step)


def test_long_clips_are_looked_at_in_windows_where_short_ones_are_stitched(folder):
    task = make_task(folder, STITCHED_HEAD)
    sample = task.samples("val").read(2, 0)  # 30 rows, and a short clip has 25
    lengths = [(piece.place.num_rows, piece.place.stitched is not None) for piece in sample.pieces]
    assert lengths == [(30, False), (25, True), (25, True)]
    starts = [piece.place.time.offset for piece in sample.pieces]
    assert starts == pytest.approx([0.0, 0.0, 5 * TIME.step])


def test_the_running_normalizer_is_kept_by_the_model(folder):
    head = replace(ACTIONFORMER_HEAD, normalizer="running", momentum=0.7)
    task, model = make_task(folder, head), make_model(head)
    batch = read_batch(task, "train")
    plain = make_task(folder, ACTIONFORMER_HEAD)
    with pytest.raises(RecipeError, match=r"set model\.loss_normalizer"):
        task.encode(model, batch)

    model.register_buffer(RUNNING_COUNT, torch.tensor(100.0))
    expected, rows = 100.0, {}
    for _ in range(3):
        rows = task.encode(model, batch)
        expected = next_normalizer(expected, float(rows["positives"].sum()), momentum=0.7)
        assert float(model.state_dict()[RUNNING_COUNT]) == pytest.approx(expected)
    by_batch = plain.loss(plain.encode(model, batch)).parts["classes"] * float(rows["positives"].sum())
    assert task.loss(rows).parts["classes"] == pytest.approx(by_batch / expected, rel=1e-5)


class StoppedError(Exception):
    pass


def test_the_running_normalizer_is_exact_after_a_resumed_run(folder, tmp_path, monkeypatch):
    task = make_task(folder, replace(ACTIONFORMER_HEAD, normalizer="running"))
    settings = Train(global_batch=2, steps=4, workers=0, save_every=1, log_every=1)

    def run(name):
        model = make_model(ACTIONFORMER_HEAD)
        model.register_buffer(RUNNING_COUNT, torch.tensor(100.0))
        train(model, task, Optim(lr=1e-3), settings, tmp_path / name)
        return model.state_dict()

    whole = run("whole")
    encode, calls = ActionFormerHead.encode, []

    def encode_twice(head, model, batch):
        calls.append(batch)
        if len(calls) == 3:
            raise StoppedError
        return encode(head, model, batch)

    monkeypatch.setattr(ActionFormerHead, "encode", encode_twice)
    with pytest.raises(StoppedError):
        run("resumed")
    monkeypatch.undo()
    resumed = run("resumed")
    assert float(whole[RUNNING_COUNT]) != 100.0
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_answers_make_a_sound_submission(folder, tmp_path):
    task, model = make_task(folder, VSGN_HEAD), make_model(VSGN_HEAD).eval()
    write_moment_submission(tmp_path / "found.json", task.submission(task.answer(model, read_batch(task, "test"))))
    check = check_moments(read_moment_answers(tmp_path / "found.json"), task.clips_of("test"), task.class_names())
    assert check.lines() == []
    with pytest.raises(AnnotationError, match="no clip has a segment"):
        task.score(task.answer(model, read_batch(task, "test")), "test")


def test_the_list_for_recall_has_only_classes_that_a_clip_is_known_to_show(folder):
    model = make_model(VSGN_HEAD).eval()
    by_known = {known: make_task(folder, replace(VSGN_HEAD, retrieve_known=known)) for known in (True, False)}
    answers = {known: task.answer(model, read_batch(task, "val")) for known, task in by_known.items()}
    assert set(answers[True][1].retrieved.labels) == {"dry"}
    assert set(answers[False][1].retrieved.labels) == {"dry", "fold", "wash"}
    unknown = by_known[True].answer(model, read_batch(by_known[True], "test"))[1]
    assert unknown.retrieved.labels == answers[False][1].retrieved.labels


def test_clips_without_features_are_an_error_or_count_as_missed(folder, tmp_path):
    for number in (0, 2):
        (tmp_path / f"clip{number}.npy").write_bytes((folder / f"clip{number}.npy").read_bytes())
    features = FeatureSet(folders=(tmp_path,), time=TIME, widths=(WIDTH,))
    model = make_model(VSGN_HEAD).eval()
    with pytest.raises(AnnotationError, match="features of clip 'clip1' asked for"):
        read_batch(make_task(folder, VSGN_HEAD, features=features), "val")
    task = make_task(folder, VSGN_HEAD, features=features, without_features="leave_out")
    scores = task.score(task.answer(model, read_batch(task, "val")), "val")
    assert (scores["mq/clips"], scores["mq/coverage"]) == (3, pytest.approx(2 / 3))


def test_class_agnostic_segments_get_the_classes_of_another_model(folder, tmp_path):
    write = {"results": {"v": [0.1, 0.7, 0.2]}}  # dry, fold, wash
    (tmp_path / "scores.json").write_text(json.dumps(write))
    head = ACTIONFORMER_HEAD
    task = make_task(folder, head, class_agnostic=True, class_scores=tmp_path / "scores.json", top_segments=4)
    model = make_model(head, num_classes=1).eval()
    assert set(read_batch(task, "train").targets["labels"].flatten().tolist()) == {0}
    for answer in task.answer(model, read_batch(task, "val")):
        assert set(answer.detected.labels) == {"fold", "wash"}
        assert len(answer.detected) <= 8
        assert (np.diff(answer.detected.scores) <= 0).all()
    with pytest.raises(RecipeError, match="class_agnostic and class_scores need each other"):
        make_task(folder, head, class_agnostic=True)


def test_thumos_videos_need_not_say_how_long_they_are(folder, tmp_path):
    records = [{"segment": ["1.0", "4.0"], "label": "Diving"}]
    videos = {f"clip{number}": {"subset": "test", "annotations": records} for number in range(3)}
    (tmp_path / "thumos.json").write_text(json.dumps({"database": videos}))
    files = {"train_segments": tmp_path / "thumos.json", "val_segments": tmp_path / "thumos.json"}
    task = make_task(folder, ACTIONFORMER_HEAD, layout="thumos14", convention="thumos", name="tal", **files)
    model = make_model(ACTIONFORMER_HEAD, num_classes=1).eval()
    batch = read_batch(task, "val")
    assert batch.durations == pytest.approx(SECONDS)
    assert "tal/mAP@0.7" in task.score(task.answer(model, batch), "val")
    by_video = make_task(folder, ACTIONFORMER_HEAD, layout="thumos14", **files)
    with pytest.raises(AnnotationError, match=r"set features\.per to 'clip'"):
        read_batch(replace(by_video, features=replace(by_video.features, per="video")), "val")


def test_segments_that_cannot_be_learnt_are_left_out_of_training(folder, tmp_path):
    segments = [[("wash", 1.0, 1.0), ("wash", 2.0, 2.2)], [("dry", 2.0, 6.5), ("wash", 3.0, 3.1)], []]
    files = {"train_segments": write_split(tmp_path, "train", segments)}
    task = make_task(folder, VSGN_HEAD, shortest=0.25, **files)
    assert [clip.clip_id for clip in task.samples("train").clips] == ["clip1"]
    assert int(read_batch(task, "train").targets["present"].sum()) == 1
    for head in (VSGN_HEAD, ACTIONFORMER_HEAD):
        kept = make_task(folder, head, shortest=0.25, empty_clips="keep", **files)
        assert len(kept.samples("train")) == 2  # the reader leaves out the third, as the official conversion does
        empty = kept.collate([kept.samples("train").read(0, 0)])
        rows = kept.encode(make_model(head, num_classes=2), empty)
        assert torch.isfinite(kept.loss(rows).total)
    with pytest.raises(AnnotationError, match="no clip is left for split 'train'"):
        make_task(folder, VSGN_HEAD, shortest=9.0, **files).samples("train")


def test_classes_are_names_and_their_order_can_be_given(folder, tmp_path, caplog):
    (tmp_path / "names.txt").write_text("wash\nfold\ndry\n")
    given = make_task(folder, VSGN_HEAD, classes=tmp_path / "names.txt")
    assert given.class_names() == ("wash", "fold", "dry")
    assert make_task(folder, VSGN_HEAD).class_names() == ("dry", "fold", "wash")
    (tmp_path / "names.txt").write_text("wash\nfold\n")
    with pytest.raises(AnnotationError, match="class 'dry' of the training split is none of the names"):
        given.samples("train")
    with caplog.at_level(logging.WARNING):
        given.samples("val")
    assert "3 segments are of 1 classes that the network does not have" in caplog.text
    with pytest.raises(RecipeError, match="names of the classes are not known"):
        make_task(folder, VSGN_HEAD, train_segments=None).class_names()


@pytest.mark.parametrize(
    ("head", "model", "message"),
    [
        (VSGN_HEAD, {"feature_dim": 8}, "features have 16 columns, but the model reads 8"),
        (VSGN_HEAD, {"num_classes": 7}, "tells 7 classes, the data have 3"),
        (VSGN_HEAD, {"num_steps": 64}, "head.num_steps is 32, model.num_steps 64"),
        (VSGN_HEAD, {"stitched": True}, r"head.stitching has \(short_ratio, gap\) None"),
        (STITCHED_HEAD, {"stitch_gap": 9}, r"\(0.4, 4\), the model's stitching \(0.4, 9\)"),
        (ACTIONFORMER_HEAD, {"input_widths": (8,)}, "features have 16 columns, but the model reads 8"),
        (ACTIONFORMER_HEAD, {"text_width": 8}, "unset model.text_width"),
        (ACTIONFORMER_HEAD, {"max_steps": 16}, "up to 32 rows, but model.max_steps is 16"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_told(folder, head, model, message):
    task = make_task(folder, head)
    with pytest.raises(RecipeError, match=message):
        task.encode(make_model(head, **model), read_batch(task, "train"))


def test_settings_that_contradict_each_other_are_refused(folder):
    with pytest.raises(RecipeError, match=r"set task\.val_segments"):
        make_task(folder, VSGN_HEAD, val_segments=None).samples("val")
    with pytest.raises(RecipeError, match="its stitching's 64"):
        replace(STITCHED_HEAD, num_steps=32)
    for wrong in ({"shortest": -1.0}, {"thresholds": (0.0,)}, {"top_classes": 0}):
        with pytest.raises(RecipeError):
            make_task(folder, VSGN_HEAD, **wrong)
    for wrong in ({"first_range": 0.0}, {"label_smoothing": 1.0}, {"resize": 0}, {"momentum": 1.0}):
        with pytest.raises(RecipeError):
            ActionFormerHead(**wrong)


@pytest.mark.parametrize("head", HEADS)
def test_settings_outlive_a_file(folder, head):
    task = make_task(folder, head, thresholds=(0.5,))
    assert from_plain(TemporalLocalization, json.loads(json.dumps(to_plain(task)))) == task


def test_segments_of_no_length_are_not_learnt():
    clip = SegmentClip("c", "v", 0.0, 9.0, (Segment(1.0, 1.0, "a"), Segment(1.0, 3.0, "b")), "train")
    spans, numbers = learnable_segments(clip, ("a", "b"))
    assert (spans.tolist(), numbers.tolist()) == ([[1.0, 3.0]], [1])
