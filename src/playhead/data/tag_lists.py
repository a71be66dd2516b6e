"""Tag cells like "[192, 115, 12]" of the published EgoClip file, millions at once and without evaluating any text."""

import numpy as np
import pyarrow as pa

LONGEST_TAG = 9  # digits; more would not fit 32 bits


def parse_tag_lists(cells: pa.StringArray) -> pa.ListArray:
    """Return the ids of each cell as a list of int32, in the order written.

    Raises:
        ValueError: a cell is not whole numbers parted by commas, with blanks or none, in brackets; names its index.
    """
    if len(cells) == 0:
        return pa.array([], pa.list_(pa.int32()))
    offsets, text = string_bytes(cells)
    digit = (text >= ord("0")) & (text <= ord("9"))
    begins = np.flatnonzero(digit & ~np.concatenate([[False], digit[:-1]]))
    ends = np.flatnonzero(digit & ~np.concatenate([digit[1:], [False]])) + 1
    bounds = np.searchsorted(begins, offsets)
    _check_grammar(offsets, text, digit, begins, bounds)
    lengths = ends - begins
    if len(lengths) and lengths.max() > LONGEST_TAG:
        _refuse(offsets, int(begins[np.argmax(lengths)]))
    values = np.zeros(len(begins), np.int32)
    for place in range(int(lengths.max(initial=0))):
        inside = place < lengths
        values[inside] = values[inside] * 10 + (text[begins[inside] + place] - ord("0"))
    return pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), pa.array(values))


def string_bytes(cells: pa.StringArray | pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each text begins and ends (one more than there are texts) and the bytes of all, without a copy."""
    _, offset_buffer, text_buffer = cells.buffers()
    kind = np.int64 if pa.types.is_large_string(cells.type) else np.int32
    offsets = np.frombuffer(offset_buffer, kind)[cells.offset : cells.offset + len(cells) + 1]
    text = (
        np.frombuffer(text_buffer, np.uint8) if text_buffer is not None and text_buffer.size else np.zeros(0, np.uint8)
    )
    return offsets - offsets[0] if offsets[0] else offsets, text[offsets[0] : offsets[-1]]


def _check_grammar(
    offsets: np.ndarray, text: np.ndarray, digit: np.ndarray, begins: np.ndarray, bounds: np.ndarray
) -> None:
    """Refuse any cell but "[", numbers with exactly one comma between neighbours and none elsewhere, "]"."""
    first, last = offsets[:-1], offsets[1:] - 1
    short = np.flatnonzero(offsets[1:] - first < 2)
    if len(short):
        raise ValueError(f"cell {short[0]} is no list.")
    opening, closing, comma = text == ord("["), text == ord("]"), text == ord(",")
    strange = ~(digit | opening | closing | comma | (text == ord(" ")))
    if strange.any():
        _refuse(offsets, int(np.argmax(strange)))
    counts = np.diff(bounds)
    commas = np.concatenate([[0], np.cumsum(comma)])
    wrong = ~(opening[first] & closing[last])
    wrong |= np.add.reduceat(opening | closing, first, dtype=np.int64) != 2
    wrong |= commas[offsets[1:]] - commas[first] != np.maximum(counts - 1, 0)
    if wrong.any():
        raise ValueError(f"cell {np.argmax(wrong)} is no list.")
    cell = np.repeat(np.arange(len(counts)), counts)
    unparted = (np.diff(commas[begins]) != 1) & (np.diff(cell) == 0)
    if unparted.any():
        raise ValueError(f"cell {cell[np.argmax(unparted)]} is no list.")


def _refuse(offsets: np.ndarray, at: int) -> None:
    raise ValueError(f"cell {np.searchsorted(offsets, at, side='right') - 1} is no list.")
