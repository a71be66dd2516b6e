"""Official weights of VSLNet and 2D-TAN, as released for Ego4D's natural language queries, into our models."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from torch import Tensor, nn

from playhead.errors import WeightsError
from playhead.models.tan2d import Tan2d, Tan2dConfig
from playhead.models.vslnet import VSLNet, VSLNetConfig, WordsConfig
from playhead.weights.adapt import convert, rename_keys
from playhead.weights.checkpoint_files import read_checkpoint
from playhead.weights.keymaps import KeyMap

Model = TypeVar("Model", bound=nn.Module)


def _encoder(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return (
        (f"{theirs}.pos_embedding.position_embeddings", f"{ours}.positions"),
        (f"{theirs}.conv_block.depthwise_separable_conv.*.0", f"{ours}.convs.*.depthwise"),
        (f"{theirs}.conv_block.depthwise_separable_conv.*.1", f"{ours}.convs.*.pointwise"),
        (f"{theirs}.conv_block.layer_norms.*", f"{ours}.convs.*.norm"),
        (f"{theirs}.attention_block.query.conv1d", f"{ours}.attention.query"),
        (f"{theirs}.attention_block.key.conv1d", f"{ours}.attention.key"),
        (f"{theirs}.attention_block.value.conv1d", f"{ours}.attention.value"),
        (f"{theirs}.attention_block.out_layer.conv1d", f"{ours}.attention.out"),
        (f"{theirs}.attention_block.layer_norm1", f"{ours}.attention.attention_norm"),
        (f"{theirs}.attention_block.layer_norm2", f"{ours}.attention.out_norm"),
    )


VSLNET = KeyMap(
    name="VSLNet (Ego4D)",
    renames=(
        ("video_affine.linear.conv1d", "video_projection"),
        ("query_affine", "text_projection"),
        ("embedding_net.word_emb.pad_vec", "word_embedding.padding"),
        ("embedding_net.word_emb.unk_vec", "word_embedding.unknown"),
        ("embedding_net.word_emb.glove_vec", "word_embedding.vectors"),
        ("embedding_net.word_emb.word_emb", "word_embedding.words"),
        ("embedding_net.char_emb.char_emb", "word_embedding.chars"),
        ("embedding_net.char_emb.char_convs.*.0", "word_embedding.char_convs.*"),
        ("embedding_net.linear.conv1d", "word_embedding.out"),
        *_encoder("feature_encoder", "encoder"),
        ("cq_attention.w4C", "attention.video_score.weight"),
        ("cq_attention.w4Q", "attention.query_score.weight"),
        ("cq_attention.w4mlu", "attention.product_score.weight"),
        ("cq_attention.cqa_linear.conv1d", "attention.out"),
        ("cq_concat.weighted_pool.weight", "pooling.score.weight"),
        ("cq_concat.conv1d.conv1d", "pooling.out"),
        ("highlight_layer.conv1d.conv1d", "highlight"),
        *_encoder("predictor.encoder", "predictor.encoder"),
        ("predictor.start_encoder.lstm", "predictor.start_lstm"),
        ("predictor.end_encoder.lstm", "predictor.end_lstm"),
        ("predictor.start_layer_norm", "predictor.start_norm"),
        ("predictor.end_layer_norm", "predictor.end_norm"),
        ("predictor.start_block.0.conv1d", "predictor.start.hidden"),
        ("predictor.start_block.2.conv1d", "predictor.start.out"),
        ("predictor.end_block.0.conv1d", "predictor.end.hidden"),
        ("predictor.end_block.2.conv1d", "predictor.end.out"),
    ),
    drops=(("embedding_net.embedder", "the frozen BERT of `--predictor bert`, whose features our VSLNet is given"),),
    prefixes=("module.",),
)
"""`vslnet_{step}.t7` of Ego4D's and of EgoVLP's episodic memory, into a `VSLNet`."""

TAN2D = KeyMap(
    name="2D-TAN (Ego4D)",
    renames=(
        ("frame_layer.vis_conv", "row_projection"),
        ("fusion_layer.tex_linear", "text_projection"),
        ("fusion_layer.vis_conv", "moment_projection"),
        ("map_layer.convs.*", "convs.*"),
        ("pred_layer", "out"),
    ),
    prefixes=("module.",),
)
"""The released 2D-TAN with moments by maximum, into a `Tan2d`."""


def load_vslnet(path: str | os.PathLike[str], *, heads: int = 8) -> VSLNet:
    """Return the model of a `vslnet_{step}.t7` file (or its safetensors), in float32 on the CPU, in eval mode.

    All sizes are read from the shapes of the tensors, but for `heads`, which no tensor shows. The weights of BERT,
    which such a file may hold, are left out: give the model the features of BERT's tokens.

    Raises:
        WeightsError: the file cannot be read, or is not of this layout.
    """
    source = read_checkpoint(path)
    native = rename_keys(source, VSLNET, path=path)
    try:
        model = VSLNet(_vslnet_config(native, heads))
    except KeyError as missing:
        raise WeightsError(f"{missing} is not in this {VSLNET.name} file.", path=path) from missing
    except (ValueError, IndexError) as problem:
        raise WeightsError(f"its shapes do not make a model: {problem}", path=path) from problem
    return _fill(model, source, VSLNET, path=path)


def load_tan2d(
    path: str | os.PathLike[str],
    *,
    num_rows: int = 40,
    scales: tuple[int, ...] = (16, 8, 8),
    paddings: tuple[int, ...] = (16, 0, 0, 0),
) -> Tan2d:
    """Return the model of a released 2D-TAN file, in float32 on the CPU, in eval mode.

    Widths, kernels and the kind of moments are read from the tensors. What no tensor shows must be told: the rows of
    a window, the lengths of moments at each scale, and the paddings of the map's convolutions.

    Raises:
        WeightsError: the file cannot be read, is not of this layout, or does not fit what is told.
    """
    source = read_checkpoint(path)
    keymap = tan2d_keymap(scales)
    native = rename_keys(source, keymap, path=path)
    try:
        convs = [native[f"convs.{index}.weight"] for index in range(_count(native, "convs"))]
        config = Tan2dConfig(
            video_dim=native["row_projection.weight"].shape[1],
            text_dim=native["text_projection.weight"].shape[1],
            width=native["row_projection.weight"].shape[0],
            num_rows=num_rows,
            moments="conv" if "moments.convs.0.weight" in native else "max",
            scales=scales,
            kernels=tuple(conv.shape[2] for conv in convs),
            paddings=paddings,
        )
    except KeyError as missing:
        raise WeightsError(f"{missing} is not in this {keymap.name} file.", path=path) from missing
    except (ValueError, IndexError) as problem:
        raise WeightsError(f"its shapes do not make a model: {problem}", path=path) from problem
    return _fill(Tan2d(config), source, keymap, path=path)


def tan2d_keymap(scales: tuple[int, ...]) -> KeyMap:
    """Return `TAN2D` with the names of convolutional moments, which the release numbers scale by scale."""
    numbered = [(scale, index) for scale, num_lengths in enumerate(scales) for index in range(num_lengths)]
    convs = tuple(
        (f"prop_layer.layers.{scale}.{index}", f"moments.convs.{place}")
        for place, (scale, index) in enumerate(numbered)
    )
    return replace(TAN2D, renames=TAN2D.renames + convs)


def _fill(
    model: Model, source: Mapping[str, Tensor], keymap: KeyMap, *, path: str | os.PathLike[str] | None = None
) -> Model:
    """Put the tensors of `source` into the model and return it, in eval mode; strict on both sides.

    Convolutions over one row, which are linear layers here, come with axes of length one; these are taken away.

    Raises:
        WeightsError: a key without a rule, a parameter without a source, or another shape.
    """
    expected = model.state_dict()
    shaped = {key: _without_unit_axes(value, expected.get(keymap.rename(key) or "")) for key, value in source.items()}
    state, _ = convert(shaped, keymap, expected, path=path)
    model.load_state_dict({key: value.float() for key, value in state.items()}, strict=True)
    return model.eval()


def _without_unit_axes(given: Tensor, wanted: Tensor | None) -> Tensor:
    if wanted is None or given.squeeze().shape != wanted.squeeze().shape:
        return given
    return given.reshape(wanted.shape)


def _vslnet_config(state: Mapping[str, Tensor], heads: int) -> VSLNetConfig:
    words = "word_embedding.out.weight" in state
    width, video_dim = state["video_projection.weight"].shape[:2]
    return VSLNetConfig(
        video_dim=video_dim,
        text_dim=VSLNetConfig.text_dim if words else state["text_projection.weight"].shape[1],
        words=_words_config(state) if words else None,
        width=width,
        heads=heads,
        predictor="lstm" if "predictor.start_lstm.weight_hh_l0" in state else "transformer",
        max_positions=state["encoder.positions.weight"].shape[0],
        conv_layers=_count(state, "encoder.convs"),
        kernel=state["encoder.convs.0.depthwise.weight"].shape[-1],
        convolve_padding=True,  # they were trained so
    )


def _words_config(state: Mapping[str, Tensor]) -> WordsConfig:
    fixed = "word_embedding.vectors" in state
    table = state["word_embedding.vectors" if fixed else "word_embedding.words.weight"]
    num_chars, char_dim = state["word_embedding.chars.weight"].shape
    return WordsConfig(
        num_words=table.shape[0] + (2 if fixed else 0),
        num_chars=num_chars,
        word_dim=table.shape[1],
        char_dim=char_dim,
        fixed_vectors=fixed,
    )


def _count(state: Mapping[str, Tensor], layers: str) -> int:
    start = f"{layers}."
    return len({key.removeprefix(start).split(".")[0] for key in state if key.startswith(start)})
