"""Small random networks of others, written as their files are: by the libraries that made them, or by hand."""

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForPreTraining,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    TimesformerConfig,
    TimesformerForVideoClassification,
    ViTConfig,
    ViTForImageClassification,
)

WIDTH, HEADS, DEPTH, HIDDEN, PATCH, SIDE, FRAMES = 24, 3, 2, 40, 8, 16, 3
SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": HIDDEN,
    "image_size": SIDE,
    "patch_size": PATCH,
}


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shaken(model):
    """Every parameter random, so that each matters."""
    for seed, parameter in enumerate(model.parameters()):
        parameter.data = noise(*parameter.shape, seed=seed) * 0.2
    return model.eval()


def vit_twin():
    return shaken(ViTForImageClassification(ViTConfig(**SIZES, layer_norm_eps=1e-6)))


def vit_hidden(twin, image):
    return twin.vit(pixel_values=image).last_hidden_state


def timesformer_twin():
    return shaken(TimesformerForVideoClassification(TimesformerConfig(**SIZES, num_frames=FRAMES)))


def distilbert_twin(layers=DEPTH):
    sizes = {"dim": WIDTH, "n_layers": layers, "n_heads": HEADS, "hidden_dim": HIDDEN}
    return shaken(DistilBertModel(DistilBertConfig(vocab_size=30, max_position_embeddings=8, **sizes)))


def bert_twin(layers, kind: type = BertModel):
    sizes = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": HIDDEN}
    config = BertConfig(vocab_size=30, max_position_embeddings=8, num_hidden_layers=layers, **sizes)
    return shaken(kind(config))


def bert_for_pretraining(layers):
    return bert_twin(layers, BertForPreTraining)


def as_saved(twin, folder):
    """The tensors as `transformers` writes them to disk, which are not always named as in memory."""
    from safetensors.torch import load_file

    twin.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def timm_vit(twin, folder):
    """The twin's weights in timm's names: query, key and value in one."""
    theirs = as_saved(twin, folder)
    state = {
        "cls_token": theirs["vit.embeddings.cls_token"],
        "pos_embed": theirs["vit.embeddings.position_embeddings"],
        "patch_embed.proj.weight": theirs["vit.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": theirs["vit.embeddings.patch_embeddings.projection.bias"],
        "head.weight": theirs["classifier.weight"],
        "head.bias": theirs["classifier.bias"],
        "norm.weight": theirs["vit.layernorm.weight"],
        "norm.bias": theirs["vit.layernorm.bias"],
    }
    parts = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    for index in range(DEPTH):
        layer = f"vit.encoder.layer.{index}"
        for kind in ("weight", "bias"):
            for timm, hf in parts.items():
                state[f"blocks.{index}.{timm}.{kind}"] = theirs[f"{layer}.{hf}.{kind}"]
            qkv = [theirs[f"{layer}.attention.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"blocks.{index}.attn.qkv.{kind}"] = torch.cat(qkv)
    return state


def google_vit(state, prefix=""):
    """A timm state as Google's npz holds it: kernels with the inputs first, heads as an axis, HWIO."""
    width = WIDTH // HEADS
    arrays = {
        "cls": state["cls_token"],
        "embedding/kernel": state["patch_embed.proj.weight"].permute(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "head/kernel": state["head.weight"].T,
        "head/bias": state["head.bias"],
        "pre_logits/kernel": torch.zeros(WIDTH, WIDTH),
        "pre_logits/bias": torch.zeros(WIDTH),
    }
    for index in range(DEPTH):
        ours, theirs = f"blocks.{index}", f"Transformer/encoderblock_{index}"
        attention = f"{theirs}/MultiHeadDotProductAttention_1"
        for norm, name in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            arrays[f"{theirs}/{name}/scale"] = state[f"{ours}.{norm}.weight"]
            arrays[f"{theirs}/{name}/bias"] = state[f"{ours}.{norm}.bias"]
        for layer, name in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
            arrays[f"{theirs}/MlpBlock_3/{name}/kernel"] = state[f"{ours}.mlp.{layer}.weight"].T
            arrays[f"{theirs}/MlpBlock_3/{name}/bias"] = state[f"{ours}.mlp.{layer}.bias"]
        for place, name in enumerate(("query", "key", "value")):
            rows = slice(place * WIDTH, (place + 1) * WIDTH)
            arrays[f"{attention}/{name}/kernel"] = state[f"{ours}.attn.qkv.weight"][rows].T.reshape(WIDTH, HEADS, width)
            arrays[f"{attention}/{name}/bias"] = state[f"{ours}.attn.qkv.bias"][rows].reshape(HEADS, width)
        arrays[f"{attention}/out/kernel"] = state[f"{ours}.attn.proj.weight"].T.reshape(HEADS, width, WIDTH)
        arrays[f"{attention}/out/bias"] = state[f"{ours}.attn.proj.bias"]
    return {f"{prefix}{name}": np.ascontiguousarray(value.numpy()) for name, value in arrays.items()}


def public_timesformer(twin):
    """The twin's weights in the names of the code that was published with the paper."""
    parts = {
        "timesformer.embeddings.cls_token": "cls_token",
        "timesformer.embeddings.position_embeddings": "pos_embed",
        "timesformer.embeddings.time_embeddings": "time_embed",
        "timesformer.embeddings.patch_embeddings.projection": "patch_embed.proj",
        "timesformer.encoder.layer": "blocks",
        "temporal_attention.attention.qkv": "temporal_attn.qkv",
        "temporal_attention.output.dense": "temporal_attn.proj",
        "temporal_layernorm": "temporal_norm1",
        "temporal_dense": "temporal_fc",
        "attention.attention.qkv": "attn.qkv",
        "attention.output.dense": "attn.proj",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
        "timesformer.layernorm": "norm",
        "classifier": "head",
    }
    state = {}
    for name, value in twin.state_dict().items():
        for theirs, public in parts.items():
            name = name.replace(theirs, public)
        state[f"model.{name}"] = value.clone()
    return state
