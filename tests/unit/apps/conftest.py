"""A model that knows three colours, and videos that show them: what search should find can be counted by hand."""

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.text.wordpiece import WordPiece
from playhead.video.transforms import Preprocess
from playhead.weights.bundle import Bundle, load_bundle, save_bundle

sys.path.append(str(Path(__file__).parents[1] / "video"))  # for made_videos, which tests of apps use too

COLOURS = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1)}
PIXELS = {"red": (230, 10, 10), "green": (10, 230, 10), "blue": (10, 10, 230), "gray": (128, 128, 128)}


def colour_model() -> Frozen:
    """Frozen with weights set by hand: a clip's row is its mean colour, a text's the mean of its colour words.

    Signed colours lie in the first three dimensions and, negated, in the next three, so that every layer norm (whose
    mean over them is zero) keeps their direction; all attention is uniform, all perceptrons give nothing.
    """
    video = SpaceTimeConfig(image_size=16, patch_size=16, width=8, depth=1, heads=1, mlp_ratio=1, num_frames=4)
    text = DistilBertConfig(dim=8, n_layers=1, n_heads=1, hidden_dim=8, max_positions=16)
    model = Frozen(FrozenConfig(video=video, text=text, shared_dim=3))
    signs = torch.cat([torch.eye(3), -torch.eye(3), torch.zeros(2, 3)])  # (8, 3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if name.endswith("norm.weight") else 0.0)
        model.video.patch_embedding.weight.copy_(signs[:, :, None, None].expand(-1, -1, 16, 16) / 256)
        space = model.video.layers[0].space_attention
        space.qkv.weight[16:].copy_(torch.eye(8))
        space.proj.weight.copy_(torch.eye(8))
        words = WordPiece()
        for colour, direction in COLOURS.items():
            token = int(words([colour]).ids[0, 1])
            model.text.word_embedding.weight[token] = signs @ torch.tensor(direction, dtype=torch.float32)
        attention = model.text.layers[0]
        attention.value.weight.copy_(torch.eye(8))
        attention.out.weight.copy_(torch.eye(8))
        model.video_projection.weight.copy_(signs.T)
        model.text_projection.weight.copy_(signs.T)
    return model


def save_colour_bundle(path: Path, *, dust: float = 0.0) -> Path:
    """Write the colour model as a bundle; `dust` on one weight makes it another model."""
    model = colour_model()
    with torch.no_grad():
        model.video_projection.bias += dust
    preprocess = Preprocess(
        num_frames=4, image_size=16, resize=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), window=1.0
    )
    save_bundle(path, model, preprocess, "bert-base-uncased", {"made": "by hand"})
    return path


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory) -> Path:
    return save_colour_bundle(tmp_path_factory.mktemp("bundle") / "colours")


@pytest.fixture(scope="session")
def bundle(bundle_path) -> Bundle:
    return load_bundle(bundle_path)


def write_video(path: Path, shots: list[tuple[str, float]], *, fps: int = 8, size: tuple[int, int] = (32, 24)) -> Path:
    """Write an mp4 that shows each colour for so many seconds; its tables come first, so that a piece of it opens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, fps)
        for colour, seconds in shots:
            picture = np.full((size[1], size[0], 3), PIXELS[colour], dtype=np.uint8)
            for _ in range(round(seconds * fps)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def make_video():
    return write_video


def write_cut_video(path: Path) -> Path:
    """Write half a minute of red of which the last fifth of the bytes is missing: it opens, and breaks on the way."""
    whole = write_video(path, [("red", 30)]).read_bytes()
    path.write_bytes(whole[: len(whole) * 4 // 5])
    return path


@pytest.fixture(scope="session")
def make_cut_video():
    return write_cut_video


@pytest.fixture(scope="session")
def make_bundle():
    return save_colour_bundle
