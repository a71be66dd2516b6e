import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from playhead.models.vslnet import VSLNet, VSLNetConfig, VSLNetOutput, Words, WordsConfig
from playhead.objectives.spans import highlight_loss, span_cross_entropy
from playhead.train.config import Optim
from playhead.train.optim import make_optimizer

TINY = VSLNetConfig(video_dim=6, text_dim=5, width=8, heads=2, max_positions=12, conv_layers=2, kernel=3)
LSTM = replace(TINY, predictor="lstm")
WORDS = replace(TINY, words=WordsConfig(num_words=9, num_chars=7, word_dim=4, char_dim=3))
LEARNED = replace(TINY, words=WordsConfig(num_words=9, num_chars=7, word_dim=4, char_dim=3, fixed_vectors=False))


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_vslnet(config=TINY):
    """A model whose every parameter matters, unlike at the start of training."""
    model = VSLNet(config).eval()
    for seed, parameter in enumerate(model.parameters()):
        parameter.data = noise(*parameter.shape, seed=seed) * 0.5
    return model


def lengths_to_mask(*lengths):
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def some_input(num_rows=(10, 7), num_words=(6, 4)):
    size = len(num_rows)
    video, text = noise(size, max(num_rows), 6, seed=1), noise(size, max(num_words), 5, seed=2)
    return video, lengths_to_mask(*num_rows), text, lengths_to_mask(*num_words)


def some_words():
    ids = torch.tensor([[2, 1, 5, 0], [8, 0, 0, 0]])
    chars = torch.randint(1, 7, (2, 4, 5), generator=torch.Generator().manual_seed(0)) * (ids > 0)[..., None]
    return Words(ids, chars), ids > 0


def one_sample(given, sample, num_rows, num_words):
    video, _, text, _ = given
    parts = video[sample : sample + 1, :num_rows], text[sample : sample + 1, :num_words]
    return parts[0], lengths_to_mask(num_rows), parts[1], lengths_to_mask(num_words)


