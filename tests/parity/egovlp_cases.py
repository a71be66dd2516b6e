"""Finds the recorded EgoVLP arrays: in the folder named by PLAYHEAD_GOLDEN, or else in tests/golden.

Every size is read from the files of a case, so that sets of other sizes, seeds and names are tested as they are.
"""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import FrozenConfig, SpaceTimeConfig

GOLDEN = Path(os.environ.get("PLAYHEAD_GOLDEN") or Path(__file__).parents[1] / "golden")


def find_cases(pattern: str) -> list[Path]:
    return sorted(GOLDEN.rglob(pattern))


def case_name(path: Path) -> str:
    return path.relative_to(GOLDEN).as_posix()


def read_sizes(case: Path) -> dict:
    return json.loads(next(path for folder in case.parents if (path := folder / "config.json").exists()).read_text())


def video_config(case: Path, num_frames: int | None = None) -> SpaceTimeConfig:
    sizes = read_sizes(case)["video"]
    return SpaceTimeConfig(
        image_size=(sizes["height"], sizes["width"]),
        patch_size=sizes["patch_size"],
        width=sizes["embed_dim"],
        depth=sizes["depth"],
        heads=sizes["num_heads"],
        mlp_ratio=sizes["mlp_ratio"],
        num_frames=num_frames or sizes["num_frames"],
        eps=sizes["layer_norm_eps"],
    )


def frozen_config(case: Path) -> FrozenConfig:
    sizes = read_sizes(case)
    text = sizes["text"]
    return FrozenConfig(
        video=video_config(case),
        text=DistilBertConfig(
            vocab_size=text["vocab_size"],
            dim=text["dim"],
            n_layers=text["n_layers"],
            n_heads=text["n_heads"],
            hidden_dim=text["hidden_dim"],
            max_positions=text["max_position_embeddings"],
            eps=text["layer_norm_eps"],
        ),
        shared_dim=sizes["projection_dim"],
    )


def read_arrays(case: Path) -> dict[str, Tensor]:
    return load_file(case)


def under(prefix: str, arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def assert_output(ours: Tensor, recorded: Tensor) -> None:
    torch.testing.assert_close(ours, recorded, atol=2e-5, rtol=1e-4)


def assert_gradient(ours: Tensor, recorded: Tensor) -> None:
    torch.testing.assert_close(ours, recorded, atol=5e-5, rtol=1e-3)
