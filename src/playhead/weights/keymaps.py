"""What official checkpoints call our parameters: rename and drop rules, as data, in both directions.

A pattern matches whole dotted parts from the front: "blocks.*.attn" matches "blocks.3.attn.qkv.weight", where `*` is a
layer's number; what follows the pattern is kept. Both sides of a rule have the same stars.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """The names of one official layout."""

    name: str
    """What to call the layout in a message."""
    renames: tuple[tuple[str, str], ...]
    """(their pattern, our pattern)."""
    drops: tuple[str, ...] = ()
    """Their patterns that we do not need."""
    fresh: tuple[str, ...] = ()
    """Our patterns that this layout does not bring; those parameters keep the start they have."""
    prefixes: tuple[str, ...] = ()
    """Prefixes that may stand before every name, as wrappers leave them."""

    def rename(self, key: str) -> str | None:
        """Return our name of their `key`, or None where no rule matches."""
        for prefix in self.prefixes:
            key = key.removeprefix(prefix)
        for theirs, ours in self.renames:
            renamed = _replace(theirs, ours, key)
            if renamed is not None:
                return renamed
        return None

    def is_dropped(self, key: str) -> bool:
        """Whether their `key` is known and not needed."""
        for prefix in self.prefixes:
            key = key.removeprefix(prefix)
        return any(_replace(pattern, pattern, key) is not None for pattern in self.drops)

    def is_fresh(self, key: str) -> bool:
        """Whether our `key` is known not to be in this layout."""
        return any(_replace(pattern, pattern, key) is not None for pattern in self.fresh)

    def inverted(self) -> "KeyMap":
        """Return the map from our names to theirs, for export."""
        swapped = tuple((ours, theirs) for theirs, ours in self.renames)
        return replace(self, name=f"export to {self.name}", renames=swapped, drops=self.fresh, fresh=(), prefixes=())


def _replace(pattern: str, target: str, key: str) -> str | None:
    wanted, parts = pattern.split("."), key.split(".")
    if len(parts) < len(wanted):
        return None
    numbers = []
    for want, part in zip(wanted, parts[: len(wanted)], strict=True):
        if want == "*" and part.isdecimal():
            numbers.append(part)
        elif want != part:
            return None
    filled = [numbers.pop(0) if part == "*" else part for part in target.split(".")]
    return ".".join(filled + parts[len(wanted) :])


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

VIT = KeyMap(
    name="image ViT (timm)",
    renames=_VIT,
    drops=("head", "head_dist", "pre_logits"),
    fresh=tuple(ours for _, ours in _TIME),
    prefixes=("module.",),
)
"""`jx_vit_base_p16_224` and its like, into a `SpaceTimeTransformer`."""

DISTILBERT = KeyMap(
    name="DistilBERT (Hugging Face)",
    renames=_DISTILBERT,
    # Some versions of transformers save the position numbers; they are 0, 1, 2, ...
    drops=("vocab_transform", "vocab_layer_norm", "vocab_projector", "embeddings.position_ids"),
    prefixes=("module.", "distilbert."),
)
"""`distilbert-base-uncased`, with or without its masked-word head, into a `DistilBert`."""

EGOVLP = KeyMap(
    name="EgoVLP",
    renames=(
        *_within("video_model", "video", _VIT + _TIME),
        *_within("text_model", "text", _DISTILBERT),
        ("vid_proj.0", "video_projection"),
        ("txt_proj.1", "text_projection"),
    ),
    drops=("text_model.embeddings.position_ids",),
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
    drops=("textual.embeddings.position_ids",),
    prefixes=("module.",),
)
"""The same weights, renamed and in half precision (`egovlp_converted_f16`), into a `Frozen`."""
