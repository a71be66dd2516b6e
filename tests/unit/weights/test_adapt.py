from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch.testing import assert_close

from playhead.errors import WeightsError
from playhead.weights.adapt import convert, rename_keys, resize_patches, resize_positions, resize_time
from playhead.weights.keymaps import GOOGLE_VIT, HF_VIT, KeyMap

TABLE = torch.tensor([[[0.0, 10.0], [3.0, 40.0], [6.0, 10.0]]])

LAYOUT = KeyMap(
    name="theirs",
    renames=(("blocks.*.a", "layers.*.b"), ("temporal_embed", "time_embedding"), ("old", "layers.0.b")),
    drops=(("head", "not asked for"),),
    fresh=("layers.*.new",),
    prefixes=("module.",),
)
EXPECTED = {"layers.0.b.weight": torch.zeros(2), "layers.0.new.bias": torch.zeros(1)}


def test_fewer_slots_are_the_first_ones_whatever_the_mode():
    for mode in ("zeros", "nearest", "bilinear", "egovlp_bilinear"):
        assert_close(resize_time(TABLE, 2, mode), TABLE[:, :2], atol=0, rtol=0)
        assert_close(resize_time(TABLE, 3, mode), TABLE, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("mode", "first_column"),
    [
        ("zeros", [0, 3, 6, 0, 0]),
        ("nearest", [0, 0, 3, 3, 6]),  # row floor(i * 3 / 5)
        ("bilinear", [0, 1.2, 3, 4.8, 6]),  # place (i + 1/2) * 3 / 5 - 1/2, held at the ends
        ("egovlp_bilinear", [0, 1.5, 3, 4.5, 6]),  # place i * 2 / 4
    ],
)
def test_more_slots_are_filled_by_the_rule_of_the_mode(mode, first_column):
    assert_close(resize_time(TABLE, 5, mode)[0, :, 0], torch.tensor(first_column, dtype=torch.float32))


def test_a_half_precision_table_stays_one():
    assert resize_time(TABLE.half(), 7, "bilinear").dtype == torch.float16


def test_a_resized_table_is_no_view_of_the_old_one():
    resize_time(TABLE, 2).zero_()
    assert TABLE[0, 1, 0] == 3


def test_no_slots_and_an_unknown_mode_are_refused():
    with pytest.raises(ValueError, match="must be at least 1"):
        resize_time(TABLE, 0)
    mode: Any = "interp"
    with pytest.raises((ValueError, TypeCheckError), match="inflation"):
        resize_time(TABLE, 5, mode)


def test_a_conversion_reports_what_became_of_each_tensor():
    source = {"module.blocks.0.a.weight": torch.ones(2), "module.head.bias": torch.ones(9)}
    state, report = convert(source, LAYOUT, EXPECTED)
    assert_close(state, {"layers.0.b.weight": torch.ones(2)})
    assert report.renamed == (("module.blocks.0.a.weight", "layers.0.b.weight"),)
    assert report.dropped == ("module.head.bias",)
    assert report.fresh == ("layers.0.new.bias",)
    assert report.resized == ()


def test_a_time_table_of_another_length_is_resized_and_reported():
    state, report = convert(
        {"temporal_embed": TABLE}, LAYOUT, {"time_embedding": torch.zeros(1, 5, 2)}, inflation="egovlp_bilinear"
    )
    assert_close(state["time_embedding"][0, :, 0], torch.tensor([0, 1.5, 3, 4.5, 6]))
    assert report.resized == ("time_embedding",)


GOOD = {"blocks.0.a.weight": torch.ones(2)}


@pytest.mark.parametrize(
    ("source", "expected", "message"),
    [
        (GOOD | {"stray": torch.ones(1)}, EXPECTED, "1 entries have no rule in theirs: stray"),
        (GOOD | {"old.weight": torch.ones(2)}, EXPECTED, "1 entries have two sources: layers.0.b.weight"),
        (GOOD | {"blocks.1.a.weight": torch.ones(2)}, EXPECTED, "fit no parameter of this model: layers.1.b.weight"),
        ({}, EXPECTED, "1 entries are not in this theirs file: layers.0.b.weight"),
        ({"blocks.0.a.weight": torch.ones(3)}, EXPECTED, r"another shape than this model's: .* \(3,\) for \(2,\)"),
        ({"temporal_embed": TABLE}, {"time_embedding": torch.zeros(1, 5, 9)}, "another shape"),
    ],
)
def test_what_does_not_fit_on_either_side_is_named_with_the_file(source, expected, message):
    with pytest.raises(WeightsError, match=message) as caught:
        convert(source, LAYOUT, expected, path="their.pth")
    assert str(caught.value).startswith("their.pth: ")


