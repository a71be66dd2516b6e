import json

import pytest
import torch
from torch.testing import assert_close

from playhead.models.point_pyramid import PointPyramid, PointPyramidConfig

SMALL = {
    "input_widths": (6,), "num_classes": 3, "max_steps": 32, "width": 8, "levels": 3, "heads": 2, "windows": (5,),
    "embedding_layers": 1, "stem_blocks": 1, "neck_width": 8, "head_width": 8, "layer_scale": None, "drop_path": 0.0,
}  # fmt: skip
FORMS = {
    "local": {},
    "global": {"windows": (0,)},
    "positions": {"absolute_positions": True, "relative_positions": True},
    "fpn": {"neck": "fpn", "neck_width": 12},
    "convolution": {"kind": "convolution"},
    "two feature sets": {"input_widths": (2, 4), "projected_widths": (5, 3)},
}
TEXT_FORMS = {
    "in blocks": {"text_width": 7, "num_classes": 1},
    "after the pyramid": {"text_width": 7, "num_classes": 1, "text_fusion": "pyramid"},
}


# Softmax does not feel what is added to all keys alike.
ADDED_TO_ALL_KEYS = ("key.norm.bias", "key.linear.bias", "words.key.bias")


def some_model(**changes):
    model = PointPyramid(PointPyramidConfig(**{**SMALL, **changes})).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4
    for parameter in (model.offset_head.conv.bias, *model.scales):
        parameter.data.fill_(2.0)  # so that some offsets of each level are above zero
    return model


