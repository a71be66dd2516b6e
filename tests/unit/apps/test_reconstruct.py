from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from playhead.apps.lettering import wrap, written
from playhead.apps.reconstruct import (
    HIDDEN_GREY,
    ReconstructSettings,
    picture,
    png,
    put_tubes,
    read_clip,
    reconstruct,
    reconstruct_clip,
    to_pixels,
)
from playhead.errors import DecodeError, RecipeError, WeightsError
from playhead.models.videomae import (
    VideoMAE,
    VideoMAEClassifier,
    VideoMAEClassifierConfig,
    VideoMAEConfig,
    VideoMAEEncoderConfig,
)
from playhead.objectives.masked_video import pixel_targets
from playhead.recipes.serialize import to_plain
from playhead.tasks.masked_video import MaskedVideo
from playhead.video.transforms import Preprocess
from playhead.video.tubes import take_tubes, tube_grid
from playhead.weights.bundle import save_task_bundle

ENCODER = VideoMAEEncoderConfig(image_size=16, patch_size=8, num_frames=4, width=16, depth=1, heads=2)
MODEL = VideoMAEConfig(encoder=ENCODER, decoder_width=8, decoder_depth=1, decoder_heads=2)
SETTINGS = ReconstructSettings(columns=2)


@pytest.fixture
def task(tmp_path):
    preprocess = Preprocess(num_frames=4, image_size=16, resize=24)
    return MaskedVideo(videos=tmp_path, preprocess=preprocess, patch_size=8, stride=2, mask_ratio=0.75)


@pytest.fixture
def bundle(tmp_path, task):
    torch.manual_seed(0)
    save_task_bundle(tmp_path / "bundle", VideoMAE(MODEL), to_plain(task), {})
    return tmp_path / "bundle"


def write_video(path, num_frames):
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = 24, 32, "yuv420p"
        for _ in range(num_frames):
            frame = noise.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4", 20)


def test_a_true_answer_gives_the_original_back_at_its_places(task):
    """The targets themselves, un-normalised and put in place, are the pixels that were hidden."""
    video = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 4, 3, 16, 16), dtype=np.uint8))
    places = torch.tensor([[7, 0, 2]])
    tubes = take_tubes(tube_grid(video, 2, 8).movedim(4, -1), places)
    for normalized in (True, False):
        answer = pixel_targets(tubes, normalized=normalized)
        assert (to_pixels(answer, tubes, normalized).int() - tubes.int()).abs().max() <= 1
    blank = put_tubes(video, places, torch.zeros_like(tubes), task)
    assert (blank[:, 2:, :, 8:, 8:] == 0).all() and (blank[:, :2, :, :8, :8] == 0).all()
    assert (blank[:, :2, :, 8:, :8] == 0).all() and torch.equal(blank[:, :2, :, :8, 8:], video[:, :2, :, :8, 8:])
    assert_close(put_tubes(blank, places, tubes, task), video, atol=0, rtol=0)


def test_what_is_visible_stays_and_what_is_hidden_is_grey_or_the_models(task, video):
    torch.manual_seed(0)
    clip = read_clip(video, task, SETTINGS)
    made = reconstruct_clip(VideoMAE(MODEL).eval(), task, clip, SETTINGS)
    hidden = torch.from_numpy(made.hidden.reshape(2, 1, 2, 2)).repeat_interleave(2, 0)
    hidden = hidden.repeat_interleave(8, 2).repeat_interleave(8, 3).expand(4, 3, 16, 16)
    assert made.hidden.sum() == 6
    assert torch.equal(made.masked[~hidden], made.original[~hidden]) and (made.masked[hidden] == HIDDEN_GREY).all()
    assert torch.equal(made.reconstructed[~hidden], made.original[~hidden])
    assert not torch.equal(made.reconstructed[hidden], made.original[hidden])
    assert made.times.tolist() == pytest.approx([0.6, 0.8, 1.0, 1.2])  # 7 of 20 frames, in the middle
    other = reconstruct_clip(VideoMAE(MODEL).eval(), task, clip, replace(SETTINGS, seed=3, mask_ratio=0.5))
    assert other.hidden.sum() == 4


