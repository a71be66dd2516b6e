"""What published checkpoints call our parameters: rename and drop rules, as data, in both directions.

A pattern matches whole dotted parts from the front: "blocks.*.attn" matches "blocks.3.attn.qkv.weight", where `*` is a
layer's number; what follows the pattern is kept. A star may also end a part ("encoderblock_*"), and names may be parted
by slashes instead of dots. Both sides of a rule have the same stars.

Where we keep in one tensor what they keep in several, the rule's right side ends in the place of each, such as
"layers.*.space_attention.qkv[0]"; `adapt.convert` stacks them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

NO_HEAD = "a head for its own classes"
"""Why most of what is dropped is dropped."""


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """The names of one layout."""

    name: str
    """What to call the layout in a message."""
    renames: tuple[tuple[str, str], ...]
    """(their pattern, our pattern)."""
    drops: tuple[tuple[str, str], ...] = ()
    """(their pattern, why we do not need it)."""
    fresh: tuple[str, ...] = ()
    """Our patterns that this layout does not bring; those parameters keep the start they have."""
    prefixes: tuple[str, ...] = ()
    """Prefixes that may stand before every name, as wrappers leave them, outermost first."""
    unpack: Callable[[str, Tensor], Tensor] | None = None
    """From their name and tensor to the tensor as torch lays it out; None where it is so already."""

    def rename(self, key: str) -> str | None:
        """Return our name of their `key`, or None where no rule matches."""
        key = self.bare(key)
        for theirs, ours in self.renames:
            renamed = _replace(theirs, ours, key)
            if renamed is not None:
                return renamed
        return None

    def bare(self, key: str) -> str:
        """Return their `key` without the prefixes that wrappers left before it."""
        for prefix in self.prefixes:
            key = key.removeprefix(prefix)
        return key

    def why_dropped(self, key: str) -> str | None:
        """Return why we do not need their `key`; None if it is not known, or needed."""
        key = self.bare(key)
        return next((why for pattern, why in self.drops if matches(pattern, key)), None)

    def is_fresh(self, key: str) -> bool:
        """Whether our `key` is known not to be in this layout."""
        return any(matches(pattern, key) for pattern in self.fresh)

    def inverted(self) -> "KeyMap":
        """Return the map from our names to theirs, for export; not for layouts whose tensors are stacked or unpacked.

        Raises:
            ValueError: this layout's are.
        """
        if self.unpack is not None or any(ours.endswith("]") for _, ours in self.renames):
            raise ValueError(f"tensors of {self.name} are not ours by another name; there is no way back.")
        swapped = tuple((ours, theirs) for theirs, ours in self.renames)
        left = tuple((pattern, "not in this layout") for pattern in self.fresh)
        return replace(self, name=f"export to {self.name}", renames=swapped, drops=left, fresh=(), prefixes=())


def matches(pattern: str, key: str) -> bool:
    """Whether `key` begins with the parts of `pattern`."""
    return _replace(pattern, pattern, key) is not None


def _replace(pattern: str, target: str, key: str) -> str | None:
    wanted, parts = pattern.split("."), key.replace("/", ".").split(".")
    if len(parts) < len(wanted):
        return None
    numbers = []
    for want, part in zip(wanted, parts[: len(wanted)], strict=True):
        stem = want.removesuffix("*")
        if stem != want and part.startswith(stem) and part.removeprefix(stem).isdecimal():
            numbers.append(part.removeprefix(stem))
        elif want != part:
            return None
    filled = [part[:-1] + numbers.pop(0) if part.endswith("*") else part for part in target.split(".")]
    rest = parts[len(wanted) :]
    if not filled[-1].endswith("]"):
        return ".".join(filled + rest)
    stem, _, place = ".".join(filled).partition("[")  # the place stays last, behind ".weight" or ".bias"
    return f"{'.'.join([stem, *rest])}[{place}"


def _within(theirs: str, ours: str, renames: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((f"{theirs}.{their}", f"{ours}.{our}") for their, our in renames)


# An image ViT as timm names it, in our space-time transformer.
_VIT = (
    ("cls_token", "cls_token"),
    ("pos_embed", "position_embedding"),
    ("patch_embed.proj", "patch_embedding"),
    ("blocks.*.norm1", "layers.*.space_norm"),
    ("blocks.*.attn", "layers.*.space_attention"),
    ("blocks.*.norm2", "layers.*.mlp_norm"),
    ("blocks.*.mlp.fc1", "layers.*.mlp.up"),
    ("blocks.*.mlp.fc2", "layers.*.mlp.down"),
    ("norm", "norm"),
)

# What Frozen in Time added to it.
_TIME = (
    ("temporal_embed", "time_embedding"),
    ("blocks.*.norm3", "layers.*.time_norm"),
    ("blocks.*.timeattn", "layers.*.time_attention"),
)

_NO_TIME = (*(ours for _, ours in _TIME), "layers.*.time_output")

# Hugging Face's names, alike in ViT and in TimeSformer but for the attention.
_HF_VIT = (
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "position_embedding"),
    ("embeddings.patch_embeddings.projection", "patch_embedding"),
    ("encoder.layer.*.layernorm_before", "layers.*.space_norm"),
    ("encoder.layer.*.attention.output.dense", "layers.*.space_attention.proj"),
    ("encoder.layer.*.layernorm_after", "layers.*.mlp_norm"),
    ("encoder.layer.*.intermediate.dense", "layers.*.mlp.up"),
    ("encoder.layer.*.output.dense", "layers.*.mlp.down"),
    ("layernorm", "norm"),
)

_HF_QKV = tuple(
    (f"encoder.layer.*.attention.attention.{part}", f"layers.*.space_attention.qkv[{place}]")
    for place, part in enumerate(("query", "key", "value"))
)

_HF_TIME = (
    ("embeddings.time_embeddings", "time_embedding"),
    ("encoder.layer.*.attention.attention.qkv", "layers.*.space_attention.qkv"),
    ("encoder.layer.*.temporal_layernorm", "layers.*.time_norm"),
    ("encoder.layer.*.temporal_attention.attention.qkv", "layers.*.time_attention.qkv"),
    ("encoder.layer.*.temporal_attention.output.dense", "layers.*.time_attention.proj"),
    ("encoder.layer.*.temporal_dense", "layers.*.time_output"),
)


def _flax(theirs: str, ours: str, place: str = "") -> tuple[tuple[str, str], ...]:
    # A layer norm has a scale, any other layer a kernel.
    kinds = (("scale", "weight"), ("kernel", "weight"), ("bias", "bias"))
    return tuple((f"{theirs}.{their}", f"{ours}.{our}{place}") for their, our in kinds)


_FLAX_BLOCK = (
    *_flax("LayerNorm_0", "space_norm"),
    *_flax("MultiHeadDotProductAttention_1.query", "space_attention.qkv", "[0]"),
    *_flax("MultiHeadDotProductAttention_1.key", "space_attention.qkv", "[1]"),
    *_flax("MultiHeadDotProductAttention_1.value", "space_attention.qkv", "[2]"),
    *_flax("MultiHeadDotProductAttention_1.out", "space_attention.proj"),
    *_flax("LayerNorm_2", "mlp_norm"),
    *_flax("MlpBlock_3.Dense_0", "mlp.up"),
    *_flax("MlpBlock_3.Dense_1", "mlp.down"),
)


def _unpack_flax(name: str, tensor: Tensor) -> Tensor:
    """Turn flax's kernels, whose inputs come first, and keep heads as an axis of their own, into torch's."""
    layer, kind = ["", *name.split("/")][-2:]
    if kind == "bias":
        return tensor.flatten()  # (heads, d) in attention
    if kind != "kernel":
        return tensor
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1)  # HWIO -> OIHW
    if tensor.ndim == 3:
        tensor = tensor.flatten(0, 1) if layer == "out" else tensor.flatten(1)
    return tensor.T if tensor.ndim == 2 else tensor


_DISTILBERT = (
    ("embeddings.word_embeddings", "word_embedding"),
    ("embeddings.position_embeddings", "position_embedding"),
    ("embeddings.LayerNorm", "embedding_norm"),
    ("transformer.layer.*.attention.q_lin", "layers.*.query"),
    ("transformer.layer.*.attention.k_lin", "layers.*.key"),
    ("transformer.layer.*.attention.v_lin", "layers.*.value"),
    ("transformer.layer.*.attention.out_lin", "layers.*.out"),
    ("transformer.layer.*.sa_layer_norm", "layers.*.attention_norm"),
    ("transformer.layer.*.ffn.lin1", "layers.*.mlp.up"),
    ("transformer.layer.*.ffn.lin2", "layers.*.mlp.down"),
    ("transformer.layer.*.output_layer_norm", "layers.*.mlp_norm"),
)

_POSITION_IDS = "the numbers 0, 1, 2, ..., which some versions of transformers save"

_VIT_HEADS = (("head", NO_HEAD), ("head_dist", NO_HEAD), ("pre_logits", "a layer before the head"))

VIT = KeyMap(name="image ViT (timm)", renames=_VIT, drops=_VIT_HEADS, fresh=_NO_TIME, prefixes=("module.",))
"""`jx_vit_base_p16_224` and its like, into a `SpaceTimeTransformer`."""

GOOGLE_VIT = KeyMap(
    name="image ViT (Google's npz)",
    renames=(
        *_flax("embedding", "patch_embedding"),
        ("cls", "cls_token"),
        ("Transformer.posembed_input.pos_embedding", "position_embedding"),
        *_within("Transformer.encoderblock_*", "layers.*", _FLAX_BLOCK),
        *_flax("Transformer.encoder_norm", "norm"),
    ),
    drops=(*_VIT_HEADS, ("opt.state", "what an optimiser remembered")),
    fresh=_NO_TIME,
    prefixes=("opt/target/",),
    unpack=_unpack_flax,
)
"""The first published ViT files (`ViT-B_16.npz`), into a `SpaceTimeTransformer`; `opt/` stands in those of a later
paper ("How to train your ViT?"). Names and shapes as in google-research/vision_transformer; `opt/` from memory, not
checked against a file. Theirs is the GELU of tanh, ours the exact one, as in all PyTorch versions of these files."""

HF_VIT = KeyMap(
    name="image ViT (Hugging Face)",
    renames=(*_HF_VIT, *_HF_QKV),
    drops=(
        ("pooler", "a layer on top of cls, untrained in most files"),
        ("classifier", NO_HEAD),
        ("embeddings.mask_token", "stands for masked patches, of which a clip has none"),
    ),
    fresh=_NO_TIME,
    prefixes=("vit.",),
)
"""`vit-base-patch16-224-in21k` and its like, into a `SpaceTimeTransformer`."""

TIMESFORMER = KeyMap(
    name="TimeSformer",
    renames=(
        *_VIT,
        ("time_embed", "time_embedding"),
        ("blocks.*.temporal_norm1", "layers.*.time_norm"),
        ("blocks.*.temporal_attn", "layers.*.time_attention"),
        ("blocks.*.temporal_fc", "layers.*.time_output"),
    ),
    drops=_VIT_HEADS,
    prefixes=("module.", "model."),
)
"""facebookresearch/TimeSformer with divided attention, into a `SpaceTimeTransformer` of TimeSformer's blocks."""

