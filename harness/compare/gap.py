"""How far apart two arms are, and how sure that is, over training runs (seeds) x test items.

Owns point estimates and intervals. Does not pair arms (`pairing`), estimate variances (`variance`, which
holds the formulas), judge gaps or correct over tasks. Invariant: the answer does not depend, to the last bit,
on the order of items, seeds or clusters, and exchanging the arms exactly negates the absolute gap and its
interval.

No spread: where every cluster has the same mean c, a t interval would have no width, even with one item. An
exact bound takes its place: with confidence 1 - alpha at most p = 1 - (alpha/2)^(1/clusters) of unseen
clusters differ from c (Clopper & Pearson 1934, for none of n), each by as much as the range allows. So 6 of 6
items gained are called and 5 of 5 are not, as by a sign test, and 0 of 164 solved reads 0 to 2.2 %.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.compare.variance import (
    Clusters,
    Groups,
    Runs,
    Scores,
    covariance,
    grouped,
    item_means,
    mean_of,
    run_variance,
    spread,
    totals,
)
from harness.errors import InputError

SMALLEST_DENOMINATOR = 0.01
"""Reference mean below which a relative gap is not stated: 1 item of 164 would change it by 60 %."""

ROUNDING = 1e-12
"""Cluster means closer than this are equal: scores lie in [0, 1], so float noise stays under 1e-15 a term."""


class Claim(enum.StrEnum):
    """What a gap may be said of."""

    CHECKPOINTS = "difference between these checkpoints"
    DATA = "difference between the data"


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Mean score of one arm and its interval, all in [0, 1]."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """Treated minus reference on one task; scores and gaps are fractions, not percentage points.

    low, high: interval of `absolute` at `confidence`, within [-1, 1]; all of it where there is one cluster.
    relative: absolute / reference, with its Fieller interval; all three None where the reference mean is
        under 0.01 or not distinguishable from zero, which is exactly where the Fieller set is unbounded.
    seeds: runs of the arm that has fewer. scope: DATA only with several runs in both arms.
    standard_error, degrees: what `low` and `high` came from; None where they came from the exact bound.
    """

    reference: float
    treated: float
    absolute: float
    low: float
    high: float
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    seeds: int
    items: int
    scope: Claim
    confidence: float
    standard_error: float | None
    degrees: float | None

    @property
    def called(self) -> bool:
        """True when the interval of the absolute gap excludes zero."""
        return self.low > 0 or self.high < 0

    def p_value(
        self, *, shift: float = 0.0, alternative: Literal["two-sided", "greater", "less"] = "two-sided"
    ) -> float:
        """Return the probability of a gap at least this far from `shift`, were `shift` the true gap.

        Args:
            shift: the gap under the null hypothesis, a fraction.
            alternative: "greater" for the one-sided test that the true gap is above `shift`, "less" for below.
        """
        from scipy.special import stdtr  # slow to import

        if self.standard_error is None or self.degrees is None:
            return 1.0
        if not math.isfinite(self.standard_error):
            return 1.0
        statistic = (self.absolute - shift) / self.standard_error
        below = float(stdtr(self.degrees, statistic))
        return {"greater": 1 - below, "less": below, "two-sided": 2 * min(below, 1 - below)}[alternative]


def gap(
    reference: Scores,
    treated: Scores,
    clusters: Clusters | None = None,
    *,
    weights: Scores | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> Gap:
    """Compare two arms over the same items (see `pair`); formulas in `variance`.

    Args:
        reference: float [seeds, items] in [0, 1].
        treated: float [seeds, items] in [0, 1], the same items in the same order; seeds may differ in number.
        clusters: one label per item (subject, subtask, passage), or None when items are independent.
        weights: float [items], mean 1: what every item counts in the averages; None = all alike.
        seed: of no effect: the method is in closed form and draws nothing. Kept for resampling methods.
        confidence: of the two-sided intervals, between 0 and 1.

    Identical arms have a gap of exactly 0 and are never called. Their interval has a width: at one seed, the
    exact bound for unseen items; at several, what the noise between runs allows.

    Raises:
        InputError: shapes that do not match, NaN, scores outside [0, 1], an impossible confidence.
    """
    del seed
    arms = _checked(reference, "reference", weights, confidence), _checked(treated, "treated", weights, confidence)
    if arms[0].shape[1] != arms[1].shape[1]:
        raise InputError(f"reference has {arms[0].shape[1]} items, treated {arms[1].shape[1]}; pair the arms first")
    groups = grouped(clusters, arms[0].shape[1])
    base, other = (item_means(arm) for arm in arms)
    difference = other - base
    means = mean_of(arms[0].ravel()), mean_of(arms[1].ravel())
    absolute = means[1] - means[0]
    runs = run_variance(arms, groups) if min(arm.shape[0] for arm in arms) > 1 else None
    weight = 1 / arms[0].shape[0] + 1 / arms[1].shape[0]

    bound = _bound(difference, absolute, -1.0, groups, confidence)
    error, degrees, quantile = spread(difference, groups, runs, weight, confidence)
    low, high = _limits(absolute, error, quantile, bound, -1.0)
    widened = None if bound is None else (low, high)
    relative, relative_low, relative_high = _relative(arms, (base, other), means, groups, runs, quantile, widened)
    return Gap(
        reference=means[0],
        treated=means[1],
        absolute=absolute,
        low=low,
        high=high,
        relative=relative,
        relative_low=relative_low,
        relative_high=relative_high,
        seeds=min(arm.shape[0] for arm in arms),
        items=arms[0].shape[1],
        scope=Claim.CHECKPOINTS if runs is None else Claim.DATA,
        confidence=confidence,
        standard_error=error if bound is None else None,
        degrees=degrees if bound is None else None,
    )


def interval(
    scores: Scores, clusters: Clusters | None = None, *, weights: Scores | None = None, confidence: float = 0.95
) -> Estimate:
    """Mean of one arm over float [seeds, items] in [0, 1], and its interval, within [0, 1].

    The formulas are those of `gap` for one arm (1/S in place of 1/S_r + 1/S_t, nu = S - 1): over new items
    and, with several seeds, new runs; with one seed over items only.

    Raises:
        InputError: as for `gap`.
    """
    arm = _checked(scores, "scores", weights, confidence)
    groups = grouped(clusters, arm.shape[1])
    mean, values = mean_of(arm.ravel()), item_means(arm)
    runs = run_variance((arm,), groups) if arm.shape[0] > 1 else None
    bound = _bound(values, mean, 0.0, groups, confidence)
    error, _, quantile = spread(values, groups, runs, 1 / arm.shape[0], confidence)
    low, high = _limits(mean, error, quantile, bound, 0.0)
    return Estimate(mean=mean, low=low, high=high)


def _checked(scores: Scores, name: str, weights: Scores | None, confidence: float) -> Scores:
    """Return weighted scores as a C-ordered float64 array, so that sums over seeds do not depend on memory layout."""
    array = np.ascontiguousarray(scores, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name}: shape {array.shape}; give [seeds, items] with at least one of each")
    if not bool(((array >= 0) & (array <= 1)).all()):
        seed, item = (int(i) for i in np.argwhere(~((array >= 0) & (array <= 1)))[0])
        raise InputError(
            f"{name}: score {array[seed, item]} of seed {seed}, item {item} is not in [0, 1]; score every item"
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; give a fraction between 0 and 1, such as 0.95")
    return array if weights is None else array * weights


def _bound(values: Scores, mean: float, least: float, groups: Groups, confidence: float) -> tuple[float, float] | None:
    """Exact interval within [least, 1] where all clusters have the same mean; None where they differ."""
    sizes = np.array(groups.shares) * values.size
    levels = totals(values, groups) / sizes
    if len(levels) == 1:
        return least, 1.0
    if float(levels.max() - levels.min()) > ROUNDING:
        return None
    unseen = 1 - ((1 - confidence) / 2) ** (1 / groups.effective)
    return mean - unseen * (mean - least), mean + unseen * (1 - mean)


def _limits(
    mean: float, error: float, quantile: float, bound: tuple[float, float] | None, least: float
) -> tuple[float, float]:
    """Return the t interval, no narrower than the bound, clamped to [least, 1]."""
    half = error * quantile if error > 0 else 0.0
    low, high = mean - half, mean + half
    if bound is not None:
        low, high = min(low, bound[0]), max(high, bound[1])
    return max(least, low), min(1.0, high)


def _relative(
    arms: Sequence[Scores],
    values: Sequence[Scores],
    means: tuple[float, float],
    groups: Groups,
    runs: Runs | None,
    quantile: float,
    widened: tuple[float, float] | None,
) -> tuple[float, float, float] | tuple[None, None, None]:
    """Return treated / reference - 1 and its interval; nothing where the guard of `Gap.relative` holds.

    The ends are the ratios r with (treated - r reference)^2 = t^2 Var(treated - r reference), t being that of
    the absolute interval, so that both exclude zero together (Fieller 1954). `widened` is the absolute
    interval where the exact bound set it; the relative one then covers it too.
    """
    if len(groups.shares) == 1 or means[0] < SMALLEST_DENOMINATOR:
        return None, None, None
    run = 0.0 if runs is None else max(0.0, runs.seed - runs.both)
    below, above = (
        covariance(value, value, groups) + run / arm.shape[0] for value, arm in zip(values, arms, strict=True)
    )
    across = covariance(values[0], values[1], groups)
    square = quantile * quantile  # infinite where ** would raise
    lead = means[0] ** 2 - square * below
    if not lead > 0:
        return None, None, None
    half = means[0] * means[1] - square * across
    last = means[1] ** 2 - square * above
    root = math.sqrt(max(0.0, half**2 - lead * last))
    low, high = (half - root) / lead - 1, (half + root) / lead - 1
    if widened is not None:
        low, high = min(low, widened[0] / means[0]), max(high, widened[1] / means[0])
    return (means[1] - means[0]) / means[0], max(-1.0, low), high
