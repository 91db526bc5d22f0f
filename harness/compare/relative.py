"""The relative gap: a ratio of two means that are both uncertain.

Owns Fieller's interval and its guard. Does not know runs or items: it takes squared half-widths. Invariant: it
excludes zero exactly where the absolute interval with the same squared half-width does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SMALLEST_DENOMINATOR = 0.01
"""Reference mean below which a relative gap is not stated: 1 item of 164 would change it by 60 %."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """Squared half-widths of the two means and what they share; of treated - r reference: t - 2 r both + r^2 ref."""

    reference: float
    treated: float
    both: float


def fieller(
    reference: float, treated: float, allowance: Allowance
) -> tuple[float, float, float] | tuple[None, None, None]:
    """Return treated / reference - 1 and its interval; three None where the reference mean may be zero.

    The ends are the ratios r at which treated - r reference lies exactly its half-width from zero (Fieller 1954).
    They exist, with the estimate between them, where the reference mean is further than its own from zero.
    """
    lead = reference**2 - allowance.reference
    if reference < SMALLEST_DENOMINATOR or not lead > 0:
        return None, None, None
    half = reference * treated - allowance.both
    last = treated**2 - allowance.treated
    root = math.sqrt(max(0.0, half * half - lead * last))
    low, high = (half - root) / lead - 1, (half + root) / lead - 1
    return (treated - reference) / reference, max(-1.0, low), high