HF_TIMESFORMER = KeyMap(
    name="TimeSformer (Hugging Face)",
    renames=(*_HF_VIT, *_HF_TIME),
    drops=(("classifier", NO_HEAD),),
    prefixes=("timesformer.",),
)
"""The same networks as `transformers` names them."""

DISTILBERT = KeyMap(
    name="DistilBERT (Hugging Face)",
    renames=_DISTILBERT,
    drops=(
        *((f"vocab_{part}", "the head that guesses masked words") for part in ("transform", "layer_norm", "projector")),
        *((part, NO_HEAD) for part in ("pre_classifier", "classifier", "qa_outputs")),
        ("embeddings.position_ids", _POSITION_IDS),
    ),
    prefixes=("module.", "distilbert."),
)
"""`distilbert-base-uncased`, with or without its masked-word head, into a `DistilBert`."""


def bert_map(kept: tuple[int, ...], num_layers: int) -> KeyMap:
    """Return the map from a BERT of `num_layers` in Hugging Face's names to a `DistilBert` of the layers `kept`.

    Files of before 2019 call the weight of a norm gamma and its bias beta; both namings are read.
    """
    layer = (
        ("attention.self.query", "query"),
        ("attention.self.key", "key"),
        ("attention.self.value", "value"),
        ("attention.output.dense", "out"),
        *_norm("attention.output.LayerNorm", "attention_norm"),
        ("intermediate.dense", "mlp.up"),
        ("output.dense", "mlp.down"),
        *_norm("output.LayerNorm", "mlp_norm"),
    )
    left = sorted(set(range(num_layers)) - set(kept))
    return KeyMap(
        name="BERT (Hugging Face)",
        renames=(
            *_DISTILBERT[:2],
            *_norm("embeddings.LayerNorm", "embedding_norm"),
            *(
                rule
                for ours, theirs in enumerate(kept)
                for rule in _within(f"encoder.layer.{theirs}", f"layers.{ours}", layer)
            ),
        ),
        drops=(
            *((f"encoder.layer.{index}", f"of the layers, {_listed(kept)} are taken") for index in left),
            ("embeddings.token_type_embeddings", "its first row was added to every position"),
            ("embeddings.position_ids", _POSITION_IDS),
            ("pooler", "a layer on top of [CLS]; ours is the hidden state itself"),
            ("cls", "the heads that guess masked words and next sentences"),
            ("classifier", NO_HEAD),
            ("qa_outputs", NO_HEAD),
        ),
        prefixes=("module.", "bert."),
    )