def rows(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def real(*lengths, steps=None):
    return torch.arange(steps or max(lengths)) < torch.tensor(lengths)[:, None]


def without_gradient(model):
    return [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-6]


def assert_same(one, other, atol=1e-5):
    for name in ("logits", "offsets", "masks"):
        for ours, theirs in zip(getattr(one, name), getattr(other, name), strict=True):
            assert_close(ours, theirs, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_each_level_has_half_the_points_and_says_nothing_at_padded_ones(form):
    model = some_model(**FORMS[form])
    pyramid = model(rows(2, 20, 6), real(20, 11))
    assert [logits.shape for logits in pyramid.logits] == [(2, 32, 3), (2, 16, 3), (2, 8, 3)]
    assert [mask.sum(dim=1).tolist() for mask in pyramid.masks] == [[20, 11], [10, 6], [5, 3]]
    for logits, offsets, mask in zip(pyramid.logits, pyramid.offsets, pyramid.masks, strict=True):
        assert (logits[~mask] == 0).all()
        assert (offsets[~mask] == 0).all()
        assert (logits[mask] != 0).all()
        assert (offsets >= 0).all()


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_what_a_video_gets_does_not_depend_on_its_batch_or_on_what_lies_in_the_padding(form):
    model = some_model(**FORMS[form])
    features = rows(2, 20, 6)
    features[1, 11:] = float("nan")
    together = model(features, real(20, 11))
    alone = model(features[1:, :11], real(11))
    for name in ("logits", "offsets", "masks"):
        for both, one in zip(getattr(together, name), getattr(alone, name), strict=True):
            assert_close(both[1:], one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_learns(form):
    model = some_model(**FORMS[form])
    pyramid = model(rows(2, 20, 6), real(20, 11))
    sum(part.square().sum() for part in (*pyramid.logits, *pyramid.offsets)).backward()
    assert [name for name in without_gradient(model) if not name.endswith(ADDED_TO_ALL_KEYS)] == []


@torch.no_grad()
def test_a_window_over_the_whole_video_is_no_window():
    whole, wide = some_model(windows=(0,)), some_model(windows=(65,))
    assert_same(whole(rows(1, 30, 6), real(30)), wide(rows(1, 30, 6), real(30)))


@torch.no_grad()
def test_a_point_sees_only_what_its_windows_reach():
    model = some_model(windows=(3,), levels=1, stem_blocks=1, embedding_layers=1, head_layers=1)
    features = rows(1, 32, 6)
    changed = features.clone()
    changed[0, 20] += 1
    before, after = (model(given, real(32)).logits[0][0] for given in (features, changed))
    # One step each: embedding, depthwise convolution, window, head.
    differs = (before != after).any(dim=1).nonzero()[:, 0].tolist()
    assert differs == list(range(20 - 4, 20 + 5))


def test_short_videos_are_padded_to_the_training_length_and_long_ones_to_what_divides():
    config = PointPyramidConfig(**{**SMALL, "windows": (5,)})
    assert [config.padded_steps(steps) for steps in (1, 31, 32)] == [32, 32, 32]
    assert [config.padded_steps(steps) for steps in (33, 48, 49)] == [48, 48, 64]  # 4 steps x 4 of the window
    mixed = PointPyramidConfig(**{**SMALL, "windows": (7, 0, 0)})
    assert mixed.padded_steps(33) == 36  # 6 x 1, and a multiple of the coarsest stride


@torch.no_grad()
def test_a_long_video_stretches_the_table_of_positions():
    model = some_model(absolute_positions=True)
    table = model.positions
    stretched = model._positions_of(torch.empty(1, 64, 8))
    # Twice the length: between two entries lie two, a quarter and three quarters of the way.
    assert_close(stretched[1], 0.75 * table[0] + 0.25 * table[1])
    assert_close(stretched[-2], 0.25 * table[-2] + 0.75 * table[-1])
    assert model(rows(1, 50, 6), real(50)).logits[0].shape == (1, 64, 3)


@torch.no_grad()
def test_an_untrained_model_says_the_prior_everywhere():
    model = PointPyramid(PointPyramidConfig(**{**SMALL, "class_prior": 0.02, "empty_classes": (1,)}))
    model.class_head.conv.weight.zero_()
    logits = model(rows(1, 32, 6), real(32)).logits[0]
    assert_close(logits[0, 3].sigmoid(), torch.tensor([0.02, 1e-6, 0.02]), atol=1e-7, rtol=1e-3)


def test_random_layers_are_off_in_eval_mode_and_on_in_training():
    model = some_model(dropout=0.3, drop_path=0.3)
    first, second = (model(rows(4, 20, 6), real(20, 20, 20, 20)) for _ in range(2))
    assert_same(first, second, atol=0)
    model.train()
    assert not torch.equal(model(rows(4, 20, 6), real(20, 20, 20, 20)).logits[0], first.logits[0])


@torch.no_grad()
def test_bfloat16_is_the_same_to_its_accuracy():
    for changes in ({}, {"windows": (0,)}, {"relative_positions": True}):
        model = some_model(**changes)
        exact = model(rows(2, 20, 6), real(20, 11))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(rows(2, 20, 6), real(20, 11))
        for ours, theirs in zip(rough.logits, exact.logits, strict=True):
            assert_close(ours.float(), theirs, atol=0.15, rtol=0.1)


@pytest.mark.parametrize("form", TEXT_FORMS)
@torch.no_grad()
def test_queries_of_one_video_share_it(form):
    model = some_model(**TEXT_FORMS[form])
    features, mask = rows(2, 20, 6), real(20, 11)
    text, text_mask, video_of = rows(3, 4, 7, seed=1), real(4, 2, 3), torch.tensor([1, 0, 1])
    shared = model(features, mask, text, text_mask, video_of)
    assert_same(shared, model(features[video_of], mask[video_of], text, text_mask))
    assert shared.logits[0].shape == (3, 32, 1)


@torch.no_grad()
def test_after_the_pyramid_the_backbone_runs_once_per_video():
    model = some_model(**TEXT_FORMS["after the pyramid"])
    seen = []
    model.stem[0].register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    model(rows(1, 20, 6), real(20), rows(5, 4, 7), real(4, 4, 4, 4, 4), torch.zeros(5, dtype=torch.long))
    assert seen == [1]


@pytest.mark.parametrize("form", TEXT_FORMS)
@torch.no_grad()
def test_other_words_give_another_answer_and_padded_words_none(form):
    model = some_model(**TEXT_FORMS[form])
    features, mask, text = rows(2, 20, 6), real(20, 11), rows(2, 4, 7, seed=1)
    first = model(features, mask, text, real(4, 2))
    padded = text.clone()
    padded[1, 2:] = 9.0
    assert_same(model(features, mask, padded, real(4, 2)), first)
    other = model(features, mask, text + 1, real(4, 2))
    assert all((ours != theirs).any() for ours, theirs in zip(other.logits, first.logits, strict=True))


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_with_words_every_parameter_learns(form):
    model = some_model(**TEXT_FORMS[form])
    pyramid = model(rows(2, 20, 6), real(20, 11), rows(2, 4, 7, seed=1), real(4, 2))
    sum(part.square().sum() for part in (*pyramid.logits, *pyramid.offsets)).backward()
    assert [name for name in without_gradient(model) if not name.endswith(ADDED_TO_ALL_KEYS)] == []


def test_blocks_are_those_of_stem_and_branch():
    model = some_model()
    assert model.blocks() == [*model.stem, *model.branch]
    assert len(model.blocks()) == 3


def test_the_running_number_of_positives_is_kept_only_when_it_is_started():
    assert "loss_normalizer" not in some_model().state_dict()
    assert some_model(loss_normalizer=100.0).state_dict()["loss_normalizer"] == 100


def test_settings_survive_json():
    config = PointPyramidConfig(**{**SMALL, "windows": (5, 3, 0), "empty_classes": (2,), "text_width": 4})
    assert PointPyramidConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="no setting depth"):
        PointPyramidConfig.from_dict({"depth": 3})


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"heads": 3}, "heads"), ({"max_steps": 30}, "max_steps"), ({"windows": (5, 5)}, "windows"),
     ({"neck_width": 9}, "neck_width"), ({"projected_widths": (1, 2)}, "projected_widths"), ({"input_widths": ()},
     "input_widths"), ({"class_prior": 1.0}, "class_prior"), ({"num_classes": 0}, "num_classes"),
     ({"text_width": 4, "kind": "convolution"}, "text"), ({"empty_classes": (3,)}, "empty_classes"),
     ({"layer_scale": 0.0}, "layer_scale"), ({"loss_normalizer": 0.0}, "loss_normalizer"),
     ({"stem_blocks": -1}, "stem_blocks"),
     ({"embedding_layers": 0}, "embedding_layers")],
)  # fmt: skip
def test_settings_that_contradict_are_errors(changes, named):
    with pytest.raises(ValueError, match=named):
        PointPyramidConfig(**{**SMALL, **changes})


def test_wrong_input_is_named():
    model, grounding = some_model(), some_model(**TEXT_FORMS["in blocks"])
    with pytest.raises(ValueError, match="width 6 wanted, got 5"):
        model(rows(1, 8, 5), real(8))
    with pytest.raises(ValueError, match="row 1 has no feature"):
        model(rows(2, 8, 6), real(8, 0))
    with pytest.raises(ValueError, match="row 0 has no text feature"):
        grounding(rows(1, 8, 6), real(8), rows(1, 3, 7), real(0, steps=3))
    with pytest.raises(ValueError, match="takes none"):
        model(rows(1, 8, 6), real(8), rows(1, 3, 7), real(3))
    with pytest.raises(ValueError, match="needs text"):
        grounding(rows(1, 8, 6), real(8))
    with pytest.raises(ValueError, match="2 queries of 1 videos"):
        grounding(rows(1, 8, 6), real(8), rows(2, 3, 7), real(3, 3))
