import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from action_clips import FPS, bar, make_clips, write_frames, write_image
from torch import nn

from playhead.errors import AnnotationError, DecodeError, RecipeError
from playhead.metrics.classify import merge_views
from playhead.tasks.recognition import Recognition, RecognitionAnswer, Views, distinct_views
from playhead.tasks.recognition_samples import ClipRule
from playhead.types import EvalTask, TrainTask
from playhead.video.augment_policy import RandAugment
from playhead.video.erasing import Erase
from playhead.video.mixing import Mixing
from playhead.video.transforms import Augment, Preprocess

SMALL = Preprocess(num_frames=4, image_size=32, resize=32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"))


def task(root, **settings):
    defaults = {"root": root, "preprocess": SMALL, "decode_size": 32, "clip": ClipRule(stride=2)}
    return Recognition(**(defaults | settings))


PLAIN = {"policy": None, "erase": None, "mixing": None, "label_smoothing": 0.0}


class Means(nn.Module):
    """A model that tells the mean of each clip's first and last picture."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.calls: list[int] = []

    def forward(self, video):
        self.calls.append(len(video))
        return self.scale * torch.stack([video[:, 0].mean(dim=(1, 2, 3)), video[:, -1].mean(dim=(1, 2, 3))], dim=1)


def read_all(task, split):
    samples = task.samples(split)
    return task.collate([samples.read(index, seed=index) for index in range(len(samples))])


def test_it_is_a_task_to_train_and_to_measure(clips):
    assert isinstance(task(clips), TrainTask) and isinstance(task(clips), EvalTask)


def test_a_training_sample_is_a_function_of_its_seed(clips):
    samples = task(clips, repeats=2).samples("train")
    first, again, other = samples.read(3, 5), samples.read(3, 5), samples.read(3, 6)
    assert torch.equal(first.views, again.views) and first.seeds == again.seeds
    assert first.views.shape == other.views.shape == (2, 4, 3, 32, 32) and not torch.equal(first.views, other.views)
    assert not torch.equal(first.views[0], first.views[1])


def test_repeated_views_decode_a_clip_once_and_show_the_same_frames(clips, monkeypatch):
    still = task(clips, repeats=3, policy=None, augment=Augment(scale=(1.0, 1.0), ratio=(1.5, 1.5), flip=0.0))
    samples = still.samples("train")
    source, _ = samples.reader.open(samples.videos[0])
    asked = []
    frames_at = type(source).frames_at
    monkeypatch.setattr(
        type(source), "frames_at", lambda *one, **named: asked.append(one[1]) or frames_at(*one, **named)
    )
    views = samples.read(0, 1).views
    assert len(asked) == 1 and torch.equal(views[0], views[1]) and torch.equal(views[0], views[2])


def test_a_batch_has_a_row_a_label_and_a_name_per_view(clips):
    batch = read_all(task(clips, repeats=2), "train")
    assert batch.video.shape == (12, 4, 3, 32, 32) and batch.labels.tolist() == [0] * 6 + [1] * 6
    assert len(batch.names) == len(batch.seeds) == 12 and batch.names[0] == batch.names[1] == "back/0.mp4"


def test_without_erasing_mixing_and_smoothing_the_loss_is_cross_entropy(clips):
    plain = task(clips, **PLAIN)
    batch, model = read_all(plain, "train"), Means()
    rows = plain.encode(model, batch)
    shown = (batch.video.float() / 255 - torch.tensor(SMALL.mean).view(3, 1, 1)) / torch.tensor(SMALL.std).view(3, 1, 1)
    expected = nn.functional.cross_entropy(model(shown), batch.labels, reduction="none")
    torch.testing.assert_close(rows["loss"], expected)
    assert float(plain.loss(rows).total.detach()) == pytest.approx(float(expected.mean().detach()))


def test_erasing_and_mixing_come_from_the_batch_and_not_from_torchs_generator(clips):
    varied = task(clips, erase=Erase(chance=1.0), mixing=Mixing(), policy=RandAugment())
    batch, losses = read_all(varied, "train"), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        losses.append(varied.encode(Means(), batch)["loss"])
    assert torch.equal(*losses)
    assert not torch.allclose(losses[0], varied.encode(Means(), replace(batch, seeds=batch.seeds[::-1]))["loss"])


def test_views_are_run_together_and_averaged_as_named(clips):
    for average in ("probabilities", "logits"):
        seen = task(clips, views=Views(clips=3, crops=3, average=average, at_once=7), **PLAIN)
        batch, model = read_all(seen, "test"), Means()
        answers = seen.answer(model, batch)
        assert model.calls == [7, 7, 4]  # 2 videos of 9 views, whatever video they are of
        for answer, frames, places in zip(answers, batch.frames, batch.clips, strict=True):
            rows, keys = [], []
            for number, clip in enumerate(places):
                for crop, left in enumerate((0, 8, 16)):
                    view = frames[clip][..., left : left + 32]
                    rows.append(model(SMALL(view[None]))[0].detach().numpy())
                    keys.append((answer.name, number, crop))
            np.testing.assert_allclose(
                answer.scores, merge_views(np.stack(rows), keys, average)[answer.name], rtol=1e-5
            )


def test_a_video_is_decoded_once_for_all_of_its_views(clips):
    sample = task(clips, views=Views(clips=5)).samples("test").read(0, 0)
    assert sample.clips.shape == (5, 4)
    assert len(sample.frames) == len(torch.unique(sample.clips)) == 6  # every second of 12 frames


def test_views_that_repeat_are_run_once_and_weigh_as_often_as_they_come():
    frames = torch.arange(3).byte().view(3, 1, 1, 1).expand(3, 3, 4, 6)
    views, weights = distinct_views(frames, torch.tensor([[0, 1], [0, 1], [1, 2]]), 3)
    assert len(views) == 6 and weights == pytest.approx([2 / 9] * 3 + [1 / 9] * 3)
    views, weights = distinct_views(frames[..., :4], torch.tensor([[0, 1], [1, 2]]), 3)
    assert len(views) == 2 and weights == [0.5, 0.5]


def test_validation_sees_the_middle_once(clips):
    sample = task(clips).samples("val").read(0, 0)
    assert sample.clips.shape == (1, 4) and sample.crops == 1


def answers_of(task, split, scores):
    names = [video.key for video in task.read_split(split).videos]
    return [RecognitionAnswer(name, np.array(row, dtype=np.float32)) for name, row in zip(names, scores, strict=True)]


def test_scores_do_not_depend_on_the_order_of_answers(clips):
    found = task(clips)
    answers = answers_of(found, "val", [[0.9, 0.1], [0.6, 0.4]])
    expected = {"top1": 50.0, "mean_class": 50.0, "chance": 50.0, "videos": 2}
    assert found.score(answers[::-1], "val") == {f"recognition/{name}": value for name, value in expected.items()}


def test_answers_that_lack_a_video_or_have_other_classes_are_refused(clips):
    found = task(clips)
    with pytest.raises(AnnotationError, match=r"no answer is given to 1 videos: forth/3.mp4"):
        found.score(answers_of(found, "val", [[1.0, 0.0]] * 2)[:1], "val")
    with pytest.raises(AnnotationError, match="has 2 classes, but the answers tell 3 apart"):
        found.score(answers_of(found, "val", [[1.0, 0.0, 0.0]] * 2), "val")


def listed(folder, rows, **settings):
    for split in ("train", "val"):
        (folder / f"{split}.csv").write_text("".join(f"{name} {label}\n" for name, label in rows))
    return task(folder, layout="list", **settings)


def test_a_single_frame_gives_a_clip_of_it_or_an_error(tmp_path):
    write_frames(tmp_path / "one.mp4", bar(True, length=1))
    write_frames(tmp_path / "two.mp4", bar(True, length=2))
    short = listed(tmp_path, [("one.mp4", 0), ("two.mp4", 1)], **PLAIN)
    for split in ("train", "test"):
        sample = short.samples(split).read(0, 0)
        frames = sample.views[0] if split == "train" else sample.frames[sample.clips[0]]
        assert all(torch.equal(frames[0], frame) for frame in frames) and len(frames) == 4
    strict = replace(short, clip=ClipRule(stride=2, short="error"))
    with pytest.raises(DecodeError, match=r"'two.mp4' has 2 frames, a clip needs 7"):
        strict.samples("val").read(1, 0)


def test_a_grey_video_has_three_equal_channels(tmp_path):
    write_frames(tmp_path / "g.mp4", bar(True), pix_fmt="gray")
    write_frames(tmp_path / "c.mp4", bar(True))
    frames = listed(tmp_path, [("g.mp4", 0), ("c.mp4", 1)]).samples("val").read(0, 0).frames
    assert torch.equal(frames[:, 0], frames[:, 1]) and torch.equal(frames[:, 0], frames[:, 2])
    assert frames.float().std() > 10


def test_a_stretch_of_a_video_gives_its_own_frames(tmp_path):
    grey = np.stack([np.full((32, 32, 3), 4 * number, dtype=np.uint8) for number in range(50)])
    write_frames(tmp_path / "v.mp4", grey)
    (tmp_path / "train.csv").write_text("path,start,end,label\nv.mp4,1,3,a\nv.mp4,4,9,b\n")
    (tmp_path / "val.csv").write_text("path,start,end,label\nv.mp4,1,3,a\nv.mp4,4,9,b\nv.mp4,6,9,b\n")
    found = task(tmp_path, layout="list", clip=ClipRule(sampling="segments"))
    samples = found.samples("val")
    for index, (first, length) in enumerate(((1 * FPS, 20), (4 * FPS, 10))):
        shown = samples.read(index, 0).frames.float().mean(dim=(1, 2, 3)) / 4
        assert shown.tolist() == pytest.approx([first + (part + 0.5) * length / 4 for part in range(4)], abs=1.0)
    with pytest.raises(DecodeError, match=r"at 6.00 s: a clip begins here, but the video ends at 5.00 s"):
        samples.read(2, 0)


def test_folders_of_frames_need_a_rate_and_as_many_images_as_their_list_says(tmp_path):
    for number in range(1, 9):
        write_image(tmp_path / "f" / f"{number:05d}.png", np.full((32, 32, 3), 20 * number, dtype=np.uint8))
    (tmp_path / "train.csv").write_text("f 8 0\n")
    (tmp_path / "val.csv").write_text("f 9 0\n")
    found = task(
        tmp_path, layout="list", frame_fps=12.0, augment=Augment(scale=(1.0, 1.0), ratio=(1.0, 1.0)), policy=None
    )
    shown = found.samples("train").read(0, 0).views[0].float().mean(dim=(1, 2, 3))
    assert shown.tolist() == [20.0, 60.0, 120.0, 160.0]  # the whole of 8 frames at a stride of 2, both ends included
    with pytest.raises(DecodeError, match="the list says 9 frames, but 8 are there"):
        found.samples("val").read(0, 0)
    with pytest.raises(DecodeError, match="say their fps"):
        replace(found, frame_fps=None).samples("train").read(0, 0)


def test_labels_with_a_direction_are_not_flipped(tmp_path):
    with pytest.raises(RecipeError, match="Something-Something tells left from right"):
        Recognition(root=tmp_path, layout="something")
    make_clips(tmp_path, each=2)
    (tmp_path / "forth").rename(tmp_path / "left to right")
    (tmp_path / "back").rename(tmp_path / "right to left")
    with pytest.raises(RecipeError, match="the classes 'left to right' and 'right to left' tell left from right"):
        task(tmp_path).samples("train")
    assert len(task(tmp_path, augment=Augment(flip=0.0)).samples("train")) == 2
    assert len(task(tmp_path).samples("val")) == 2


def test_settings_out_of_range_are_refused(tmp_path):
    for wrong in ({"label_smoothing": 1.0}, {"repeats": 0}, {"split_number": 4}, {"overfit_steps": -1}):
        with pytest.raises(RecipeError, match=f"task.{next(iter(wrong))}"):
            Recognition(root=tmp_path, **wrong)
    with pytest.raises(ValueError, match=r"views\.crops"):
        Views(crops=0)
    with pytest.raises(ValueError, match=r"clip\.stride"):
        ClipRule(stride=0)


def test_something_without_flips_reads_its_own_files(tmp_path):
    write_frames(tmp_path / "v" / "1.mp4", bar(True))
    entries = [{"id": "1", "template": "Pushing [something] from left to right"}]
    (tmp_path / "train.json").write_text(json.dumps(entries))
    (tmp_path / "labels.json").write_text(json.dumps({"Pushing something from left to right": "0"}))
    found = task(tmp_path / "v", layout="something", annotations=tmp_path, augment=Augment(flip=0.0))
    assert found.samples("train").read(0, 0).label == 0