def test_pictures_are_png_files_with_three_rows(bundle, video, tmp_path):
    told = []
    paths = reconstruct(bundle, [video], tmp_path / "out", SETTINGS, lambda path, made: told.append((path, made)))
    assert paths == [tmp_path / "out" / "clip.png"] and [path for path, _ in told] == paths
    assert list((tmp_path / "out").iterdir()) == paths  # nothing half-written beside it
    with av.open(str(paths[0])) as file:
        frame = next(file.decode(video=0)).to_ndarray(format="rgb24")
    zoom, made = 7, told[0][1]  # 16 pixels to at least 112
    assert frame.shape[1] == 2 * (16 * zoom + 4) + 4
    shown = made.original[1].repeat_interleave(zoom, 1).repeat_interleave(zoom, 2).permute(1, 2, 0).numpy()
    top = next(y for y in range(40) if np.array_equal(frame[y : y + 112, 4:116], shown))
    assert top > 0
    assert (frame[:, :4] == 255).all()


def test_the_caption_says_whose_colours_are_shown(task, video):
    torch.manual_seed(0)
    made = reconstruct_clip(VideoMAE(MODEL).eval(), task, read_clip(video, task, SETTINGS), SETTINGS)
    plain = replace(task, normalize_targets=False)
    told, untold = (picture(made, of, "clip.mp4", 2).shape[1] for of in (task, plain))
    assert told > untold + 30  # some lines more


def test_a_png_gives_back_its_pixels(tmp_path):
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 5, 7), dtype=np.uint8))
    (tmp_path / "some.png").write_bytes(png(image))
    with av.open(str(tmp_path / "some.png")) as file:
        frame = next(file.decode(video=0)).to_ndarray(format="rgb24")
    assert np.array_equal(frame, image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("length", "settings", "said"),
    [
        (6, SETTINGS, r"has 6 frames, but a clip of 4, 2 apart, needs 7; set stride to at most 1"),
        (1, SETTINGS, r"has 1 frames, .* no stride makes it fit"),
        (20, replace(SETTINGS, start=1.6), r"does not fit into 2.00 s; begin it at most at 1.30 s"),
        (20, replace(SETTINGS, start=-1.0), r"does not fit"),
    ],
)
def test_clips_that_do_not_fit_are_refused(task, tmp_path, length, settings, said):
    with pytest.raises(DecodeError, match=said):
        read_clip(write_video(tmp_path / "some.mp4", length), task, settings)


def test_bundles_of_other_models_are_refused(tmp_path, task, video):
    classifier = VideoMAEClassifier(VideoMAEClassifierConfig(encoder=ENCODER, num_classes=2))
    save_task_bundle(tmp_path / "classifier", classifier, {}, {})
    with pytest.raises(WeightsError, match=r"holds a 'videomae_classifier'; .* no decoder any more"):
        reconstruct(tmp_path / "classifier", [video], tmp_path / "out", SETTINGS)
    with pytest.raises(WeightsError, match="is no bundle"):
        reconstruct(tmp_path, [video], tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()


def test_questions_that_make_no_picture_are_refused(bundle, video, tmp_path):
    with pytest.raises(RecipeError, match=r"two videos would write clip\.png"):
        reconstruct(bundle, [video, tmp_path / "other" / "clip.mkv"], tmp_path / "out", SETTINGS)
    with pytest.raises(RecipeError, match="no video"):
        reconstruct(bundle, [], tmp_path / "out", SETTINGS)
    with pytest.raises(RecipeError, match=r"mask_ratio: a ratio of 1\.0 hides"):
        reconstruct(bundle, [video], tmp_path / "out", replace(SETTINGS, mask_ratio=1.0))
    with pytest.raises(RecipeError, match="columns"):
        ReconstructSettings(columns=0)


def test_texts_are_wrapped_at_blanks_and_long_words_cut():
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("abcdefghij kl", 4) == ["abcd", "efgh", "ij", "kl"]


def test_letters_are_black_on_white_as_drawn():
    page = written("L", 9)
    assert page.shape == (3, 10, 9)
    drawn = ["".join("#" if value == 0 else "." for value in row) for row in page[0].tolist()]
    assert drawn[1:8] == ["..#......"] * 6 + ["..#####.."]
    assert written("a b", 60, size=2).shape[2] == 60
    assert torch.equal(written("§", 20), written("?", 20))
