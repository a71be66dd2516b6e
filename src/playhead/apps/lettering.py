"""Capital letters, digits and a few signs as pixels, for captions inside pictures: no font has to be installed."""

import functools

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

HEIGHT, WIDTH = 7, 5  # of a letter, in its own pixels
_ROWS = (
    "ABCDEFGHIJKLM",
    "NOPQRSTUVWXYZ",
    "0123456789.,:",
    "%/-()+='_;?!*",
)
_PIXELS = """
.###. ####. .#### ####. ##### ##### .###. #...# .###. ....# #...# #.... #...#
#...# #...# #.... #...# #.... #.... #...# #...# ..#.. ....# #..#. #.... ##.##
#...# #...# #.... #...# #.... #.... #.... #...# ..#.. ....# #.#.. #.... #.#.#
##### ####. #.... #...# ####. ####. #.### ##### ..#.. ....# ##... #.... #.#.#
#...# #...# #.... #...# #.... #.... #...# #...# ..#.. #...# #.#.. #.... #...#
#...# #...# #.... #...# #.... #.... #...# #...# ..#.. #...# #..#. #.... #...#
#...# ####. .#### ####. ##### #.... .###. #...# .###. .###. #...# ##### #...#

#...# .###. ####. .###. ####. .#### ##### #...# #...# #...# #...# #...# #####
##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# #...# #...# ....#
#.#.# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# .#.#. .#.#. ...#.
#.#.# #...# ####. #...# ####. .###. ..#.. #...# #...# #.#.# ..#.. ..#.. ..#..
#..## #...# #.... #.#.# #.#.. ....# ..#.. #...# #...# #.#.# .#.#. ..#.. .#...
#...# #...# #.... #..#. #..#. ....# ..#.. #...# .#.#. ##.## #...# ..#.. #....
#...# .###. #.... .##.# #...# ####. ..#.. .###. ..#.. #...# #...# ..#.. #####

.###. ..#.. .###. .###. ...#. ##### .###. ##### .###. .###. ..... ..... .....
#..## .##.. #...# #...# ..##. #.... #.... ....# #...# #...# ..... ..... ..#..
#.#.# ..#.. ....# ....# .#.#. ####. #.... ...#. #...# #...# ..... ..... ..#..
#.#.# ..#.. ...#. ..##. #..#. ....# ####. ...#. .###. .#### ..... ..... .....
##..# ..#.. ..#.. ....# ##### ....# #...# ..#.. #...# ....# ..... ..#.. ..#..
#...# ..#.. .#... #...# ...#. #...# #...# ..#.. #...# ....# ..#.. ..#.. ..#..
.###. .###. ##### .###. ...#. .###. .###. ..#.. .###. .###. ..#.. .#... .....

##..# ....# ..... ...#. .#... ..... ..... ..#.. ..... ..... .###. ..#.. .....
##..# ....# ..... ..#.. ..#.. ..#.. ..... ..#.. ..... ..#.. #...# ..#.. #.#.#
...#. ...#. ..... .#... ...#. ..#.. ##### ..... ..... ..#.. ....# ..#.. .###.
..#.. ..#.. ##### .#... ...#. ##### ..... ..... ..... ..... ..##. ..#.. #####
.#... .#... ..... .#... ...#. ..#.. ##### ..... ..... ..#.. ..#.. ..#.. .###.
#..## #.... ..... ..#.. ..#.. ..#.. ..... ..... ..... ..#.. ..... ..... #.#.#
#..## #.... ..... ...#. .#... ..... ..... ..... ##### .#... ..#.. ..#.. .....
"""


@functools.cache
def _letters() -> dict[str, Bool[Tensor, "7 5"]]:
    bands = [band.splitlines() for band in _PIXELS.strip().split("\n\n")]
    letters = {" ": torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)}
    for names, band in zip(_ROWS, bands, strict=True):
        rows = [line.split() for line in band]
        for place, name in enumerate(names):
            letters[name] = torch.tensor([[sign == "#" for sign in row[place]] for row in rows])
    return letters


def wrap(text: str, columns: int) -> list[str]:
    """Return the text in lines of at most so many letters, broken at blanks; a longer word is cut.

    Raises:
        ValueError: `columns` is below 1.
    """
    if columns < 1:
        raise ValueError(f"columns needs to be at least 1, got {columns}.")
    lines = [""]
    for word in text.split():
        while len(word) > columns:
            lines, word = [*lines, word[:columns]], word[columns:]
        joined = f"{lines[-1]} {word}".strip()
        if len(joined) <= columns:
            lines[-1] = joined
        else:
            lines.append(word)
    return [line for line in lines if line]


def written(text: str, width: int, size: int = 1) -> UInt8[Tensor, "3 H W"]:
    """Return a text in black on white, `width` pixels wide, each pixel of a letter `size` pixels large.

    Letters are capitals; a sign that there is not becomes "?".
    """
    letters, columns = _letters(), max(1, (width // size - 2) // (WIDTH + 1))
    rows = []
    for line in wrap(text.upper(), columns):
        signs = [letters.get(sign, letters["?"]) for sign in line]
        row = torch.cat([torch.nn.functional.pad(sign, (1, 0, 1, 2)) for sign in signs], dim=1)
        rows.append(torch.nn.functional.pad(row, (1, 1)))
    widest = max([width // size, *(row.shape[1] for row in rows)])
    black = [torch.nn.functional.pad(row, (0, widest - row.shape[1])) for row in rows]
    page = torch.cat(black or [torch.zeros(HEIGHT + 3, widest, dtype=torch.bool)])
    page = page.repeat_interleave(size, dim=0).repeat_interleave(size, dim=1)
    page = torch.nn.functional.pad(page, (0, width - page.shape[1])) if page.shape[1] < width else page[:, :width]
    return torch.where(page, 0, 255).to(torch.uint8).expand(3, -1, -1)
