"""Official weights into `Frozen`, and back into the published layout."""

import math
import os
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from playhead.errors import WeightsError
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.weights.adapt import ConversionReport, Inflation, convert, rename_keys
from playhead.weights.checkpoint_files import read_checkpoint
from playhead.weights.keymaps import DISTILBERT, EGOVLP, LAVILA, VIT


def initialise_from(
    model: Frozen,
    *,
    vit: str | os.PathLike[str] | None = None,
    distilbert: str | os.PathLike[str] | None = None,
) -> dict[str, ConversionReport]:
    """Start the towers of a new model from an image ViT (timm names) and from DistilBERT (Hugging Face names).

    What an image model does not have (time norms, time attention, time embedding) and both projections keep the start
    they have. Returns the report of each file read, under "vit" and "distilbert".

    Raises:
        WeightsError: a file cannot be read, or does not fit its tower.

    Source: EgoVLP (Lin et al., 2022), section 5.1: ViT-B/16 of ImageNet-21k and `distilbert-base-uncased`.
    """
    reports = {}
    for name, path, keymap, tower in (
        ("vit", vit, VIT, model.video),
        ("distilbert", distilbert, DISTILBERT, model.text),
    ):
        if path is not None:
            expected = tower.state_dict()
            state, reports[name] = convert(read_checkpoint(path), keymap, expected, path=path)
            tower.load_state_dict(expected | state, strict=True)
    return reports


def load_egovlp(
    path: str | os.PathLike[str],
    *,
    num_frames: int | None = None,
    inflation: Inflation = "zeros",
    heads: int = 12,
    text_heads: int = 12,
    image_size: tuple[int, int] | None = None,
) -> Frozen:
    """Return the model of an EgoVLP, Frozen-in-Time or LaViLa-hosted EgoVLP file, in float32 on the CPU, in eval mode.

    All sizes are read from the shapes of the tensors, but for the numbers of heads, which no tensor shows. Frames are
    taken to be square unless `image_size` (height, width) says otherwise. `num_frames` asks for another number of time
    slots than the file's, filled by `inflation`.

    Raises:
        WeightsError: the file cannot be read, or is not of this layout.
    """
    source = read_checkpoint(path)
    bare_keys = [key.removeprefix("module.") for key in source]
    keymap = LAVILA if any(key.startswith("visual.") for key in bare_keys) else EGOVLP
    native = rename_keys(source, keymap, path=path)
    try:
        config = _config_of(native, heads, text_heads, image_size)
    except KeyError as missing:
        raise WeightsError(f"{missing} is not in this {keymap.name} file.", path=path) from missing
    except (ValueError, IndexError) as problem:
        raise WeightsError(f"its shapes do not make a model: {problem}", path=path) from problem
    if num_frames is not None:
        config = replace(config, video=replace(config.video, num_frames=num_frames))
    with torch.device("meta"):
        model = Frozen(config)
    state, _ = convert(source, keymap, model.state_dict(), inflation=inflation, path=path)
    model.load_state_dict({key: value.float() for key, value in state.items()}, strict=True, assign=True)
    return model.eval()


def to_egovlp(model: Frozen) -> dict[str, Tensor]:
    """Return the model's tensors under EgoVLP's names, without the `module.` of its trainer."""
    return rename_keys(model.state_dict(), EGOVLP.inverted())


def _config_of(
    state: Mapping[str, Tensor], heads: int, text_heads: int, image_size: tuple[int, int] | None
) -> FrozenConfig:
    patch_size = state["video.patch_embedding.weight"].shape[-1]
    width = state["video.cls_token"].shape[-1]
    side = math.isqrt(state["video.position_embedding"].shape[1] - 1) * patch_size
    video = SpaceTimeConfig(
        image_size=image_size or (side, side),
        patch_size=patch_size,
        width=width,
        depth=_count_layers(state, "video"),
        heads=heads,
        mlp_ratio=state["video.layers.0.mlp.up.weight"].shape[0] / width,
        num_frames=state["video.time_embedding"].shape[1],
    )
    vocab_size, dim = state["text.word_embedding.weight"].shape
    text = DistilBertConfig(
        vocab_size=vocab_size,
        dim=dim,
        n_layers=_count_layers(state, "text"),
        n_heads=text_heads,
        hidden_dim=state["text.layers.0.mlp.up.weight"].shape[0],
        max_positions=state["text.position_embedding.weight"].shape[0],
    )
    return FrozenConfig(video=video, text=text, shared_dim=state["video_projection.weight"].shape[0])


def _count_layers(state: Mapping[str, Tensor], tower: str) -> int:
    start = f"{tower}.layers."
    return len({key.removeprefix(start).split(".")[0] for key in state if key.startswith(start)})
