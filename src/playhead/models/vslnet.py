"""VSLNet: a language query answered like a question about a text, with a first and a last row of the video.

Zhang et al., 2020, "Span-based Localizing Network for Natural Language Video Localization"; as released for Ego4D's
natural language queries (episodic memory, NLQ), where it also reads EgoVLP's features.

    q = encoder(text w_q)        v = encoder(video w_v)        one encoder for both
    x = [v, A q, v * A q, v * A B v] w      A, B: softmax over words and over rows of  v.a + q.b + (v * c).q
    x = [x, q'] w'               q': the words of the query, pooled by a learned score
    h = sigmoid(x.u),  x = h x   the highlight: rows in and near the answer
    start = f([s, x]),  end = g([e, x]),   s = predictor(x),  e = predictor'(s)

The encoder adds learned positions, then four depthwise convolutions, then one block of attention. The predictor is
either two LSTMs, or one more encoder that is applied twice.

Training, as released: AdamW (decay 0.01 of all but biases and norms), lr 1e-4 falling linearly to 0 over 200 epochs
without warm-up, batches of 32, gradients clipped to norm 1, loss = `span_cross_entropy` + 5 * `highlight_loss`, the
checkpoint with the best R1@0.3 on the validation split. The rows of EgoVLP's Table 1 are the best of 96 such runs
(batch 4 to 512, four rates, 64 to 512 rows), not of these settings.

Axis letters: B samples, S rows (steps in time), L words, M characters of a word, D width.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from playhead.models.configs import known_fields, require_positive
from playhead.models.dropout import Dropout
from playhead.models.layers import attend

MASKED = -1e30  # what padding scores, as released: probability zero in float32 and in bfloat16
NORM_EPS = 1e-6
CHAR_KERNELS = ((1, 10), (2, 20), (3, 30), (4, 40))  # (characters seen at once, channels), as released


@dataclass(frozen=True, kw_only=True)
class WordsConfig:
    """Word vectors and a convolution over characters, which read a query in the paper; Ego4D's runs do without."""

    num_words: int
    """Words of the vocabulary, with 0 for padding and 1 for unknown words."""
    num_chars: int
    """Characters of the alphabet, with 0 for padding."""
    word_dim: int = 300
    """Width of a word vector."""
    char_dim: int = 50
    """Width of a character's vector."""
    fixed_vectors: bool = True
    """Whether word vectors are given and stay as they are; only the one of unknown words is learned.

    Those of words 2, 3, ... (GloVe, say) are copied into the network's `word_embedding.vectors`, which start at zero.
    """

    def __post_init__(self):
        require_positive(self, "num_words", "num_chars", "word_dim", "char_dim")
        if self.fixed_vectors and self.num_words < 3:
            raise ValueError(f"WordsConfig: {self.num_words} words leave none beside padding and unknown.")


