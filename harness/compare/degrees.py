"""Degrees of freedom of a variance over clusters of items: how many of them make it up.

Owns the formula that `variance` uses and `power` plans by, both ways. Sees no scores. Invariant: never below the fewest
that any study is given, nor above those of clusters that scatter like normal values.

G = 1/sum w^2 is the effective number of clusters, k = sum c^4 / (sum c^2)^2 says how few of them make the variance up:
about 1/m for m equal changes among many clusters, 3/G for normal values.
"""

from __future__ import annotations

import math

FEWEST = 2.0
"""1 change of 164 items: an interval of +-2.6 points with 2 degrees of freedom, +-7.5 with 1; exactly, up to 3.4."""
NORMAL = 3.0
"""Kurtosis of normal values."""


def degrees_of(effective: float, concentration: float) -> float:
    """Return the degrees of freedom where `effective` clusters share the variance with this k; see `variance`."""
    most = effective - 1
    if not most > 1:
        return most
    return min(most, max(FEWEST, 1 / (1 / most + max(0.0, concentration - _usual(effective)))))


def kurtosis_of(effective: float, degrees: float) -> float:
    """Return the kurtosis, k G, behind degrees of freedom; that of normal values where nothing was taken off them."""
    most = effective - 1
    if not (most > 1 and degrees < most):
        return NORMAL
    return max(NORMAL, effective * (1 / degrees - 1 / most + _usual(effective)))


def _usual(effective: float) -> float:
    """Return the k that normal values reach by chance, two standard deviations up."""
    return (NORMAL + 2 * math.sqrt(24 / effective)) / effective
