"""Shared training seeds: do the runs of both arms go together?

Owns their correlation and the rule when it may be used. Does not estimate variances. Invariant: exchanging the arms
changes nothing.

The runs of both arms are taken as independent, with one variance, unless their means go together beyond doubt: five
runs or more, and a correlation above 0 with one-sided p < 0.001 (t test with S - 2 degrees of freedom; r > .986 at 5
seeds, > .905 at 8).
Then the differences of the runs, on S - 1 degrees of freedom, take the place of the pooled variance. Without a
correlation so rare a switch adds at most 0.1 points to the share of false calls, whatever it does where it is made.
Counts of few items agree by chance more often than that: 12, 17, 17 and 13, 15, 15 right answers correlate at 1, and
fewer than five runs come to that too easily. The runs must also vary more than twice as much as run x item noise
explains (`gap`), and their differences must vary.
"""

from __future__ import annotations

import math

import numpy as np

from harness.compare.variance import Scores, mean_of

CLEARLY_PAIRED = 0.001
"""One-sided p-value of the correlation of the arms' runs below which the paired form is taken."""

FEWEST_RUNS = 5
"""Runs of each arm below which no correlation is beyond doubt, nor would it pay (docs/statistics.md, Shared seeds)."""

NO_SPREAD = 1e-12
"""Run means closer than this are equal: float noise of means in [0, 1] stays under 1e-15."""


def correlated(reference: Scores, treated: Scores) -> float | None:
    """Return the correlation of the arms' run means, [seeds] each; None where there are too few or none varies."""
    if len(reference) != len(treated) or len(reference) < 3:
        return None
    if min(float(np.ptp(means)) for means in (reference, treated)) < NO_SPREAD:
        return None
    low, high, shared = moments(reference, treated)
    return max(-1.0, min(1.0, shared / math.sqrt(low * high)))


def moments(reference: Scores, treated: Scores) -> tuple[float, float, float]:
    """Return the sums of squares of the arms' run means around their averages, and of their products."""
    one, two = reference - mean_of(reference), treated - mean_of(treated)
    return (
        math.fsum((one * one).tolist()),
        math.fsum((two * two).tolist()),
        math.fsum((one * two).tolist()),
    )


def clearly_paired(reference: Scores, treated: Scores) -> bool:
    """Say whether the run means of both arms, [seeds] each, go together beyond doubt."""
    from scipy.special import stdtr  # slow to import

    correlation = correlated(reference, treated) if len(reference) >= FEWEST_RUNS else None
    if correlation is None or correlation <= 0 or float(np.ptp(treated - reference)) < NO_SPREAD:
        return False
    rest, free = 1 - correlation**2, len(reference) - 2
    return rest == 0 or bool(stdtr(free, -correlation * math.sqrt(free / rest)) < CLEARLY_PAIRED)