@dataclass(frozen=True, kw_only=True)
class VSLNetConfig:
    """The sizes of VSLNet; the defaults are those released for Ego4D with BERT's text features."""

    video_dim: int
    """Width of a row of video features: 256 for EgoVLP, 2304 for SlowFast."""
    text_dim: int = 768
    """Width of a token of text features: 768 for BERT, 256 for EgoVLP. Not used with `words`."""
    words: WordsConfig | None = None
    """Read words and characters instead of text features."""
    width: int = 128
    """Width of a row within the network."""
    heads: int = 8
    """Attention heads; must divide `width`."""
    predictor: Literal["transformer", "lstm"] = "transformer"
    """What reads the rows before start and end are told."""
    max_positions: int = 128
    """Positions of the encoder: neither the video nor the query may have more rows."""
    conv_layers: int = 4
    """Depthwise convolutions of an encoder."""
    kernel: int = 7
    """Rows that a convolution sees at once; odd."""
    dropout: float = 0.2
    """What share of values is set to zero in training."""
    convolve_padding: bool = False
    """Let convolutions see what stands in padding, as released: then an answer depends on how long others of its batch
    are. Without, they see zeros there, as beyond the end of the longest."""

    def __post_init__(self):
        require_positive(self, "video_dim", "text_dim", "width", "heads", "max_positions", "conv_layers", "kernel")
        if self.width % self.heads:
            raise ValueError(f"VSLNetConfig: heads {self.heads} must divide width {self.width}.")
        if self.kernel % 2 == 0:
            raise ValueError(f"VSLNetConfig: kernel must be odd, got {self.kernel}.")
        if self.predictor not in ("transformer", "lstm"):
            raise ValueError(f"VSLNetConfig: predictor must be 'transformer' or 'lstm', got {self.predictor!r}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"VSLNetConfig: dropout must be in [0, 1), got {self.dropout}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "VSLNetConfig":
        """Build from what `to_dict` gave.

        Raises:
            ValueError: an unknown setting, one out of range, or no `video_dim`.
        """
        given = known_fields(cls, values)
        if "video_dim" not in given:
            raise ValueError("VSLNetConfig needs `video_dim`, the width of the video features.")
        if isinstance(given.get("words"), Mapping):
            given["words"] = WordsConfig(**known_fields(WordsConfig, given["words"]))
        return cls(**given)


@dataclass(frozen=True, slots=True)
class Words:
    """A query as numbers of words and of their characters; 0 is padding."""

    ids: Int[Tensor, "B L"]
    chars: Int[Tensor, "B L M"]


@dataclass(frozen=True, slots=True)
class VSLNetOutput:
    """Logits of every row, in float32 at least; -1e30 on padding."""

    start_logits: Float[Tensor, "B S"]
    end_logits: Float[Tensor, "B S"]
    highlight_logits: Float[Tensor, "B S"]


class WordEmbedding(nn.Module):
    """A query's words: each its vector, beside the largest answers of convolutions over its characters."""

    def __init__(self, config: WordsConfig, width: int, dropout: float):
        super().__init__()
        self.config = config
        self.dropout = Dropout(dropout)
        if config.fixed_vectors:
            self.register_buffer("padding", torch.zeros(1, config.word_dim))
            self.register_buffer("vectors", torch.zeros(config.num_words - 2, config.word_dim))
            self.unknown = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, config.word_dim)))
        else:
            self.words = nn.Embedding(config.num_words, config.word_dim, padding_idx=0)
        self.chars = nn.Embedding(config.num_chars, config.char_dim, padding_idx=0)
        self.char_convs = nn.ModuleList(nn.Conv1d(config.char_dim, out, size) for size, out in CHAR_KERNELS)
        self.out = nn.Linear(config.word_dim + sum(out for _, out in CHAR_KERNELS), width)

    def forward(self, words: Words) -> Float[Tensor, "B L D"]:
        """Return one row per word.

        Raises:
            ValueError: words are padded to fewer characters than the widest convolution sees at once.
        """
        num_chars = words.chars.shape[2]
        if num_chars < CHAR_KERNELS[-1][0]:
            raise ValueError(f"words have {num_chars} characters, padding included; {CHAR_KERNELS[-1][0]} are needed.")
        if self.config.fixed_vectors:
            table = torch.cat([self.get_buffer("padding"), self.unknown, self.get_buffer("vectors")])
            vectors = F.embedding(words.ids, table)
        else:
            vectors = self.words(words.ids)
        chars = self.dropout(self.chars(words.chars)).flatten(0, 1).transpose(1, 2)  # (B L, d, M)
        spelling = torch.cat([conv(chars).relu().amax(dim=2) for conv in self.char_convs], dim=1)
        spelling = spelling.unflatten(0, words.ids.shape)
        return self.out(torch.cat([self.dropout(vectors), spelling], dim=2))


