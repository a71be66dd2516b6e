import pickle
from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from playhead.errors import AnnotationError, DecodeError, RecipeError
from playhead.models.videomae import VideoMAE, VideoMAEConfig, VideoMAEEncoderConfig
from playhead.tasks.masked_video import MaskedVideo
from playhead.train.config import Optim, Train
from playhead.train.loop import train
from playhead.types import Batch, EvalTask, Samples, SplittingTask, TrainTask
from playhead.video.decoder import Decoder
from playhead.video.transforms import Preprocess

MODEL = VideoMAEConfig(
    encoder=VideoMAEEncoderConfig(image_size=16, patch_size=4, num_frames=4, width=16, depth=1, heads=2),
    decoder_width=8,
    decoder_depth=1,
    decoder_heads=2,
)


def write_video(path, num_frames, *, size=(24, 32), pixels="yuv420p"):
    """Every frame has one brightness, which tells its number: 4 for the first, 8 for the second and so on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        for number in range(num_frames):
            grey = np.full((*size, 3), 4 * (number + 1), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())


def numbers_shown(clip):
    return [round(float(frame.float().mean()) / 4) - 1 for frame in clip]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for name, length in (("long.mp4", 60), ("short.mp4", 7), ("single.mp4", 1), ("fast SomethingV2.mp4", 60)):
        write_video(folder / name, length)
    write_video(folder / "grey.mp4", 20, pixels="gray")
    return folder


@pytest.fixture
def task(videos, tmp_path):
    (tmp_path / "val.txt").write_text("long.mp4\nshort.mp4\n")
    return MaskedVideo(
        videos=videos,
        val_listing=tmp_path / "val.txt",
        preprocess=Preprocess(num_frames=4, image_size=16, resize=24),
        patch_size=4,
        stride=4,
        strides=(("SomethingV2", 2),),
        mask_ratio=0.75,
    )


def by_name(samples, name, seed=0):
    return samples.read([video.name for video in samples.videos].index(name), seed)


def test_it_is_a_task(task):
    samples = task.samples("train")
    assert isinstance(task, TrainTask) and isinstance(task, EvalTask) and isinstance(task, SplittingTask)
    assert isinstance(samples, Samples) and isinstance(task.collate([samples.read(0, 0)]), Batch)
    pickle.loads(pickle.dumps(samples)).read(0, 0)


def test_a_clip_is_frames_a_stride_apart_from_anywhere_and_its_mask_a_tube(task):
    samples = task.samples("train")
    starts = set()
    for seed in range(12):
        (clip,) = by_name(samples, "long.mp4", seed)
        shown = numbers_shown(clip.frames)
        assert np.diff(shown).tolist() == [4, 4, 4] and 0 <= shown[0] <= 60 - 16
        starts.add(shown[0])
        hidden = clip.hidden.reshape(2, 16)
        assert clip.frames.shape == (4, 3, 16, 16) and hidden.sum(axis=1).tolist() == [12, 12]
        assert (hidden[0] == hidden[1]).all()
    assert len(starts) > 6


def test_a_video_may_have_a_stride_of_its_own(task):
    (clip,) = by_name(task.samples("train"), "fast SomethingV2.mp4")
    assert np.diff(numbers_shown(clip.frames)).tolist() == [2, 2, 2]


def test_short_single_frame_and_grey_videos_are_read_with_their_frames_repeated(task):
    samples = task.samples("train")
    assert numbers_shown(by_name(samples, "short.mp4")[0].frames) == [0, 4, 4, 4]
    assert numbers_shown(by_name(samples, "single.mp4")[0].frames) == [0, 0, 0, 0]
    grey = by_name(samples, "grey.mp4")[0].frames
    assert (grey == grey[:, :1]).all() and min(np.diff(numbers_shown(grey))) >= 4


def test_a_sample_comes_from_its_seed_alone(task):
    first, again, other = (by_name(task.samples("train"), "long.mp4", seed)[0] for seed in (5, 5, 6))
    assert torch.equal(first.frames, again.frames) and np.array_equal(first.hidden, again.hidden)
    assert not np.array_equal(first.hidden, other.hidden)


def test_repeats_are_read_once_and_each_is_masked_anew(task, monkeypatch):
    decoded = []
    frames_at = Decoder.frames_at
    monkeypatch.setattr(
        Decoder, "frames_at", lambda *given, **options: decoded.append(1) or frames_at(*given, **options)
    )
    samples = replace(task, repeats=4).samples("train")
    clips = by_name(samples, "long.mp4")
    assert len(clips) == 4 and len(decoded) == 1
    assert len({clip.hidden.tobytes() for clip in clips}) == 4
    assert len({tuple(numbers_shown(clip.frames)) for clip in clips}) == 1
    batch = replace(task, repeats=4).collate([clips, by_name(samples, "short.mp4")])
    assert batch.video.shape == (8, 4, 3, 16, 16) and batch.visible.shape == (8, 8) and batch.hidden.shape == (8, 24)
    assert batch.names == ("long.mp4",) * 4 + ("short.mp4",) * 4


def test_the_stretch_of_a_list_is_kept_and_one_past_the_end_refused(task, tmp_path):
    (tmp_path / "list.csv").write_text("path,start,end\nlong.mp4,2.0,3.6\nshort.mp4,2,3\n")
    samples = replace(task, listing=tmp_path / "list.csv").samples("train")
    for seed in range(4):
        assert numbers_shown(samples.read(0, seed)[0].frames) == [20, 24, 28, 32]
    with pytest.raises(DecodeError, match=r"'short.mp4' is to begin here, but the video ends at 0.70 s"):
        samples.read(1, 0)


def test_validation_takes_the_middle_once_and_always_the_same(task):
    samples = replace(task, repeats=3).samples("val")
    (clip,) = samples.read(0, 1)
    assert numbers_shown(clip.frames) == [22, 26, 30, 34]
    assert len(samples) == 2
    with pytest.raises(RecipeError, match="val_listing"):
        replace(task, val_listing=None).samples("val")


def some_batch(task, num_clips=4):
    samples = task.samples("train")
    batch = task.collate([samples.read(index, index) for index in range(num_clips)])
    noise = torch.randint(0, 256, batch.video.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return replace(batch, video=noise)


def some_model():
    torch.manual_seed(0)
    return VideoMAE(MODEL).eval()


def test_the_loss_is_the_mean_square_over_all_hidden_pixels_by_hand(task):
    batch, model = some_batch(task), some_model()
    video = batch.video.double() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (task.preprocess.mean, task.preprocess.std))
    predicted = model(((video.float()) - mean) / std, batch.visible, batch.hidden).double()
    squares = []
    for clip in range(4):
        for place, number in enumerate(batch.hidden[clip].tolist()):
            t, y, x = 2 * (number // 16), 4 * (number // 4 % 4), 4 * (number % 4)
            pixels = video[clip, t : t + 2, :, y : y + 4, x : x + 4].permute(0, 2, 3, 1).reshape(-1, 3)
            target = (pixels - pixels.mean(dim=0)) / (pixels.std(dim=0) + 1e-6)
            squares.append((predicted[clip, place] - target.flatten()) ** 2)
    loss = task.loss(task.encode(model, batch))
    assert_close(loss.total.double(), torch.cat(squares).mean(), atol=0, rtol=1e-5)
    assert loss.parts == {"masked_video": pytest.approx(loss.total.item())}


def test_the_loss_of_a_batch_does_not_depend_on_how_it_is_split(task):
    """So two ranks, whose rows are gathered, learn what one learns."""
    batch, model = some_batch(task), some_model()
    parts = task.split(batch, 3)
    assert [len(part.names) for part in parts] == [3, 1]
    rows = [task.encode(model, part)["loss"] for part in parts]
    assert_close(torch.cat(rows), task.encode(model, batch)["loss"])
    assert_close(task.loss({"loss": torch.cat(rows)}).total, task.loss(task.encode(model, batch)).total)


@torch.no_grad()
def test_guessing_the_mean_colour_scores_one_and_the_score_counts_clips(task):
    model, batch = some_model(), some_batch(task)
    model.decoder.head.weight.zero_()
    model.decoder.head.bias.zero_()
    scores = task.score(task.answer(model, batch), "val")
    assert scores == {"masked_video/error": pytest.approx(31 / 32, rel=1e-3), "masked_video/clips": 4}  # 32 pixels


def test_plain_pixels_are_another_target(task):
    batch, model = some_batch(task), some_model()
    plain = replace(task, normalize_targets=False)
    assert plain.loss(plain.encode(model, batch)).total != task.loss(task.encode(model, batch)).total


def test_it_trains_and_measures_itself(task, tmp_path):
    settings = Train(global_batch=4, steps=3, workers=0, log_every=1, evaluate_every=3)
    result = train(some_model(), task, Optim(lr=1e-3), settings, tmp_path / "run", watch=task)
    assert result.step == 3
    assert result.metrics["masked_video/clips"] == 2 and result.metrics["masked_video/error"] > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mask_ratio": 1.0}, "task.mask_ratio: a ratio of 1.0 hides 16 of 16"),
        ({"patch_size": 5}, "do not divide into tubes"),
        ({"tubelet": 3}, "do not divide into tubes"),
        ({"repeats": 0}, "task.repeats must be at least 1"),
        ({"stride": 0}, "task.stride must be at least 1"),
        ({"strides": (("x", 0),)}, "task.strides"),
        ({"scales": ()}, "task.scales"),
        ({"scales": (1.5,)}, "task.scales"),
    ],
)
def test_settings_out_of_range_are_refused(task, changes, said):
    with pytest.raises(RecipeError, match=said):
        replace(task, **changes)


def test_a_list_with_missing_videos_is_refused(task, tmp_path):
    (tmp_path / "list.txt").write_text("long.mp4 1\nlost.mp4 1\n")
    with pytest.raises(AnnotationError, match="1 of 2 videos are not in"):
        replace(task, listing=tmp_path / "list.txt").samples("train")
    assert len(replace(task, listing=tmp_path / "list.txt", missing="leave_out").samples("train")) == 1
