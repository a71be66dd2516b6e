import json
import math
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from playhead.data.state_change import read_state_changes
from playhead.data.state_change_answers import check_answers, read_oscc, read_pnr, write_oscc, write_pnr
from playhead.errors import AnnotationError, DecodeError, RecipeError
from playhead.models.frame_lstm import FrameLstm, FrameLstmConfig
from playhead.models.frozen import SpaceTimeConfig
from playhead.models.resnet3d import DualHeadConfig, DualHeadResNet, ResNet3dConfig
from playhead.models.state_change import StateChangeConfig, StateChangeNet, StateChangeOutput
from playhead.tasks.state_change import StateChange, StateChangeAnswer
from playhead.train.config import Optim, Train
from playhead.train.loop import train
from playhead.types import EvalTask, TrainTask
from playhead.video.transforms import Augment, Preprocess
from playhead.world.world import WorldConfig, make_world

SMALL = Preprocess(num_frames=16, image_size=64, resize=64)
FPS = 12  # of the videos written here; nothing may take them to have 30


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    config = WorldConfig(
        train_videos=2, val_videos=1, test_videos=1, seconds=40.0, scene_seconds=20.0, size=(64, 80), fps=10
    )
    return make_world(tmp_path_factory.mktemp("world"), config, workers=1).root