class ConvLayer(nn.Module):
    """A convolution over time, depthwise and then pointwise, around which its input goes past."""

    def __init__(self, config: VSLNetConfig):
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        # A picture one pixel high: rows are one as they lie, and CPUs are several times faster than at Conv1d.
        kernel, padding = (1, config.kernel), (0, config.kernel // 2)
        self.depthwise = nn.Conv2d(width, width, kernel, padding=padding, groups=width, bias=False)
        self.pointwise = nn.Linear(width, width)
        self.dropout = Dropout(config.dropout)
        self.convolve_padding = config.convolve_padding

    def forward(self, rows: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """Return the rows, changed."""
        normed = self.norm(rows)
        if not self.convolve_padding:
            normed = normed * mask[..., None]
        picture = normed.transpose(1, 2)[:, :, None]  # (B, D, 1, S)
        seen = self.depthwise(picture)[:, :, 0].transpose(1, 2)
        return rows + self.dropout(self.pointwise(seen).relu())


class AttentionLayer(nn.Module):
    """Attention over all rows, and a linear layer instead of the usual perceptron."""

    def __init__(self, config: VSLNetConfig):
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.attention_norm, self.out_norm = (nn.LayerNorm(width, eps=NORM_EPS) for _ in range(2))
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.dropout = Dropout(config.dropout)

    def forward(self, rows: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """Return the rows, changed; padding is not seen."""
        normed = self.dropout(self.attention_norm(rows))
        query, key, value = (self._by_head(layer(normed)) for layer in (self.query, self.key, self.value))
        gathered = self._attend(query, key, value, mask[:, None, None]).transpose(1, 2).flatten(2)
        rows = rows + self.dropout(gathered)
        return rows + self.dropout(self.out(self.dropout(self.out_norm(rows))))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        if not self.training:
            return attend(query, key, value, mask)
        # Torch's own attention, when it drops weights, takes this way too, with its slower dropout.
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
        bias = torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, MASKED)
        weights = (scores.float() + bias).softmax(dim=3).to(value.dtype)
        return self.dropout(weights) @ value

    def _by_head(self, rows: Tensor) -> Tensor:
        return rows.unflatten(2, (self.heads, -1)).transpose(1, 2)


class FeatureEncoder(nn.Module):
    """Positions, convolutions, attention."""

    def __init__(self, config: VSLNetConfig):
        super().__init__()
        self.positions = nn.Embedding(config.max_positions, config.width)
        self.convs = nn.ModuleList(ConvLayer(config) for _ in range(config.conv_layers))
        self.attention = AttentionLayer(config)

    def forward(self, rows: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """Return rows that know of each other.

        Raises:
            ValueError: more rows than positions.
        """
        num_positions = self.positions.num_embeddings
        if rows.shape[1] > num_positions:
            raise ValueError(f"{rows.shape[1]} rows given, but the encoder has {num_positions} positions.")
        rows = rows + self.positions.weight[: rows.shape[1]]
        for conv in self.convs:
            rows = conv(rows, mask)
        return self.attention(rows, mask)


class ContextQueryAttention(nn.Module):
    """The video reads the query, and by way of the query itself."""

    def __init__(self, config: VSLNetConfig):
        super().__init__()
        width = config.width
        self.video_score, self.query_score, self.product_score = (nn.Linear(width, 1, bias=False) for _ in range(3))
        self.out = nn.Linear(4 * width, width)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        video: Float[Tensor, "B S D"],
        query: Float[Tensor, "B L D"],
        video_mask: Bool[Tensor, "B S"],
        query_mask: Bool[Tensor, "B L"],
    ) -> Float[Tensor, "B S D"]:
        """Return the rows of the video, each with what it read."""
        scores = self._scores(self.dropout(video), self.dropout(query))  # (B, S, L)
        over_words = scores.masked_fill(~query_mask[:, None], MASKED).softmax(dim=2).to(video.dtype)
        over_rows = scores.masked_fill(~video_mask[..., None], MASKED).softmax(dim=1).to(video.dtype)
        read = over_words @ query
        reread = over_words @ (over_rows.transpose(1, 2) @ video)
        return self.out(torch.cat([video, read, video * read, video * reread], dim=2))

    def _scores(self, video: Tensor, query: Tensor) -> Tensor:
        products = (video * self.product_score.weight) @ query.transpose(1, 2)
        return (self.video_score(video) + self.query_score(query).transpose(1, 2) + products).float()


class QueryPooling(nn.Module):
    """Every row of the video is told what the whole query says."""

    def __init__(self, config: VSLNetConfig):
        super().__init__()
        self.score = nn.Linear(config.width, 1, bias=False)
        self.out = nn.Linear(2 * config.width, config.width)

    def forward(
        self, video: Float[Tensor, "B S D"], query: Float[Tensor, "B L D"], query_mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B S D"]:
        """Return the rows, changed."""
        weights = mask_logits(self.score(query), query_mask).softmax(dim=1).to(query.dtype)
        pooled = weights[:, None] @ query  # (B, 1, D)
        return self.out(torch.cat([video, pooled.expand_as(video)], dim=2))


class EndLogits(nn.Module):
    """A perceptron that scores each row as one end of the answer."""

    def __init__(self, width: int):
        super().__init__()
        self.hidden = nn.Linear(2 * width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, read: Float[Tensor, "B S D"], rows: Float[Tensor, "B S D"]) -> Float[Tensor, "B S 1"]:
        """Return one number per row, from what the predictor read and from the rows themselves."""
        return self.out(self.hidden(torch.cat([read, rows], dim=2)).relu())


class LstmPredictor(nn.Module):
    """Two LSTMs, forward in time, the second upon the first."""

    def __init__(self, config: VSLNetConfig):
        super().__init__()
        self.start_lstm, self.end_lstm = (nn.LSTM(config.width, config.width, batch_first=True) for _ in range(2))
        self.start, self.end = EndLogits(config.width), EndLogits(config.width)

    def forward(
        self, rows: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B S"], Float[Tensor, "B S"]]:
        """Return the logits of start and end."""
        real = mask[..., None]
        started = self.start_lstm(rows)[0] * real
        ended = self.end_lstm(started)[0] * real
        return mask_logits(self.start(started, rows), mask), mask_logits(self.end(ended, rows), mask)


class EncoderPredictor(nn.Module):
    """One encoder that reads the rows for the start, and then what it has read for the end."""

    def __init__(self, config: VSLNetConfig):
        super().__init__()
        self.encoder = FeatureEncoder(config)
        self.start_norm, self.end_norm = (nn.LayerNorm(config.width, eps=NORM_EPS) for _ in range(2))
        self.start, self.end = EndLogits(config.width), EndLogits(config.width)

    def forward(
        self, rows: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B S"], Float[Tensor, "B S"]]:
        """Return the logits of start and end."""
        started = self.encoder(rows, mask)
        ended = self.encoder(started, mask)
        start = self.start(self.start_norm(started), rows)
        end = self.end(self.end_norm(ended), rows)
        return mask_logits(start, mask), mask_logits(end, mask)


class VSLNet(nn.Module):
    """The network; see the equations at the top."""

    def __init__(self, config: VSLNetConfig):
        super().__init__()
        self.config = config
        self.dropout = Dropout(config.dropout)
        self.video_projection = nn.Linear(config.video_dim, config.width)
        if config.words is None:
            self.text_projection = nn.Linear(config.text_dim, config.width)
        else:
            self.word_embedding = WordEmbedding(config.words, config.width, config.dropout)
        self.encoder = FeatureEncoder(config)
        self.attention = ContextQueryAttention(config)
        self.pooling = QueryPooling(config)
        self.highlight = nn.Linear(config.width, 1)
        self.predictor = LstmPredictor(config) if config.predictor == "lstm" else EncoderPredictor(config)
        self.apply(_initialise)

    def forward(
        self,
        video: Float[Tensor, "B S V"],
        video_mask: Bool[Tensor, "B S"],
        text: Float[Tensor, "B L E"] | Words,
        text_mask: Bool[Tensor, "B L"],
    ) -> VSLNetOutput:
        """Return the logits of every row; `text` is features of tokens, or words where the model has `words`.

        Raises:
            ValueError: more rows or tokens than positions.
            TypeError: text features for a model of words, or the other way round.
        """
        query = self.encoder(self._embed(text), text_mask)
        rows = self.encoder(self.video_projection(self.dropout(video)), video_mask)
        rows = self.attention(rows, query, video_mask, text_mask)
        rows = self.pooling(rows, query, text_mask)
        highlight = mask_logits(self.highlight(rows), video_mask)
        rows = rows * highlight.sigmoid()[..., None].to(rows.dtype)
        start, end = self.predictor(rows, video_mask)
        return VSLNetOutput(start, end, highlight)

    def _embed(self, text: Tensor | Words) -> Tensor:
        if isinstance(text, Words) != (self.config.words is not None):
            wanted = "text features" if self.config.words is None else "words"
            raise TypeError(f"this VSLNet reads {wanted}, got {type(text).__name__}.")
        return self.word_embedding(text) if isinstance(text, Words) else self.text_projection(text)


def mask_logits(logits: Float[Tensor, "B S 1"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S"]:
    """Return the logits in float32, -1e30 where `mask` is false."""
    return logits[..., 0].float().masked_fill(~mask, MASKED)


def _initialise(module: nn.Module) -> None:
    # Embeddings, LSTMs and norms keep torch's own start.
    if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
