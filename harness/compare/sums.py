"""Sums that do not depend on the order of their terms, at the speed of numpy.

Owns exact addition. Invariant: the order of the terms changes no bit, and the sum of the negated terms is the
negated sum.

Every term is split into two whole numbers (30 and 32 bits, at the largest term's scale); sums of whole numbers below
2^53 are exact in float64, in any order. The first 62 bits of every term count, for up to four million terms.
`math.fsum` says the same, ten times slower.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_HIGH, _LOW = 2.0**30, 2.0**32
_SMALLEST = 2.0**-900
"""Smallest scale: where all terms are far below it, they count as zero."""


def _split(values: Floats) -> tuple[Floats, Floats, float]:
    """Return whole numbers h, l and a factor, a power of two, with values = (h + l / 2^32) * factor."""
    largest = max(float(values.max()), -float(values.min()))
    factor = max(math.ldexp(1.0, math.frexp(largest)[1]), _SMALLEST) / _HIGH
    rest = values * (1 / factor)
    high = np.rint(rest)
    rest -= high
    rest *= _LOW
    return high, np.rint(rest, out=rest), factor


def total(values: Floats) -> float:
    """Return the sum of all values, of which there is at least one."""
    high, low, factor = _split(values)
    return float((high.sum() + low.sum() / _LOW) * factor)


def totals(values: Floats, axis: int) -> Floats:
    """Return the sums along an axis."""
    high, low, factor = _split(values)
    summed: Floats = (high.sum(axis=axis) + low.sum(axis=axis) / _LOW) * factor
    return summed


def totals_of(values: Floats, codes: NDArray[Any], groups: int) -> Floats:
    """Return the sum per group, [..., groups], of values [..., items] whose groups are `codes`, [items]."""
    high, low, factor = _split(values)
    rows = values.reshape(-1, values.shape[-1]).shape[0]
    places = (codes[None, :] + groups * np.arange(rows)[:, None]).ravel()
    parts = [np.bincount(places, weights=part.ravel(), minlength=rows * groups) for part in (high, low)]
    summed: Floats = ((parts[0] + parts[1] / _LOW) * factor).reshape(*values.shape[:-1], groups)
    return summed