def world_task(world: Path, **settings) -> StateChange:
    return StateChange(videos=world / "full_scale", annotations=world / "annotations", preprocess=SMALL, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with one video, whose brightness tells the time, and two clips of it in every split."""
    root = tmp_path_factory.mktemp("state_changes")
    with av.open(str(root / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for index in range(20 * FPS):
            grey = np.full((64, 64, 3), index, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    clips = [entry("p", 2.0, change=4.0), entry("n", 10.0)]
    for split in ("train", "val"):
        (root / f"fho_oscc-pnr_{split}.json").write_text(json.dumps({"clips": clips}))
    asked = [
        {key: value for key, value in clip.items() if "pnr" not in key and key != "state_change"} for clip in clips
    ]
    (root / "fho_oscc-pnr_test_unannotated.json").write_text(json.dumps(asked))
    return root


def entry(name: str, start: float, change: float | None = None) -> dict:
    frames = {"parent_start_frame": int(start * FPS), "parent_end_frame": int((start + 8) * FPS)}
    times = {"parent_start_sec": start, "parent_end_sec": start + 8}
    pnr = {"pnr_frame": None} if change is None else {"parent_pnr_frame": int(change * FPS)}
    return {"unique_id": name, "video_uid": "v", **times, **frames, "state_change": change is not None, **pnr}


def task(folder: Path, **settings) -> StateChange:
    defaults = {"videos": folder, "annotations": folder, "preprocess": SMALL, "kind": "both"}
    return StateChange(**(defaults | settings))


class Saying(nn.Module):
    """A model that says the same of every batch."""

    def __init__(self, state, key_frame):
        super().__init__()
        self.output = StateChangeOutput(state, key_frame)

    def forward(self, video):
        return self.output


def batch_of(task: StateChange, split: str):
    samples = task.samples(split)
    return task.collate([samples.read(index, seed=index) for index in range(len(samples))])


MODELS = {
    "tower": lambda heads: StateChangeNet(
        StateChangeConfig(
            video=SpaceTimeConfig(image_size=64, patch_size=32, width=8, depth=1, heads=2, num_frames=16), heads=heads
        )
    ),
    "frame by frame": lambda heads: StateChangeNet(
        StateChangeConfig(
            video=SpaceTimeConfig(image_size=64, patch_size=32, width=8, depth=1, heads=2, num_frames=16),
            heads=heads,
            key_frame_head="frames",
        )
    ),
    "i3d": lambda heads: DualHeadResNet(
        DualHeadConfig(trunk=ResNet3dConfig(arch="slow", width=2, depths=(1, 1, 1, 1)), heads=heads, image_size=64)
    ),
    "lstm": lambda heads: FrameLstm(
        FrameLstmConfig(trunk=ResNet3dConfig(arch="c2d", width=2, depths=(1, 1, 1, 1)), hidden=4, heads=heads)
    ),
}


@pytest.mark.parametrize("kind", ["oscc", "pnr", "both"])
@pytest.mark.parametrize("name", MODELS)
def test_each_model_takes_two_steps_on_the_world_and_is_measured(world, tmp_path, name, kind):
    torch.manual_seed(0)
    loss_of = "sigmoid" if name == "lstm" else "softmax"
    both = world_task(world, kind=kind, key_frame_loss=loss_of, frame_rule="even" if name == "i3d" else "multiples")
    model = MODELS[name](kind)
    before = {key: value.clone() for key, value in model.named_parameters()}
    settings = Train(global_batch=2, steps=2, workers=0, evaluate_every=2)
    result = train(model, both, Optim(lr=1e-3), settings, tmp_path, watch=both)
    assert result.step == 2
    assert ("oscc/accuracy" in result.metrics) == (kind != "pnr")
    assert ("pnr/error" in result.metrics) == ("pnr/error_official" in result.metrics) == (kind != "oscc")
    assert all(math.isfinite(value) for value in result.metrics.values())
    heads = [key for key in before if "head" in key]
    assert heads and all(not torch.equal(before[key], dict(model.named_parameters())[key]) for key in heads)


def test_it_is_a_task_to_train_and_to_measure(folder):
    assert isinstance(task(folder), TrainTask) and isinstance(task(folder), EvalTask)


@pytest.mark.parametrize("rule", ["multiples", "even"])
def test_the_frames_read_are_those_named_whatever_the_rate(folder, rule):
    samples = task(folder, frame_rule=rule).samples("val")
    for index, start in enumerate((2.0, 10.0)):
        sample = samples.read(index, seed=0)
        shown = sample.frames.float().mean(dim=(1, 2, 3)).numpy()  # brightness is the frame's number
        np.testing.assert_allclose(shown, sample.places + start * FPS, atol=1.0)
        assert (np.diff(sample.places) > 0).all() and sample.places[-1] < 8 * FPS
    assert samples.read(1, seed=0).slot == -1
    first = samples.read(0, seed=0)
    assert abs(first.places[first.slot] - 2.0 * FPS) == np.abs(first.places - 2.0 * FPS).min()  # 4.0 s is 2.0 s in


def test_training_clips_follow_their_seed_and_evaluation_has_none(folder):
    varied, fixed = task(folder).samples("train"), task(folder).samples("val")
    drawn = [varied.read(0, seed) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0].frames, drawn[1].frames)
    assert not torch.equal(drawn[0].frames, drawn[2].frames)
    assert torch.equal(fixed.read(0, 1).frames, fixed.read(0, 2).frames)
    whole = task(folder, crop=None, augment=Augment(scale=(1.0, 1.0), flip=0.0)).samples("train")
    assert whole.read(0, 5).places.tolist() == fixed.read(0, 0).places.tolist()
    lengths = {int(varied.read(1, seed).places[-1] - varied.read(1, seed).places[0]) for seed in range(20)}
    assert len(lengths) > 2  # windows of 5 to 8 s


def test_a_task_asks_of_pnr_only_where_something_changes_but_everywhere_in_the_test_file(folder):
    assert [clip.unique_id for clip in task(folder, kind="pnr").clips("val")] == ["p"]
    assert [clip.unique_id for clip in task(folder, kind="oscc").clips("val")] == ["p", "n"]
    assert [clip.unique_id for clip in task(folder, kind="pnr").clips("test")] == ["p", "n"]


def test_losses_are_those_of_the_formulas(folder):
    state, key_frame = torch.randn(2, 2), torch.randn(2, 16)
    both = task(folder, state_weight=2.0, key_frame_weight=0.5)
    batch = batch_of(both, "val")
    slot = int(batch.slot[0])
    own = -F.log_softmax(key_frame, dim=1)[0, slot]
    told = -(F.log_softmax(state, dim=1)[0, 1] + F.log_softmax(state, dim=1)[1, 0]) / 2

    rows = both.encode(Saying(state, key_frame), batch)
    assert rows["key_frame_loss"].tolist() == pytest.approx([float(own), 0.0])
    loss = both.loss(rows)
    # hands-and-objects: mean over all clips of change * cross-entropy; a clip without a change counts as 0
    assert float(loss.total) == pytest.approx(float(2.0 * told + 0.5 * own / 2), rel=1e-6)
    assert loss.parts["key_frame"] == pytest.approx(float(own) / 2, rel=1e-6)

    each = torch.sigmoid(key_frame[0])
    is_key = torch.arange(16) == slot
    entropy = -(torch.where(is_key, each, 1 - each)).log().mean()
    rows = task(folder, key_frame_loss="sigmoid").encode(Saying(state, key_frame), batch)
    assert rows["key_frame_loss"].tolist() == pytest.approx([float(entropy), 0.0], rel=1e-5)


def test_answers_are_scored_as_counted_by_hand(folder):
    both = task(folder, frame_rule="even")
    state = torch.tensor([[0.0, 1.0], [0.0, 0.0]])  # a tie is "no change"
    key_frame = torch.zeros(2, 16)
    key_frame[:, 8] = 1.0
    answers = both.answer(Saying(state, key_frame), batch_of(both, "val"))
    assert answers == [StateChangeAnswer("p", True, 51.0, 8), StateChangeAnswer("n", False, 51.0, 8)]
    # 8 s of 12 frames, 6 frames to a part: slot 8 shows frame 48 + 3. The change is at frame 24 of the clip, nearest to
    # frame 21 or 27, whichever comes first: slot 3.
    scores = both.score(answers, "val")
    assert scores == {
        "oscc/accuracy": 100.0,
        "oscc/clips": 2,
        "pnr/error": pytest.approx((51 - 24) / 12),
        "pnr/clips": 1,
        "pnr/error_official": pytest.approx((48 - 24) / (97 / 8)),
        "pnr/accuracy": 0.0,
    }
    assert both.score(answers[::-1], "val") == scores
    right = [replace(answer, pnr_frame=21.0, slot=3) for answer in answers]
    assert both.score(right, "val")["pnr/accuracy"] == 100.0
    assert both.always_same("val") == scores | {"oscc/accuracy": 50.0}


def test_answers_go_to_files_and_are_scored_from_them_as_before(folder, tmp_path):
    both = task(folder)
    answers = both.answer(Saying(torch.randn(2, 2), torch.randn(2, 16)), batch_of(both, "test"))
    told, found = both.submission(answers)
    write_oscc(tmp_path / "oscc.json", told)
    write_pnr(tmp_path / "pnr.json", found)
    clips = read_state_changes(both.file_of("test"))
    check_answers(tmp_path / "oscc.json", clips, "oscc")
    check_answers(tmp_path / "pnr.json", clips, "pnr")
    told, found = read_oscc(tmp_path / "oscc.json"), read_pnr(tmp_path / "pnr.json")
    again = [StateChangeAnswer(name, told[name], found[name]) for name in told]
    scores = both.score(answers, "val")
    assert both.score(again, "val") == {
        key: scores[key] for key in ("oscc/accuracy", "oscc/clips", "pnr/error", "pnr/clips")
    }


def test_without_a_change_the_error_is_nan_of_no_clips(folder, tmp_path):
    (tmp_path / "fho_oscc-pnr_val.json").write_text(json.dumps([entry("n", 1.0)]))
    quiet = task(tmp_path, videos=folder)
    scores = quiet.always_same("val")
    assert math.isnan(scores["pnr/error"]) and scores["pnr/clips"] == 0
    with pytest.raises(AnnotationError, match="holds no clip to ask 'pnr' about"):
        replace(quiet, kind="pnr").clips("val")


def test_missing_answers_truths_and_heads_are_named(folder):
    both = task(folder)
    with pytest.raises(AnnotationError, match="no answer is given to 1 clips: n"):
        both.score([StateChangeAnswer("p", True, 3.0, 1)], "val")
    with pytest.raises(AnnotationError, match="the answer to clip 'n' leaves out"):
        both.score([StateChangeAnswer("p", True, 3.0, 1), StateChangeAnswer("n")], "val")
    with pytest.raises(AnnotationError, match="does not say whether anything changes in 2 clips: p, n; is it a file"):
        both.score([StateChangeAnswer("p", True, 3.0, 1), StateChangeAnswer("n", True, 3.0, 1)], "test")
    with pytest.raises(RecipeError, match="asks for 'key_frame', for which this Saying has no head"):
        both.encode(Saying(torch.zeros(2, 2), None), batch_of(both, "val"))
    with pytest.raises(RecipeError, match="no split 'training'; there are train, val, test"):
        both.samples("training")
    with pytest.raises(RecipeError, match="weights must not be negative"):
        task(folder, state_weight=-1.0)


def test_clips_past_the_end_and_clips_of_too_few_frames_are_named(folder, tmp_path):
    (tmp_path / "fho_oscc-pnr_val.json").write_text(json.dumps([entry("late", 30.0)]))
    with pytest.raises(DecodeError, match=r"v\.mp4.*at 30\.00 s: clip 'late' begins here, but .* 20\.00 s"):
        task(tmp_path, videos=folder).samples("val").read(0, 0)
    few = entry("few", 1.0) | {"parent_end_sec": 2.0, "parent_end_frame": 24}
    (tmp_path / "fho_oscc-pnr_val.json").write_text(json.dumps([few]))
    with pytest.raises(AnnotationError, match=r"clip 'few', frames \(12, 24\) at 12\.0 per second.*frame_rule='even'"):
        task(tmp_path, videos=folder).samples("val").read(0, 0)
    assert task(tmp_path, videos=folder, frame_rule="even").samples("val").read(0, 0).frames.shape[0] == 16
