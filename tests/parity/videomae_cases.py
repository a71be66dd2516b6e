"""Finds the recorded VideoMAE arrays: in the folder named by PLAYHEAD_GOLDEN, or else in tests/golden.

What a file is, is told by the arrays in it; every size is read from its own settings, so that sets of other sizes,
seeds and names are tested as they are.
"""

import json
import os
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from playhead.models.videomae import VideoMAEClassifierConfig, VideoMAEConfig, VideoMAEEncoderConfig

GOLDEN = Path(os.environ.get("PLAYHEAD_GOLDEN") or Path(__file__).parents[1] / "golden")


def find_cases(*arrays: str) -> list[Path]:
    """Return the files that hold all of these arrays."""
    return [path for path in sorted(GOLDEN.rglob("*.safetensors")) if set(arrays) <= array_names(path)]


@cache
def array_names(path: Path) -> frozenset[str]:
    with safe_open(path, "pt") as file:
        return frozenset(file.keys())


def case_name(path: Path) -> str:
    return path.relative_to(GOLDEN).as_posix()


def read_case(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the arrays, and the metadata."""
    with safe_open(path, "pt") as file:
        return load_file(path), file.metadata()


def under(prefix: str, arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def time_major(video: Tensor) -> Tensor:
    return video.transpose(1, 2)


def _image_size(sizes: dict) -> int | tuple[int, int]:
    size = sizes["img_size"]
    return tuple(size) if isinstance(size, list) else size


def pretraining_config(metadata: dict[str, str]) -> VideoMAEConfig:
    sizes = json.loads(metadata["config"])
    encoder = VideoMAEEncoderConfig(
        image_size=_image_size(sizes),
        patch_size=sizes["patch_size"],
        tubelet=int(metadata.get("tubelet", sizes.get("tubelet_size", 2))),
        num_frames=int(metadata.get("num_frames", 16)),
        width=sizes["encoder_embed_dim"],
        depth=sizes["encoder_depth"],
        heads=sizes["encoder_num_heads"],
        mlp_ratio=sizes["mlp_ratio"],
        eps=float(metadata["norm_eps"]),
        layer_scale=sizes["init_values"] or None,
    )
    return VideoMAEConfig(
        encoder=encoder,
        decoder_width=sizes["decoder_embed_dim"],
        decoder_depth=sizes["decoder_depth"],
        decoder_heads=sizes["decoder_num_heads"],
        decoder_mlp_ratio=sizes["mlp_ratio"],
    )


def classifier_config(case: Path, metadata: dict[str, str]) -> VideoMAEClassifierConfig:
    """The file's name tells whether positions were interpolated; no array's shape does."""
    sizes = json.loads(metadata["config"])
    encoder = VideoMAEEncoderConfig(
        image_size=_image_size(sizes),
        patch_size=sizes["patch_size"],
        tubelet=sizes["tubelet_size"],
        num_frames=sizes["all_frames"],
        width=sizes["embed_dim"],
        depth=sizes["depth"],
        heads=sizes["num_heads"],
        mlp_ratio=sizes["mlp_ratio"],
        eps=float(metadata["norm_eps"]),
        layer_scale=sizes["init_values"] or None,
        positions="interpolated" if "interp" in case.stem else "direct",
    )
    return VideoMAEClassifierConfig(encoder=encoder, num_classes=sizes["num_classes"])


def assert_output(ours: Tensor, recorded: Tensor) -> None:
    torch.testing.assert_close(ours, recorded.to(ours.dtype), atol=2e-5, rtol=1e-4)


def assert_loss(ours: Tensor, recorded: Tensor) -> None:
    torch.testing.assert_close(ours.double(), recorded.double(), atol=0, rtol=1e-5)


def assert_gradient(ours: Tensor, recorded: Tensor) -> None:
    torch.testing.assert_close(ours, recorded, atol=1e-5, rtol=1e-3)
