"""The approximate index of a large table of windows: built once, extended as rows come, asked for the nearest windows.

IVF_SQ of LanceDB: a query looks into the cells near to it, compares 8-bit copies of the vectors there, and the best
of those are compared again exactly. Of LanceDB's kinds it is the one that is built quickly on a CPU: with 100,000
windows of 256 the graphs of HNSW_SQ took four times as much of the processor, and PQ trained for minutes.
Rows that came after the last extension are scanned exactly, so nothing is ever missing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float, Int
from lancedb.index import IvfSq
from lancedb.query import LanceVectorQueryBuilder
from lancedb.table import Table
from numpy import ndarray

EXACT_UP_TO = 100_000
"""So many windows are scored one by one; a table of more gets the approximate index."""

UNINDEXED = 0.05
"""From this share of rows outside the index on, it is extended."""

PROBES = 0.6
"""Share of the cells that a query looks into: texts lie far from all windows, so their neighbours are in many cells.

With a million windows and queries at a cosine of 0.5 from the nearest, recall@10 is 0.90 at a fifth of the cells, 0.97
at two fifths, 0.994 here.
"""

LEAST_PROBES = 128
"""At least so many cells, all of them where there are fewer."""

REFINE = 4
"""So many times the neighbours asked for are compared again with their full vectors."""

_NAME = "vector_idx"
_TRAIN_PER_CELL = 64  # LanceDB's default of 256 trains four times as long
_ITERATIONS = 20


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the approximate index of a table covers; `exists` is false where there is none."""

    exists: bool
    unindexed: int


def coverage(table: Table) -> Coverage:
    """Return how many rows the index does not cover."""
    if not any(index.name == _NAME for index in table.list_indices()):
        return Coverage(False, table.count_rows())
    stats = table.index_stats(_NAME)
    return Coverage(True, 0 if stats is None else int(stats.num_unindexed_rows))


def keep_up(table: Table, *, exact_up_to: int | None = None) -> bool:
    """Build the index of a table that has grown too large to be scanned, or extend it; return whether either was due.

    A kill on the way leaves the index as it was.
    """
    limit = EXACT_UP_TO if exact_up_to is None else exact_up_to
    num_rows = table.count_rows()
    if num_rows <= limit:
        return False
    covered = coverage(table)
    if not covered.exists:
        cells = num_cells(num_rows)
        table.create_index(
            "vector",
            config=IvfSq(
                distance_type="l2", num_partitions=cells, max_iterations=_ITERATIONS, sample_rate=_TRAIN_PER_CELL
            ),
            name=_NAME,
        )
        return True
    if covered.unindexed <= UNINDEXED * num_rows:
        return False
    table.optimize()
    return True


def num_cells(num_rows: int) -> int:
    """Return into how many cells a table of so many rows is divided: about as many as a cell then holds, halved."""
    return max(1, round(math.sqrt(num_rows) / 2))


def nearest(
    table: Table, queries: Float[ndarray, "Q E"], count: int, where: str | None = None
) -> list[tuple[Int[ndarray, " K"], Float[ndarray, " K"]]]:
    """Return for each query the ids of up to `count` rows with the largest products, and those; all are unit rows.

    `where` is a condition in SQL that rows must meet; it is applied before the search, so that `count` of them come.
    """
    probes = max(LEAST_PROBES, math.ceil(PROBES * num_cells(table.count_rows())))
    return [_nearest(table, query, count, probes, where) for query in queries]


def _nearest(table: Table, query: ndarray, count: int, probes: int, where: str | None) -> tuple[ndarray, ndarray]:
    asked = cast(
        LanceVectorQueryBuilder,
        table.search(query.astype(np.float32), vector_column_name="vector", query_type="vector"),
    )
    asked = asked.distance_type("l2").limit(count).nprobes(probes).refine_factor(REFINE if count <= 100 else 2)
    asked = asked.select(["start", "_distance"]).with_row_id(True)
    if where is not None:
        asked = asked.where(where, prefilter=True)
    found = asked.to_arrow()
    # Rows have unit length, so the squared distance is 2 less twice the product; cells are rounder for distances.
    return found["_rowid"].to_numpy().astype(np.int64), 1.0 - found["_distance"].to_numpy() / 2


def one_of(column: str, values: Sequence[str], *, negated: bool = False) -> str:
    """Return the SQL condition that a column holds one (or none) of `values`."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} {'NOT ' if negated else ''}IN ({quoted})"
