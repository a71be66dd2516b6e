"""DistilBERT: a text encoder (Sanh et al., 2019, "DistilBERT, a distilled version of BERT").

Words and positions are embedded and normalised; each of the layers then does, norm last (post-LN):

    x <- norm(x + out(softmax(q k^T / sqrt(d)) v))      keys under the mask are not seen
    x <- norm(x + down(gelu(up(x))))                    exact GELU

There is no pooler and no token type: the sentence is the last hidden state of token 0, [CLS].

Axis letters: B batch, L words, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from playhead.models.configs import known_fields, require_positive
from playhead.models.layers import Mlp, attend
from playhead.types import Tokens

PADDING_ID = 0  # [PAD] is the first entry of the vocabulary; its row is neither used nor trained


@dataclass(frozen=True, kw_only=True)
class DistilBertConfig:
    """The sizes of a DistilBERT; the defaults are those of `distilbert-base-uncased`."""

    vocab_size: int = 30522
    """Entries of the vocabulary."""
    dim: int = 768
    """Width of a token."""
    n_layers: int = 6
    """Transformer layers."""
    n_heads: int = 12
    """Attention heads; must divide `dim`."""
    hidden_dim: int = 3072
    """Width inside the perceptron."""
    max_positions: int = 512
    """The longest text, in tokens."""
    dropout: float = 0.1
    """Share of activations dropped in training."""
    attention_dropout: float = 0.1
    """Share of attention weights dropped in training."""
    eps: float = 1e-12
    """What the layer norms add to the variance."""

    def __post_init__(self):
        require_positive(self, "vocab_size", "dim", "n_layers", "n_heads", "hidden_dim", "max_positions", "eps")
        if self.dim % self.n_heads:
            raise ValueError(f"DistilBertConfig: n_heads {self.n_heads} must divide dim {self.dim}.")
        if not (0 <= self.dropout < 1 and 0 <= self.attention_dropout < 1):
            raise ValueError(f"DistilBertConfig: dropouts {self.dropout}, {self.attention_dropout} must lie in [0, 1).")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DistilBertConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, or one out of range.
        """
        return cls(**known_fields(cls, values))


class DistilBertLayer(nn.Module):
    """Self-attention and perceptron, each added to its input and then normalised."""

    def __init__(self, config: DistilBertConfig):
        super().__init__()
        self.heads, self.attention_dropout = config.n_heads, config.attention_dropout
        self.query = nn.Linear(config.dim, config.dim)
        self.key = nn.Linear(config.dim, config.dim)
        self.value = nn.Linear(config.dim, config.dim)
        self.out = nn.Linear(config.dim, config.dim)
        self.attention_norm = nn.LayerNorm(config.dim, eps=config.eps)
        self.mlp = Mlp(config.dim, config.hidden_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.mlp_norm = nn.LayerNorm(config.dim, eps=config.eps)

    def forward(self, words: Float[Tensor, "B L D"], mask: Bool[Tensor, "B 1 1 L"]) -> Float[Tensor, "B L D"]:
        """Return the next hidden state."""
        query, key, value = (self._by_head(part(words)) for part in (self.query, self.key, self.value))
        seen = attend(query, key, value, mask, self.attention_dropout if self.training else 0.0)
        words = self.attention_norm(words + self.out(seen.transpose(1, 2).flatten(2)))
        return self.mlp_norm(words + self.dropout(self.mlp(words)))

    def _by_head(self, words: Tensor) -> Tensor:
        return words.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, L, d)


class DistilBert(nn.Module):
    """The text tower: token ids to the last hidden state of every token."""

    def __init__(self, config: DistilBertConfig):
        super().__init__()
        self.config = config
        self.word_embedding = nn.Embedding(config.vocab_size, config.dim, padding_idx=PADDING_ID)
        self.position_embedding = nn.Embedding(config.max_positions, config.dim)
        self.embedding_norm = nn.LayerNorm(config.dim, eps=config.eps)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(DistilBertLayer(config) for _ in range(config.n_layers))
        self.apply(_initialise)

    def blocks(self) -> Sequence[nn.Module]:
        """Return the layers, first to last."""
        return list(self.layers)

    def forward(self, tokens: Tokens) -> Float[Tensor, "B L D"]:
        """Return the last hidden state; rows under the mask are finite but without meaning.

        Raises:
            ValueError: the text is longer than the position table.
        """
        length = tokens.ids.shape[1]
        if length > self.config.max_positions:
            raise ValueError(
                f"texts of {length} tokens do not fit into {self.config.max_positions} positions; "
                f"tokenize with max_length={self.config.max_positions}."
            )
        words = self.word_embedding(tokens.ids) + self.position_embedding.weight[:length]
        words = self.dropout(self.embedding_norm(words))
        mask = tokens.mask[:, None, None, :]
        for layer in self.layers:
            words = layer(words, mask)
        return words


def _initialise(module: nn.Module) -> None:
    # As the published model: normal 0.02, biases and the padding row zero.
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        if module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()
