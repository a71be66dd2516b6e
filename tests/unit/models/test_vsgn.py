from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from playhead.data.stitching import Stitching
from playhead.models.vsgn import VSGN, BoundaryAdjustment, GraphConvolution, VSGNConfig, decode_boxes, nearest_steps

TINY = VSGNConfig(
    feature_dim=6, num_classes=4, num_steps=16, width=32, num_levels=3, tower_layers=1, num_neighbours=3, stitch_gap=2
)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_vsgn(config=TINY):
    torch.manual_seed(0)
    return VSGN(config).eval()


def a_mask(*lengths, num_steps=16):
    return torch.arange(num_steps) < torch.tensor(lengths)[:, None]


def nearest_by_definition(nodes, count, seam):
    """Sort the steps that may be heard by their distance, sample by sample and step by step."""
    found = []
    for sample, at in zip(nodes, seam, strict=True):
        rows = []
        for step, node in enumerate(sample):
            order = (sample - node).square().sum(-1).argsort(stable=True).tolist()
            if at < 0:
                rows.append(order[:count])
                continue
            first = order[: count // 2]
            allowed = [other for other in order if other not in first and not (step >= at and other >= at)]
            rows.append(first + allowed[: count - count // 2])
        found.append(rows)
    return torch.tensor(found)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_nearest_steps_are_those_of_the_definition(count):
    nodes = noise(3, 12, 4)
    assert torch.equal(nearest_steps(nodes, count), nearest_by_definition(nodes, count, [-1, -1, -1]))
    seam = torch.tensor([7, -1, 9])
    assert torch.equal(nearest_steps(nodes, count, seam), nearest_by_definition(nodes, count, seam.tolist()))


def test_a_step_is_its_own_nearest_also_far_from_the_origin():
    nodes = noise(2, 40, 8) * 0.01 + 1000
    assert torch.equal(nearest_steps(nodes, 1)[..., 0], torch.arange(40).expand(2, -1))


def test_equal_steps_are_at_equal_distances():
    nodes = torch.cat([noise(1, 20, 8), noise(1, 1, 8, seed=1).expand(1, 20, 8)], dim=1) * 30
    # The padding hears only itself: whichever of its steps is chosen, it is none of the first twenty.
    assert nearest_steps(nodes, 12)[:, 20:].min() >= 20


@pytest.mark.parametrize("seam", [None, torch.tensor([6, -1])])
def test_the_graph_is_the_largest_message_with_the_gradients_of_that(seam):
    layer, steps = GraphConvolution(8, 4).double(), noise(2, 8, 10).double().requires_grad_()
    nodes = steps.transpose(1, 2)
    chosen = nearest_steps(nodes.detach(), 4, seam)
    pairs = torch.stack(
        [
            torch.cat([sample[rows], sample[:, None].expand(-1, 4, -1)], dim=-1)
            for sample, rows in zip(nodes, chosen, strict=True)
        ]
    )
    expected = layer.message(pairs).max(dim=2).values.transpose(1, 2)
    weight = noise(2, 8, 10, seed=2).double()
    inputs = [steps, layer.message.weight, layer.message.bias]

    found = layer(steps, seam)

    assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        assert_close(ours, theirs)


def test_boundary_adjustment_is_a_convolution_over_three_places():
    layer, steps = BoundaryAdjustment(8), noise(2, 10, 8)
    places = torch.randint(10, (2, 7, 3), generator=torch.Generator().manual_seed(0))
    triples = torch.stack([sample[rows] for sample, rows in zip(steps, places, strict=True)])  # (B, N, 3, D)
    expected = layer.out(F.relu(layer.around(triples.flatten(0, 1).transpose(1, 2)))).view(2, 7)
    assert_close(layer(steps, places), expected)


def test_anchors_stand_around_the_middles_of_their_steps():
    anchors = some_vsgn().anchors()
    assert len(anchors) == 2 * (16 + 8 + 4)
    assert anchors[:2].tolist() == [[0.5, 0.5], [-4.0, 5.0]]  # 1 and 10 steps long, both ends counted
    assert anchors[32:34].tolist() == [[0.5, 1.5], [-8.5, 10.5]]  # steps of 2: 2 and 20 long, around 1.0
    assert anchors[-1].tolist() == [14 - 19.5, 14 + 19.5]


def test_boxes_move_by_tenths_and_stretch_by_e_to_fifths_of_their_length():
    anchors = torch.tensor([[2.0, 5.0]])  # four steps long
    moves = torch.tensor([[[0.0, 0.0]], [[10.0, 0.0]], [[0.0, 5.0]], [[0.0, 1000.0]]])
    lengths = (4, 4, 4 * torch.e, 250)  # the last stops at 62.5 times four
    middles = (3.5, 7.5, 3.5, 3.5)
    expected = [[m - (length - 1) / 2, m + (length - 1) / 2] for m, length in zip(middles, lengths, strict=True)]
    assert_close(decode_boxes(moves, anchors)[:, 0], torch.tensor(expected))


@pytest.mark.parametrize("config", [TINY, replace(TINY, graph=False), replace(TINY, anchor_scales=(1, 3, 9))])
def test_every_anchor_has_its_classes_and_boxes(config):
    output = some_vsgn(config)(noise(2, 16, 6), a_mask(16, 9))
    num_anchors = len(config.anchor_scales) * 28
    assert output.logits.shape == (2, num_anchors, 5)
    assert output.boxes.shape == output.adjusted.shape == (2, num_anchors, 2)
    assert output.anchors.shape == (num_anchors, 2)
    assert output.action.shape == output.start.shape == output.end.shape == (2, 16)


def test_what_stands_in_the_padding_is_not_looked_at():
    model, features, mask = some_vsgn(), noise(2, 16, 6), a_mask(16, 9)
    soiled = torch.where(mask[..., None], features, torch.nan)
    assert_close(model(soiled, mask).logits, model(features, mask).logits)


@pytest.mark.parametrize("stitched", [False, True])
def test_a_sample_does_not_see_the_others_of_its_batch(stitched):
    model = some_vsgn(replace(TINY, stitched=stitched))
    features, mask = noise(3, 16, 6), a_mask(16, 5, 6)
    together = model(features, mask)
    for sample in range(3):
        alone = model(features[sample : sample + 1], mask[sample : sample + 1])
        for name in ("logits", "boxes", "adjusted", "action"):
            assert_close(getattr(alone, name)[0], getattr(together, name)[sample], atol=1e-5, rtol=1e-4)


def test_only_short_clips_are_split_at_the_seam():
    split, whole = some_vsgn(replace(TINY, stitched=True)), some_vsgn()
    features = noise(2, 16, 6)
    stitching = Stitching(num_steps=16, short_ratio=0.4, gap=2)
    short = stitching.stitch(features[1, :5].numpy())
    features[1] = torch.from_numpy(short.features)
    mask = torch.stack([torch.ones(16, dtype=torch.bool), torch.from_numpy(short.mask)])
    difference = (split(features, mask).logits - whole(features, mask).logits).abs().amax(dim=(1, 2))
    assert difference[0] == 0
    assert difference[1] > 1e-3
    assert split._seam(mask).tolist() == [-1, 7]


def test_half_of_the_neighbours_on_a_copy_are_of_the_clip():
    nodes, seam = noise(1, 20, 4), torch.tensor([8])
    from_copy = nearest_steps(nodes, 6, seam)[0, 8:, 3:]
    assert from_copy.max() < 8


def test_gradients_reach_every_parameter():
    output = (model := some_vsgn())(noise(2, 16, 6), a_mask(16, 12))
    sum(getattr(output, name).square().sum() for name in ("logits", "adjusted", "action", "start", "end")).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


def test_features_of_another_size_are_refused():
    model = some_vsgn()
    with pytest.raises(ValueError, match="16 steps x 6 wanted, got 8 x 6"):
        model(noise(1, 8, 6), a_mask(8, num_steps=8))
    with pytest.raises(ValueError, match="16 steps x 6 wanted, got 16 x 5"):
        model(noise(1, 16, 5), a_mask(16))


def test_settings_survive_a_json_and_wrong_ones_are_refused():
    assert VSGNConfig.from_dict(TINY.to_dict()) == TINY
    assert VSGNConfig.from_dict(TINY.to_dict() | {"anchor_scales": [1, 10]}) == TINY
    for wrong, message in (
        ({"width": 40}, "multiple of 32"),
        ({"num_steps": 18}, "cannot be halved"),
        ({"num_neighbours": 9}, "only 8 steps"),
        ({"anchor_scales": ()}, "1 or more"),
        ({"short_ratio": 0.0}, "short_ratio"),
        ({"stitch_gap": 0}, "stitch_gap"),
        ({"feature_dim": 0}, "feature_dim"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(TINY, **wrong)
