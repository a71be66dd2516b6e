"""A mixture of sources as a task: what a batch is, what is lost and logged, and that a run may stop at any step."""

import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from playhead.errors import DecodeError, RecipeError
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.objectives.info_nce import info_nce
from playhead.tasks import mixture
from playhead.tasks.mixture import Mixture, row_figures
from playhead.tasks.video_text import ClipTextSample, VideoText
from playhead.train.config import Optim, Train
from playhead.train.log import read_log
from playhead.train.loop import train
from playhead.video.transforms import Augment, Preprocess


def source(kind="webvid", frames=2, **settings) -> VideoText:
    preprocess = Preprocess(num_frames=frames, image_size=16, resize=16)
    plain = {} if kind == "egoclip" else {"loss_name": "info_nce", "neighbour_within": None}
    return VideoText(videos=Path("."), pairs=Path("p"), kind=kind, preprocess=preprocess, **(plain | settings))


def mixed(*sources, **settings) -> Mixture:
    return Mixture(sources=sources or (source("cc3m", 1), source("webvid", 2)), **settings)


def sample(name: str, frames: int, tags: int = 0) -> ClipTextSample:
    pixels, none = torch.full((frames, 3, 16, 16), len(name), dtype=torch.uint8), np.ones(tags, bool)
    return ClipTextSample(pixels, f"a text of {name}", none, none, name)


def unit_rows(seed: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, 8, generator=generator), dim=1)


def test_sources_are_named_by_their_kind_and_the_model_wants_what_the_longest_gives():
    task = mixed(source("webvid", 2), source("cc3m", 1), source("webvid", 4))
    assert task.names == ("webvid", "cc3m", "webvid_2")
    assert task.preprocess.num_frames == 4 and task.tokenizer == "bert-base-uncased"


@pytest.mark.parametrize(
    ("sources", "settings", "said"),
    [
        ((source(),), {}, "at least two sources"),
        ((source(), source()), {"weights": (1.0,)}, "1 weights for 2 sources"),
        ((source(), source()), {"weights": (1.0, -1.0)}, "must be above 0"),
        (
            (source(), source(tokenizer="clip-bpe")),
            {},
            "disagree on tokenizer: 'bert-base-uncased' in webvid, 'clip-bpe'",
        ),
        ((source(), replace(source(), preprocess=Preprocess(image_size=32))), {}, "disagree on preprocess"),
        (
            (source("cc3m", 1), source()),
            {"batches": "all_sources"},
            "disagree on preprocess.num_frames: 1 in cc3m, 2 in",
        ),
        ((source(), source(temperature=0.1)), {"batches": "all_sources"}, "disagree on temperature"),
        ((source(), source("egoclip")), {"batches": "all_sources"}, "disagree on loss_name"),
        ((source("egoclip"), source("egoclip")), {"batches": "all_sources"}, "set loss_name='info_nce'"),
    ],
)
def test_sources_that_do_not_go_together_are_refused(sources, settings, said):
    with pytest.raises(RecipeError, match=said):
        mixed(*sources, **settings)


def test_captions_have_neither_actions_nor_neighbours():
    for kind in ("webvid", "cc3m", "howto100m"):
        with pytest.raises(RecipeError, match="info_nce"):
            source(kind, loss_name="ego_nce")


def test_a_batch_of_one_source_has_its_number_of_frames():
    batch = mixed().collate([(0, (sample("a", 1),)), (0, (sample("bb", 1),))])
    assert batch.clips.video.shape == (2, 1, 3, 16, 16) and batch.names == ("a", "bb")
    assert batch.sources.tolist() == [0, 0] and batch.task == 0
    batch = mixed(source(), source("egoclip")).collate([(1, (sample("a", 2, 3), sample("a2", 2, 3)))] * 2)
    assert batch.names == ("a", "a", "a2", "a2") and batch.sources.tolist() == [1, 1, 1, 1] and batch.task == 1
    parts = mixed().split(batch, 3)
    assert [part.names for part in parts] == [("a", "a", "a2"), ("a2",)] and parts[0].sources.tolist() == [1, 1, 1]


def test_a_batch_of_all_sources_forgets_the_tags_that_only_some_have():
    egoclip = source("egoclip", loss_name="info_nce", neighbour_within=None)
    task = mixed(source("cc3m"), egoclip, batches="all_sources")
    batch = task.collate([(1, (sample("a", 2, 3),)), (0, (sample("bb", 2),))])
    assert batch.sources.tolist() == [1, 0] and batch.clips.nouns.shape == (2, 0)
    assert batch.clips.video[:, 0, 0, 0, 0].tolist() == [1, 2]


def test_a_step_of_one_source_loses_what_that_source_alone_would():
    task = mixed(source(), source("egoclip"))
    own = {
        "video": unit_rows(0, 6),
        "text": unit_rows(1, 6),
        "nouns": torch.ones(6, 2) > 0,
        "verbs": torch.ones(6, 2) > 0,
    }
    alone, together = task.sources[1].loss(own), task.loss({**own, "source": torch.full((6,), 1)})
    assert_close(together.total, alone.total)
    assert together.parts == {
        "egoclip/ego_nce": alone.parts["ego_nce"],
        "egoclip/accuracy": alone.parts["accuracy"],
        "egoclip/clips": 6.0,
    }