def assert_same(ours, theirs, num_rows):
    for name in VSLNetOutput.__slots__:
        assert_close(getattr(ours, name)[:, :num_rows], getattr(theirs, name)[:, :num_rows], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", [TINY, LSTM])
def test_an_answer_does_not_depend_on_the_batch(config):
    model, given = some_vslnet(config), some_input()
    together = model(*given)
    for sample, (num_rows, num_words) in enumerate([(10, 6), (7, 4)]):
        alone = model(*one_sample(given, sample, num_rows, num_words))
        rows = VSLNetOutput(*(getattr(together, name)[sample : sample + 1] for name in VSLNetOutput.__slots__))
        assert_same(rows, alone, num_rows)


@pytest.mark.parametrize("config", [TINY, LSTM])
def test_what_stands_in_padding_does_not_matter(config):
    model, (video, video_mask, text, text_mask) = some_vslnet(config), some_input()
    plain = model(video, video_mask, text, text_mask)
    other = model(
        torch.where(video_mask[..., None], video, 77.0),
        video_mask,
        torch.where(text_mask[..., None], text, -5.0),
        text_mask,
    )
    for name in VSLNetOutput.__slots__:
        assert_close(getattr(plain, name), getattr(other, name), atol=1e-5, rtol=1e-4)


def test_as_released_an_answer_depends_on_the_longest_query_of_its_batch():
    model, given = some_vslnet(replace(TINY, convolve_padding=True)), some_input()
    together, alone = model(*given), model(*one_sample(given, 1, 7, 4))
    assert (together.start_logits[1:, :7] - alone.start_logits).abs().max() > 1e-3


def test_without_padding_the_released_convolution_is_the_same():
    given = some_input((10, 10), (6, 6))
    released = VSLNet(replace(TINY, convolve_padding=True)).eval()
    model = VSLNet(TINY).eval()
    model.load_state_dict(released.state_dict())
    assert_same(model(*given), released(*given), 10)


def test_padding_gets_the_lowest_logit():
    output = some_vslnet()(*some_input())
    for name in VSLNetOutput.__slots__:
        assert (getattr(output, name)[1, 7:] == -1e30).all()
        assert (getattr(output, name)[1, :7].abs() < 1e3).all()


def test_the_end_is_told_after_the_start_by_the_same_encoder():
    model, calls = some_vslnet(), []
    model.predictor.encoder.register_forward_hook(lambda _, given, out: calls.append((given[0], out)))
    model(*some_input())
    assert len(calls) == 2
    assert calls[1][0] is calls[0][1]


def test_the_lstms_look_back_only():
    model = some_vslnet(LSTM).predictor
    rows, mask = noise(1, 9, 8), lengths_to_mask(9)
    changed = rows.clone()
    changed[:, 5:] += 1.0
    for before, after in zip(model(rows, mask), model(changed, mask), strict=True):
        assert_close(before[:, :5], after[:, :5])
        assert (before[:, 5:] - after[:, 5:]).abs().min() > 1e-5


@pytest.mark.parametrize("config", [WORDS, LEARNED])
def test_words_are_read_by_vector_and_by_spelling(config):
    model, (video, video_mask, _, _) = some_vslnet(config), some_input()
    if config.words.fixed_vectors:
        model.word_embedding.vectors.copy_(noise(7, 4, seed=3))
    words, mask = some_words()
    plain = model(video, video_mask, words, mask).start_logits
    assert plain.isfinite().all()
    other = words.ids.clone()
    other[0, 2] = 6
    assert (model(video, video_mask, Words(other, words.chars), mask).start_logits - plain)[0].abs().max() > 1e-4
    spelled = words.chars.clone()
    spelled[0, 2] = spelled[0, 2] % 6 + 1
    assert (model(video, video_mask, Words(words.ids, spelled), mask).start_logits - plain)[0].abs().max() > 1e-4


def test_given_vectors_stay_and_the_one_of_unknown_words_learns():
    model, (video, video_mask, _, _) = some_vslnet(WORDS), some_input()
    words, mask = some_words()
    model(video, video_mask, words, mask).start_logits[:, 0].sum().backward()
    assert model.word_embedding.unknown.grad.abs().sum() > 0
    assert {"padding", "vectors"} <= {name.split(".")[-1] for name, _ in model.named_buffers()}
    assert "word_embedding.vectors" in model.state_dict()


def test_text_of_the_other_kind_is_refused():
    video, video_mask, text, text_mask = some_input()
    words, word_mask = some_words()
    with pytest.raises(TypeError, match="reads text features, got Words"):
        some_vslnet()(video, video_mask, words, word_mask)
    with pytest.raises(TypeError, match="reads words, got Tensor"):
        some_vslnet(WORDS)(video, video_mask, text, text_mask)


def test_words_of_too_few_characters_are_refused():
    video, video_mask, _, _ = some_input()
    words, mask = some_words()
    with pytest.raises(ValueError, match="words have 3 characters, padding included; 4 are needed"):
        some_vslnet(WORDS)(video, video_mask, Words(words.ids, words.chars[..., :3]), mask)


def test_more_rows_or_words_than_positions_are_refused():
    with pytest.raises(ValueError, match="13 rows given, but the encoder has 12 positions"):
        some_vslnet()(*some_input((13, 5)))
    with pytest.raises(ValueError, match="14 rows given, but the encoder has 12 positions"):
        some_vslnet()(*some_input((12, 5), (14, 2)))


@pytest.mark.parametrize("config", [TINY, LSTM])
def test_one_row_and_one_word_have_finite_gradients(config):
    model = some_vslnet(config)
    output = model(*some_input((1,), (1,)))
    (output.start_logits + output.end_logits + output.highlight_logits).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_attention_in_training_is_that_in_use_where_nothing_is_dropped():
    model, given = some_vslnet(replace(TINY, dropout=0.0)), some_input()
    expected = model(*given)
    assert_same(model.train()(*given), expected, 10)


def test_dropout_works_in_training_only():
    model, given = some_vslnet(), some_input()
    assert_close(model(*given).start_logits, model(*given).start_logits, atol=0, rtol=0)
    model.train()
    assert (model(*given).start_logits - model(*given).start_logits)[:, 0].abs().max() > 1e-3


@pytest.mark.parametrize("config", [TINY, LSTM])
def test_it_learns_a_batch_by_heart(config):
    torch.manual_seed(0)
    model, given = VSLNet(replace(config, width=16, dropout=0.0)), some_input()
    first, last = torch.tensor([3, 1]), torch.tensor([6, 2])
    rows = torch.arange(10)
    highlight = (rows >= first[:, None]) & (rows <= last[:, None])
    optimizer = make_optimizer(model, Optim(lr=1e-2, weight_decay=0.01, decayed="all_but_biases_and_norms"))
    for _ in range(60):
        output = model(*given)
        loss = span_cross_entropy(output.start_logits, output.end_logits, first, last).mean()
        loss = loss + 5 * highlight_loss(output.highlight_logits, highlight, given[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    output = model.eval()(*given)
    assert output.start_logits.argmax(dim=1).tolist() == first.tolist()
    assert output.end_logits.argmax(dim=1).tolist() == last.tolist()
    assert ((output.highlight_logits > 0) == highlight).all()


@pytest.mark.parametrize("config", [TINY, LSTM, WORDS, LEARNED])
def test_biases_and_norms_do_not_decay_and_all_others_do(config):
    model = VSLNet(config)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = make_optimizer(model, Optim(lr=1e-2, weight_decay=0.3, decayed="all_but_biases_and_norms")).param_groups
    decayed, spared = ({names[parameter] for parameter in group["params"]} for group in groups)
    assert decayed | spared == set(names.values())
    assert not decayed & spared
    assert {name for name in names.values() if "bias" in name or "norm" in name} == spared
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]


def test_bf16_autocast_changes_chances_by_bf16_accuracy_only():
    model, given = some_vslnet(), some_input()
    exact = model(*given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(*given)
    for name in VSLNetOutput.__slots__:
        assert getattr(low, name).dtype == torch.float32
        assert_close(getattr(low, name).softmax(dim=1), getattr(exact, name).softmax(dim=1), atol=0.03, rtol=0)


COMPILE = """
import torch
from playhead.models.vslnet import VSLNet, VSLNetConfig

config = VSLNetConfig(video_dim=6, text_dim=5, width=8, heads=2, max_positions=12, conv_layers=2, kernel=3)
model = VSLNet(config).eval()
given = (torch.randn(2, 9, 6), torch.ones(2, 9) > 0, torch.randn(2, 4, 5), torch.ones(2, 4) > 0)
compiled = torch.compile(model, backend="eager", fullgraph=True)(*given)
torch.testing.assert_close(compiled.start_logits, model(*given).start_logits)
"""


def test_it_compiles_into_one_graph():
    # In a process of its own: the type checks of the test run are no code for a compiler.
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_settings_come_back_from_json():
    for config in (TINY, LSTM, WORDS, LEARNED, VSLNetConfig(video_dim=2304)):
        assert VSLNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"video_dim": 6, "depth": 3}, "VSLNetConfig has no setting depth"),
        ({"width": 64}, "needs `video_dim`"),
        ({"video_dim": 6, "heads": 7}, "heads 7 must divide width 128"),
        ({"video_dim": 6, "kernel": 4}, "kernel must be odd, got 4"),
        ({"video_dim": 6, "dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"video_dim": 0}, "video_dim must be above zero"),
        ({"video_dim": 6, "words": {"num_words": 2, "num_chars": 5}}, "2 words leave none"),
        ({"video_dim": 6, "words": {"num_words": 9, "num_chars": 5, "font": 1}}, "WordsConfig has no setting font"),
    ],
)
def test_settings_that_make_no_model_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        VSLNetConfig.from_dict(wrong)