def _norm(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return ((f"{theirs}.gamma", f"{ours}.weight"), (f"{theirs}.beta", f"{ours}.bias"), (theirs, ours))


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


EGOVLP = KeyMap(
    name="EgoVLP",
    renames=(
        *_within("video_model", "video", _VIT + _TIME),
        *_within("text_model", "text", _DISTILBERT),
        ("vid_proj.0", "video_projection"),
        ("txt_proj.1", "text_projection"),
    ),
    drops=(("text_model.embeddings.position_ids", _POSITION_IDS),),
    prefixes=("module.",),
)
"""The published EgoVLP and Frozen-in-Time files, into a `Frozen`."""

LAVILA = KeyMap(
    name="EgoVLP as LaViLa hosts it",
    renames=(
        *_within("visual", "video", _VIT + _TIME),
        *_within("textual", "text", _DISTILBERT),
        ("image_projection.0", "video_projection"),
        ("text_projection.1", "text_projection"),
    ),
    drops=(
        ("textual.embeddings.position_ids", _POSITION_IDS),
        ("logit_scale", "the temperature, which belongs to the loss"),
    ),
    prefixes=("module.",),
)
"""The same weights, renamed and in half precision (`egovlp_converted_f16`), or LaViLa's own training of the same
network (its `CLIP_HF` with projection "frozen_in_time"), into a `Frozen`."""

VIDEO_TOWER = KeyMap(
    name="pretrained video tower",
    renames=tuple(
        (name, name)
        for name in ("patch_embedding", "cls_token", "position_embedding", "time_embedding", "layers.*", "norm")
    ),
)
"""The video tower of a `Frozen`, under its own names."""

TEXT_TOWER = KeyMap(
    name="pretrained text tower",
    renames=tuple((name, name) for name in ("word_embedding", "position_embedding", "embedding_norm", "layers.*")),
)
"""The text tower of a `Frozen`, under its own names."""
