import dataclasses
import json

import pytest
import torch
from torch.testing import assert_close
from transformers import DistilBertConfig as TwinConfig
from transformers import DistilBertModel

from playhead.models.distilbert import DistilBert, DistilBertConfig
from playhead.types import Tokens

TINY = DistilBertConfig(vocab_size=50, dim=24, n_layers=3, n_heads=4, hidden_dim=40, max_positions=12)

PARTS = {
    "embeddings.word_embeddings": "word_embedding",
    "embeddings.position_embeddings": "position_embedding",
    "embeddings.LayerNorm": "embedding_norm",
    "transformer.layer": "layers",
    "attention.q_lin": "query",
    "attention.k_lin": "key",
    "attention.v_lin": "value",
    "attention.out_lin": "out",
    "sa_layer_norm": "attention_norm",
    "ffn.lin1": "mlp.up",
    "ffn.lin2": "mlp.down",
    "output_layer_norm": "mlp_norm",
}


def our_name(name):
    for theirs, ours in PARTS.items():
        name = name.replace(theirs, ours)
    return name


def twins():
    torch.manual_seed(0)
    sizes = {name: getattr(TINY, name) for name in ("vocab_size", "dim", "n_layers", "n_heads", "hidden_dim")}
    twin = DistilBertModel(TwinConfig(**sizes, max_position_embeddings=12, attn_implementation="eager"))
    for parameter in twin.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours = DistilBert(TINY)
    ours.load_state_dict({our_name(name): value for name, value in twin.state_dict().items()}, strict=True)
    return ours.eval(), twin.eval()


def texts():
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(9)[None] < torch.tensor([9, 4, 1])[:, None]
    return Tokens(ids=torch.randint(1, 50, (3, 9), generator=generator) * mask, mask=mask)


def test_hidden_states_are_those_of_transformers():
    ours, twin = twins()
    tokens = texts()
    expected = twin(input_ids=tokens.ids, attention_mask=tokens.mask.long()).last_hidden_state
    assert_close(ours(tokens)[tokens.mask], expected[tokens.mask], atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_transformers():
    ours, twin = twins()
    tokens = texts()
    weights = torch.randn(3, 9, 24, generator=torch.Generator().manual_seed(2)) * tokens.mask[:, :, None]
    (ours(tokens) * weights).sum().backward()
    (twin(input_ids=tokens.ids, attention_mask=tokens.mask.long()).last_hidden_state * weights).sum().backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    for name, parameter in twin.named_parameters():
        assert_close(gradients[our_name(name)], parameter.grad, atol=2e-5, rtol=1e-4)


def test_words_do_not_depend_on_the_padding_behind_them():
    ours, _ = twins()
    tokens = texts()
    alone = Tokens(ids=tokens.ids[1:2, :4], mask=tokens.mask[1:2, :4])
    assert_close(ours(tokens)[1:2, :4], ours(alone), atol=1e-6, rtol=1e-5)


def test_rows_under_the_mask_are_finite_even_for_a_text_without_a_token():
    ours, _ = twins()
    empty = Tokens(ids=torch.zeros(2, 5, dtype=torch.int64), mask=torch.zeros(2, 5, dtype=torch.bool))
    assert ours(empty).isfinite().all()


def test_dropout_acts_in_training_only():
    ours, _ = twins()
    tokens = texts()
    assert_close(ours(tokens), ours(tokens), atol=0, rtol=0)
    ours.train()
    assert not torch.allclose(ours(tokens), ours(tokens))


def test_ids_of_32_bits_do_as_well():
    ours, _ = twins()
    tokens = texts()
    assert_close(ours(dataclasses.replace(tokens, ids=tokens.ids.int())), ours(tokens), atol=0, rtol=0)


def test_a_text_longer_than_the_position_table_is_refused_with_the_remedy():
    long = Tokens(ids=torch.ones(1, 13, dtype=torch.int64), mask=torch.ones(1, 13, dtype=torch.bool))
    with pytest.raises(ValueError, match="13 tokens do not fit into 12 positions; tokenize with max_length=12"):
        DistilBert(TINY)(long)


def test_settings_come_back_from_json():
    assert DistilBertConfig.from_dict(json.loads(json.dumps(TINY.to_dict()))) == TINY


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_head": 3}, "no setting n_head"),
        ({"n_heads": 5}, "n_heads 5 must divide dim 768"),
        ({"n_layers": 0}, "n_layers must be above zero"),
        ({"dropout": 1.0}, "must lie in"),
    ],
)
def test_settings_that_make_no_model_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        DistilBertConfig.from_dict(wrong)