def test_a_step_of_all_sources_loses_info_nce_of_all_rows_and_tells_each_source(monkeypatch):
    monkeypatch.setattr(mixture, "BLOCK_ROWS", 4)
    task = mixed(source("cc3m"), source("webvid"), source("howto100m"), batches="all_sources")
    video = unit_rows(0, 10)
    text = torch.nn.functional.normalize(video + 2.0 * unit_rows(1, 10), dim=1)
    which = torch.tensor([0, 1, 1, 0, 1, 1, 1, 0, 1, 1])
    none = torch.zeros(10, 0, dtype=torch.bool)
    loss = task.loss({"video": video, "text": text, "nouns": none, "verbs": none, "source": which})
    assert_close(loss.total, info_nce(video, text, temperature=0.05))
    parts = loss.parts
    assert (parts["cc3m/clips"], parts["webvid/clips"], parts["howto100m/clips"]) == (3.0, 7.0, 0.0)
    assert "howto100m/info_nce" not in parts
    for figure in ("info_nce", "accuracy"):
        mean = (3 * parts[f"cc3m/{figure}"] + 7 * parts[f"webvid/{figure}"]) / 10
        assert mean == pytest.approx(parts[figure], rel=1e-4)
    losses, hits = row_figures(video, text, 0.05)
    similarity = (video @ text.T / 0.05).log_softmax(1).diag() + (text @ video.T / 0.05).log_softmax(1).diag()
    assert_close(losses, -similarity, rtol=1e-5, atol=1e-5)
    assert hits.tolist() == [float((video @ text.T)[row].argmax() == row) for row in range(10)]


def write_png(path: Path, value: int) -> None:
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 24, 20, "rgb24", 1
    pixels = np.full((20, 24, 3), value, np.uint8)
    pixels[:, :12] = 255 - value
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame.pts = 0
    path.write_bytes(b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None))))


@pytest.fixture(scope="module")
def stills(tmp_path_factory) -> Path:
    """CC3M of 16 pictures, and the same pictures as a source of two frames each."""
    root = tmp_path_factory.mktemp("cc3m")
    (root / "training").mkdir()
    lines = []
    for number in range(16):
        url = f"http://a/{number}.png"
        write_png(root / "training" / str(zlib.crc32(url.encode())), 16 * number)
        lines.append(f"a picture of grey {number}\t{url}\n")
    (root / "Train_GCC-training.tsv").write_text("".join(lines))
    return root


def stills_source(root: Path, frames: int) -> VideoText:
    augment = Augment(scale=(0.5, 1.0), flip=0.5)
    files = {"videos": root / "training", "pairs": root / "Train_GCC-training.tsv"}
    return replace(source("cc3m", frames), augment=augment, max_words=8, **files)


def test_a_picture_is_a_clip_of_equal_frames_and_its_view_comes_from_the_seed(stills):
    samples = stills_source(stills, 3).samples("train")
    assert len(samples) == 16
    (one,), (again,), (other,) = (samples.read(5, seed) for seed in (1, 1, 2))
    assert one.frames.shape == (3, 3, 16, 16) and one.text == "a picture of grey 5"
    assert all(torch.equal(one.frames[0], frame) for frame in one.frames)
    assert torch.equal(one.frames, again.frames) and not torch.equal(one.frames, other.frames)
    assert torch.equal(stills_source(stills, 1).samples("train").read(5, 1)[0].frames, one.frames[:1])


def test_a_picture_that_is_gone_is_named(stills, tmp_path):
    shutil.copytree(stills, tmp_path / "cc3m")
    samples = stills_source(tmp_path / "cc3m", 1).samples("train")
    gone = tmp_path / "cc3m" / "training" / samples.source.table[5].file
    gone.unlink()
    with pytest.raises(DecodeError, match=gone.name):
        samples.read(5, 0)


def run(task: Mixture, run_dir: Path, steps: int = 3):
    torch.manual_seed(0)
    model = Frozen(
        FrozenConfig(
            video=SpaceTimeConfig(image_size=16, patch_size=8, width=16, depth=1, heads=2, num_frames=2),
            text=DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_positions=16),
            shared_dim=8,
        )
    )
    settings = Train(global_batch=4, steps=steps, workers=0, save_every=1, keep_last=10, log_every=2)
    train(model, task, Optim(lr=1e-3), settings, run_dir)
    return model.state_dict()


@pytest.mark.parametrize(("batches", "stops"), [("one_source", (1, 2)), ("all_sources", (2,))])
def test_a_run_of_a_mixture_goes_on_where_it_stopped_to_the_same_weights(stills, tmp_path, batches, stops):
    frames = (1, 2) if batches == "one_source" else (2, 2)
    task = mixed(*(stills_source(stills, count) for count in frames), weights=(1.0, 2.0), batches=batches)
    whole = run(task, tmp_path / "whole")
    for stopped in stops:
        again = tmp_path / f"from_{stopped}"
        shutil.copytree(tmp_path / "whole", again)
        for later in range(stopped + 1, 4):
            shutil.rmtree(again / "checkpoints" / f"step_{later:08d}")
        resumed = run(task, again)
        assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def test_every_logged_step_tells_all_sources_though_they_take_turns(stills, tmp_path):
    task = mixed(*(stills_source(stills, count) for count in (1, 2)), weights=(1.0, 1.0))
    run(task, tmp_path, steps=4)
    logged = [line for line in read_log(tmp_path) if "loss" in line]
    assert [line["step"] for line in logged] == [2, 4]  # every second step is one source's
    for line in logged:
        assert {"cc3m/info_nce", "cc3m/accuracy", "cc3m/clips", "cc3m_2/info_nce"} <= set(line["parts"])
        assert line["parts"]["cc3m_2/info_nce"] == pytest.approx(line["loss"])
