"""How far apart two arms are, and how sure that is, over training runs (seeds) x test items.

Owns point estimates, intervals and p-values. Does not pair arms (`pairing`), estimate variances (`variance`, which
holds the formulas), judge gaps or correct over tasks. Invariant: the answer does not depend, to the last bit,
on the order of items, seeds or clusters, and exchanging the arms exactly negates the absolute gap and its
interval. Row s of both arms stands for the same training seed where they have equally many rows (`seeds`).

No spread: where every cluster has the same mean c, a t interval would have no width, even with one item. An
exact bound takes its place: with confidence 1 - alpha at most p = 1 - (alpha/2)^(1/clusters) of unseen
clusters differ from c (Clopper & Pearson 1934, for none of n), each by as much as the range allows. So 6 of 6
items gained are called and 5 of 5 are not, as by a sign test, and 0 of 164 solved reads 0 to 2.2 %.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from harness.compare.relative import allowance_of, stated
from harness.compare.seeds import clearly_paired, correlated
from harness.compare.variance import (
    Clusters,
    Components,
    Groups,
    Scores,
    components,
    grouped,
    item_means,
    mean_of,
    run_means,
    run_variance,
    totals,
)
from harness.errors import InputError

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

    Attributes:
        low, high: interval of `absolute` at `confidence`, within [-1, 1]; all of it where there is one cluster.
        relative: absolute / reference, with its Fieller interval; all three None where the reference mean is
            under 0.01 or not distinguishable from zero, which is exactly where the Fieller set is unbounded.
        seeds: runs of the arm that has fewer. scope: DATA only with several runs in both arms.
        standard_error: root of `components.variance`. degrees: Satterthwaite's, to compare designs by; the interval
            weighs the components one by one (`variance`). Both None where the exact bound set the interval.
        components: the variance, split; None with one cluster, or in a gap that was not estimated here.
        unanimous: effective number of clusters where they all agree on the gap and the exact bound holds, else None.
        correlation: of the arms' run means over shared seeds; None with unequal numbers of runs, under 3, or no spread.
        paired: whether it was so clear that the differences of the runs were used.
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
    components: Components | None = None
    unanimous: float | None = None
    correlation: float | None = field(default=None, compare=False)
    paired: bool = False

    @property
    def called(self) -> bool:
        """True when the interval of the absolute gap excludes zero."""
        return self.low > 0 or self.high < 0

    def p_value(
        self, *, shift: float = 0.0, alternative: Literal["two-sided", "greater", "less"] = "two-sided"
    ) -> float:
        """Return the probability of a gap at least this far from `shift`, were `shift` the true gap.

        Two-sided it is below 1 - confidence exactly where the interval excludes `shift`.

        Args:
            shift: the gap under the null hypothesis, a fraction.
            alternative: "greater" for the one-sided test that the true gap is above `shift`, "less" for below.

        Raises:
            InputError: a shift that is no number.
        """
        shift = float(shift)  # of numpy's kinds, comparisons are no bool
        if not math.isfinite(shift):
            raise InputError(f"shift is {shift}; give a gap as a fraction")
        p, level = self._two_sided(shift), 1 - self.confidence
        p = max(p, level) if self.low <= shift <= self.high else min(p, math.nextafter(level, 0))
        if alternative == "two-sided" or self._unknown:
            return p
        above = self.absolute > shift
        return p / 2 if above == (alternative == "greater") else 1 - p / 2

    @property
    def _unknown(self) -> bool:
        """True where one cluster says nothing of others."""
        return self.components is None and self.standard_error is None

    def _two_sided(self, shift: float) -> float:
        """Invert the interval: the largest alpha at which it still holds `shift`."""
        distance = abs(self.absolute - shift)
        if self._unknown:
            return 1.0
        if self.components is None:
            parts = Components(item_total=(self.standard_error or 0.0) ** 2, item_degrees=self.degrees or 1.0)
            return parts.p_value(distance)
        p = self.components.p_value(distance)
        if self.unanimous is None or distance == 0:
            return p
        room = self.absolute + 1 if self.absolute > shift else 1 - self.absolute
        unseen = min(1.0, distance / room) if room > 0 else 1.0
        return max(p, min(1.0, 2 * math.pow(1 - unseen, self.unanimous)))


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
    arms = _checked(reference, "reference", confidence), _checked(treated, "treated", confidence)
    if arms[0].shape[1] != arms[1].shape[1]:
        raise InputError(f"reference has {arms[0].shape[1]} items, treated {arms[1].shape[1]}; pair the arms first")
    groups = grouped(clusters, arms[0].shape[1], weights)
    per_run = run_means(arms[0], groups), run_means(arms[1], groups)
    values = item_means(arms[0]), item_means(arms[1])
    means = mean_of(per_run[0]), mean_of(per_run[1])
    absolute, difference = means[1] - means[0], values[1] - values[0]
    correlation = correlated(*per_run)
    parts, paired = _components(arms, difference, groups, clearly_paired(*per_run))

    bound = _bound(difference, absolute, -1.0, groups, confidence)
    low, high = _limits(absolute, parts, bound, -1.0, confidence)
    allowance = allowance_of(values, per_run, parts, groups, confidence, paired)
    ratio = stated(means, allowance, None if bound is None else (low, high))
    spread = parts if bound is None else None
    return Gap(
        reference=means[0],
        treated=means[1],
        absolute=absolute,
        low=low,
        high=high,
        relative=ratio[0],
        relative_low=ratio[1],
        relative_high=ratio[2],
        seeds=min(len(each) for each in per_run),
        items=len(difference),
        scope=Claim.DATA if min(len(each) for each in per_run) > 1 else Claim.CHECKPOINTS,
        confidence=confidence,
        standard_error=None if spread is None else math.sqrt(spread.variance),
        degrees=None if spread is None else spread.satterthwaite,
        components=parts,
        unanimous=None if bound is None else groups.effective,
        correlation=correlation,
        paired=paired,
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
    arm = _checked(scores, "scores", confidence)
    groups = grouped(clusters, arm.shape[1], weights)
    mean, values = mean_of(run_means(arm, groups)), item_means(arm)
    runs = run_variance((arm,), groups) if arm.shape[0] > 1 and len(groups.sizes) > 1 else None
    bound = _bound(values, mean, 0.0, groups, confidence)
    low, high = _limits(mean, components(values, groups, runs, 1 / arm.shape[0]), bound, 0.0, confidence)
    return Estimate(mean=mean, low=low, high=high)


def _checked(scores: Scores, name: str, confidence: float) -> Scores:
    """Return scores as a float64 array, or name the first that is none."""
    try:
        array = np.ascontiguousarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: no table of numbers ({error}); give [seeds, items]") from None
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name}: shape {array.shape}; give [seeds, items] with at least one of each")
    fine = (array >= 0) & (array <= 1)
    if not bool(fine.all()):
        seed, item = (int(i) for i in np.argwhere(~fine)[0])
        raise InputError(
            f"{name}: score {array[seed, item]} of seed {seed}, item {item} is not in [0, 1]; score every item"
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; give a fraction between 0 and 1, such as 0.95")
    return array


def _components(
    arms: Sequence[Scores], difference: Scores, groups: Groups, paired: bool
) -> tuple[Components | None, bool]:
    """Return the variance of the gap and whether it is that of paired runs; else both arms' runs are pooled."""
    counts = arms[0].shape[0], arms[1].shape[0]
    weight = 1 / counts[0] + 1 / counts[1]
    if min(counts) == 1 or len(groups.sizes) == 1:
        return components(difference, groups, None, weight), False
    runs = run_variance(arms, groups)
    if paired and runs.seed > 2 * runs.both:
        return components(difference, groups, run_variance((arms[1] - arms[0],), groups), 1 / counts[0]), True
    return components(difference, groups, runs, weight), False


def _bound(values: Scores, mean: float, least: float, groups: Groups, confidence: float) -> tuple[float, float] | None:
    """Exact interval within [least, 1] where all clusters have the same mean; None where they differ."""
    levels = totals(values, groups) / groups.sizes if groups.codes is not None else values
    if len(levels) == 1:
        return least, 1.0
    if float(levels.max() - levels.min()) > ROUNDING:
        return None
    unseen = 1 - ((1 - confidence) / 2) ** (1 / groups.effective)
    return mean - unseen * (mean - least), mean + unseen * (1 - mean)


def _limits(
    mean: float, parts: Components | None, bound: tuple[float, float] | None, least: float, confidence: float
) -> tuple[float, float]:
    """Return the interval around the mean, no narrower than the bound, clamped to [least, 1]."""
    half = math.inf if parts is None else parts.half_width(1 - confidence)
    low, high = mean - half, mean + half
    if bound is not None:
        low, high = min(low, bound[0]), max(high, bound[1])
    return max(least, low), min(1.0, high)
