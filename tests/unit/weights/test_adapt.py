from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch.testing import assert_close

from playhead.errors import WeightsError
from playhead.weights.adapt import convert, rename_keys, resize_time
from playhead.weights.keymaps import KeyMap

TABLE = torch.tensor([[[0.0, 10.0], [3.0, 40.0], [6.0, 10.0]]])

LAYOUT = KeyMap(
    name="theirs",
    renames=(("blocks.*.a", "layers.*.b"), ("temporal_embed", "time_embedding"), ("old", "layers.0.b")),
    drops=("head",),
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