def test_at_most_five_names_are_told():
    source = {f"stray{index}": torch.ones(1) for index in range(8)}
    with pytest.raises(WeightsError, match=r"8 entries have no rule in theirs: stray0, .*, stray4 and 3 more"):
        rename_keys(source, LAYOUT)


def ramp(rows, columns):
    """A table whose two channels are the row and the column, behind a cls of its own."""
    grid = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), dim=-1)
    return torch.cat([torch.tensor([[[-7.0, 9.0]]]), grid.flatten(0, 1)[None].float()], dim=1)


def cubic_by_hand(values, number):
    """`values` along one axis at `number` places, by Keys' cubic kernel with a = -1/2, stretched when shrinking."""
    scale = max(1.0, len(values) / number)
    found = []
    for place in range(number):
        centre = (place + 0.5) * len(values) / number
        weights = []
        for index in range(len(values)):
            x = abs((index + 0.5 - centre) / scale)
            near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            weights.append(near if x < 1 else far if x < 2 else 0.0)
        found.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
    return found


@pytest.mark.parametrize("grid", [(6, 6), (3, 3), (5, 7), (2, 4)])
def test_positions_are_interpolated_by_cubic_pieces_along_rows_and_columns(grid):
    found = resize_positions(ramp(4, 4), grid)
    assert_close(found[0, 0], torch.tensor([-7.0, 9.0]), atol=0, rtol=0)  # cls has no place
    rows, columns = (torch.tensor(cubic_by_hand([0.0, 1, 2, 3], number)) for number in grid)
    expected = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)
    assert_close(found[0, 1:], expected, atol=1e-5, rtol=0)


def test_positions_on_the_same_grid_stay_and_grids_may_be_no_squares():
    assert_close(resize_positions(ramp(4, 4), (4, 4)), ramp(4, 4), atol=1e-6, rtol=0)
    assert_close(resize_positions(ramp(2, 3), (2, 3), have=(2, 3)), ramp(2, 3), atol=1e-6, rtol=0)
    assert resize_positions(ramp(4, 4).half(), (2, 2)).dtype == torch.float16
    with pytest.raises(ValueError, match="6 positions are not on a grid of 2 x 2"):
        resize_positions(ramp(2, 3), (2, 2))


@pytest.mark.parametrize(("old", "new"), [(4, 8), (4, 6), (2, 3), (4, 4)])
def test_a_larger_patch_scaled_up_is_answered_as_the_small_one_was(old, new):
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(5, 3, old, old, generator=generator)
    patch = torch.randn(2, 3, old, old, generator=generator)
    scaled = torch.nn.functional.interpolate(patch, (new, new), mode="bilinear", align_corners=False)
    before, after = (
        torch.einsum("dchw,bchw->bd", k, p) for k, p in ((kernel, patch), (resize_patches(kernel, new), scaled))
    )
    assert_close(after, before, atol=1e-5, rtol=1e-4)


def test_a_smaller_patch_answers_as_near_as_can_be():
    kernel = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    smaller = resize_patches(kernel, 4)
    flat = torch.ones(1, 3, 4, 4)  # scaling leaves a flat patch as it is
    assert_close((smaller * flat).sum((1, 2, 3)), kernel.sum((1, 2, 3)), atol=1e-3, rtol=1e-3)


def qkv(**changes):
    rows = {"query": torch.zeros(2, 2), "key": torch.ones(2, 2), "value": torch.full((2, 2), 2.0)}
    start = "encoder.layer.0.attention.attention"
    return {f"{start}.{name}.weight": value for name, value in (rows | changes).items() if value is not None}


def test_query_key_and_value_are_stacked_in_this_order_wherever_they_stand_in_the_file():
    expected = {"layers.0.space_attention.qkv.weight": torch.zeros(6, 2)}
    backwards = dict(reversed(qkv().items()))
    state, report = convert(backwards, HF_VIT, expected)
    assert state["layers.0.space_attention.qkv.weight"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert [ours for _, ours in report.renamed] == ["layers.0.space_attention.qkv.weight"] * 3
    assert [name for name, _ in report.renamed] == list(backwards)


@pytest.mark.parametrize("wrong", [None, torch.zeros(2, 3)])
def test_a_missing_or_misshapen_part_of_a_stack_is_named(wrong):
    with pytest.raises(WeightsError, match=r"qkv\.weight is stacked from query, key and value; found only \(2, 2\)"):
        rename_keys(qkv(key=wrong), HF_VIT)


def test_layouts_whose_tensors_are_stacked_or_unpacked_have_no_way_back():
    for keymap in (HF_VIT, GOOGLE_VIT):
        with pytest.raises(ValueError, match="there is no way back"):
            keymap.inverted()
