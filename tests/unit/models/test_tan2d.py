import copy
import json
import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from playhead.models.tan2d import MomentMap, Tan2d, Tan2dConfig, steps_of

TINY = Tan2dConfig(video_dim=5, text_dim=4, width=6, num_rows=12, scales=(4, 2, 2), kernels=(3, 5), paddings=(3, 0))


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def candidates(num_rows, scales):
    return [(first, first + step.length - 1) for step in steps_of(num_rows, scales) for first in step.firsts]


def test_ego4d_has_591_candidates_of_820():
    cells = candidates(40, (16, 8, 8))
    assert len(set(cells)) == len(cells) == 591
    assert all(0 <= first <= last < 40 for first, last in cells)


def test_one_scale_of_all_lengths_makes_every_cell_a_candidate():
    assert sorted(candidates(9, (9,))) == [(i, j) for i in range(9) for j in range(i, 9)]


def test_longer_moments_start_less_densely():
    lengths = {}
    for first, last in candidates(64, (16, 8, 8)):
        lengths.setdefault(last - first + 1, []).append(first)
    assert list(lengths) == [*range(1, 17), *range(18, 33, 2), *range(36, 65, 4)]
    for length, firsts in lengths.items():
        spacing = 1 if length <= 16 else 2 if length <= 32 else 4
        assert firsts == list(range(0, 64 - length + 1, spacing))


def test_lengths_end_where_none_fits_the_window():
    assert max(last for _, last in candidates(10, (4, 4, 4))) == 9
    assert len(list(steps_of(3, (16, 8, 8)))) == 3


@pytest.mark.parametrize("scales", [(4, 2, 2), (12,), (1, 1, 1)])
def test_a_moment_is_the_maximum_of_its_rows(scales):
    config = replace(TINY, scales=scales)
    rows = noise(2, 6, 12)
    moments, cells = MomentMap(config)(rows), candidates(12, scales)
    for first in range(12):
        for last in range(12):
            within = rows[:, :, first : last + 1].amax(dim=2) if (first, last) in cells else torch.zeros(2, 6)
            assert_close(moments[:, :, first, last], within)


def test_a_convolved_moment_depends_on_its_rows_alone():
    torch.manual_seed(0)
    layer, rows = MomentMap(replace(TINY, moments="conv")), noise(1, 6, 12).requires_grad_()
    moments = layer(rows)
    for first, last in candidates(12, TINY.scales):
        (gradient,) = torch.autograd.grad(moments[0, :, first, last].sum(), rows, retain_graph=True)
        touched = gradient[0].abs().sum(dim=0).nonzero()[:, 0].tolist()
        assert touched == list(range(first, last + 1))


def some_tan2d(config=TINY):
    torch.manual_seed(0)
    return Tan2d(config).eval()


def test_cells_that_are_no_candidates_score_zero():
    output = some_tan2d()(noise(3, 12, 5), noise(3, 4, seed=1))
    assert output.cells.nonzero().tolist() == sorted(map(list, candidates(12, TINY.scales)))
    assert (output.logits[:, ~output.cells] == 0).all()
    assert (output.logits[:, output.cells] != 0).all()


def test_a_convolution_is_divided_by_the_real_inputs_it_sees():
    config = replace(TINY, kernels=(3, 5), paddings=(3, 0))
    model = some_tan2d(config)
    seen = []
    model.convs[1].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model.convs[0].register_forward_hook(lambda _, __, out: seen.append(out))
    cells = model(noise(1, 12, 5), noise(1, 4)).cells
    convolved, weighed = seen
    for row in range(16):
        for column in range(16):  # the map has 12 + 2 * 3 - 2 rows; output (r, c) sees cells r - 3 to r - 1
            above, left = max(0, row - 3), max(0, column - 3)
            real = int(cells[above : max(0, row), left : max(0, column)].sum())
            expected = convolved[0, :, row, column].relu() / real if real else torch.zeros(6)
            assert_close(weighed[0, :, row, column], expected)


def test_a_window_and_query_do_not_depend_on_their_batch():
    model, video, text = some_tan2d(), noise(3, 12, 5), noise(3, 4, seed=1)
    assert_close(model(video, text).logits[1:2], model(video[1:2], text[1:2]).logits, atol=1e-5, rtol=1e-4)


def test_it_works_after_it_was_built_without_memory():
    whole = some_tan2d()
    with torch.device("meta"):
        empty = Tan2d(TINY)
    empty.load_state_dict(whole.state_dict(), assign=True)
    given = noise(1, 12, 5), noise(1, 4, seed=1)
    assert_close(empty.eval()(*given).logits, whole(*given).logits)


def test_it_learns_after_its_first_use_was_in_inference_mode():
    config = replace(TINY, num_rows=11, scales=(3, 2))  # of which no other test has made the tables
    model, given = some_tan2d(config), (noise(1, 11, 5), noise(1, 4, seed=1))
    with torch.inference_mode():
        model(*given)
    copy.deepcopy(model)(*given).logits.sum().backward()
    model(*given).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_it_runs_in_double_and_under_bf16_autocast():
    model, given = some_tan2d(), (noise(2, 12, 5), noise(2, 4, seed=1))
    exact = model(*given)
    precise = copy.deepcopy(model).double()(*(part.double() for part in given))
    assert_close(precise.logits.float(), exact.logits, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(*given)
    assert_close(low.logits.float(), exact.logits, atol=0.03, rtol=0)


def test_a_window_of_another_length_is_refused():
    with pytest.raises(ValueError, match="11 rows given, but the map is made of 12"):
        some_tan2d()(noise(1, 11, 5), noise(1, 4))


def test_the_released_convolutions_keep_the_map_at_any_size():
    for num_rows in (16, 40, 64):
        config = Tan2dConfig(video_dim=3, text_dim=3, width=2, num_rows=num_rows)
        output = some_tan2d(config)(noise(1, num_rows, 3), noise(1, 3))
        assert output.logits.shape == (1, num_rows, num_rows)
        assert math.isfinite(output.logits.sum().item())


def test_settings_come_back_from_json():
    for config in (TINY, replace(TINY, moments="conv"), Tan2dConfig(video_dim=2304)):
        assert Tan2dConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"video_dim": 6, "depth": 3}, "Tan2dConfig has no setting depth"),
        ({"width": 64}, "needs `video_dim`"),
        ({"video_dim": 6, "scales": []}, "each scale needs at least one length"),
        ({"video_dim": 6, "scales": [4, 0]}, "each scale needs at least one length"),
        ({"video_dim": 6, "kernels": []}, "make no convolutions"),
        ({"video_dim": 6, "paddings": [16, 0, 0]}, "change the map's size"),
        ({"video_dim": 6, "kernels": [9, 9, 9, 5]}, "change the map's size"),
        ({"video_dim": 6, "width": 0}, "width must be above zero"),
    ],
)
def test_settings_that_make_no_model_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Tan2dConfig.from_dict(wrong)
