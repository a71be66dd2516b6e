"""Published weights into `Frozen` and its towers, and back into EgoVLP's layout."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from playhead.errors import WeightsError
from playhead.models.distilbert import DistilBert, DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig, SpaceTimeTransformer
from playhead.weights.adapt import ConversionReport, Inflation, convert, rename_keys
from playhead.weights.bundle import load_tower
from playhead.weights.hub import local
from playhead.weights.keymaps import EGOVLP, TEXT_TOWER, VIDEO_TOWER, KeyMap
from playhead.weights.layouts import (
    ForeignFile,
    as_distilbert,
    heads_of,
    read_foreign,
    text_settings,
    video_settings,
)

FilePath = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a file does not show, and in what the model is to differ from it; as in the file where nothing is given."""

    num_frames: int | None = None
    """Time slots; new ones begin as `inflation` says."""
    inflation: Inflation = "zeros"
    """How new time slots are filled, see `adapt.resize_time`."""
    image_size: int | None = None
    """Height and width of a frame; positions are interpolated."""
    patch_size: int | None = None
    """Side of a patch; its kernel is resized, and with it the grid of positions."""
    heads: int | None = None
    """Attention heads of the video tower; by default they are 64 wide."""
    text_heads: int | None = None
    """Attention heads of the text tower; by default they are 64 wide."""
    text_layers: int | None = None
    """Layers that are taken of a BERT; half of them by default."""

    def __post_init__(self):
        for name in ("num_frames", "image_size", "patch_size", "heads", "text_heads", "text_layers"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")


AS_IN_THE_FILE = Sizes()

_OF_NO_USE = {
    "dual_encoder": ("text_layers",),
    "video_tower": ("text_heads", "text_layers"),
    "text_tower": ("num_frames", "image_size", "patch_size", "heads"),
}


@dataclass(frozen=True)
class TowerWeights:
    """A tower's settings and weights, as a file has them, and what became of each of its tensors."""

    settings: SpaceTimeConfig | DistilBertConfig
    """Its sizes."""
    weights: Mapping[str, Tensor]
    """By our names, in float32; what the report calls fresh is not among them."""
    missing: tuple[str, ...]
    """Patterns of what its layout does not have."""
    report: ConversionReport
    """What became of each tensor."""


def initialise_from(
    model: Frozen,
    *,
    vit: FilePath | None = None,
    distilbert: FilePath | None = None,
    bert: FilePath | None = None,
    resize: bool = False,
) -> dict[str, ConversionReport]:
    """Start the towers of a new model from published weights of each.

    `vit` is an image ViT or a TimeSformer in any layout of `layouts.LAYOUTS`, or a tower that `playhead convert` wrote;
    `distilbert` is a DistilBERT, or such a tower; `bert` is a BERT, of which some layers are taken as DistilBERT was
    made (`layouts.as_distilbert`). What an image model does not have (time norms, time attention, time embedding) and
    both projections keep the start they have. With `resize`, tables and kernels of another size are fitted.

    Returns the report of each file read, under "vit" and "distilbert" or "bert".

    Raises:
        WeightsError: a file cannot be read, or does not fit its tower.
        ValueError: both `distilbert` and `bert` are given.

    Source: EgoVLP (Lin et al., 2022), section 5.1: ViT-B/16 of ImageNet-21k and `distilbert-base-uncased`.
    """
    if distilbert is not None and bert is not None:
        raise ValueError("give `distilbert` or `bert`, not both: they fill the same tower.")
    reports = {}
    if vit is not None:
        reports["vit"] = fill_video_tower(model.video, vit, resize=resize)
    if distilbert is not None:
        reports["distilbert"] = fill_text_tower(model.text, distilbert, resize=resize)
    if bert is not None:
        reports["bert"] = fill_text_tower(model.text, bert, of_bert=True, resize=resize)
    return reports


def fill_video_tower(tower: SpaceTimeTransformer, path: FilePath, *, resize: bool = False) -> ConversionReport:
    """Start a video tower from an image ViT or a TimeSformer of any known layout, or from a converted tower.

    Raises:
        WeightsError: the file cannot be read, or does not fit the tower.
    """
    config, grid = tower.config, _grid_of(tower.config)
    if local(path).is_dir():
        given = load_tower(path)
        tensors, block = given.weights, given.settings.block if isinstance(given.settings, SpaceTimeConfig) else None
        keymap = replace(VIDEO_TOWER, fresh=given.missing)
    else:
        file = read_foreign(path)
        tensors, keymap, block = file.tensors, file.layout.keymap, file.layout.block
        if file.layout.holds != "video_tower":
            raise WeightsError(f"is of the layout {file.layout.name}; a video tower is needed here.", path=path)
    if block is None:
        raise WeightsError("holds a text tower; a video tower is needed here.", path=path)
    if block != config.block and not keymap.fresh:
        remedy = f"model.video.block={block}"
        raise WeightsError(f"has blocks of the kind {block!r}, the model of {config.block!r}; set {remedy}.", path=path)
    expected = tower.state_dict()
    state, report = convert(tensors, keymap, expected, resize=resize, grid=grid, path=path)
    tower.load_state_dict(expected | state, strict=True)
    return report


def fill_text_tower(
    tower: DistilBert, path: FilePath, *, of_bert: bool = False, resize: bool = False
) -> ConversionReport:
    """Start a text tower from a DistilBERT, from a converted tower, or with `of_bert` from layers of a BERT.

    Raises:
        WeightsError: the file cannot be read, or does not fit the tower.
    """
    if local(path).is_dir():
        given = load_tower(path)
        if not isinstance(given.settings, DistilBertConfig):
            raise WeightsError("holds a video tower; a text tower is needed here.", path=path)
        tensors, keymap = given.weights, TEXT_TOWER
    else:
        file, wanted = read_foreign(path), "bert" if of_bert else "distilbert"
        if file.layout.name != wanted:
            raise WeightsError(f"is of the layout {file.layout.name}; give it as that, not as {wanted}.", path=path)
        tensors, keymap = as_distilbert(file, tower.config.n_layers) if of_bert else (file.tensors, file.layout.keymap)
    expected = tower.state_dict()
    state, report = convert(tensors, keymap, expected, resize=resize, path=path)
    tower.load_state_dict(state, strict=True)
    return report


def load_egovlp(
    path: FilePath,
    *,
    num_frames: int | None = None,
    inflation: Inflation = "zeros",
    heads: int | None = None,
    text_heads: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> Frozen:
    """Return the model of an EgoVLP, Frozen-in-Time or LaViLa-hosted EgoVLP file, in float32 on the CPU, in eval mode.

    All sizes are read from the shapes of the tensors, but for the numbers of heads, which no tensor shows: they are 64
    wide unless given. Frames are taken to be square unless `image_size` (height, width) says otherwise. `num_frames`
    asks for another number of time slots than the file's, filled by `inflation`.

    Raises:
        WeightsError: the file cannot be read, or is not of this layout.
    """
    sizes = Sizes(num_frames=num_frames, inflation=inflation, heads=heads, text_heads=text_heads)
    return load_dual_encoder(read_foreign(path), sizes, frame_size=image_size)[0]


def load_dual_encoder(
    file: ForeignFile, sizes: Sizes = AS_IN_THE_FILE, *, frame_size: tuple[int, int] | None = None
) -> tuple[Frozen, ConversionReport]:
    """Return the model of a file that holds a whole dual encoder, in float32 on the CPU, in eval mode, with the report.

    `frame_size` is the height and width of the frames it was made for, if they are no squares.

    Raises:
        WeightsError: the file holds none, or does not make one.
    """
    layout, path = file.layout, file.path
    if layout.holds != "dual_encoder":
        raise WeightsError(f"is of the layout {layout.name}, which holds no dual encoder.", path=path)
    _refuse_useless(sizes, file)
    native = rename_keys(file.tensors, layout.keymap, path=path)
    video = video_settings(_part(native, "video."), heads=sizes.heads, image_size=frame_size, path=path)
    text = text_settings(_part(native, "text."), heads=sizes.text_heads, path=path)
    if "video_projection.weight" not in native:
        raise WeightsError(f"'video_projection.weight' is not in this {layout.name} file.", path=path)
    video = _resized(video, sizes, path)
    config = FrozenConfig(video=video, text=text, shared_dim=native["video_projection.weight"].shape[0])
    with torch.device("meta"):
        model = Frozen(config)
    state, report = _fitted(file.tensors, layout.keymap, model.state_dict(), sizes, video, path)
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval(), report


def load_tower_weights(file: ForeignFile, sizes: Sizes = AS_IN_THE_FILE) -> TowerWeights:
    """Return the tower of a file that holds one, with the report.

    Raises:
        WeightsError: the file holds none, does not make one, or is to get time slots that its layout does not have.
    """
    layout, path = file.layout, file.path
    _refuse_useless(sizes, file)
    if layout.holds == "video_tower":
        if layout.keymap.fresh and sizes.num_frames is not None:
            raise WeightsError("is an image model, which has no time slots to change.", path=path)
        native = rename_keys(file.tensors, layout.keymap, path=path)
        heads = sizes.heads or heads_of(file)
        settings = _resized(video_settings(native, heads=heads, block=layout.block, path=path), sizes, path)
        with torch.device("meta"):
            expected = SpaceTimeTransformer(settings).state_dict()
        weights, report = _fitted(file.tensors, layout.keymap, expected, sizes, settings, path)
        return TowerWeights(settings, weights, layout.keymap.fresh, report)
    if layout.holds != "text_tower":
        raise WeightsError(f"is of the layout {layout.name}, which holds a whole dual encoder.", path=path)
    tensors, keymap = file.tensors, layout.keymap
    if layout.name == "bert":
        tensors, keymap = as_distilbert(file, sizes.text_layers)
    settings = text_settings(rename_keys(tensors, keymap, path=path), heads=sizes.text_heads, path=path)
    with torch.device("meta"):
        expected = DistilBert(settings).state_dict()
    weights, report = _fitted(tensors, keymap, expected, sizes, None, path)
    return TowerWeights(settings, weights, (), report)


def to_egovlp(model: Frozen) -> dict[str, Tensor]:
    """Return the model's tensors under EgoVLP's names, without the `module.` of its trainer."""
    return rename_keys(model.state_dict(), EGOVLP.inverted())


def _refuse_useless(sizes: Sizes, file: ForeignFile) -> None:
    useless = _OF_NO_USE[file.layout.holds] + (("text_layers",) if file.layout.name == "distilbert" else ())
    for name in useless:
        if getattr(sizes, name) is not None:
            raise WeightsError(f"is of the layout {file.layout.name}; {name} is of no use to it.", path=file.path)


def _fitted(
    tensors: Mapping[str, Tensor],
    keymap: KeyMap,
    expected: Mapping[str, Tensor],
    sizes: Sizes,
    video: SpaceTimeConfig | None,
    path: FilePath,
) -> tuple[dict[str, Tensor], ConversionReport]:
    resize = sizes.image_size is not None or sizes.patch_size is not None
    grid = _grid_of(video) if video is not None else None
    state, report = convert(tensors, keymap, expected, inflation=sizes.inflation, resize=resize, grid=grid, path=path)
    return {key: value.float() for key, value in state.items()}, report


def _resized(video: SpaceTimeConfig, sizes: Sizes, path: FilePath) -> SpaceTimeConfig:
    asked = {name: getattr(sizes, name) for name in ("num_frames", "image_size", "patch_size")}
    try:
        return replace(video, **{name: value for name, value in asked.items() if value is not None})
    except ValueError as problem:
        raise WeightsError(f"cannot be made to fit: {problem}", path=path) from problem


def _grid_of(video: SpaceTimeConfig) -> tuple[int, int]:
    height, width = video.frame_size
    return height // video.patch_size, width // video.patch_size


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
