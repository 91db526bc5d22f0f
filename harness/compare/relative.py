"""The relative gap: a ratio of two means that are both uncertain.

Owns Fieller's interval, its guard, and how the half-width of a gap is shared between the arms. Invariant: it excludes
zero exactly where the absolute interval does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.compare.seeds import moments
from harness.compare.variance import Components, Groups, Scores, covariance, quantile

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


def stated(
    means: tuple[float, float], allowance: Allowance | None, widened: tuple[float, float] | None
) -> tuple[float, float, float] | tuple[None, None, None]:
    """Return the relative gap and its interval; it covers `widened`, the absolute one where the exact bound set it."""
    ratio, low, high = (None, None, None) if allowance is None else fieller(*means, allowance)
    if ratio is None or low is None or high is None:
        return None, None, None
    if widened is not None:
        low, high = min(low, widened[0] / means[0]), max(high, widened[1] / means[0])
    return ratio, max(-1.0, low), high


def allowance_of(
    values: Sequence[Scores],
    per_run: Sequence[Scores],
    parts: Components | None,
    groups: Groups,
    confidence: float,
    paired: bool,
) -> Allowance | None:
    """Split the squared half-width of the gap into those of the arms, so that the ratio's interval agrees with it."""
    if parts is None:
        return None
    square = quantile(parts.item_degrees, 1 - confidence) ** 2
    below, above = (square * covariance(each, each, groups) for each in values)
    across = square * covariance(values[0], values[1], groups)
    run = parts.allowances(1 - confidence)[1]
    if paired:
        low, high, shared = moments(*per_run)
        whole = low + high - 2 * shared
        own = (run * low / whole, run * high / whole, run * shared / whole) if run > 0 else (0.0, 0.0, 0.0)
    else:
        counts = len(per_run[0]), len(per_run[1])
        own = run * counts[1] / sum(counts), run * counts[0] / sum(counts), 0.0
    return Allowance(reference=below + own[0], treated=above + own[1], both=across + own[2])
