import json

import numpy as np
import pyarrow as pa
import pytest

from playhead.data.egoclip_csv import TAG_CELL
from playhead.data.tag_lists import parse_tag_lists


def test_lists_are_read_as_json_reads_them():
    generator = np.random.default_rng(0)
    lists = [
        generator.integers(0, 10 ** generator.integers(1, 9), size=generator.integers(0, 6)).tolist()
        for _ in range(500)
    ]
    cells = [str(numbers) for numbers in lists]
    assert parse_tag_lists(pa.array(cells)).to_pylist() == [json.loads(cell) for cell in cells]


def test_blanks_and_a_slice_change_nothing():
    cells = pa.array(["[9]", "[ 1 ,2]", "[]", "[ ]", "[3,  004 ]", "[8]"])
    assert parse_tag_lists(cells.slice(1, 4)).to_pylist() == [[1, 2], [], [], [3, 4]]
    assert parse_tag_lists(cells.slice(0, 0)).to_pylist() == []


NO_LISTS = ["", "[", "]", "1", "[1", "1]", "[1,]", "[,1]", "[1 2]", "[1,,2]", "[1, 2 3,, 4]", "[1]]", "[[1]", "[-1]"]
NO_LISTS += ["[1.5]", "[a]", "['1']", "[1] ", "[,]", "[1,2 3,]", "[1,2][", "nan", "[1234567890]", "[é]"]


@pytest.mark.parametrize("cell", NO_LISTS)
def test_anything_else_is_refused_by_its_index_and_by_the_pattern(cell):
    with pytest.raises(ValueError, match="cell 1 "):
        parse_tag_lists(pa.array(["[1]", cell, "[2, 3]"]))
    assert not TAG_CELL.fullmatch(cell)
