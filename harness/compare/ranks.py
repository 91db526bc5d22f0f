"""Ranks of several arms as far as they can be told apart: a range for each, not one order for all.

Owns the correction over all pairs and the ranges that follow. Does not estimate gaps (see `gap`), knows no names.
Invariant: a row's range depends on the p-values alone, not on the order of rows.

For k rows there are k(k-1) one-sided hypotheses "row i is not above row j". Holm (1979) over all of them keeps the
chance that any wrong one is rejected, in whatever direction, at `level`, however the gaps depend on one another. Row i
then has at least as many rows above it as were called above it, and at least as many below: with probability 1 - level
all ranges at once hold the true ranks (Mogstad, Romano, Shaikh & Wilhelm 2024, Review of Economic Studies 91(1),
section 3.2). Two-sided tests of k(k-1)/2 pairs have the same first step, but no proof for their directions. Pairs that
were not tested count as not told apart, and among the hypotheses: whichever were left out, the others stay right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Rank:
    """Where a row may stand.

    Attributes:
        best, worst: first and last rank that it may have, from 1.
        tied: places of the rows that it is not told apart from.
    """

    best: int
    worst: int
    tied: tuple[int, ...]


def ranks(not_above: NDArray[Any], *, level: float = 0.05, among: int | None = None) -> tuple[Rank, ...]:
    """Return the range of every row.

    Args:
        among: how many rows there are in all, where further ones were not tested; None = those given.
        not_above: float [rows, rows]; at [i, j] the one-sided p-value of "row i is not above row j". The diagonal is
            not read.
        level: chance that any range of the table misses its row's true rank.

    Raises:
        InputError: not a square, or a p-value outside of 0 to 1.
    """
    rows = len(not_above)
    if not_above.shape != (rows, rows):
        raise InputError(f"p-values of shape {not_above.shape}; give one for every pair of rows")
    places = np.argwhere(~np.eye(rows, dtype=bool))
    p_values = [float(not_above[i, j]) for i, j in places]
    if not all(0 <= value <= 1 for value in p_values):
        raise InputError("a p-value is not between 0 and 1")
    count = rows if among is None else among
    above = np.zeros((rows, rows), dtype=bool)
    for rejected, place in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[place] * (count * (count - 1) - rejected) > level:
            break
        above[tuple(places[place])] = True
    return tuple(
        Rank(
            best=1 + int(above[:, row].sum()),
            worst=count - int(above[row].sum()),
            tied=tuple(other for other in range(rows) if other != row and not above[other, row] | above[row, other]),
        )
        for row in range(rows)
    )
